//! Deadlines that are moved: which observers see the move, which limits a move cannot extend, and which of a move and the
//! expiry wins.

mod common;

use std::task::Poll;
use std::time::{Duration, Instant};

use common::{HOUR, MS, SEC, Wakes, eventually, manual, poll, rounds};
use ripcord::{Clock, Context, MovableDeadline, block_on};

/// Returns a context with a movable deadline in five seconds, on a stopped clock.
fn five_seconds() -> (Context, MovableDeadline, ripcord::ManualTime) {
    let (root, time) = manual();
    let (ctx, deadline) = root.with_movable_deadline(time.now() + 5 * SEC);
    (ctx, deadline, time)
}

fn assert_exceeded(ctx: &Context) {
    assert!(ctx.is_done(), "{ctx}");
    assert!(ctx.err().is_some_and(|error| error.is_deadline_exceeded()), "{ctx}");
    assert!(ctx.check().is_err() && ctx.cause().is_some());
}

fn assert_lives(ctx: &Context) {
    assert!(ctx.err().is_none() && !ctx.is_done() && ctx.check().is_ok() && ctx.cause().is_none(), "{ctx}");
}

// ===== observers of a move =====

#[test]
fn deadline_moved_later_ends_the_context_later() {
    let (ctx, deadline, time) = five_seconds();
    let start = time.now();
    time.advance(4 * SEC);
    assert!(deadline.reset(start + 60 * SEC));
    time.advance(55 * SEC);
    assert_lives(&ctx);
    assert_eq!((ctx.deadline(), ctx.remaining()), (Some(start + 60 * SEC), Some(SEC)));
    time.advance(SEC);
    assert_exceeded(&ctx);
    assert_eq!((ctx.deadline(), ctx.remaining()), (Some(start + 60 * SEC), Some(Duration::ZERO)));
}

#[test]
fn deadline_moved_earlier_ends_the_context_earlier() {
    let (ctx, deadline, time) = five_seconds();
    assert!(deadline.reset_after(SEC));
    time.advance(SEC);
    assert_exceeded(&ctx);
}

#[test]
fn extend_moves_the_deadline_later_and_never_earlier() {
    let (ctx, deadline, time) = five_seconds();
    let start = time.now();
    let at = |seconds| start + SEC * seconds;
    for (until, expected) in [(at(3), at(5)), (at(8), at(8)), (at(8), at(8)), (at(7), at(8))] {
        assert!(deadline.extend(until));
        assert_eq!(deadline.get(), Some(expected));
    }
    // An instant in the past is also earlier than the deadline, and ends nothing.
    time.advance(SEC);
    assert!(deadline.extend(time.now() - SEC));
    assert_lives(&ctx);
    time.advance(SEC * 7);
    assert!(!deadline.extend(time.now() + SEC), "it has passed, though nobody has observed it");
    assert_exceeded(&ctx);
}

#[test]
fn extend_leaves_a_removed_deadline_removed() {
    let (ctx, deadline, time) = five_seconds();
    assert!(deadline.reset_after(Duration::MAX));
    assert!(deadline.extend(time.now() + SEC));
    assert_eq!(deadline.get(), None);
    time.advance(SEC * 60);
    assert_lives(&ctx);
}

#[test]
fn every_descendant_sees_the_move() {
    let (root, time) = manual();
    let (ctx, deadline) = root.with_movable_deadline(time.now() + 5 * SEC);
    let (canceled, _cancel) = ctx.with_cancel();
    let (other, _cancel_other) = root.with_cancel();
    let below = [
        ctx.clone(),
        ctx.with_name("name"),
        canceled.with_name("below a cancel"),
        canceled,
        ctx.with_timeout(HOUR),
        ctx.merge(&other),
        other.merge(&ctx).with_timeout(HOUR),
    ];
    for later in [60 * SEC, 40 * SEC, 90 * SEC] {
        assert!(deadline.reset_after(later));
        for ctx in &below {
            assert_eq!((ctx.remaining(), ctx.deadline()), (Some(later), deadline.get()), "{ctx}");
        }
    }
    time.advance(90 * SEC);
    below.iter().for_each(assert_exceeded);
}

