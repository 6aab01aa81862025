//! A reset allocates nothing. The allocator counts for each thread, because the timer's thread may be starting meanwhile.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use common::{HOUR, SEC, Wakes, poll};
use ripcord::Context;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "an allocator cannot be written without it; it hands everything to the system's")]
// SAFETY: every call is forwarded to `System` with the same arguments, and the result of `System` is returned.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller fulfills the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `alloc` above, and so from `System`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn hundred_thousand_resets_allocate_nothing() {
    let (request, _cancel) = Context::background().with_timeout(HOUR).with_name("request").with_cancel();
    let (outer, _outer_idle) = request.with_idle_timeout(10 * SEC);
    let (ctx, deadline) = outer.with_movable_deadline(std::time::Instant::now() + HOUR);
    let (ctx, idle) = ctx.with_idle_timeout(20 * SEC);
    let below = ctx.with_name("below").with_timeout(HOUR);
    let (mut done, wakes) = (below.done_owned(), Wakes::new());
    assert!(poll(&mut done, &wakes).is_pending());
    let before = ALLOCATIONS.get();
    for round in 0..100_000 {
        assert!(idle.reset() && below.progress());
        assert!(deadline.reset_after(HOUR + round * Duration::from_millis(1)));
    }
    assert_eq!(ALLOCATIONS.get(), before);
}
