//! 5. An explicit cancel beats a later deadline. An expired deadline beats a later cancel, even if no observer has seen the
//!    deadline (so a cancel records its time). A deadline's cause is reported only if that deadline fired.

use std::time::{Duration, Instant};

use ripcord::Context;

use crate::common::{MS, SEC, Wakes, assert_canceled, assert_exceeded, assert_live, manual, poll, rounds};

#[test]
fn s05_a_cancel_beats_a_later_deadline() {
    let (root, time) = manual();
    let (parent, cancel) = root.with_cancel();
    let ctx = parent.with_timeout_cause(SEC, "slow");
    time.advance(SEC - MS);
    cancel.cancel_with("stop");
    time.advance(SEC);
    assert_canceled(&ctx, Some("stop"));
}

#[test]
fn s05_a_cancel_beats_a_later_watched_deadline() {
    let (root, time) = manual();
    let (parent, cancel) = root.with_cancel();
    let ctx = parent.with_timeout_cause(SEC, "slow");
    let wakes = Wakes::new();
    let mut wait = ctx.done();
    assert!(poll(&mut wait, &wakes).is_pending());
    time.advance(SEC - MS);
    cancel.cancel_with("stop");
    assert_eq!(wakes.count(), 1);
    time.advance(SEC);
    assert_eq!(wakes.count(), 1, "the deadline woke a task that had been woken");
    assert_canceled(&ctx, Some("stop"));
}

#[test]
fn s05_unwatched_expired_deadline_beats_a_later_cancel() {
    let (root, time) = manual();
    let (parent, cancel) = root.with_cancel();
    let ctx = parent.with_timeout_cause(SEC, "slow");
    time.advance(SEC + MS);
    cancel.cancel_with("stop");
    assert_exceeded(&ctx, Some("slow"));
    assert_canceled(&parent, Some("stop"));
}

#[test]
fn s05_expired_deadline_beats_a_later_cancel_at_a_late_query() {
    let (root, time) = manual();
    let (top, cancel) = root.with_cancel();
    let slow = top.with_name("a").with_timeout_cause(2 * SEC, "slow").with_name("b");
    let (below, cancel_below) = slow.with_cancel();
    let leaf = below.with_timeout_cause(5 * SEC, "never reported");
    time.advance(3 * SEC);
    cancel.cancel_with("stop");
    time.advance(SEC);
    cancel_below.cancel_with("too late");
    time.advance(10 * SEC);
    // Queried from the bottom up, so that no query above has settled an answer before.
    assert_exceeded(&leaf, Some("slow"));
    assert_exceeded(&below, Some("slow"));
    assert_exceeded(&slow, Some("slow"));
    assert_canceled(&top, Some("stop"));
}

#[test]
fn s05_expired_deadline_beats_a_later_cancel_of_the_same_context() {
    // `with_timeout` is above the canceler: the canceled context has been done for a second.
    let (root, time) = manual();
    let (ctx, cancel) = root.with_timeout_cause(SEC, "slow").with_cancel();
    time.advance(2 * SEC);
    cancel.cancel_with("stop");
    assert_exceeded(&ctx, Some("slow"));
}

#[test]
fn s05_expired_deadline_beats_a_later_drop_of_the_canceler() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_timeout_cause(SEC, "slow").with_cancel();
    time.advance(2 * SEC);
    drop(cancel);
    assert_exceeded(&ctx, Some("slow"));
}

#[test]
fn s05_expired_deadline_beats_a_later_cancel_through_a_handle() {
    let (root, time) = manual();
    let (parent, cancel) = root.with_cancel();
    let handle = cancel.handle();
    let ctx = parent.with_timeout(SEC);
    time.advance(2 * SEC);
    handle.cancel_with("stop");
    assert_exceeded(&ctx, None);
}

#[test]
fn s05_a_cancel_at_the_very_instant_of_the_deadline_comes_too_late() {
    for watched in [false, true] {
        let (root, time) = manual();
        let (parent, cancel) = root.with_cancel();
        let ctx = parent.with_timeout_cause(SEC, "slow");
        let mut wait = ctx.done();
        if watched {
            assert!(poll(&mut wait, &Wakes::new()).is_pending());
        }
        time.advance(SEC);
        cancel.cancel_with("stop");
        assert_exceeded(&ctx, Some("slow"));
    }
}

