//! 12. The function of `after_func` runs exactly once. It never runs after a `stop()` that returned true. On a done context it
//!     runs at once, and `cancel()` never waits for it. A set of children returns to its old size (see `leak.rs`).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use ripcord::{AfterFunc, Context};

use crate::common::{HANG, HOUR, MS, SEC, bump, eventually, jitter, manual, race, rounds, within};

/// Registers a callback that counts its runs and sends a message.
fn counted(ctx: &Context) -> (AfterFunc, Arc<AtomicUsize>, mpsc::Receiver<()>) {
    let count = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = mpsc::channel();
    let registered = ctx.after_func({
        let count = Arc::clone(&count);
        move || {
            count.fetch_add(1, Ordering::SeqCst);
            let _whether_the_test_still_waits = sender.send(());
        }
    });
    (registered, count, receiver)
}

/// Registers a last callback on `ctx`, which is done. When this callback has run, the earlier callbacks had time to run.
fn flush(ctx: &Context) {
    let (_registered, _count, ran) = counted(ctx);
    ran.recv_timeout(HANG).expect("a callback on a done context runs");
}

#[test]
fn s12_runs_once_after_a_cancel() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let (registered, count, ran) = counted(&ctx);
    assert_eq!(count.load(Ordering::SeqCst), 0, "ran before the end");
    cancel.cancel();
    ran.recv_timeout(HANG).expect("it runs");
    assert!(!registered.stop(), "stop() after it ran");
    cancel.cancel();
    drop(cancel);
    flush(&ctx);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn s12_runs_once_after_a_deadline_though_nothing_else_waits() {
    let (root, time) = manual();
    let ctx = root.with_timeout(SEC).with_name("leaf");
    let (registered, count, ran) = counted(&ctx);
    time.advance(SEC - MS);
    assert_eq!(count.load(Ordering::SeqCst), 0);
    time.advance(MS);
    ran.recv_timeout(HANG).expect("it runs");
    assert!(!registered.stop());
    time.advance(HOUR);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn s12_runs_once_after_an_ancestors_end() {
    let (root, _time) = manual();
    let (top, cancel) = root.with_cancel();
    let (leaf, cancel_leaf) = top.with_name("a").with_timeout(HOUR).with_cancel();
    let (_registered, count, ran) = counted(&leaf);
    cancel.cancel();
    ran.recv_timeout(HANG).expect("it runs");
    cancel_leaf.cancel();
    flush(&leaf);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn s12_never_after_a_stop_that_returned_true() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let (registered, count, _ran) = counted(&ctx);
    assert!(registered.stop(), "the first stop");
    assert!(!registered.stop(), "the second stop");
    cancel.cancel();
    flush(&ctx);
    assert_eq!(count.load(Ordering::SeqCst), 0);
    assert!(!registered.stop());
}

#[test]
fn s12_runs_at_once_on_a_done_context() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_cancel();
    cancel.cancel();
    let (registered, _count, ran) = counted(&ctx);
    ran.recv_timeout(HANG).expect("it runs");
    assert!(!registered.stop());
    // An expired deadline that no observer has seen is also an end.
    let slow = root.with_timeout(SEC);
    time.advance(SEC);
    let (_registered, _count, ran) = counted(&slow);
    ran.recv_timeout(HANG).expect("it runs");
}

#[test]
fn s12_never_on_background() {
    let (registered, count, _ran) = counted(&Context::background());
    assert!(registered.stop());
    assert_eq!(count.load(Ordering::SeqCst), 0);
    drop(counted(&Context::todo()));
}

#[test]
fn s12_cancel_never_waits_for_it() {
    within("cancel() while its callback is stuck", || {
        let (root, time) = manual();
        for by_deadline in [false, true] {
            let (ctx, cancel) = root.with_timeout(SEC).with_cancel();
            let (release, held) = mpsc::channel::<()>();
            let (sender, ended) = mpsc::channel();
            let _registered = ctx.after_func(move || {
                held.recv_timeout(HANG).expect("released");
                sender.send(()).expect("the test waits");
            });
            if by_deadline {
                time.advance(SEC)
            } else {
                cancel.cancel()
            }
            assert!(ended.try_recv().is_err(), "it is stuck, so it cannot have ended");
            release.send(()).expect("it waits");
            ended.recv_timeout(HANG).expect("it ends");
        }
    });
}

