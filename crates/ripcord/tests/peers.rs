//! One test for each fault seen in peers, so that this crate has none of the faults.
//!
//! Each test begins with a description of the fault. The tests that need a counting allocator are in `leak.rs`, and the tests
//! that need four million levels are in `depth.rs`.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use common::{
    HANG, HOUR, MS, SEC, User, Wakes, assert_canceled, assert_exceeded, assert_live, jitter, manual, poll, poll_with,
    race, waker_fn, within,
};
use ripcord::{Context, DoneOwned};

/// A peer reads its canceled flag under the mutex of the tree, so a reader blocks while a cancel wakes the waiters. This takes
/// 20 ms with a million waiters, and forever if one of the waiters waits for the reader.
#[test]
fn reading_the_flag_never_waits_for_a_cancel_under_way() {
    within("questions during a cancel that is stuck in a waker", || {
        let (root, _time) = manual();
        let (top, cancel) = root.with_value(User(1)).with_cancel();
        let (stuck, entered) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let waker = waker_fn(move || {
            stuck.send(()).expect("the test waits");
            held.lock().expect("not poisoned").recv_timeout(HANG).expect("released");
        });
        let (child, cancel_child) = top.with_cancel();
        let sibling = top.with_timeout(HOUR);
        let mut wait = child.done_owned();
        assert!(poll_with(&mut wait, &waker).is_pending());
        thread::scope(|scope| {
            let canceling = scope.spawn(|| cancel.cancel_with("stop"));
            entered.recv_timeout(HANG).expect("the waker runs");
            // The cancel is now in the middle of its wakers. Every call here must return before the cancel does.
            for ctx in [&root, &top, &child, &sibling] {
                let _ = (ctx.is_done(), ctx.err(), ctx.cause(), ctx.deadline(), ctx.remaining());
                assert_eq!(ctx.value::<User>().is_some(), !std::ptr::eq(ctx, &root));
                let derived = ctx.with_name("derived");
                let mut wait = derived.done();
                let _either = poll(&mut wait, &Wakes::new());
                let _whether_it_would_have_run = derived.after_func(|| ()).stop();
            }
            cancel_child.cancel_with("second");
            assert!(child.is_done(), "2. also for a cancel that came second");
            release.send(()).expect("the waker waits");
            canceling.join().expect("no panic");
        });
        assert_canceled(&child, Some("stop"));
        assert_canceled(&sibling, Some("stop"));
        assert_live(&root);
    });
}

/// A peer wakes its waiters while it holds the lock of the node. An executor that runs the task inside `wake` deadlocks when
/// the task first uses the same token.
#[test]
fn inline_executor_may_run_the_task_inside_wake() {
    /// Runs its task on the thread that wakes it, until the task is pending again.
    struct Inline {
        task: Mutex<Option<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>>>,
    }
    impl std::task::Wake for Inline {
        fn wake(self: Arc<Self>) {
            let Some(mut task) = self.task.lock().expect("not poisoned").take() else { return };
            let waker = std::task::Waker::from(Arc::clone(&self));
            if task.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending() {
                *self.task.lock().expect("not poisoned") = Some(task);
            }
        }
    }
    within("an inline executor", || {
        let (root, time) = manual();
        let (ctx, cancel) = root.with_cancel();
        let handle = cancel.handle();
        let (sender, receiver) = mpsc::channel();
        let task = {
            let ctx = ctx.clone();
            async move {
                let error = ctx.done().await;
                handle.cancel_with("again");
                // Cleans up under a context of its own, and waits in the middle of the cleanup.
                let cleanup = ctx.without_cancel().with_timeout(SEC);
                let (child, cancel_child) = ctx.with_cancel();
                child.done().await;
                drop(cancel_child);
                cleanup.done().await;
                sender.send(error).expect("the test waits");
            }
        };
        let inline = Arc::new(Inline { task: Mutex::new(Some(Box::pin(task))) });
        std::task::Wake::wake(Arc::clone(&inline));
        let mut beside = ctx.done();
        let wakes = Wakes::new();
        assert!(poll(&mut beside, &wakes).is_pending());
        cancel.cancel_with("stop");
        assert_eq!(wakes.count(), 1);
        time.advance(SEC);
        let error = receiver.try_recv().expect("the task has run to its end inside the two calls");
        assert_eq!(error.cause().expect("given").to_string(), "stop");
    });
}

