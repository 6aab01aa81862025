//! Nothing leaks while the parent lives. After many children of every kind, the number of live bytes is the same as before.
//!
//! The allocator counts for the whole process, so this file has one test, which runs its scenarios one after another. A
//! scenario first runs until its lazily created parts exist (the warm-up). Then it runs its full number of times, and must end
//! with the number of bytes with which it began. The count is also read at a quarter, a half and three quarters, because memory
//! that grows and is freed at the end is a leak for a server that never ends.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use common::{HOUR, MS, SEC, User, bump, eventually, manual, poll_pinned, poll_with};
use ripcord::{Context, FutureExt};

// ===== the allocator =====

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

fn bytes(n: usize) -> isize {
    isize::try_from(n).expect("no allocation is larger")
}

#[expect(unsafe_code, reason = "an allocator cannot be written without it; it hands everything to the system's")]
// SAFETY: every call is forwarded to `System` with the same arguments, and the result of `System` is returned.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(bytes(layout.size()), Ordering::Relaxed);
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller fulfills the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(bytes(layout.size()), Ordering::Relaxed);
        // SAFETY: `ptr` came from `alloc` above, and so from `System`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn live() -> isize {
    LIVE.load(Ordering::SeqCst)
}

// ===== the scenarios =====

/// A million, or a tenth without optimization: `scripts/soak` runs the million.
const TIMES: usize = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

/// Runs `once` `times` times and compares the live bytes before and after. `slack` is the number of bytes by which the size of
/// a structure that serves all children may vary, such as a timer's free list. It does not grow with `times`.
///
/// The test harness has its own thread, which may allocate once during the count. A leak occurs again at the next attempt, and
/// that allocation does not.
#[track_caller]
fn same_before_and_after(what: &str, times: usize, slack: isize, mut once: impl FnMut(usize)) {
    for i in 0..times.div_ceil(50).min(5_000) {
        once(i);
    }
    let mut grown = String::new();
    for _attempt in 0..3 {
        match grows(times, slack, &mut once) {
            None => return,
            Some(how) => grown = how,
        }
    }
    panic!("{what}: {grown}");
}

fn grows(times: usize, slack: isize, once: &mut impl FnMut(usize)) -> Option<String> {
    let before = live();
    for quarter in 1..=4 {
        for i in 0..times / 4 {
            once(i);
        }
        let (grown, done) = (live() - before, quarter * times / 4);
        if grown.abs() > slack {
            return Some(format!("{grown} bytes more after {done} of {times}, {:.3} each", grown as f64 / done as f64));
        }
    }
    None
}