#[test]
fn s05_watched_and_unwatched_contexts_agree() {
    // The same tree twice, with the same times. In one of the two, every context has a waiter.
    let story = |watched: bool| {
        let (root, time) = manual();
        let (top, cancel_top) = root.with_cancel();
        let a = top.with_timeout_cause(3 * SEC, "a");
        let (b, cancel_b) = a.with_cancel();
        let c = b.with_timeout_cause(2 * SEC, "c");
        let d = c.with_timeout_cause(4 * SEC, "d");
        let all = [top, a, b, c, d];
        let mut waits: Vec<_> = all.iter().map(Context::done).collect();
        if watched {
            waits.iter_mut().for_each(|wait| assert!(poll(wait, &Wakes::new()).is_pending()));
        }
        time.advance(2 * SEC + MS);
        cancel_b.cancel_with("b");
        time.advance(2 * SEC);
        cancel_top.cancel_with("top");
        let say = |ctx: &Context| format!("{} {}", ctx.err().expect("done"), ctx.cause().expect("done"));
        all.iter().rev().map(say).collect::<Vec<_>>()
    };
    let told = story(true);
    assert_eq!(
        told,
        [
            "context deadline exceeded c",
            "context deadline exceeded c",
            "context canceled b",
            "context deadline exceeded a",
            "context canceled top"
        ]
    );
    assert_eq!(story(false), told);
}

#[test]
fn s05_the_cause_is_that_of_the_deadline_which_fired() {
    let (root, time) = manual();
    let outer = root.with_timeout_cause(SEC, "outer");
    let inner = outer.with_timeout_cause(2 * SEC, "inner");
    assert_eq!(inner.deadline(), outer.deadline());
    time.advance(3 * SEC);
    assert_exceeded(&inner, Some("outer"));

    let (root, time) = manual();
    let outer = root.with_timeout_cause(2 * SEC, "outer");
    let inner = outer.with_timeout_cause(SEC, "inner");
    time.advance(SEC);
    assert_exceeded(&inner, Some("inner"));
    assert_live(&outer);
    time.advance(SEC);
    assert_exceeded(&outer, Some("outer"));
    assert_exceeded(&inner, Some("inner"));
}

#[test]
fn s05_a_deadline_without_a_cause_reports_none() {
    let (root, time) = manual();
    let outer = root.with_timeout_cause(2 * SEC, "outer");
    let inner = outer.with_timeout(SEC);
    time.advance(5 * SEC);
    assert_exceeded(&inner, None);
    assert_exceeded(&outer, Some("outer"));
}

#[test]
fn s05_the_deadlines_cause_is_not_reported_for_a_cancel() {
    let (root, time) = manual();
    let (parent, cancel) = root.with_cancel();
    let ctx = parent.with_timeout_cause(SEC, "slow");
    cancel.cancel();
    assert_canceled(&ctx, None);
    time.advance(2 * SEC);
    assert_canceled(&ctx, None);
}

#[test]
fn s05_an_unwatched_merge_reports_the_earlier_end() {
    let (root, time) = manual();
    let slow = root.with_timeout_cause(SEC, "slow");
    let (other, cancel) = root.with_cancel();
    let (left, right) = (slow.merge(&other), other.merge(&slow));
    time.advance(2 * SEC);
    cancel.cancel_with("stop");
    assert_exceeded(&left, Some("slow"));
    assert_exceeded(&right, Some("slow"));

    let slow = root.with_timeout_cause(2 * SEC, "slow");
    let (other, cancel) = root.with_cancel();
    let (left, right) = (slow.merge(&other), other.merge(&slow));
    time.advance(SEC);
    cancel.cancel_with("stop");
    time.advance(2 * SEC);
    assert_canceled(&left, Some("stop"));
    assert_canceled(&right, Some("stop"));
}

fn cancelable(ctx: &Context) -> Context {
    let (ctx, cancel) = ctx.with_cancel();
    cancel.detach();
    ctx
}

