//! 14. The crate works on any executor and on plain threads (see `executors.rs`). A clock object measures time: the system's
//!     clock, a manual clock, or tokio's clock. Contexts inherit the clock of their root.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ripcord::{Clock, Context};

use crate::common::{
    HOUR, MS, SEC, User, Wakes, assert_exceeded, assert_live, manual, other, poll, poll_with, waker_fn,
};

#[test]
fn s14_manual_deadlines_fire_in_order_of_time_not_of_making() {
    let (root, time) = manual();
    let fired = Arc::new(Mutex::new(Vec::new()));
    let seconds = [5_u32, 1, 4, 2, 3, 9, 7];
    let contexts: Vec<_> = seconds.iter().map(|&s| root.with_timeout(s * SEC)).collect();
    let mut waits: Vec<_> = contexts.iter().map(Context::done).collect();
    for (wait, &s) in waits.iter_mut().zip(&seconds) {
        let fired = Arc::clone(&fired);
        let waker = waker_fn(move || fired.lock().expect("not poisoned").push(s));
        assert!(poll_with(wait, &waker).is_pending());
    }
    time.advance(8 * SEC);
    assert_eq!(*fired.lock().expect("not poisoned"), [1, 2, 3, 4, 5, 7]);
    time.advance(SEC);
    assert_eq!(*fired.lock().expect("not poisoned"), [1, 2, 3, 4, 5, 7, 9]);
}

#[test]
fn s14_a_run_on_manual_time_is_the_same_every_time() {
    let story = || {
        let (root, time) = manual();
        let fired = Arc::new(Mutex::new(Vec::new()));
        // Several deadlines at one instant, and sleeps among them.
        let contexts: Vec<_> = (0..20_u32).map(|i| root.with_timeout((1 + i % 3) * SEC)).collect();
        let mut waits: Vec<_> = contexts.iter().map(Context::done).collect();
        let mut sleeps: Vec<_> = (0..20_u32).map(|i| Box::pin(root.sleep((1 + i % 4) * SEC))).collect();
        for i in 0..20 {
            let waker = |what: &'static str| {
                let fired = Arc::clone(&fired);
                waker_fn(move || fired.lock().expect("not poisoned").push((what, i)))
            };
            assert!(poll_with(&mut waits[i], &waker("done")).is_pending());
            assert!(poll_with(&mut sleeps[i], &waker("sleep")).is_pending());
        }
        time.advance(10 * SEC);
        let order = fired.lock().expect("not poisoned").clone();
        assert_eq!(order.len(), 40);
        order
    };
    let first = story();
    for _ in 0..5 {
        assert_eq!(story(), first);
    }
}

#[test]
fn s14_manual_time_moves_only_by_hand() {
    let (clock, time) = Clock::manual();
    let other_hand = time.clone();
    let start = clock.now();
    assert_eq!(time.now(), start);
    let real = Instant::now();
    while real.elapsed() < 2 * MS {
        std::hint::spin_loop();
    }
    assert_eq!(clock.now(), start);
    time.advance(SEC);
    other_hand.advance(SEC);
    assert_eq!(clock.now(), start + 2 * SEC);
    assert_eq!(other_hand.now(), start + 2 * SEC);
    time.advance(Duration::ZERO);
    assert_eq!(clock.now(), start + 2 * SEC);
}

#[test]
fn s14_the_clock_travels_with_the_root() {
    let (root, time) = manual();
    let (cancelable, _cancel) = root.with_cancel();
    for ctx in [
        cancelable,
        root.with_value(User(1)),
        root.with_name("n"),
        root.without_cancel(),
        root.with_timeout(HOUR),
        root.merge(&other()),
    ] {
        assert_eq!(ctx.clock().now(), time.now());
        let timed = ctx.with_timeout(SEC);
        assert_eq!(timed.deadline(), Some(time.now() + SEC));
        let wakes = Wakes::new();
        let mut wait = timed.done();
        assert!(poll(&mut wait, &wakes).is_pending());
        time.advance(SEC);
        assert_eq!(wakes.count(), 1);
        assert_exceeded(&timed, None);
    }
}

#[test]
fn s14_two_manual_clocks_do_not_touch() {
    let ((a, time_a), (b, time_b)) = (manual(), manual());
    let (a, b) = (a.with_timeout(SEC), b.with_timeout(SEC));
    time_a.advance(SEC);
    assert_exceeded(&a, None);
    assert_live(&b);
    time_b.advance(SEC);
    assert_exceeded(&b, None);
}

#[test]
fn s14_a_clock_set_in_mid_tree_leaves_the_parents_end_in_force() {
    let (root, time) = manual();
    let parent = root.with_timeout_cause(SEC, "by the parent's clock");
    let (clock, other) = Clock::manual();
    let below = parent.with_clock(clock);
    let wakes = Wakes::new();
    let mut wait = below.done();
    assert!(poll(&mut wait, &wakes).is_pending());
    other.advance(HOUR);
    assert!(below.clock().now() == other.now());
    time.advance(SEC);
    assert_exceeded(&below, Some("by the parent's clock"));
    assert_eq!(wakes.count(), 1);
}

#[test]
fn s14_a_merge_of_two_clocks_ends_at_either_deadline_by_its_own_clock() {
    for first_passes in [false, true] {
        let ((a, time_a), (b, time_b)) = (manual(), manual());
        let merged = a.with_timeout_cause(SEC, "a").merge(&b.with_timeout_cause(SEC, "b"));
        let (below, _cancel) = merged.with_cancel();
        let (passing, other, cause) = if first_passes { (time_a, time_b, "a") } else { (time_b, time_a, "b") };
        other.advance(SEC - MS);
        passing.advance(SEC - MS);
        assert_live(&below);
        passing.advance(MS);
        assert_exceeded(&below, Some(cause));
        assert_exceeded(&merged, Some(cause));
    }
}

