//! Deadlines far in the past and in the future.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::common::{
    HOUR, MS, Wakes, assert_canceled, assert_exceeded, assert_live, manual, poll, poll_pinned, within,
};
use ripcord::Context;

#[test]
fn zero_timeout_is_done_at_once_everywhere() {
    let (root, _time) = manual();
    for root in [root, Context::background()] {
        let ctx = root.with_timeout(Duration::ZERO);
        assert_exceeded(&ctx, None);
        assert_eq!(ctx.remaining(), Some(Duration::ZERO));
        assert!(ctx.sleep_blocking(HOUR).is_err());
        assert!(futures::executor::block_on(ctx.run(std::future::pending::<()>())).is_err());
        assert!(futures::executor::block_on(ctx.sleep(Duration::MAX)).is_err());
    }
}

#[test]
fn earliest_instant_as_a_deadline_is_done_at_once() {
    let mut past = Instant::now();
    let mut step = Duration::from_secs(1 << 40);
    while step > Duration::ZERO {
        match past.checked_sub(step) {
            Some(earlier) => past = earlier,
            None => step /= 2,
        }
    }
    let (root, _time) = manual();
    for root in [root, Context::background()] {
        let ctx = root.with_deadline(past);
        assert_exceeded(&ctx, None);
        assert!(ctx.deadline().is_some_and(|at| at <= Instant::now()));
        assert_eq!(ctx.remaining(), Some(Duration::ZERO));
        assert_exceeded(&ctx.with_timeout(HOUR), None);
        let told = format!("{ctx} {:#}", ctx.err().expect("done"));
        assert!(!told.is_empty());
    }
}

#[test]
fn latest_instant_as_a_deadline_never_ends_the_context() {
    let mut far = Instant::now();
    let mut step = Duration::from_secs(1 << 62);
    while step > Duration::ZERO {
        match far.checked_add(step) {
            Some(later) => far = later,
            None => step /= 2,
        }
    }
    within("an absurdly far deadline", move || {
        let (root, _time) = manual();
        assert!(Context::background().with_deadline(far).wait_timeout(MS).is_none());
        for root in [root, Context::background()] {
            let ctx = root.with_deadline(far);
            assert_live(&ctx);
            let wakes = Wakes::new();
            let mut wait = ctx.done();
            assert!(poll(&mut wait, &wakes).is_pending());
            // So far in the future that the context may report no deadline.
            assert!(ctx.remaining().is_none_or(|left| left > HOUR));
            assert!(ctx.deadline().is_none_or(|at| at > Instant::now()));
            let (child, cancel) = ctx.with_cancel();
            let _shown = format!("{child} {child:?}");
            cancel.cancel_with("stop");
            assert_canceled(&child, Some("stop"));
            assert_eq!(wakes.count(), 0);
            // An earlier deadline below it still fires.
            assert_exceeded(&ctx.with_timeout(Duration::ZERO), None);
        }
    });
}

#[test]
fn durations_near_the_largest_saturate_and_never_panic() {
    let (root, time) = manual();
    for root in [root, Context::background()] {
        for d in [
            Duration::MAX,
            Duration::MAX - Duration::from_nanos(1),
            Duration::from_secs(u64::MAX),
            Duration::from_secs(i64::MAX as u64),
            Duration::from_secs(i64::MAX as u64 - 1),
            Duration::from_millis(u64::MAX),
            Duration::from_micros(u64::MAX),
            Duration::from_nanos(u64::MAX),
            Duration::from_nanos(i64::MAX as u64),
        ] {
            let ctx = root.with_timeout(d);
            assert_live(&ctx);
            let wakes = Wakes::new();
            let mut wait = ctx.done();
            assert!(poll(&mut wait, &wakes).is_pending(), "{d:?}");
            let mut sleep = Box::pin(ctx.sleep(d));
            assert!(poll_pinned(sleep.as_mut(), &wakes.waker()).is_pending(), "{d:?}");
            assert!(ctx.with_timeout(d).with_timeout(d).err().is_none());
            let _shown = format!("{ctx} {ctx:?}");
            assert!(ctx.remaining().is_none_or(|left| left <= d && left > HOUR));
        }
    }
    time.advance(1_000_000 * HOUR);
}

#[test]
fn wait_of_the_largest_duration_ends_with_the_context() {
    within("wait_timeout(Duration::MAX)", || {
        let (root, _time) = manual();
        for root in [root, Context::background()] {
            let (ctx, cancel) = root.with_cancel();
            std::thread::scope(|scope| {
                let a = scope.spawn(|| ctx.wait_timeout(Duration::MAX));
                let b = scope.spawn(|| ctx.sleep_blocking(Duration::MAX));
                cancel.cancel_with("stop");
                assert!(a.join().expect("no panic").expect("ended").is_canceled());
                assert!(b.join().expect("no panic").expect_err("ended").is_canceled());
            });
        }
    });
}

#[test]
fn manual_time_advanced_by_the_largest_duration_ends_contexts_with_deadlines() {
    // The clock either saturates or panics. It does not wrap around.
    let (root, time) = manual();
    let ctx = root.with_timeout(HOUR);
    let before = time.now();
    let outcome = catch_unwind(AssertUnwindSafe(|| time.advance(Duration::MAX)));
    assert!(time.now() >= before, "time went backwards");
    if outcome.is_err() {
        time.advance(HOUR);
    }
    assert_exceeded(&ctx, None);
}
