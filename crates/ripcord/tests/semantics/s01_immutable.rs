//! 1. Contexts are immutable. Every `with_*` returns a new context and leaves the parent unchanged.

use crate::common::{HOUR, SEC, Trace, User, assert_live, manual};
use ripcord::Clock;

#[test]
fn s01_every_derivation_leaves_its_parent_as_it_was() {
    let (root, time) = manual();
    let parent = root.with_name("parent").with_value(User(1)).with_timeout(HOUR);
    let shown = parent.to_string();
    let deadline = parent.deadline();

    let (canceled, cancel) = parent.with_cancel();
    let children = [
        parent.with_timeout(SEC),
        parent.with_timeout_cause(SEC, "slow"),
        parent.with_deadline(time.now() + SEC),
        parent.with_deadline_cause(time.now() - SEC, "late"),
        parent.with_value(User(2)),
        parent.with_value(Trace("t".into())),
        parent.with_name("child"),
        parent.without_cancel(),
        parent.merge(&canceled),
        parent.with_clock(Clock::system()),
        parent.shielded(SEC),
        parent.with_tasks().0,
    ];
    let (movable, mover) = parent.with_movable_deadline(time.now() + SEC);
    let (idle, idle_timeout) = parent.with_idle_timeout(SEC);
    assert!(mover.reset_after(2 * SEC) && idle_timeout.reset() && idle.progress());
    assert_eq!((movable.remaining(), idle.remaining()), (Some(2 * SEC), Some(HOUR)));
    assert!(mover.reset_after(std::time::Duration::ZERO) && movable.is_done());
    cancel.cancel_with("child only");
    assert!(canceled.is_done());

    assert_live(&parent);
    assert_eq!(parent.to_string(), shown);
    assert_eq!(parent.deadline(), deadline);
    assert_eq!(parent.remaining(), Some(HOUR));
    assert_eq!(parent.value::<User>(), Some(&User(1)));
    assert_eq!(parent.value::<Trace>(), None);
    assert_eq!(parent.name(), Some("parent"));
    assert!(!parent.progress(), "the idle timeout is its child's");
    drop(children);
    assert_live(&parent);
}

#[test]
fn s01_a_clone_is_the_same_context() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let clone = ctx.clone();
    cancel.cancel_with("one");
    assert_eq!(clone.cause().expect("done").to_string(), "one");
    drop(ctx);
    assert!(clone.is_done());
}

#[test]
fn s01_background_and_todo_are_never_done() {
    const BACKGROUND: &ripcord::Context = &ripcord::Context::background();
    for ctx in [BACKGROUND, &ripcord::Context::todo()] {
        assert_live(ctx);
        assert_eq!(ctx.deadline(), None);
        assert_eq!(ctx.remaining(), None);
        assert_eq!(ctx.name(), None);
        assert_eq!(ctx.wait_timeout(std::time::Duration::ZERO).map(|e| e.kind()), None);
    }
}

#[test]
fn s01_detaching_or_dropping_handles_ends_nothing() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    drop(cancel.handle());
    drop(cancel.handle().clone());
    assert_live(&ctx);
    let handle = cancel.handle();
    cancel.detach();
    assert_live(&ctx);
    handle.cancel_with("by the handle");
    crate::common::assert_canceled(&ctx, Some("by the handle"));
}

#[test]
fn s01_dropping_the_canceler_cancels_without_a_cause() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    drop(cancel);
    crate::common::assert_canceled(&ctx, None);
}

#[test]
fn s01_the_first_cancel_wins() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let handle = cancel.handle();
    cancel.cancel_with("first");
    cancel.cancel_with("second");
    handle.cancel();
    handle.cancel_with("third");
    drop(cancel);
    crate::common::assert_canceled(&ctx, Some("first"));
}