#[test]
fn s12_a_stuck_function_blocks_no_other_function() {
    within("callbacks beside a stuck one", || {
        let (root, _time) = manual();
        let (ctx, cancel) = root.with_cancel();
        let (releases, _stuck): (Vec<_>, Vec<_>) = (0..4)
            .map(|_| {
                let (release, held) = mpsc::channel::<()>();
                (release, ctx.after_func(move || assert!(held.recv().is_err(), "nobody sends")))
            })
            .unzip();
        let (_registered, _count, ran) = counted(&ctx);
        cancel.cancel();
        ran.recv_timeout(HANG).expect("it runs beside the stuck ones");
        // A callback may wait for another callback.
        let (other, cancel_other) = root.with_cancel();
        let (sender, receiver) = mpsc::channel();
        let _waits = ctx.after_func({
            let other = other.clone();
            move || sender.send(other.wait()).expect("the test waits")
        });
        let _cancels = ctx.after_func(move || cancel_other.cancel());
        receiver.recv_timeout(HANG).expect("they do not wait for each other in line");
        drop(releases);
    });
}

#[test]
fn s12_dropping_the_handle_leaves_it_registered() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let (registered, count, ran) = counted(&ctx);
    drop(registered);
    cancel.cancel();
    ran.recv_timeout(HANG).expect("it runs");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn s12_a_registered_function_keeps_its_context_alive() {
    let (root, time) = manual();
    let (top, cancel) = root.with_cancel();
    let (leaf, cancel_leaf) = top.with_name("a").with_value(crate::common::User(1)).with_cancel();
    cancel_leaf.detach();
    let (registered, count, ran) = counted(&leaf);
    drop((leaf, registered));
    assert_eq!(count.load(Ordering::SeqCst), 0);
    cancel.cancel();
    ran.recv_timeout(HANG).expect("it runs although every handle is gone");
    // The same with a deadline of its own.
    let (_registered, _count, ran) = counted(&root.with_timeout(SEC));
    time.advance(SEC);
    ran.recv_timeout(HANG).expect("it runs although the context was a temporary");
}

#[test]
fn s12_stop_drops_the_callback() {
    let (root, _time) = manual();
    let (ctx, _cancel) = root.with_cancel();
    let held = Arc::new(());
    let registered = ctx.after_func({
        let held = Arc::clone(&held);
        move || drop(held)
    });
    assert_eq!(Arc::strong_count(&held), 2);
    assert!(registered.stop());
    assert_eq!(Arc::strong_count(&held), 1, "the closure is kept after stop()");
}

#[test]
fn s12_run_drops_the_callback() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let held = Arc::new(());
    let _registered = ctx.after_func({
        let held = Arc::clone(&held);
        move || drop(held)
    });
    cancel.cancel();
    eventually("the closure let go", || Arc::strong_count(&held) == 1);
}

#[test]
fn s12_stop_races_with_cancel_and_one_of_the_two_wins() {
    for round in 0..rounds(400) {
        let (root, _time) = manual();
        let (top, cancel) = root.with_cancel();
        let ctx = top.with_name("leaf");
        let (registered, count, ran) = counted(&ctx);
        let ((), stopped) = race(
            || {
                jitter(round);
                cancel.cancel();
            },
            || registered.stop(),
        );
        if stopped {
            flush(&ctx);
            assert_eq!(count.load(Ordering::SeqCst), 0, "round {round}: it ran after stop() returned true");
        } else {
            ran.recv_timeout(HANG).unwrap_or_else(|_| panic!("round {round}: neither stopped nor run"));
            assert_eq!(count.load(Ordering::SeqCst), 1, "round {round}");
        }
    }
}

#[test]
fn s12_two_stops_race_and_one_returns_true() {
    for round in 0..rounds(300) {
        let (root, _time) = manual();
        let (ctx, _cancel) = root.with_cancel();
        let (registered, _count, _ran) = counted(&ctx);
        let (a, b) = race(
            || {
                jitter(round);
                registered.stop()
            },
            || registered.stop(),
        );
        assert!(a ^ b, "round {round}: {a} {b}");
    }
}

#[test]
fn s12_registering_races_with_cancel_and_it_runs_once() {
    for round in 0..rounds(300) {
        let (root, _time) = manual();
        let (top, cancel) = root.with_cancel();
        let ctx = top.with_name("leaf");
        let ((), (_registered, count, ran)) = race(
            || {
                jitter(round);
                cancel.cancel();
            },
            || counted(&ctx),
        );
        ran.recv_timeout(HANG).unwrap_or_else(|_| panic!("round {round}: it never ran"));
        assert_eq!(count.load(Ordering::SeqCst), 1, "round {round}");
    }
}

#[test]
fn s12_many_on_one_context_all_run() {
    const FUNCTIONS: usize = if cfg!(miri) { 10 } else { 500 };
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let count = Arc::new(AtomicUsize::new(0));
    for _ in 0..FUNCTIONS {
        let count = Arc::clone(&count);
        drop(ctx.after_func(move || bump(&count)));
    }
    cancel.cancel();
    eventually("every function runs", || count.load(Ordering::SeqCst) == FUNCTIONS);
}
