//! 6. A timeout of zero, or a deadline in the past, is done at once with DeadlineExceeded. `Duration::MAX` saturates to no
//!    deadline.

use std::time::Duration;

use crate::common::{HOUR, MS, SEC, Wakes, assert_exceeded, assert_live, manual, poll};

#[test]
fn s06_a_timeout_of_zero_is_done_at_once() {
    let (root, _time) = manual();
    assert_exceeded(&root.with_timeout(Duration::ZERO), None);
    assert_exceeded(&root.with_timeout_cause(Duration::ZERO, "no time"), Some("no time"));
}

#[test]
fn s06_a_deadline_in_the_past_is_done_at_once() {
    let (root, time) = manual();
    for ago in [Duration::ZERO, Duration::from_nanos(1), MS, HOUR] {
        let then = time.now() - ago;
        let ctx = root.with_deadline(then);
        assert_exceeded(&ctx, None);
        assert_eq!(ctx.deadline(), Some(then));
        assert_eq!(ctx.remaining(), Some(Duration::ZERO));
        assert_exceeded(&root.with_deadline_cause(then, "late"), Some("late"));
        assert_exceeded(&ctx.with_name("below"), None);
    }
}

#[test]
fn s06_on_the_system_clock_too() {
    let root = ripcord::Context::background();
    assert_exceeded(&root.with_timeout(Duration::ZERO), None);
    assert_exceeded(&root.with_deadline(std::time::Instant::now()), None);
}

#[test]
fn s06_duration_max_saturates_to_no_deadline() {
    let (root, time) = manual();
    let ctx = root.with_timeout(Duration::MAX);
    assert_eq!(ctx.deadline(), None);
    assert_eq!(ctx.remaining(), None);
    let wakes = Wakes::new();
    let mut wait = ctx.done();
    assert!(poll(&mut wait, &wakes).is_pending());
    time.advance(1000 * HOUR);
    assert_live(&ctx);
    assert_eq!(wakes.count(), 0);
}

#[test]
fn s06_duration_max_does_not_widen_the_parents_deadline() {
    let (root, time) = manual();
    let parent = root.with_timeout_cause(SEC, "slow");
    let ctx = parent.with_timeout_cause(Duration::MAX, "never reported");
    assert_eq!(ctx.deadline(), parent.deadline());
    time.advance(SEC);
    assert_exceeded(&ctx, Some("slow"));
}

#[test]
fn s06_a_child_may_narrow_a_deadline_but_not_widen_it() {
    let (root, time) = manual();
    let parent = root.with_timeout(10 * SEC);
    assert_eq!(parent.with_timeout(SEC).deadline(), Some(time.now() + SEC));
    assert_eq!(parent.with_timeout(20 * SEC).deadline(), parent.deadline());
    assert_eq!(parent.with_deadline(time.now() + 20 * SEC).deadline(), parent.deadline());
    assert_eq!(parent.remaining(), Some(10 * SEC));
    time.advance(4 * SEC);
    assert_eq!(parent.remaining(), Some(6 * SEC));
    time.advance(7 * SEC);
    assert_eq!(parent.remaining(), Some(Duration::ZERO));
}
