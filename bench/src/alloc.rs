//! The allocator both sides use: the system's, with a count of live bytes that can be switched on.
//!
//! While the count is off, which it is in every row that measures time, the cost is one relaxed
//! load of a flag that never changes. Sizes are those asked for, not what the system's allocator
//! rounds them up to.

#![expect(unsafe_code, reason = "a global allocator cannot be written without it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};

static COUNTING: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicIsize = AtomicIsize::new(0);

pub(crate) struct Allocator;

/// Runs `build` and gives what it built with the bytes that are live because of it, on whatever
/// thread they were allocated.
pub(crate) fn live_bytes<T>(build: impl FnOnce() -> T) -> (T, f64) {
    LIVE.store(0, Relaxed);
    COUNTING.store(true, Relaxed);
    let built = build();
    COUNTING.store(false, Relaxed);
    (built, LIVE.load(Relaxed) as f64)
}

fn note(bytes: isize) {
    if COUNTING.load(Relaxed) {
        LIVE.fetch_add(bytes, Relaxed);
    }
}

// SAFETY: every call is passed on to `System` as it came; noting a size allocates nothing and
// cannot unwind.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size().cast_signed());
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size().cast_signed());
        // SAFETY: the caller keeps `alloc_zeroed`'s contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(-layout.size().cast_signed());
        // SAFETY: the caller keeps `dealloc`'s contract, and `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(new_size.cast_signed() - layout.size().cast_signed());
        // SAFETY: the caller keeps `realloc`'s contract, and `pointer` came from `System`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}
