//! 15. Jumps of the wall clock or a suspend never extend a deadline.
//!
//! A test can neither set the machine's clock nor suspend the machine. These tests check that a deadline is one `Instant`,
//! computed once, of a clock that only moves forward, and that a jump past the deadline is an ordinary end.

use std::time::Duration;

use crate::common::{HOUR, MS, SEC, Wakes, assert_exceeded, manual, poll};

#[test]
fn s15_a_deadline_is_computed_once() {
    let (root, time) = manual();
    let ctx = root.with_timeout(10 * SEC);
    let leaf = ctx.with_name("leaf").with_timeout(HOUR);
    let deadline = time.now() + 10 * SEC;
    let mut left = Duration::MAX;
    while !leaf.is_done() {
        assert_eq!(ctx.deadline(), Some(deadline));
        assert_eq!(leaf.deadline(), Some(deadline));
        let now_left = leaf.remaining().expect("it has a deadline");
        assert!(now_left < left, "what remains did not shrink");
        left = now_left;
        time.advance(250 * MS);
    }
    assert_eq!(time.now(), deadline);
    assert_eq!(leaf.deadline(), Some(deadline), "also after the end");
}

#[test]
fn s15_a_jump_far_past_everything_ends_everything_once() {
    let (root, time) = manual();
    let contexts: Vec<_> = (1..=50_u32).map(|s| root.with_timeout_cause(s * SEC, format!("{s}"))).collect();
    let wakes = Wakes::new();
    let mut waits: Vec<_> = contexts.iter().map(ripcord::Context::done).collect();
    waits.iter_mut().step_by(2).for_each(|wait| assert!(poll(wait, &wakes).is_pending()));
    time.advance(1_000_000 * HOUR);
    assert_eq!(wakes.count(), 25);
    for (ctx, s) in contexts.iter().zip(1..) {
        assert_exceeded(ctx, Some(&format!("{s}")));
    }
}

#[test]
fn s15_a_deadline_handed_on_is_the_same_instant() {
    // The next process or thread receives the same instant, even after many calls of `deadline()`.
    let (root, time) = manual();
    let mut ctx = root.with_timeout(SEC);
    for _ in 0..100 {
        time.advance(MS);
        ctx = root.with_deadline(ctx.deadline().expect("it has one"));
    }
    assert_eq!(ctx.remaining(), Some(SEC - 100 * MS));
}