/// Sets a deadline some microseconds ahead, cancels the parent shortly before or after it, and expects that the earlier event
/// has ended `of(parent, child)`, even if the timer or the query is late. The thread spins until each time, and does not sleep.
fn the_order_holds(of: impl Fn(&Context, Context) -> Context, watched: bool, parent_is_kept: bool) {
    for round in 0..rounds(150_u32) {
        let (parent, cancel) = Context::background().with_cancel();
        let slow = parent.with_timeout_cause(Duration::from_micros(u64::from(20 + round % 80)), "slow");
        let deadline = slow.deadline().expect("it has one");
        let ctx = of(&parent, slow);
        let parent = Some(parent).filter(|_| parent_is_kept);
        let mut wait = ctx.done();
        if watched {
            let _ready_already = poll(&mut wait, &Wakes::new());
        }
        let late = round % 4 < 2;
        while late && Instant::now() <= deadline {
            std::hint::spin_loop();
        }
        let before = Instant::now();
        cancel.cancel_with("stop");
        let after = Instant::now();
        while Instant::now() <= deadline {
            std::hint::spin_loop();
        }
        if before > deadline {
            assert_exceeded(&ctx, Some("slow"));
        } else if after < deadline {
            assert_canceled(&ctx, Some("stop"));
        }
        drop(parent);
    }
}

#[test]
fn s05_the_order_holds_to_the_microsecond_on_the_system_clock() {
    // A clock that is cheap to read is milliseconds behind. With its time, a cancel would seem to come before the deadline.
    the_order_holds(|_, slow| slow, false, true);
    the_order_holds(|_, slow| slow.with_name("below"), false, true);
}

#[test]
fn s05_the_order_holds_to_the_microsecond_when_the_child_alone_holds_its_parent() {
    the_order_holds(|_, slow| slow, false, false);
    the_order_holds(|_, slow| slow.with_name("below"), false, false);
}

#[test]
fn s05_the_order_holds_to_the_microsecond_when_the_timer_is_later_than_the_cancel() {
    the_order_holds(|_, slow| slow, true, true);
    the_order_holds(|_, slow| slow.with_name("below"), true, false);
    the_order_holds(|_, slow| cancelable(&slow), true, true);
}

#[test]
fn s05_the_order_holds_to_the_microsecond_through_a_merge() {
    for watched in [false, true] {
        the_order_holds(|parent, slow| parent.merge(&slow), watched, true);
        the_order_holds(|parent, slow| slow.merge(parent), watched, true);
        the_order_holds(|_, slow| slow.merge(&crate::common::other()), watched, false);
    }
}

#[test]
fn s05_a_merge_of_two_that_have_ended_takes_the_earlier_end() {
    let (root, time) = manual();
    let (first, cancel_first) = root.with_cancel();
    let (second, cancel_second) = root.with_cancel();
    let slow = root.with_timeout_cause(2 * SEC, "slow");
    time.advance(SEC);
    cancel_first.cancel_with("first");
    time.advance(2 * SEC);
    cancel_second.cancel_with("second");
    for merged in [first.merge(&second), second.merge(&first), first.merge(&slow), slow.merge(&first)] {
        assert_canceled(&merged, Some("first"));
    }
    for merged in [second.merge(&slow), slow.merge(&second)] {
        assert_exceeded(&merged, Some("slow"));
    }
}

#[test]
fn s05_a_race_of_cancel_and_deadline_has_one_winner() {
    for round in 0..rounds(300) {
        let (root, time) = manual();
        let (parent, cancel) = root.with_cancel();
        let ctx = parent.with_timeout_cause(SEC, "slow");
        let wakes = Wakes::new();
        let mut wait = ctx.done();
        if round % 2 == 0 {
            assert!(poll(&mut wait, &wakes).is_pending());
        }
        crate::common::race(
            || {
                crate::common::jitter(round);
                cancel.cancel_with("stop");
            },
            || time.advance(SEC),
        );
        let first = ctx.err().expect("done");
        match first.cause().expect("both have one").to_string().as_str() {
            "slow" => assert_exceeded(&ctx, Some("slow")),
            "stop" => assert_canceled(&ctx, Some("stop")),
            other => panic!("{other}"),
        }
        assert_eq!(wakes.count(), usize::from(round % 2 == 0));
    }
}
