//! 7. `is_done` and `err` are right even without a waiter: a deadline counts from the clock, with no timer armed. They are
//!    never early. In a hot loop they are at most 1 ms late.

use std::time::{Duration, Instant};

use ripcord::Context;

use crate::common::{MS, SEC, assert_exceeded, assert_live, manual, other};

const NS: Duration = Duration::from_nanos(1);

#[test]
fn s07_a_deadline_counts_from_the_clock_when_nobody_waits() {
    let (root, time) = manual();
    let ctx = root.with_timeout_cause(SEC, "slow");
    let leaf = ctx.with_name("leaf");
    time.advance(SEC - NS);
    assert_live(&ctx);
    assert_live(&leaf);
    time.advance(NS);
    assert_exceeded(&leaf, Some("slow"));
    assert_exceeded(&ctx, Some("slow"));
}

#[test]
fn s07_each_query_alone_finds_the_deadline() {
    // No other query was made before, so no answer depends on another.
    let expired = || {
        let (root, time) = manual();
        let ctx = root.with_timeout(SEC).with_name("leaf");
        time.advance(SEC);
        ctx
    };
    assert!(expired().is_done());
    assert!(expired().err().is_some());
    assert!(expired().check().is_err());
    assert!(expired().cause().is_some());
    assert!(expired().wait().is_deadline_exceeded());
    assert!(expired().wait_timeout(Duration::ZERO).is_some());
    assert!(expired().with_name("child").is_done());
    assert!(expired().merge(&other()).is_done());
    assert!(other().merge(&expired()).is_done());
    assert!(crate::common::poll(&mut expired().done(), &crate::common::Wakes::new()).is_ready());
}

#[test]
fn s07_never_early_after_many_queries() {
    // A hot loop may stop reading the clock. On manual time it must still be exact.
    let (root, time) = manual();
    let ctx = root.with_timeout(10 * MS);
    for _ in 0..9 {
        for _ in 0..5_000 {
            assert!(!ctx.is_done());
        }
        time.advance(MS);
    }
    time.advance(MS - NS);
    for _ in 0..5_000 {
        assert!(!ctx.is_done());
    }
    time.advance(NS);
    assert!(ctx.is_done());
}

#[test]
fn s07_never_early_and_at_most_a_millisecond_late_in_a_hot_loop() {
    // Real time. The thread spins and does not sleep. A loaded machine may interrupt the thread, so only one of many attempts
    // has to be punctual. No attempt may be early.
    let mut best = Duration::MAX;
    for attempt in 0..400 {
        let root = Context::background();
        let ctx = root.with_timeout(MS);
        let ctx = if attempt % 2 == 0 { ctx } else { ctx.with_name("a").with_value(crate::common::User(1)) };
        let deadline = ctx.deadline().expect("it has one");
        while !ctx.is_done() {
            std::hint::spin_loop();
        }
        let seen = Instant::now();
        assert!(seen >= deadline, "early by {:?}", deadline - seen);
        best = best.min(seen - deadline);
        if attempt >= 3 && best <= MS {
            break;
        }
    }
    assert!(best <= MS, "the most punctual of 400 attempts was {best:?} late");
}

#[test]
fn s07_deadline_passed_in_a_pause_is_seen_soon() {
    // A loop that queries often and then pauses must not get an outdated answer for long.
    let ctx = Context::background().with_timeout(4 * MS);
    let deadline = ctx.deadline().expect("it has one");
    for _ in 0..2_000 {
        ctx.is_done();
    }
    while Instant::now() < deadline + 2 * MS {
        std::hint::spin_loop();
    }
    let asked = Instant::now();
    while !ctx.is_done() {
        assert!(asked.elapsed() < crate::common::HANG, "never noticed");
    }
}
