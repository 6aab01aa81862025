//! Shielded contexts. They end a grace after their parent, for every observer, and leave nothing behind.

mod common;

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use common::{
    HOUR, MS, SEC, User, Wakes, assert_canceled, assert_exceeded, assert_live, eventually, manual, other, poll, race,
    rounds, within,
};
use ripcord::{Clock, Context, Value};

#[test]
fn shielded_context_ends_its_grace_after_an_unobserved_cancel() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let shielded = ctx.shielded(5 * SEC);
    time.advance(SEC);
    cancel.cancel_with("stop");
    let line = line!() - 1;
    assert_live(&shielded);
    time.advance(5 * SEC - MS);
    assert_live(&shielded);
    time.advance(MS);
    assert_canceled(&shielded, Some("stop"));
    assert_eq!(shielded.err().unwrap().origin().location().line(), line);
    assert_eq!(
        shielded.err().unwrap().origin().elapsed(),
        Some(5 * SEC),
        "since the cancel, as the parent's error tells"
    );
}

#[test]
fn grace_counts_from_the_deadline_and_not_from_its_notice() {
    let (root, time) = manual();
    let ctx = root.with_timeout_cause(SEC, "too slow");
    let shielded = ctx.shielded(2 * SEC);
    assert_eq!(shielded.deadline(), Some(time.now() + 3 * SEC));
    time.advance(3 * SEC - MS);
    assert!(ctx.is_done());
    assert_live(&shielded);
    time.advance(MS);
    assert_exceeded(&shielded, Some("too slow"));
    let origin = shielded.err().unwrap().origin();
    assert_eq!(origin.timeout(), Some(SEC));
}

#[test]
fn shielded_context_of_a_context_that_ended_long_ago_is_done() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_cancel();
    cancel.cancel_with("stop");
    time.advance(SEC);
    assert_live(&ctx.shielded(SEC + MS));
    assert_canceled(&ctx.shielded(SEC), Some("stop"));
    assert_canceled(&ctx.shielded(MS), Some("stop"));
}

#[test]
fn values_name_clock_and_span_are_kept() {
    let (root, time) = manual();
    let (ctx, call) = root.with_value(User(1)).with_name("import").start_span("import");
    let (ctx, _cancel) = ctx.with_cancel();
    let shielded = ctx.shielded(SEC);
    let (_ctx, cleanup) = shielded.start_span("cleanup");
    drop(cleanup);
    assert!(call.end().to_string().contains("cleanup"), "a call in the grace is recorded below the call above");
    assert_eq!((shielded.value::<User>(), shielded.name()), (Some(&User(1)), Some("import")));
    time.advance(SEC);
    assert_eq!(shielded.clock().now(), time.now());
    assert!(shielded.to_string().ends_with(".WithCancel.Shielded(1s)"), "{shielded}");
}

#[test]
fn no_grace_is_the_context_itself_and_endless_grace_never_ends() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_name("work").with_timeout(SEC).with_cancel();
    assert!(ctx.shielded(Duration::ZERO).ptr_eq(&ctx));
    let endless = ctx.shielded(Duration::MAX);
    let long = ctx.shielded(Duration::from_secs(9_000_000_000));
    cancel.cancel();
    time.advance(HOUR);
    for ctx in [endless, long] {
        assert_live(&ctx);
        assert_eq!(ctx.name(), Some("work"));
    }
    assert_eq!(ctx.shielded(Duration::MAX).deadline(), None);
    // A context that cannot end needs no shield.
    let root = Context::background().with_name("root");
    assert!(root.shielded(SEC).ptr_eq(&root));
}

#[test]
fn deadline_origin_is_the_parents() {
    let (root, _time) = manual();
    let ctx = root.with_name("GET /users").with_timeout(SEC);
    let line = line!() - 1;
    let (between, _cancel) = ctx.shielded(SEC).with_cancel();
    let origin = between.shielded(SEC).deadline_origin().expect("it has a deadline");
    assert_eq!((origin.timeout(), origin.location().line(), origin.name()), (Some(SEC), line, Some("GET /users")));
}

