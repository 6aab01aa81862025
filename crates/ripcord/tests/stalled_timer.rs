//! Deadlines while a waker blocks the timer's thread. A loop still sees them, because it reads the clock itself. This test has
//! its own binary, because the whole process shares that thread.

#[path = "common/mod.rs"]
mod common;

use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use common::observers::{OBSERVERS, assert_all_report_an_end, observe_until_ended};
use common::{HANG, MS, Wakes, poll, poll_with, waker_fn};
use ripcord::{Context, DoneOwned};

/// Returns a context with a waiter, and with a deadline that has not passed yet.
fn waited_for(timeout: Duration) -> (Context, DoneOwned) {
    let ctx = Context::background().with_timeout(timeout);
    let mut waiting = ctx.done_owned();
    let _ = poll(&mut waiting, &Wakes::new());
    (ctx, waiting)
}

#[test]
fn loop_over_contexts_sees_deadlines_while_a_waker_blocks_the_timer_thread() {
    let (enters, entered) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let blocks = waker_fn(move || {
        let _ = enters.send(());
        // An error if the test has ended, with or without a failure.
        let _ = held.lock().map(|held| held.recv());
    });
    let mut first = loop {
        // On a busy machine the deadline may have passed before it is polled.
        let mut first = Context::background().with_timeout(5 * MS).done_owned();
        if poll_with(&mut first, &blocks).is_pending() {
            break first;
        }
    };
    entered.recv_timeout(HANG).expect("the first deadline wakes");

    let (far, _far) = waited_for(HANG);
    for others in [0, 1, 7] {
        // A busy machine may interrupt the thread in every one of a few attempts, so attempts are made until one is punctual.
        let mut best = Duration::MAX;
        let mut attempts = 0;
        while best > MS {
            attempts += 1;
            assert!(attempts <= 500, "{others} other contexts: the most punctual attempt was {best:?} late");
            let (ctx, mut waiting) = waited_for(3 * MS);
            let deadline = ctx.deadline().expect("it has one");
            while !ctx.is_done() && (0..others).all(|_| !far.is_done()) {
                assert!(deadline.elapsed() < HANG, "the deadline is never seen");
            }
            let seen = Instant::now();
            assert!(ctx.err().is_some_and(|error| error.is_deadline_exceeded()));
            assert!(seen >= deadline && poll(&mut waiting, &Wakes::new()).is_ready());
            for ctx in [&ctx, &ctx.clone(), &ctx.with_name("child"), &ctx.with_cancel().0] {
                assert_all_report_an_end(ctx);
            }
            best = best.min(seen - deadline);
        }
    }
    // Each observer alone, before another observer has seen the deadline. With and without a waiter.
    for observer in OBSERVERS {
        for is_waited_on in [false, true] {
            let ctx = Context::background().with_timeout(MS);
            let _waiting = is_waited_on.then(|| ctx.after_func(|| {}));
            observe_until_ended(*observer, &ctx);
            assert_all_report_an_end(&ctx);
        }
    }
    // Blocked threads do not need the timer's thread either.
    assert!(Context::background().with_timeout(MS).wait().is_deadline_exceeded());
    drop(release);
    assert!(poll(&mut first, &Wakes::new()).is_ready());
}