#[test]
fn waiters_are_woken_at_the_new_deadline_only() {
    let (ctx, deadline, time) = five_seconds();
    let (canceled, _cancel) = ctx.with_cancel();
    let contexts = [ctx.clone(), ctx.with_name("name"), ctx.with_timeout(HOUR), ctx.merge(&common::other()), canceled];
    let mut waiting: Vec<_> = contexts.iter().map(|ctx| (ctx.done_owned(), Wakes::new())).collect();
    waiting.iter_mut().for_each(|(done, wakes)| assert!(poll(done, wakes).is_pending()));
    assert!(deadline.reset_after(60 * SEC));
    time.advance(59 * SEC);
    for (done, wakes) in &mut waiting {
        assert!(wakes.count() == 0 && poll(done, wakes).is_pending());
    }
    time.advance(SEC);
    for (done, wakes) in &mut waiting {
        assert_eq!(wakes.count(), 1);
        assert!(poll(done, wakes).is_ready());
    }
}

#[test]
fn waiters_are_woken_at_an_earlier_deadline() {
    let (ctx, deadline, time) = five_seconds();
    let (mut done, wakes) = (ctx.done_owned(), Wakes::new());
    assert!(poll(&mut done, &wakes).is_pending());
    assert!(deadline.reset_after(60 * SEC) && deadline.reset_after(3 * SEC) && deadline.reset_after(2 * SEC));
    time.advance(2 * SEC - MS);
    assert_eq!(wakes.count(), 0);
    time.advance(MS);
    assert_eq!(wakes.count(), 1);
}

#[test]
fn waiter_without_a_deadline_is_woken_at_a_deadline_set_later() {
    let (root, time) = manual();
    let (ctx, deadline) = root.with_movable_deadline(time.now() + 5 * SEC);
    assert!(deadline.reset_after(Duration::MAX));
    assert_eq!((deadline.get(), ctx.deadline(), ctx.deadline_origin().is_none()), (None, None, true));
    let (mut done, wakes) = (ctx.done_owned(), Wakes::new());
    assert!(poll(&mut done, &wakes).is_pending());
    assert_eq!(time.timers(), 0);
    assert!(!time.advance_to_next());
    assert!(deadline.reset_after(SEC));
    assert_eq!(time.timers(), 1);
    assert!(deadline.reset_after(Duration::MAX));
    time.advance(HOUR);
    assert!(wakes.count() == 0 && time.timers() == 0);
    assert!(deadline.reset_after(SEC));
    time.advance(SEC);
    assert_eq!(wakes.count(), 1);
    assert_exceeded(&ctx);
}

#[test]
fn advance_to_next_goes_to_the_moved_deadline() {
    let (ctx, deadline, time) = five_seconds();
    let _after = ctx.after_func(|| {});
    assert!(deadline.reset_after(60 * SEC));
    let before = time.now();
    assert!(time.advance_to_next());
    assert_eq!(time.now() - before, 60 * SEC);
    assert_exceeded(&ctx);
}

#[test]
fn moving_later_touches_no_timer() {
    let (ctx, deadline, time) = five_seconds();
    let _after = ctx.after_func(|| {});
    let mut armed = Box::pin(time.wait_for_timers(2));
    let wakes = Wakes::new();
    assert!(poll(&mut armed, &wakes).is_pending());
    for _ in 0..rounds(100_000) {
        assert!(deadline.reset_after(HOUR));
    }
    assert_eq!((time.timers(), wakes.count()), (1, 0));
}