#[test]
fn deadlines_below_end_before_the_grace_and_the_grace_ends_descendants() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let shielded = ctx.shielded(5 * SEC);
    let early = shielded.with_timeout_cause(2 * SEC, "early");
    let late = shielded.with_name("late").with_timeout_cause(HOUR, "late").with_cancel();
    cancel.cancel_with("stop");
    time.advance(2 * SEC);
    assert_exceeded(&early, Some("early"));
    assert_live(&late.0);
    time.advance(3 * SEC);
    assert_canceled(&late.0, Some("stop"));
    assert_exceeded(&early, Some("early"));
}

/// The cancel comes before the deadline, and the end of the grace comes after it.
#[test]
fn unnoticed_deadline_below_wins_over_the_later_end_of_the_grace() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let below = ctx.shielded(5 * SEC).with_cancel();
    let timed = below.0.with_timeout_cause(2 * SEC, "deadline").with_cancel();
    let merged = below.0.merge(&timed.0);
    cancel.cancel();
    time.advance(10 * SEC);
    assert_canceled(&below.0, None);
    assert_exceeded(&timed.0, Some("deadline"));
    assert_exceeded(&merged, Some("deadline"));
}

#[test]
fn cancel_below_in_the_grace_wins_and_after_it_loses() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let (first, cancel_first) = ctx.shielded(SEC).with_cancel();
    let (second, cancel_second) = ctx.shielded(SEC).with_cancel();
    cancel.cancel_with("above");
    cancel_first.cancel_with("below");
    time.advance(SEC);
    cancel_second.cancel_with("too late");
    assert_canceled(&first, Some("below"));
    assert_canceled(&second, Some("above"));
}

#[test]
fn waiters_below_are_woken_once_at_the_end_of_the_grace() {
    for advance_first in [true, false] {
        let (root, time) = manual();
        let (ctx, cancel) = root.with_cancel();
        let child = ctx.shielded(5 * SEC).with_name("child").with_cancel();
        let wakes = Wakes::new();
        let mut done = child.0.done_owned();
        if advance_first {
            // Linked before the end. Otherwise the link finds the parent done.
            assert!(poll(&mut done, &wakes).is_pending());
        }
        cancel.cancel_with("stop");
        assert!(poll(&mut done, &wakes).is_pending());
        assert_eq!(wakes.count(), 0);
        time.advance(5 * SEC - MS);
        assert_eq!(wakes.count(), 0);
        time.advance(MS);
        assert_eq!(wakes.count(), 1);
        assert!(matches!(poll(&mut done, &wakes), Poll::Ready(error) if error.is_canceled()));
    }
}

#[test]
fn waiter_that_comes_between_an_unnoticed_deadline_and_the_end_of_the_grace_is_woken() {
    let (root, time) = manual();
    // One node between the deadline and the shield, and one node above the deadline.
    let (above, cancel_above) = root.with_cancel();
    let (ctx, _cancel) = above.with_timeout(SEC).with_cancel();
    let (child, _cancel) = ctx.shielded(5 * SEC).with_cancel();
    time.advance(2 * SEC);
    let (wakes, mut done) = (Wakes::new(), child.done_owned());
    assert!(poll(&mut done, &wakes).is_pending());
    time.advance(4 * SEC);
    assert_eq!(wakes.count(), 1);
    assert_exceeded(&child, None);
    // A context above still reports its own end to its waiters.
    let (wakes, mut done) = (Wakes::new(), above.done_owned());
    assert!(poll(&mut done, &wakes).is_pending());
    drop(cancel_above);
    assert_eq!(wakes.count(), 1);
}

