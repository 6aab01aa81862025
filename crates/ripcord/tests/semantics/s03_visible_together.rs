//! 3. Error, cause and the done state become visible together: no observer sees one without the others.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;

use ripcord::{Context, ErrorKind};

use crate::common::{HANG, SEC, Wakes, jitter, manual, poll, poll_with, race, rounds, waker_fn};

/// Returns whether `ctx` is done. Checks that all queries agree, in any order.
fn agrees(ctx: &Context, order: usize, cause: &str) -> bool {
    let whole = |ctx: &Context| {
        assert!(ctx.is_done());
        let error = ctx.err().expect("done, so it has an error");
        assert_eq!(error.kind(), ErrorKind::Canceled);
        assert_eq!(error.cause().expect("given").to_string(), cause);
        assert_eq!(ctx.cause().expect("done, so it has a cause").to_string(), cause);
        assert!(ctx.check().is_err());
        assert!(poll(&mut ctx.done(), &Wakes::new()).is_ready());
    };
    let seen = match order % 5 {
        0 => ctx.is_done(),
        1 => ctx.err().is_some(),
        2 => ctx.cause().is_some(),
        3 => ctx.check().is_err(),
        _ => ctx.wait_timeout(std::time::Duration::ZERO).is_some(),
    };
    if seen {
        whole(ctx);
    }
    seen
}

#[test]
fn s03_no_observer_sees_half_an_end() {
    for round in 0..rounds(400) {
        let (root, _time) = manual();
        let (top, cancel) = root.with_cancel();
        let leaf = top.with_name("a").with_value(crate::common::User(1)).with_timeout(SEC).with_name("b");
        let watched = if round % 2 == 0 { &top } else { &leaf };
        // With a waiter the path to the leaf is linked. Without a waiter, the path is walked.
        let wakes = Wakes::new();
        let mut wait = leaf.done();
        if round % 3 == 0 {
            assert!(poll(&mut wait, &wakes).is_pending());
        }
        race(
            || {
                jitter(round);
                cancel.cancel_with("why");
            },
            || {
                while !agrees(watched, round, "why") {
                    std::hint::spin_loop();
                }
            },
        );
        assert!(agrees(&leaf, round, "why"));
    }
}

#[test]
fn s03_a_woken_task_finds_the_whole_end() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let leaf = ctx.with_name("leaf");
    let seen = Arc::new(AtomicUsize::new(0));
    let waker = waker_fn({
        let (ctx, leaf, seen) = (ctx.clone(), leaf.clone(), Arc::clone(&seen));
        move || {
            assert!(agrees(&ctx, 0, "why") && agrees(&leaf, 1, "why"));
            seen.fetch_add(1, Ordering::SeqCst);
        }
    });
    let (mut a, mut b) = (ctx.done(), leaf.done());
    assert!(poll_with(&mut a, &waker).is_pending());
    assert!(poll_with(&mut b, &waker).is_pending());
    cancel.cancel_with("why");
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

#[test]
fn s03_a_callback_finds_the_whole_end() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let (sender, receiver) = mpsc::channel();
    let _registered = ctx.after_func({
        let ctx = ctx.clone();
        move || sender.send(agrees(&ctx, 2, "why")).expect("the test waits")
    });
    cancel.cancel_with("why");
    assert!(receiver.recv_timeout(HANG).expect("the callback runs"));
}

#[test]
fn s03_a_deadline_is_seen_whole_too() {
    for round in 0..rounds(200) {
        let (root, time) = manual();
        let ctx = root.with_timeout_cause(SEC, "slow").with_name("leaf");
        let wakes = Wakes::new();
        let mut wait = ctx.done();
        if round % 2 == 0 {
            assert!(poll(&mut wait, &wakes).is_pending());
        }
        let over = AtomicBool::new(false);
        race(
            || {
                jitter(round);
                time.advance(SEC);
                over.store(true, Ordering::SeqCst);
            },
            || loop {
                let late = over.load(Ordering::SeqCst);
                if let Some(error) = ctx.err() {
                    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
                    assert_eq!(error.cause().expect("given").to_string(), "slow");
                    assert!(ctx.is_done());
                    assert_eq!(ctx.cause().expect("done").to_string(), "slow");
                    break;
                }
                assert!(!late, "still live after its deadline");
            },
        );
        match poll(&mut wait, &wakes) {
            Poll::Ready(error) => assert!(error.is_deadline_exceeded()),
            Poll::Pending => panic!("still pending"),
        }
    }
}