#[test]
fn reset_of_an_idle_timeout_touches_no_timer() {
    let (root, time) = manual();
    let (outer, outer_idle) = root.with_idle_timeout(HOUR);
    let (ctx, idle) = outer.with_name("name").with_idle_timeout(2 * HOUR);
    let _after = ctx.after_func(|| {});
    let timers = time.timers();
    let mut armed = Box::pin(time.wait_for_timers(timers + 1));
    let wakes = Wakes::new();
    assert!(poll(&mut armed, &wakes).is_pending());
    // No timer is due within the loop, and no reset arms a timer.
    for _ in 0..rounds(100_000) {
        time.advance(MS);
        assert!(idle.reset() && ctx.progress() && outer_idle.reset());
    }
    assert_eq!((time.timers(), wakes.count()), (timers, 0));
    assert_eq!((idle.get(), outer_idle.get()), (Some(time.now() + 2 * HOUR), Some(time.now() + HOUR)));
}

#[test]
fn blocked_thread_and_run_and_sleep_and_after_func_follow_the_move() {
    let (root, time) = manual();
    let (ctx, deadline) = root.with_movable_deadline(time.now() + 5 * SEC);
    let (sender, ran) = std::sync::mpsc::channel();
    let _after = ctx.after_func(move || sender.send(()).expect("the test waits"));
    let blocked = std::thread::spawn({
        let ctx = ctx.clone();
        move || ctx.wait()
    });
    let wakes = Wakes::new();
    let mut running = Box::pin(ctx.run(std::future::pending::<()>()));
    let mut sleeping = Box::pin(ctx.sleep(10 * SEC));
    assert!(poll(&mut running, &wakes).is_pending() && poll(&mut sleeping, &wakes).is_pending());
    assert!(deadline.reset_after(20 * SEC));
    time.advance(10 * SEC);
    assert!(matches!(poll(&mut sleeping, &wakes), Poll::Ready(Ok(()))));
    assert!(poll(&mut running, &wakes).is_pending() && ran.try_recv().is_err());
    time.advance(10 * SEC);
    assert!(matches!(poll(&mut running, &wakes), Poll::Ready(Err(error)) if error.is_deadline_exceeded()));
    assert!(blocked.join().expect("it ends").is_deadline_exceeded());
    assert!(ran.recv_timeout(common::HANG).is_ok());
}

#[test]
fn sleep_ends_with_an_error_at_a_deadline_moved_before_its_end() {
    let (ctx, deadline, time) = five_seconds();
    let mut sleeping = Box::pin(ctx.sleep(4 * SEC));
    assert!(poll(&mut sleeping, &Wakes::new()).is_pending());
    assert!(deadline.reset_after(4 * SEC));
    time.advance(4 * SEC);
    // If the sleep and the context end at the same time, the context's end counts.
    assert!(matches!(poll(&mut sleeping, &Wakes::new()), Poll::Ready(Err(error)) if error.is_deadline_exceeded()));
}

// ===== limits that a move cannot extend =====

#[test]
fn movable_deadline_never_extends_past_an_ancestors() {
    let (root, time) = manual();
    let parent = root.with_name("parent").with_timeout(10 * SEC);
    let (ctx, deadline) = parent.with_movable_deadline(time.now() + 5 * SEC);
    assert!(deadline.reset_after(60 * SEC));
    assert_eq!(deadline.get(), Some(time.now() + 60 * SEC));
    assert_eq!(ctx.remaining(), Some(10 * SEC));
    assert_eq!(ctx.deadline_origin().expect("there is one").name(), Some("parent"));
    time.advance(10 * SEC);
    assert!(!deadline.reset_after(60 * SEC), "the parent has ended, though nobody has observed it");
    assert_exceeded(&ctx);
    assert_eq!(deadline.get(), Some(time.now() + 50 * SEC), "a refused reset changes nothing");
}