/// In a peer, a waker that panics leaves the nodes after it neither marked nor woken, and the lock poisoned.
#[test]
fn panicking_waker_leaves_no_later_node_unnotified() {
    within("a panicking waker among a thousand", || {
        let (root, _time) = manual();
        let (top, cancel) = root.with_cancel();
        let wakes = Wakes::new();
        let panics = waker_fn(|| panic!("a waker that panics (on purpose)"));
        // The panicking waker comes first, in the middle and last, at every level.
        let contexts: Vec<_> = (0..1_000)
            .scan(top.clone(), |above, i| {
                let ctx = if i % 10 == 0 { above.with_timeout(HOUR) } else { above.with_name("n") };
                if i % 10 == 0 {
                    *above = ctx.clone();
                }
                Some(ctx)
            })
            .collect();
        let mut waits: Vec<_> = contexts.iter().map(Context::done).collect();
        for (i, wait) in waits.iter_mut().enumerate() {
            let waker = if i % 100 == 0 || i == 999 { panics.clone() } else { wakes.waker() };
            assert!(poll_with(wait, &waker).is_pending());
        }
        let _swallowed_or_not = catch_unwind(AssertUnwindSafe(|| cancel.cancel_with("stop")));
        assert_eq!(wakes.count(), 1_000 - 11);
        for ctx in &contexts {
            assert_canceled(ctx, Some("stop"));
        }
        // Nothing is poisoned, and the tree works as before.
        let (next, cancel) = root.with_cancel();
        let wakes = Wakes::new();
        let mut wait = next.done();
        assert!(poll(&mut wait, &wakes).is_pending());
        cancel.cancel();
        assert_eq!(wakes.count(), 1);
    });
}

/// In a peer, two threads cancel a child and its parent. One thread returns while the grandchildren are not yet marked, because
/// the other thread has removed them from the child's list and has not yet marked them.
#[test]
fn cancel_never_returns_while_grandchildren_are_unmarked() {
    for round in 0..200 {
        let (root, _time) = manual();
        let (parent, cancel_parent) = root.with_cancel();
        // The elder siblings delay the parent's cancel before it reaches the child.
        let elders: Vec<_> = (0..200).map(|_| parent.with_name("elder").done_owned()).collect();
        let (child, cancel_child) = parent.with_cancel();
        let grandchildren: Vec<_> = (0..200).map(|_| child.with_name("grandchild").with_timeout(HOUR)).collect();
        let wakes = Wakes::new();
        let mut waits: Vec<DoneOwned> =
            elders.into_iter().chain(grandchildren.iter().map(Context::done_owned)).collect();
        waits.iter_mut().for_each(|wait| assert!(poll(wait, &wakes).is_pending()));
        let unmarked = || grandchildren.iter().filter(|ctx| !ctx.is_done()).count();
        let counts = race(
            || {
                jitter(round);
                cancel_parent.cancel();
                unmarked()
            },
            || {
                cancel_child.cancel();
                unmarked()
            },
        );
        assert_eq!(counts, (0, 0), "round {round}");
        assert_eq!(wakes.count(), 400, "round {round}");
    }
}

/// The same scenario with the first cancel blocked inside a waker, so that the order does not depend on chance.
#[test]
fn cancel_never_returns_while_grandchildren_are_unmarked_even_if_the_other_is_stuck() {
    within("a second cancel beside one that is stuck", || {
        for order in 0..3 {
            let (root, _time) = manual();
            let (parent, cancel_parent) = root.with_cancel();
            let (child, cancel_child) = parent.with_cancel();
            let grandchild = child.with_name("grandchild");
            let (stuck, entered) = mpsc::channel();
            let (release, held) = mpsc::channel::<()>();
            let held = Mutex::new(held);
            let waker = waker_fn(move || {
                stuck.send(()).expect("the test waits");
                held.lock().expect("not poisoned").recv_timeout(HANG).expect("released");
            });
            let mut linked = grandchild.done();
            assert!(poll(&mut linked, &Wakes::new()).is_pending());
            let on = [&parent, &child, &grandchild][order];
            let mut wait = on.done_owned();
            assert!(poll_with(&mut wait, &waker).is_pending());
            thread::scope(|scope| {
                scope.spawn(|| cancel_parent.cancel_with("parent"));
                entered.recv_timeout(HANG).expect("the waker runs");
                cancel_child.cancel_with("child");
                assert!(grandchild.is_done(), "the waker is stuck on level {order}");
                assert!(grandchild.with_name("new").is_done());
                release.send(()).expect("the waker waits");
            });
        }
    });
}

/// In a peer, a waiter holds its parent's asynchronous mutex while it waits. So a sibling waits for that mutex and never
/// reaches its own timeout.
#[test]
fn timeout_of_a_sibling_fires_while_others_wait() {
    let (root, time) = manual();
    let (parent, _cancel) = root.with_cancel();
    let patient: Vec<_> = (0..10).map(|_| parent.with_name("patient")).collect();
    let mut waits: Vec<_> = patient.iter().chain([&parent]).map(Context::done).collect();
    let nobody = Wakes::new();
    waits.iter_mut().for_each(|wait| assert!(poll(wait, &nobody).is_pending()));
    let quick = parent.with_timeout(SEC);
    let wakes = Wakes::new();
    let mut wait = quick.done();
    assert!(poll(&mut wait, &wakes).is_pending());
    time.advance(SEC);
    assert_eq!((wakes.count(), nobody.count()), (1, 0));
    assert_exceeded(&quick, None);

    // The same on threads. One of them is blocked until the end.
    within("a sibling's timeout beside a blocked thread", || {
        let (root, time) = manual();
        let (parent, cancel) = root.with_cancel();
        let quick = parent.with_timeout(SEC);
        thread::scope(|scope| {
            let blocked = scope.spawn(|| parent.wait());
            let timed = scope.spawn(|| quick.wait());
            time.advance(SEC);
            assert!(timed.join().expect("no panic").is_deadline_exceeded());
            assert!(!blocked.is_finished());
            cancel.cancel();
            blocked.join().expect("no panic");
        });
    });
}