#[test]
fn s14_an_unwatched_deadline_above_a_second_clock_counts() {
    let (root, time) = manual();
    let (clock, other) = Clock::manual();
    let below = root.with_timeout_cause(SEC, "by the parent's clock").with_clock(clock);
    let cut = below.without_cancel().with_timeout(SEC);
    let (leaf, _cancel) = below.with_cancel();
    other.advance(SEC - MS);
    assert_live(&leaf);
    assert_live(&cut);
    time.advance(SEC);
    assert_exceeded(&leaf, Some("by the parent's clock"));
    assert_live(&cut);
    other.advance(MS);
    assert_exceeded(&cut, None);
}

#[test]
fn s14_the_system_clock_is_the_default() {
    let before = Instant::now();
    let now = Clock::default().now();
    let ctx = Context::background().with_timeout(HOUR);
    let after = Instant::now();
    assert!(before <= now && now <= after);
    let deadline = ctx.deadline().expect("it has one");
    assert!(before + HOUR <= deadline && deadline <= after + HOUR);
    let now = Clock::system().now();
    assert!(after <= now && now <= Instant::now());
}

#[test]
fn s14_deadlines_fire_on_the_system_clock() {
    crate::common::within("deadlines on the system clock", || {
        let root = Context::background();
        let slow = root.with_timeout_cause(20 * MS, "slow");
        let quick = root.with_timeout_cause(5 * MS, "quick");
        let error = quick.wait();
        assert!(Instant::now() >= quick.deadline().expect("it has one"), "early");
        assert_eq!(error.cause().expect("given").to_string(), "quick");
        let error = slow.with_name("leaf").wait();
        assert!(Instant::now() >= slow.deadline().expect("it has one"), "early");
        assert_eq!(error.cause().expect("given").to_string(), "slow");
        assert!(root.wait_timeout(MS).is_none());
        let start = Instant::now();
        root.sleep_blocking(3 * MS).expect("nothing ends it");
        assert!(start.elapsed() >= 3 * MS, "early");
        assert!(root.with_timeout(MS).sleep_blocking(HOUR).expect_err("the deadline").is_deadline_exceeded());
    });
}

#[test]
fn s14_many_deadlines_on_the_system_clock_all_fire() {
    crate::common::within("many deadlines on the system clock", || {
        let contexts: Vec<_> =
            (0..2_000_u32).map(|i| Context::background().with_timeout((i * 7919 % 2_000) * MS / 100)).collect();
        for ctx in &contexts {
            assert!(ctx.wait().is_deadline_exceeded());
            assert!(Instant::now() >= ctx.deadline().expect("it has one"), "early");
        }
    });
}

#[test]
fn s14_a_nearer_deadline_armed_later_fires_first() {
    // The timer's thread sleeps until the far deadline when the near deadline is armed.
    crate::common::within("a nearer deadline armed later", || {
        let far = Context::background().with_timeout(HOUR);
        let mut wait = far.done();
        assert!(poll(&mut wait, &Wakes::new()).is_pending());
        assert!(Context::background().with_timeout(5 * MS).wait().is_deadline_exceeded());
        assert!(!far.is_done());
    });
}

#[test]
fn s14_a_timeout_below_a_deadline_on_a_stopped_clock_ends_by_its_own_clock() {
    // As instants, the deadline on the stopped clock comes first. Its clock never reaches it.
    let ((stopped, _still), (clock, time)) = (Clock::manual(), Clock::manual());
    let parent = Context::background().with_clock(stopped).with_deadline_cause(time.now() + SEC, "stopped");
    let below = parent.with_clock(clock);
    let (ctx, mut sleep) = (below.with_timeout_cause(2 * SEC, "own"), below.sleep(2 * SEC));
    assert!(poll(&mut sleep, &Wakes::new()).is_pending());
    assert_eq!(ctx.deadline(), Some(time.now() + SEC));
    time.advance(2 * SEC);
    assert!(matches!(poll(&mut sleep, &Wakes::new()), std::task::Poll::Ready(Ok(()))));
    assert!(below.wait_timeout(Duration::ZERO).is_none());
    assert_exceeded(&ctx, Some("own"));
    assert_eq!(ctx.err().expect("it has ended").origin().timeout(), Some(2 * SEC));
    assert_exceeded(&ctx.with_cancel().0, Some("own"));
    assert_live(&parent);
}

#[test]
fn s14_the_first_clock_to_reach_its_deadline_ends_the_context() {
    let ((first, first_time), (second, second_time)) = (Clock::manual(), Clock::manual());
    let root = Context::background().with_clock(first).with_timeout_cause(SEC, "first");
    let ctx = root.with_clock(second).with_timeout_cause(3 * SEC, "second");
    let merged = other().merge(&ctx);
    let (wakes, mut waiting) = (Wakes::new(), merged.done());
    assert!(poll(&mut waiting, &wakes).is_pending());
    second_time.advance(2 * SEC);
    assert_live(&ctx);
    first_time.advance(SEC);
    assert_eq!(wakes.count(), 1);
    // Descendants that are created later inherit the end of the deadline, although another deadline passes meanwhile.
    second_time.advance(2 * SEC);
    for ctx in [&ctx, &merged, &ctx.with_name("later"), &ctx.with_cancel().0, &ctx.with_timeout(SEC)] {
        assert_exceeded(ctx, Some("first"));
    }
    assert_eq!(ctx.ended_at(), root.deadline());
}