#[test]
fn descendant_keeps_its_own_deadline() {
    let (ctx, deadline, time) = five_seconds();
    let child = ctx.with_name("child").with_timeout(10 * SEC);
    let grandchild = child.with_timeout(20 * SEC);
    assert!(deadline.reset_after(60 * SEC));
    assert_eq!((child.remaining(), grandchild.remaining()), (Some(10 * SEC), Some(10 * SEC)));
    assert_eq!(grandchild.deadline_origin().expect("there is one").name(), Some("child"));
    time.advance(10 * SEC);
    assert_exceeded(&child);
    assert_exceeded(&grandchild);
    assert_lives(&ctx);
    assert_eq!(grandchild.err().expect("it has ended").origin().timeout(), Some(10 * SEC));
}

#[test]
fn movable_deadlines_below_each_other_each_count() {
    let (outer, move_outer, time) = five_seconds();
    let (inner, move_inner) = outer.with_movable_deadline(time.now() + 3 * SEC);
    assert!(move_inner.reset_after(30 * SEC));
    assert_eq!(inner.remaining(), Some(5 * SEC));
    assert!(move_outer.reset_after(20 * SEC));
    assert_eq!(inner.remaining(), Some(20 * SEC));
    time.advance(20 * SEC);
    assert!(!move_inner.reset_after(HOUR) && !move_outer.reset_after(HOUR));
    assert_exceeded(&inner);
}

#[test]
fn merged_context_follows_the_movable_deadlines_of_both_parents() {
    let (root, time) = manual();
    let (a, move_a) = root.with_movable_deadline(time.now() + 5 * SEC);
    let (b, move_b) = root.with_movable_deadline(time.now() + 7 * SEC);
    let merged = a.merge(&b);
    let (mut done, wakes) = (merged.done_owned(), Wakes::new());
    assert!(poll(&mut done, &wakes).is_pending());
    assert_eq!(merged.remaining(), Some(5 * SEC));
    assert!(move_a.reset_after(60 * SEC));
    assert_eq!(merged.remaining(), Some(7 * SEC));
    assert!(move_b.reset_after(90 * SEC));
    time.advance(59 * SEC);
    assert!(wakes.count() == 0 && !merged.is_done());
    time.advance(SEC);
    assert_eq!(wakes.count(), 1);
    assert_exceeded(&merged);
    assert_lives(&b);
}

#[test]
fn without_cancel_discards_movable_deadlines() {
    let (ctx, deadline, time) = five_seconds();
    let detached = ctx.without_cancel();
    assert_eq!(detached.deadline(), None);
    let child = detached.with_timeout(30 * SEC);
    assert!(deadline.reset_after(SEC));
    time.advance(SEC);
    assert_exceeded(&ctx);
    assert_lives(&detached);
    assert_eq!(child.remaining(), Some(29 * SEC));
}

// ===== reset against the end =====

#[test]
fn reset_after_an_unobserved_expiry_is_refused() {
    let (ctx, deadline, time) = five_seconds();
    let was = deadline.get();
    time.advance(5 * SEC);
    assert!(!deadline.reset_after(HOUR) && !deadline.reset_after(Duration::MAX));
    assert_eq!(deadline.get(), was);
    assert_exceeded(&ctx);
}

#[test]
fn reset_after_any_end_is_refused_and_changes_nothing() {
    let (root, time) = manual();
    let (parent, cancel) = root.with_cancel();
    let (ctx, deadline) = parent.with_movable_deadline(time.now() + 5 * SEC);
    let (was, below) = (deadline.get(), ctx.with_name("below"));
    cancel.cancel_with("canceled");
    for _ in 0..2 {
        assert!(!deadline.reset_after(HOUR) && !deadline.reset(time.now()));
        assert_eq!((deadline.get(), ctx.deadline()), (was, was));
        assert_eq!(below.cause().expect("it has ended").to_string(), "canceled");
    }
}