#[test]
fn nothing_leaks_while_the_parent_lives() {
    // The test harness allocates for captured output, so the code below prints nothing.
    let waker = Waker::noop();
    let (root, time) = manual();
    let (parent, cancel_parent) = root.with_value(User(1)).with_cancel();
    // The parent has a waiter, and so is linked. A sibling also has a waiter.
    let mut parents_own = parent.done_owned();
    assert!(poll_with(&mut parents_own, waker).is_pending());
    let sibling = parent.with_name("sibling");
    let mut siblings_own = sibling.done_owned();
    assert!(poll_with(&mut siblings_own, waker).is_pending());

    same_before_and_after("derive, cancel, drop", TIMES, 0, |_| {
        let (_child, cancel) = parent.with_cancel();
        cancel.cancel();
    });
    same_before_and_after("derive, wait, cancel, drop", TIMES, 0, |_| {
        let (child, cancel) = parent.with_cancel();
        let mut wait = child.done();
        assert!(poll_with(&mut wait, waker).is_pending());
        cancel.cancel();
    });
    same_before_and_after("derive, wait, cancel with a cause, drop", TIMES / 4, 0, |_| {
        let (child, cancel) = parent.with_cancel();
        let mut wait = child.done();
        assert!(poll_with(&mut wait, waker).is_pending());
        cancel.cancel_with("stop");
        assert!(poll_with(&mut wait, waker).is_ready());
    });
    same_before_and_after("derive, wait, drop", TIMES, 0, |_| {
        let (child, cancel) = parent.with_cancel();
        cancel.detach();
        assert!(poll_with(&mut child.done(), waker).is_pending());
    });
    same_before_and_after("clone, derive, wait, drop in either order", TIMES, 0, |i| {
        let clone = parent.clone();
        let child = clone.with_cancel();
        assert!(poll_with(&mut child.0.done(), waker).is_pending());
        if i % 2 == 0 { drop((clone, child)) } else { drop((child, clone)) }
    });
    same_before_and_after("wait on the parent itself, drop", TIMES, 0, |_| {
        assert!(poll_with(&mut parent.done(), waker).is_pending());
    });
    same_before_and_after("derive three levels, wait at the bottom, drop in any order", TIMES / 4, 0, |i| {
        let a = parent.with_name("a");
        let (b, cancel) = a.with_cancel();
        let c = b.with_value(User(2));
        let mut wait = c.done_owned();
        assert!(poll_with(&mut wait, waker).is_pending());
        match i % 4 {
            0 => drop((a, b, c, wait, cancel)),
            1 => drop((wait, c, b, a, cancel)),
            2 => drop((cancel, a, wait, c, b)),
            _ => drop((c, cancel, wait, b, a)),
        }
    });
    // The children overlap. There are always a hundred of them, and the oldest is dropped when a new one is created.
    let mut alive = std::collections::VecDeque::with_capacity(128);
    same_before_and_after("a hundred children alive at a time", TIMES / 4, 4_096, |_| {
        let (child, cancel) = parent.with_cancel();
        let mut wait = child.done_owned();
        assert!(poll_with(&mut wait, waker).is_pending());
        alive.push_back((child, cancel, wait));
        if alive.len() > 100 {
            alive.pop_front();
        }
    });
    drop(alive);

    // A timer may keep a bounded number of dead entries until it reaches their slots.
    const TIMER: isize = 64 << 10;
    same_before_and_after("a timeout nobody waits on", TIMES, 0, |_| drop(parent.with_timeout(HOUR)));
    same_before_and_after("an armed timeout, manual time, drop", TIMES, TIMER, |i| {
        let child = parent.with_timeout(HOUR + Duration::from_nanos(i as u64));
        assert!(poll_with(&mut child.done(), waker).is_pending());
    });
    same_before_and_after("an armed timeout, manual time, cancel, drop", TIMES / 2, TIMER, |_| {
        let (child, cancel) = parent.with_timeout(HOUR).with_cancel();
        assert!(poll_with(&mut child.done(), waker).is_pending());
        cancel.cancel();
    });
    same_before_and_after("an armed timeout that fires, manual time", TIMES / 4, TIMER, |_| {
        let child = parent.with_timeout(MS);
        let mut wait = child.done();
        assert!(poll_with(&mut wait, waker).is_pending());
        time.advance(MS);
        assert!(poll_with(&mut wait, waker).is_ready());
    });
    let (system, _cancel_system) = Context::background().with_cancel();
    same_before_and_after("an armed timeout, system clock, drop", TIMES, TIMER, |i| {
        let child = system.with_timeout(HOUR + MS * (i % 1_000_000) as u32);
        assert!(poll_with(&mut child.done(), waker).is_pending());
    });
    same_before_and_after("an armed timeout, system clock, cancel, drop", TIMES / 2, TIMER, |_| {
        let (child, cancel) = system.with_timeout(HOUR).with_cancel();
        assert!(poll_with(&mut child.done(), waker).is_pending());
        cancel.cancel();
    });
    same_before_and_after("a sleep started and dropped", TIMES / 2, TIMER, |_| {
        let sleep = pin!(parent.sleep(HOUR));
        assert!(poll_pinned(sleep, waker).is_pending());
    });
    same_before_and_after("wait_timeout and sleep_blocking of nothing", TIMES / 10, TIMER, |_| {
        assert!(system.wait_timeout(Duration::ZERO).is_none());
        assert!(system.sleep_blocking(Duration::ZERO).is_ok());
    });

    same_before_and_after("with_timeout and run, pending once", TIMES / 2, TIMER, |_| {
        let child = parent.with_timeout(HOUR);
        let mut polled = false;
        let mut run =
            pin!(child.run(poll_fn(|_| {
                if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
            })));
        assert!(poll_pinned(run.as_mut(), waker).is_pending());
        assert!(poll_pinned(run.as_mut(), waker).is_ready());
    });
    same_before_and_after("with_context, dropped while pending", TIMES / 2, 0, |_| {
        let run = pin!(pending::<()>().with_context(&parent));
        assert!(poll_pinned(run, waker).is_pending());
    });
    same_before_and_after("after_func and stop", TIMES, 0, |_| {
        assert!(parent.after_func(|| ()).stop());
    });
    let held = Arc::new(());
    same_before_and_after("after_func with captures on a child, stop, drop", TIMES / 2, 0, |_| {
        let (child, _cancel) = parent.with_cancel();
        let held = Arc::clone(&held);
        assert!(child.after_func(move || drop(held)).stop());
    });
    // The functions run on other threads. The count is read when they are done.
    let ran = Arc::new(AtomicUsize::new(0));
    let mut due = 0;
    same_before_and_after("after_func that runs", 4_000, TIMER, |_| {
        let (child, cancel) = parent.with_cancel();
        let counted = Arc::clone(&ran);
        drop(child.after_func(move || bump(&counted)));
        cancel.cancel();
        due += 1;
        if due % 50 == 0 {
            eventually("the callbacks", || ran.load(Ordering::SeqCst) == due && Arc::strong_count(&ran) == 1);
        }
    });
    same_before_and_after("merge of two that live, waited on", TIMES / 2, 0, |_| {
        let both = parent.merge(&sibling);
        assert!(poll_with(&mut both.done(), waker).is_pending());
    });
    same_before_and_after("merge with a child that is canceled", TIMES / 2, 0, |_| {
        let (child, cancel) = system.with_cancel();
        let both = parent.merge(&child);
        let mut wait = both.done();
        assert!(poll_with(&mut wait, waker).is_pending());
        cancel.cancel();
        assert!(poll_with(&mut wait, waker).is_ready());
    });
    same_before_and_after("scopes, async and not", TIMES / 2, 0, |_| {
        let child = parent.with_name("scoped");
        child.sync_scope(|| drop(Context::current().with_value(User(3))));
        let scoped = pin!(child.scope(pending::<()>()));
        assert!(poll_pinned(scoped, waker).is_pending());
    });
    same_before_and_after("values, names, cuts, clones, Display", TIMES / 10, 0, |_| {
        let child = parent.with_value(User(2)).with_name(String::from("owned")).without_cancel().clone();
        assert!(child.value::<User>().is_some());
        drop(format!("{child} {child:?}"));
    });
    same_before_and_after("errors told and dropped", TIMES / 10, 0, |_| {
        let (child, cancel) = parent.with_name("named").with_cancel();
        cancel.cancel_with(String::from("why"));
        drop(format!("{:#}", child.err().expect("done")));
        drop(child.cause());
    });
    let executor = |task: ripcord::BoxFuture| futures::executor::block_on(task);
    same_before_and_after("groups", 20_000, 0, |_| {
        let (group, _ctx) = ripcord::Group::with_executor(&parent, executor);
        group.go(async { Ok::<(), std::io::Error>(()) });
        futures::executor::block_on(group.wait()).expect("it succeeds");
    });
    let (root_group, _ctx) = ripcord::Group::with_executor(&parent, executor);
    same_before_and_after("tasks of one group that goes on", TIMES / 10, 0, |_| {
        root_group.go(async { Ok::<(), std::io::Error>(()) });
    });
    same_before_and_after("results of groups", 20_000, 0, |i| {
        let (group, _ctx) = ripcord::Group::builder().executor(ripcord::block_on).build(&parent);
        let handle = group.handle();
        group.go(async move { Ok::<_, std::io::Error>(handle.go(async move { Ok::<_, std::io::Error>(i > 0) })) });
        assert_eq!(futures::executor::block_on(group.results()).len(), 2);
    });

    same_before_and_after("spans: a tree, ended", TIMES / 10, 0, |_| {
        let (ctx, span) = parent.start_span("outer");
        let (_ctx, inner) = ctx.start_span("inner");
        drop(inner);
        assert!(span.end().to_string().contains("inner"));
    });
    same_before_and_after("spans: started and canceled, dropped in any order", TIMES / 10, 0, |i| {
        let (ctx, cancel) = parent.with_cancel();
        let (ctx, span) = ctx.start_span("outer");
        let (below, inner) = ctx.start_span("inner");
        cancel.cancel_with(String::from("why"));
        if i % 2 == 0 {
            drop((span, ctx, inner, below));
        } else {
            drop((below, inner, ctx, span));
        }
    });
    #[cfg(feature = "tokio")]
    same_before_and_after("a stream, read and written until pending, drop", TIMES / 10, 0, |_| {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (near, _far) = tokio::io::duplex(1);
        let (mut stream, mut buf) = (parent.io(near), [0; 1]);
        assert!(poll_pinned(pin!(stream.read(&mut buf)), waker).is_pending());
        assert!(poll_pinned(pin!(stream.write_all(b"xx")), waker).is_pending());
    });
    #[cfg(feature = "sync")]
    same_before_and_after("a permit, a lock and a value waited for, drop", TIMES / 10, 0, |_| {
        use ripcord::sync::{Mutex, Semaphore, mpsc};
        let (semaphore, mutex, (sender, mut receiver)) = (Semaphore::new(1), Mutex::new(()), mpsc::channel(1));
        let _held = (semaphore.try_acquire(1), mutex.try_lock());
        assert!(poll_pinned(pin!(semaphore.acquire(&parent, 1)), waker).is_pending());
        assert!(poll_pinned(pin!(mutex.lock(&parent)), waker).is_pending());
        assert!(poll_pinned(pin!(receiver.recv(&parent)), waker).is_pending());
        sender.try_send(1).unwrap();
        assert!(poll_pinned(pin!(sender.send(&parent, 2)), waker).is_pending());
    });
    same_before_and_after("shielded, waited on, drop", TIMES / 10, 0, |_| {
        let shielded = parent.shielded(SEC);
        assert!(poll_with(&mut shielded.done(), waker).is_pending());
    });
    same_before_and_after("shielded, in its grace, drop", TIMES / 10, TIMER, |_| {
        let (child, cancel) = parent.with_cancel();
        let shielded = child.shielded(SEC);
        let mut wait = shielded.done();
        assert!(poll_with(&mut wait, waker).is_pending());
        cancel.cancel();
        assert!(poll_with(&mut wait, waker).is_pending());
    });
    same_before_and_after("shielded, to the end of its grace", TIMES / 10, TIMER, |_| {
        let (child, cancel) = parent.with_cancel();
        let shielded = child.shielded(MS);
        let mut wait = shielded.done();
        assert!(poll_with(&mut wait, waker).is_pending());
        cancel.cancel();
        time.advance(MS);
        assert!(poll_with(&mut wait, waker).is_ready());
    });
    same_before_and_after("run_with_grace, dropped while pending", TIMES / 10, 0, |_| {
        let run = pin!(parent.run_with_grace(SEC, |_| pending::<()>()));
        assert!(poll_pinned(run, waker).is_pending());
    });
    #[cfg(feature = "tokio-util")]
    {
        same_before_and_after("tokens of contexts, drop", TIMES / 10, TIMER, |_| {
            let (child, cancel) = parent.with_cancel();
            cancel.detach();
            drop(child.with_cancellation_token(&child.cancellation_token()).cancellation_token());
        });
        let _kept = parent.shielded(SEC).cancellation_token();
        same_before_and_after("tokens of shielded contexts, drop", TIMES / 10, TIMER, |i| {
            let (child, cancel) = parent.with_cancel();
            cancel.detach();
            // At most one token is kept for each millisecond of the longest grace.
            drop(child.shielded(MS * (i % 100 * 10) as u32).shielded(MS).cancellation_token());
        });
    }
    let (listed, tasks) = parent.with_tasks();
    same_before_and_after("listed tasks, and waiters that leave", TIMES / 10, TIMER, |_| {
        let (inner, inner_tasks) = listed.with_tasks();
        let guard = inner.task_guard();
        assert!(poll_with(&mut tasks.wait(&parent), waker).is_pending());
        assert_eq!((tasks.list().len(), inner_tasks.len()), (1, 1));
        drop(guard);
    });
    #[cfg(feature = "tokio")]
    {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        same_before_and_after("spawned tasks: awaited, detached, canceled", 20_000, TIMER, |i| {
            runtime.block_on(async {
                let task = listed.spawn(|_| async move { if i % 4 == 3 { pending().await } else { i } });
                match i % 4 {
                    0 => assert_eq!(task.await.expect("it succeeds"), i),
                    1 => drop(task),
                    2 => task.cancel(),
                    _ => {
                        tokio::task::yield_now().await;
                        task.cancel();
                        assert!(task.await.is_err());
                    }
                }
                tasks.wait(&parent).await.expect("the parent lives");
            });
        });
    }

    // None of the scenarios ended the parent, and the waiters of the parent are still woken.
    assert!(!parent.is_done());
    cancel_parent.cancel();
    assert!(poll_with(&mut parents_own, waker).is_ready());
    assert!(poll_with(&mut siblings_own, waker).is_ready());

    go_test_allocs();
}