/// One peer leaks 272 bytes for each derive-cancel-drop under a live parent. Another keeps its children in a `Vec` of `Weak`
/// that is never pruned. `leak.rs` counts bytes. This test checks that no waker, value or function is kept.
#[test]
fn dropped_child_leaves_nothing_behind() {
    let (root, _time) = manual();
    let (parent, _cancel) = root.with_cancel();
    let wakes = Wakes::new();
    for i in 0..1_000 {
        let (child, cancel) = parent.with_timeout(HOUR).with_cancel();
        let mut wait = child.done_owned();
        assert!(poll(&mut wait, &wakes).is_pending());
        match i % 3 {
            0 => cancel.cancel(),
            1 => drop(wait),
            _ => drop(child),
        }
    }
    assert_eq!(wakes.held(), 0);
}

/// In a peer, a task reads the flag, finds it unset, and then registers. It misses a cancel in between.
#[test]
fn no_wakeup_is_lost_between_the_check_and_the_registration() {
    within("tasks that look, register and park", || {
        for round in 0..400 {
            let (root, time) = manual();
            let (top, cancel) = root.with_cancel();
            let ctx = top.with_name("a").with_timeout(SEC).with_name("b");
            let ((), error) = race(
                || {
                    jitter(round);
                    if round % 2 == 0 { cancel.cancel() } else { time.advance(SEC) }
                },
                || if round % 4 < 2 { ctx.wait() } else { futures::executor::block_on(ctx.done()) },
            );
            assert_eq!(error.is_canceled(), round % 2 == 0);
        }
    });
}

/// A peer starts a thread or a task for each deadline.
#[cfg(target_os = "linux")]
#[test]
fn deadline_costs_no_thread() {
    let threads = || std::fs::read_dir("/proc/self/task").expect("Linux has it").count();
    let before = threads();
    let contexts: Vec<_> = (0..2_000_u32).map(|i| Context::background().with_timeout(HOUR + i * MS)).collect();
    let wakes = Wakes::new();
    let mut waits: Vec<_> = contexts.iter().map(Context::done).collect();
    waits.iter_mut().for_each(|wait| assert!(poll(wait, &wakes).is_pending()));
    let _registered: Vec<_> = contexts.iter().take(500).map(|ctx| ctx.after_func(|| ())).collect();
    // Other tests of this binary have threads too: dozens, not thousands.
    let added = threads().saturating_sub(before);
    assert!(added < 100, "{added} threads for 2000 deadlines");
}

/// In a peer, the cause given to `with_timeout_cause` is reported for a cancel before the deadline.
#[test]
fn cause_of_a_deadline_is_not_reported_for_a_cancel() {
    let (root, time) = manual();
    let (parent, cancel) = root.with_cancel();
    let watched = parent.with_timeout_cause(SEC, "slow");
    let unwatched = parent.with_timeout_cause(SEC, "slow").with_name("leaf");
    let mut wait = watched.done();
    assert!(poll(&mut wait, &Wakes::new()).is_pending());
    cancel.cancel_with("by hand");
    time.advance(HOUR);
    assert_canceled(&watched, Some("by hand"));
    assert_canceled(&unwatched, Some("by hand"));
}

/// A peer walks down its tree by recursion, and overflows at some depth. `depth.rs` has the test with four million levels.
#[test]
fn deep_tree_is_canceled_without_recursion() {
    let thread = thread::Builder::new().stack_size(256 << 10).spawn(|| {
        let (root, _time) = manual();
        let (top, cancel) = root.with_cancel();
        let leaf = (0..100_000).fold(top, |ctx, _| ctx.with_timeout(HOUR));
        let wakes = Wakes::new();
        let mut wait = leaf.done_owned();
        assert!(poll(&mut wait, &wakes).is_pending());
        cancel.cancel();
        assert_eq!(wakes.count(), 1);
    });
    thread.expect("a thread").join().expect("it fits the stack");
}

/// Not a fault of a peer, but a risk of linking on demand: an end must also reach a context that was linked late.
#[test]
fn context_linked_late_is_reached_like_any_other() {
    let (root, _time) = manual();
    let (top, cancel) = root.with_cancel();
    let mid = top.with_name("mid");
    let early = mid.with_name("early");
    let mut first = early.done();
    let wakes = Wakes::new();
    assert!(poll(&mut first, &wakes).is_pending());
    let late = mid.with_timeout(HOUR).with_name("late");
    let mut second = late.done();
    assert!(poll(&mut second, &wakes).is_pending());
    drop(first);
    drop(early);
    let never_waited = late.with_value(User(1));
    cancel.cancel();
    assert_eq!(wakes.count(), 1);
    assert!(late.is_done() && never_waited.is_done() && mid.is_done());
}