#[test]
fn reset_to_the_past_ends_the_context_now() {
    let (ctx, deadline, time) = five_seconds();
    let (mut done, wakes) = (ctx.done_owned(), Wakes::new());
    assert!(poll(&mut done, &wakes).is_pending());
    assert!(deadline.reset(time.now() - 2 * SEC));
    assert_eq!(wakes.count(), 1);
    assert_exceeded(&ctx);
    assert_eq!((deadline.get(), ctx.deadline()), (Some(time.now()), Some(time.now())), "recorded as now");
    assert!(!deadline.reset_after(SEC));
    // A cancel made before the reset wins in a merge, although the reset set an earlier instant.
    let (root, time) = manual();
    let (canceled, cancel) = root.with_cancel();
    let (ctx, deadline) = root.with_movable_deadline(time.now() + 5 * SEC);
    cancel.cancel_with("canceled");
    time.advance(SEC);
    assert!(deadline.reset(time.now() - 2 * SEC));
    assert_eq!(ctx.merge(&canceled).cause().expect("both have ended").to_string(), "canceled");
}

#[test]
fn every_observer_of_an_expiry_seals_it() {
    let observers: [fn(&Context) -> bool; 9] = [
        |ctx| ctx.is_done(),
        |ctx| ctx.err().is_some(),
        |ctx| ctx.remaining() == Some(Duration::ZERO),
        |ctx| poll(&mut ctx.done_owned(), &Wakes::new()).is_ready(),
        |ctx| ctx.with_cancel().0.err().is_some_and(|error| error.is_deadline_exceeded()),
        |ctx| ctx.merge(&common::other()).is_done(),
        |ctx| common::other().merge(ctx).is_done(),
        |ctx| ctx.with_timeout(HOUR).is_done(),
        |ctx| !ctx.after_func(|| {}).stop(),
    ];
    for observe in observers {
        let (ctx, deadline, time) = five_seconds();
        time.advance(5 * SEC);
        assert!(observe(&ctx));
        assert!(!deadline.reset_after(HOUR));
        assert_exceeded(&ctx);
    }
}

// ===== zero and extreme values =====

#[test]
fn absurd_instants_and_durations_have_an_end_or_none() {
    let now = Instant::now();
    let far = now.checked_add(Duration::from_secs(400 * 365 * 86_400));
    for (instant, is_done) in [(Some(now), true), (now.checked_sub(HOUR), true), (far, false)] {
        let Some(instant) = instant else { continue };
        let (ctx, deadline) = Context::background().with_movable_deadline(instant);
        assert_eq!(ctx.is_done(), is_done, "{ctx}");
        assert_eq!(deadline.get().is_none(), !is_done, "{ctx}");
        assert_eq!(deadline.reset_after(HOUR), !is_done, "{ctx}");
    }
    let (ctx, deadline, _time) = five_seconds();
    assert!(deadline.reset_after(Duration::MAX) && deadline.get().is_none() && !ctx.is_done());
    assert!(deadline.reset_after(Duration::ZERO));
    assert_exceeded(&ctx);
}

// ===== error messages =====

#[test]
fn error_reports_location_and_number_of_moves() {
    let (root, time) = manual();
    let line = line!() + 1;
    let (ctx, deadline) = root.with_name("load").with_movable_deadline_cause(time.now() + SEC, "nobody waits");
    let below = ctx.with_timeout(HOUR).with_name("below");
    for _ in 0..3 {
        assert!(deadline.reset_after(2 * SEC));
        time.advance(SEC);
    }
    let live = ctx.deadline_origin().expect("there is one").to_string();
    time.advance(SEC);
    let error = below.err().expect("it has ended");
    let text = format!("{error:#}");
    assert!(text.starts_with("context deadline exceeded: nobody waits (deadline set at "), "{text}");
    assert!(text.ends_with(" in load; moved 3 times, last 2s ago)"), "{text}");
    assert_eq!(error.origin().location().line(), line);
    assert!(live.ends_with("in load; moved 3 times, last 1s ago"), "{live}");
    assert_eq!(error.origin().timeout(), Some(4 * SEC));
    assert!(!error.origin().is_idle_timeout());
    assert_eq!(ctx.deadline_origin().expect("there is one").to_string(), error.origin().to_string());
    time.advance(HOUR);
    assert_eq!(format!("{:#}", ctx.err().expect("it has ended")), text, "the story does not change");
}