#[test]
fn context_above_a_deadline_that_passed_still_wakes_its_waiters() {
    let (root, time) = manual();
    let (above, cancel) = root.with_cancel();
    let (middle, _cancel) = above.with_cancel();
    let (child, _cancel) = middle.with_timeout(SEC).shielded(5 * SEC).with_cancel();
    time.advance(2 * SEC);
    let (wakes, mut done) = (Wakes::new(), child.done_owned());
    assert!(poll(&mut done, &wakes).is_pending());
    let (wakes, mut done) = (Wakes::new(), middle.done_owned());
    assert!(poll(&mut done, &wakes).is_pending());
    cancel.cancel();
    assert_eq!(wakes.count(), 1);
}

#[test]
fn chained_shields_add_their_graces() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_timeout(HOUR).with_cancel();
    let first = ctx.shielded(SEC);
    let second = first.with_name("second").shielded(2 * SEC);
    let (between, _cancel_between) = second.with_cancel();
    let (third, _cancel) = between.shielded(3 * SEC).with_cancel();
    assert_eq!(third.deadline(), Some(time.now() + HOUR + 6 * SEC));
    let (wakes, mut done) = (Wakes::new(), third.done_owned());
    assert!(poll(&mut done, &wakes).is_pending());
    cancel.cancel_with("stop");
    time.advance(SEC);
    assert_canceled(&first, Some("stop"));
    assert_live(&second);
    time.advance(2 * SEC);
    assert_canceled(&second, Some("stop"));
    assert_eq!(wakes.count(), 0);
    time.advance(3 * SEC);
    assert_eq!(wakes.count(), 1);
    assert_canceled(&third, Some("stop"));
}

#[test]
fn long_chain_of_shields_ends_and_is_freed_without_recursion() {
    let chain = || {
        let (root, time) = manual();
        let (ctx, cancel) = root.with_cancel();
        let last = (0..rounds(100_000)).fold(ctx, |ctx, _| ctx.shielded(Duration::from_nanos(1)));
        (last, cancel, time)
    };
    within("asked", move || {
        let (last, cancel, time) = chain();
        cancel.cancel();
        time.advance(SEC);
        assert_canceled(&last, None);
    });
    within("waited for", move || {
        let (last, cancel, time) = chain();
        let (wakes, mut done) = (Wakes::new(), last.done_owned());
        assert!(poll(&mut done, &wakes).is_pending());
        cancel.cancel();
        time.advance(SEC);
        assert_eq!(wakes.count(), 1);
    });
}

#[test]
fn merged_context_ends_with_the_grace_of_either_parent() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let shielded = ctx.shielded(SEC);
    for merged in [other().merge(&shielded), shielded.merge(&other())] {
        assert_live(&merged);
        let _after = merged.after_func(|| {});
    }
    let merged = root.with_timeout(HOUR).merge(&shielded);
    cancel.cancel_with("stop");
    time.advance(SEC);
    assert_canceled(&merged, Some("stop"));
    assert_canceled(&shielded.merge(&other()), Some("stop"));
}

#[test]
fn without_cancel_below_a_shield_never_ends() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_timeout(SEC).with_cancel();
    let detached = ctx.shielded(SEC).without_cancel();
    cancel.cancel();
    time.advance(HOUR);
    assert_live(&detached);
    assert_eq!(detached.deadline(), None);
}

