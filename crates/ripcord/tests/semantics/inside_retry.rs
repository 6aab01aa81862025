//! An attempt's context says that it is inside of a retry, as do those below it, and is the same context otherwise.

use std::time::Duration;

use crate::common::{SEC, User, Wakes, manual, poll};
use ripcord::Context;

#[test]
fn it_is_said_of_the_attempts_handle_and_below_it_alone() {
    let (root, _time) = manual();
    let (ctx, _cancel) = root.with_cancel();
    let attempt = ctx.inside_retry();
    let clone = attempt.clone();
    let child = attempt.with_name("child");
    assert!(attempt.is_inside_retry() && clone.is_inside_retry() && child.is_inside_retry());
    assert!(attempt.inside_retry().is_inside_retry());
    assert!(!ctx.is_inside_retry() && !root.is_inside_retry() && !ctx.with_name("sibling").is_inside_retry());
    drop(attempt);
    assert!(clone.is_inside_retry() && child.is_inside_retry());
}

#[test]
fn it_is_said_of_roots_too() {
    for root in [Context::background(), Context::todo()] {
        let attempt = root.inside_retry();
        assert!(attempt.is_inside_retry() && attempt.clone().is_inside_retry());
        assert!(!root.is_inside_retry());
        assert!(attempt.ptr_eq(&root) && !attempt.is_done() && attempt.deadline().is_none());
        assert_eq!(attempt.to_string(), root.to_string());
        assert!(attempt.with_timeout(SEC).is_inside_retry());
        assert!(attempt.with_timeout(Duration::MAX).is_inside_retry(), "no deadline, and so the same context");
        assert!(attempt.merge(&Context::background()).is_inside_retry());
        assert!(Context::background().merge(&attempt).is_inside_retry());
    }
}

#[test]
fn it_is_the_same_context_otherwise() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_value(User(1)).with_name("call").with_timeout(SEC).with_cancel();
    let attempt = ctx.inside_retry();
    assert!(attempt.ptr_eq(&ctx) && ctx.ptr_eq(&attempt));
    assert_eq!(attempt.to_string(), ctx.to_string());
    assert_eq!((attempt.deadline(), attempt.remaining()), (ctx.deadline(), ctx.remaining()));
    assert_eq!((attempt.value::<User>(), attempt.name()), (Some(&User(1)), Some("call")));
    assert_eq!(attempt.clock().now(), time.now());
    let (mut done, wakes) = (attempt.done_owned(), Wakes::new());
    assert!(poll(&mut done, &wakes).is_pending());
    cancel.cancel_with("stop");
    assert_eq!(wakes.count(), 1);
    assert!(attempt.is_done() && attempt.check().is_err());
    assert_eq!(attempt.cause().map(|cause| cause.to_string()).as_deref(), Some("stop"));
    assert!(ctx.inside_retry().is_done(), "one made after the end");
}

#[test]
fn a_timeout_that_adds_nothing_keeps_it() {
    let (root, _time) = manual();
    let attempt = root.with_timeout(SEC).inside_retry();
    assert!(attempt.with_timeout(2 * SEC).is_inside_retry());
    assert!(attempt.with_timeout(SEC / 2).is_inside_retry());
}

#[test]
fn work_that_is_not_the_attempts_is_outside_again() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_timeout(SEC).with_cancel();
    for attempt in [ctx.inside_retry(), ctx.inside_retry().with_name("below")] {
        let outside = attempt.outside_retry();
        assert!(attempt.is_inside_retry() && !outside.is_inside_retry() && outside.ptr_eq(&attempt));
        assert!(!outside.clone().is_inside_retry() && !outside.outside_retry().is_inside_retry());
        assert!(!outside.with_value(User(1)).is_inside_retry() && !outside.without_cancel().is_inside_retry());
        assert!(!outside.with_timeout(2 * SEC).is_inside_retry(), "one that adds nothing");
        // An attempt of a retry of its own is one.
        assert!(outside.inside_retry().is_inside_retry() && outside.with_name("x").inside_retry().is_inside_retry());
        assert!(outside.merge(&attempt).is_inside_retry() && attempt.merge(&outside).is_inside_retry());
        assert!(!outside.merge(&ctx).is_inside_retry() && !root.merge(&outside).is_inside_retry());
        assert_eq!((outside.deadline(), outside.clock().now()), (attempt.deadline(), time.now()));
    }
    let outside = ctx.inside_retry().with_name("below").outside_retry();
    assert!(!Context::background().merge(&outside).is_inside_retry(), "a root adds nothing");
    assert!(!ctx.outside_retry().is_inside_retry() && !Context::todo().outside_retry().is_inside_retry());
    assert!(!Context::background().inside_retry().outside_retry().is_inside_retry());
    cancel.cancel();
    assert!(outside.is_done());
}