#[test]
fn error_of_an_unmoved_deadline_reports_no_moves() {
    let (ctx, _deadline, time) = five_seconds();
    time.advance(5 * SEC);
    let text = format!("{:#}", ctx.err().expect("it has ended"));
    assert!(text.starts_with("context deadline exceeded (deadline set at ") && !text.contains("moved"), "{text}");
}

#[test]
fn context_prints_its_movable_deadline() {
    let (ctx, deadline, time) = five_seconds();
    time.advance(10 * MS);
    assert!(ctx.to_string().ends_with(".WithMovableDeadline(4.99s left)"), "{ctx}");
    assert!(deadline.reset_after(Duration::MAX));
    assert!(ctx.to_string().ends_with(".WithMovableDeadline(none)"), "{ctx}");
    assert!(deadline.reset_after(Duration::ZERO));
    assert!(ctx.to_string().ends_with(".WithMovableDeadline(passed)"), "{ctx}");
}

// ===== clocks =====

#[test]
fn system_clock_wakes_waiters_at_the_moved_deadline() {
    let (ctx, deadline) = Context::background().with_movable_deadline(Instant::now() + HOUR);
    let (mut done, wakes) = (ctx.done_owned(), Wakes::new());
    assert!(poll(&mut done, &wakes).is_pending());
    let blocked = std::thread::spawn({
        let ctx = ctx.clone();
        move || ctx.wait()
    });
    let until = Instant::now() + 20 * MS;
    assert!(deadline.reset(until));
    assert!(blocked.join().expect("it ends").is_deadline_exceeded());
    assert!(Instant::now() >= until);
    eventually("the waiter is woken", || wakes.count() == 1);
}

#[test]
fn system_clock_arms_again_when_the_deadline_moved_later() {
    // This thread may be stopped until the first deadline has passed. In that case it tries a longer one.
    let (ctx, (_done, wakes), until) = (1..10)
        .find_map(|attempt| {
            let first = Instant::now() + 5 * MS * 2_u32.pow(attempt);
            let (ctx, deadline) = Context::background().with_movable_deadline(first);
            let (mut done, wakes) = (ctx.done_owned(), Wakes::new());
            let is_pending = poll(&mut done, &wakes).is_pending();
            let until = first + 50 * MS;
            (is_pending && deadline.reset(until)).then_some((ctx, (done, wakes), until))
        })
        .expect("a reset takes effect");
    assert!(block_on(ctx.done()).is_deadline_exceeded());
    assert!(Instant::now() >= until);
    eventually("the waiter is woken", || wakes.count() == 1);
}

#[test]
fn deadlines_of_two_clocks_are_compared_with_their_own_clocks() {
    let (outer_root, outer_time) = manual();
    let (clock, time) = Clock::manual();
    let (outer, move_outer) = outer_root.with_movable_deadline(outer_time.now() + 5 * SEC);
    let (inner, move_inner) = outer.with_clock(clock).with_movable_deadline(time.now() + 5 * SEC);
    let (mut done, wakes) = (inner.done_owned(), Wakes::new());
    assert!(poll(&mut done, &wakes).is_pending());
    assert!(move_outer.reset_after(60 * SEC));
    time.advance(4 * SEC);
    assert!(move_inner.reset_after(60 * SEC));
    outer_time.advance(59 * SEC);
    assert_lives(&inner);
    outer_time.advance(SEC);
    assert_eq!(wakes.count(), 1);
    assert!(!move_inner.reset_after(60 * SEC));
    assert_exceeded(&inner);
}

#[test]
fn remaining_is_zero_while_the_clock_of_a_movable_deadline_is_behind() {
    let (outer, deadline, outer_time) = five_seconds();
    let (clock, time) = Clock::manual();
    let inner = outer.with_clock(clock);
    time.advance(2 * HOUR);
    assert!(time.now() > deadline.get().expect("there is one"));
    let asked = inner.clone();
    assert_eq!(common::within("remaining", move || asked.remaining()), Some(Duration::ZERO));
    assert_lives(&inner);
    outer_time.advance(5 * SEC);
    assert_exceeded(&inner);
    assert_eq!(inner.remaining(), Some(Duration::ZERO));
}