#[test]
fn functions_run_at_the_end_of_the_grace_and_are_released_if_it_cannot_come() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let (held, ran) = (Arc::new(()), Arc::new(()));
    let after = |ctx: &Context, held: &Arc<()>| {
        let held = Arc::clone(held);
        ctx.after_func(move || drop(held))
    };
    let _after = after(&ctx.shielded(SEC), &ran);
    cancel.cancel();
    assert_eq!(Arc::strong_count(&ran), 2);
    time.advance(SEC);
    eventually("the function runs", || Arc::strong_count(&ran) == 1);

    let (ctx, cancel) = root.with_cancel();
    let _after = after(&ctx.shielded(SEC), &held);
    assert_eq!(Arc::strong_count(&held), 2);
    cancel.detach();
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn dropped_shielded_context_leaves_nothing_in_a_root_that_outlives_it() {
    struct Held(#[expect(dead_code, reason = "counted by its Arc")] Arc<()>);
    impl Value for Held {}
    let (root, time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let held = Arc::new(());
    for _ in 0..3 {
        let shielded = ctx.shielded(SEC).with_value(Held(Arc::clone(&held)));
        let (wakes, mut done) = (Wakes::new(), shielded.done_owned());
        assert!(poll(&mut done, &wakes).is_pending());
        drop((done, shielded));
        assert_eq!((wakes.held(), Arc::strong_count(&held)), (0, 1));
    }
    // The same after the grace has started.
    let shielded = ctx.shielded(SEC);
    let (wakes, mut done) = (Wakes::new(), shielded.done_owned());
    assert!(poll(&mut done, &wakes).is_pending());
    cancel.cancel();
    assert_eq!(time.timers(), 1);
    drop((done, shielded));
    assert_eq!((time.timers(), wakes.held()), (0, 0));
}

#[test]
fn nothing_is_armed_until_something_waits() {
    let (root, time) = manual();
    let shielded = root.with_timeout(SEC).shielded(SEC);
    time.advance(SEC);
    assert_live(&shielded.with_cancel().0.with_name("child").with_timeout(HOUR));
    assert_eq!(time.timers(), 0);
}

#[test]
fn grace_on_the_systems_clock_wakes_a_thread_that_waits() {
    let (ctx, cancel) = Context::background().with_cancel();
    let shielded = ctx.shielded(5 * MS).with_name("cleanup");
    cancel.cancel_with("stop");
    assert_eq!(within("wait", move || shielded.wait()).cause().unwrap().to_string(), "stop");
    let shielded = Context::background().with_timeout(MS).shielded(MS);
    assert!(within("wait", move || shielded.wait()).is_deadline_exceeded());
}

#[test]
fn clock_between_the_parent_and_the_shield_counts_the_grace() {
    let (ctx, cancel) = Context::background().with_cancel();
    let (clock, time) = Clock::manual();
    let shielded = ctx.with_clock(clock).shielded(HOUR);
    cancel.cancel();
    assert_live(&shielded);
    time.advance(HOUR + HOUR);
    assert_canceled(&shielded, None);
}

#[test]
fn cancel_racing_with_a_waiter_below_the_shield_wakes_it() {
    for round in 0..rounds(3_000) {
        let (root, time) = manual();
        let (ctx, cancel) = root.with_cancel();
        let (between, _cancel) = ctx.with_cancel();
        let child = between.shielded(SEC).with_name("child").with_cancel();
        let (wakes, mut done) = (Wakes::new(), child.0.done_owned());
        let (polled, ()) = race(
            || {
                common::jitter(round);
                poll(&mut done, &wakes)
            },
            || cancel.cancel(),
        );
        assert!(polled.is_pending());
        time.advance(SEC);
        assert_eq!(wakes.count(), 1, "round {round}");
        assert!(child.0.is_done());
    }
}

#[test]
fn end_of_the_grace_seen_by_one_observer_is_seen_by_all() {
    for round in 0..rounds(3_000) {
        let (root, time) = manual();
        let (ctx, cancel) = root.with_cancel();
        let shielded = ctx.shielded(SEC);
        let child = shielded.with_name("child").with_cancel();
        let (wakes, mut done) = (Wakes::new(), child.0.done_owned());
        assert!(poll(&mut done, &wakes).is_pending());
        cancel.cancel();
        let (seen, ()) = race(
            || {
                common::jitter(round);
                shielded.is_done() && !child.0.is_done()
            },
            || time.advance(SEC),
        );
        assert!(!seen, "round {round}: the child lives on below a done parent");
        assert_eq!(wakes.count(), 1);
    }
}

#[cfg(feature = "tokio-util")]
#[test]
fn token_of_a_shielded_context_is_canceled_at_the_end_of_the_grace_also_after_its_drop() {
    let (root, time) = manual();
    for (is_dropped, is_timed) in [(false, false), (true, false), (false, true), (true, true)] {
        let (ctx, cancel) = root.with_cancel();
        let ctx = if is_timed { ctx.with_timeout(MS) } else { ctx };
        let shielded = ctx.shielded(SEC);
        let below = shielded.with_name("below").with_cancel();
        let tokens = [shielded.cancellation_token(), below.0.cancellation_token()];
        below.1.detach();
        if is_dropped {
            drop((shielded, below.0, ctx));
        }
        if !is_timed {
            cancel.cancel();
        }
        time.advance(SEC);
        assert_eq!(tokens.each_ref().map(|token| token.is_cancelled()), [!is_timed; 2]);
        time.advance(MS);
        assert_eq!(tokens.each_ref().map(|token| token.is_cancelled()), [true; 2]);
    }
}

// ===== below movable deadlines =====

#[test]
fn grace_follows_a_movable_deadline() {
    let (root, time) = manual();
    let (ctx, deadline) = root.with_movable_deadline(time.now() + SEC);
    let shielded = ctx.shielded(5 * SEC);
    let (child, _cancel) = shielded.with_timeout_cause(HOUR, "own").with_cancel();
    let chained = child.shielded(SEC);
    assert_eq!(shielded.deadline(), Some(time.now() + 6 * SEC));
    let (wakes, mut done) = (Wakes::new(), child.done_owned());
    assert!(poll(&mut done, &wakes).is_pending());
    assert!(deadline.reset_after(10 * SEC));
    assert_eq!(shielded.deadline(), Some(time.now() + 15 * SEC));
    assert_eq!(child.remaining(), Some(15 * SEC));
    assert_eq!(chained.deadline(), Some(time.now() + 16 * SEC));
    time.advance(14 * SEC);
    assert!(ctx.is_done() && !deadline.reset_after(SEC));
    assert_live(&child);
    time.advance(SEC);
    assert_eq!(wakes.count(), 1);
    assert_exceeded(&child, None);
    assert_live(&chained);
    time.advance(SEC);
    assert_exceeded(&chained, None);
}

#[test]
fn deadline_below_a_shield_ends_before_a_movable_deadline_that_moved_on() {
    let (root, time) = manual();
    let (ctx, deadline) = root.with_movable_deadline(time.now() + SEC);
    let timed = ctx.shielded(SEC).with_timeout_cause(10 * SEC, "own");
    assert!(deadline.reset(time.now() + HOUR));
    assert_eq!(timed.deadline(), Some(time.now() + 10 * SEC));
    time.advance(10 * SEC);
    assert_exceeded(&timed, Some("own"));
    assert_live(&ctx);
}

#[test]
fn grace_after_an_idle_timeout_counts_from_its_end() {
    let (root, time) = manual();
    let (ctx, idle) = root.with_idle_timeout(SEC);
    let shielded = ctx.shielded(5 * SEC);
    let (child, _cancel) = shielded.with_name("cleanup").with_cancel();
    assert_eq!((shielded.deadline(), child.progress()), (None, false));
    time.advance(SEC - MS);
    assert!(idle.reset());
    time.advance(SEC + 5 * SEC - MS);
    assert!(ctx.is_done());
    assert_live(&child);
    time.advance(MS);
    assert_exceeded(&child, None);
    assert!(child.err().unwrap().origin().is_idle_timeout());
}

#[test]
fn canceled_movable_deadline_starts_the_grace_at_the_cancel() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let (ctx, deadline) = ctx.with_movable_deadline(time.now() + HOUR);
    let shielded = ctx.shielded(5 * SEC).merge(&other());
    cancel.cancel_with("stop");
    assert!(!deadline.reset_after(2 * HOUR));
    time.advance(5 * SEC - MS);
    assert_live(&shielded);
    time.advance(MS);
    assert_canceled(&shielded, Some("stop"));
}