/// Go's `TestAllocs` (see `go_context`): the same rows, with our own numbers of allocations. They are Go's upper limits or
/// lower.
fn go_test_allocs() {
    #[track_caller]
    fn allocations(what: &str, at_most: usize, once: impl Fn()) {
        for _ in 0..100 {
            once();
        }
        let before = ALLOCATIONS.load(Ordering::SeqCst);
        for _ in 0..100 {
            once();
        }
        let each = (ALLOCATIONS.load(Ordering::SeqCst) - before) as f64 / 100.0;
        assert!(each <= at_most as f64 + 0.1, "{what}: {each} allocations, want {at_most}");
    }
    let waker = Waker::noop();
    let ready = |ctx: &Context| assert!(poll_with(&mut ctx.done(), waker).is_ready());
    let background = Context::background();
    allocations("Background()", 0, || drop(Context::background()));
    let kept = background.with_name("n");
    allocations("clone and drop", 0, || drop(kept.clone()));
    allocations("WithValue(bg, k1, nil)", 3, || {
        assert!(background.with_value(User(1)).value::<User>().is_some());
    });
    allocations("WithTimeout(bg, 1*time.Nanosecond)", 12, || {
        assert!(background.with_timeout(Duration::from_nanos(1)).wait().is_deadline_exceeded());
    });
    allocations("WithCancel(bg)", 5, || {
        let (ctx, cancel) = background.with_cancel();
        cancel.cancel();
        ready(&ctx);
    });
    allocations("WithTimeout(bg, 5*time.Millisecond)", 8, || {
        let (ctx, cancel) = background.with_timeout(SEC).with_cancel();
        cancel.cancel();
        ready(&ctx);
    });
}