// ===== memory =====

#[test]
fn context_without_a_deadline_that_no_handle_can_set_is_freed() {
    let (root, time) = manual();
    let held = std::sync::Arc::new(());
    let (ctx, deadline) = root.with_movable_deadline(time.now() + SEC);
    let another = deadline.clone();
    assert!(deadline.reset_after(Duration::MAX));
    let kept = std::sync::Arc::clone(&held);
    let _after = ctx.after_func(move || drop(kept));
    drop((ctx, deadline));
    assert_eq!(std::sync::Arc::strong_count(&held), 2, "a handle can still end it");
    drop(another);
    assert_eq!(std::sync::Arc::strong_count(&held), 1);
}

#[test]
fn function_registered_before_the_handles_are_dropped_runs_at_the_deadline() {
    let (root, time) = manual();
    let (ctx, deadline) = root.with_movable_deadline(time.now() + SEC);
    let (sender, ran) = std::sync::mpsc::channel();
    let _after = ctx.after_func(move || sender.send(()).expect("the test waits"));
    drop((ctx, deadline));
    time.advance(SEC);
    assert!(ran.recv_timeout(common::HANG).is_ok());
}

#[test]
fn deep_chain_below_a_movable_deadline_ends_and_is_dropped() {
    let (root, time) = manual();
    let (top, deadline) = root.with_movable_deadline(time.now() + 5 * SEC);
    let mut ctx = top.clone();
    for depth in 0..200_000_u32 {
        ctx = if depth % 2 == 0 { ctx.with_timeout(HOUR) } else { ctx.with_name("name") };
    }
    assert!(deadline.reset_after(60 * SEC));
    assert_eq!(ctx.remaining(), Some(60 * SEC));
    time.advance(60 * SEC);
    assert_exceeded(&ctx);
}

// ===== shielded contexts =====

#[test]
fn shielded_context_follows_the_movable_deadline() {
    let (root, time) = manual();
    let (ctx, deadline) = root.with_name("load").with_movable_deadline(time.now() + 5 * SEC);
    let cleanup = ctx.shielded(2 * SEC);
    let below = cleanup.with_name("below").shielded(SEC).with_timeout(HOUR);
    let (mut done, wakes) = (below.done_owned(), Wakes::new());
    assert!(poll(&mut done, &wakes).is_pending());
    assert_eq!((cleanup.remaining(), below.remaining()), (Some(7 * SEC), Some(8 * SEC)));
    assert!(deadline.reset_after(60 * SEC));
    assert_eq!((cleanup.remaining(), below.remaining()), (Some(62 * SEC), Some(63 * SEC)));
    assert_eq!(below.deadline_origin().expect("there is one").name(), Some("load"));
    time.advance(61 * SEC);
    assert_exceeded(&ctx);
    assert_lives(&cleanup);
    time.advance(SEC);
    assert_exceeded(&cleanup);
    assert_lives(&below);
    time.advance(SEC);
    assert_eq!(wakes.count(), 1);
    assert!(format!("{:#}", below.err().expect("it has ended")).contains("in load; moved 1 time, last 60s ago"));
}

#[test]
fn movable_deadline_below_a_shielded_context_ends_with_it() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let (cleanup, deadline) = ctx.shielded(2 * SEC).with_movable_deadline(time.now() + HOUR);
    cancel.cancel_with("canceled");
    time.advance(SEC);
    assert!(deadline.reset_after(HOUR));
    time.advance(SEC);
    assert!(!deadline.reset_after(HOUR), "the grace is over, though nobody has observed it");
    assert_eq!(cleanup.cause().expect("it has ended").to_string(), "canceled");
}
