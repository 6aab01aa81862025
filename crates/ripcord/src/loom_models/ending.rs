//! Several ends, and observers of one end.

use std::pin::pin;

use loom::thread;

use super::{Wakes, cause, model, poll, three_levels};
use crate::Context;

#[test]
fn second_cancel_returns_with_all_descendants_done() {
    model(|| {
        let [(_root, cancel), (_child, cancel_child), (grandchild, _keep)] = three_levels();
        let wakes = Wakes::new();
        let waiting = grandchild.clone();
        let mut done = pin!(waiting.done());
        assert!(poll(done.as_mut(), &wakes).is_pending());
        let above = thread::spawn(move || cancel.cancel_with("above"));
        cancel_child.cancel_with("child");
        // `above` may have marked the child, but not yet the grandchild.
        assert!(grandchild.is_done());
        let seen = cause(&grandchild);
        above.join().unwrap();
        assert_eq!(cause(&grandchild), seen, "an end changed");
        assert_eq!(wakes.count(), 1);
    });
}

#[test]
fn watched_descendant_of_a_context_seen_done_is_done() {
    model(|| {
        let (root, cancel) = Context::background().with_cancel();
        let (child, _keep) = root.with_cancel();
        let waiting = child.clone();
        let mut done = pin!(waiting.done());
        assert!(poll(done.as_mut(), &Wakes::new()).is_pending());
        let observed = child.clone();
        let observing = thread::spawn(move || {
            if root.is_done() {
                assert!(observed.is_done(), "an end was taken back");
                assert!(observed.err().is_some(), "an end was taken back");
            }
        });
        cancel.cancel();
        observing.join().unwrap();
    });
}

#[test]
fn second_poll_of_an_ended_context_is_ready() {
    model(|| {
        let (root, cancel) = Context::background().with_cancel();
        let (child, _keep) = root.with_cancel();
        let mut done = Box::pin(child.done_owned());
        let wakes = Wakes::new();
        assert!(poll(done.as_mut(), &wakes).is_pending());
        let observing = thread::spawn(move || {
            if root.is_done() {
                assert!(poll(done.as_mut(), &wakes).is_ready(), "an end was taken back");
            }
        });
        cancel.cancel();
        observing.join().unwrap();
    });
}

#[test]
fn error_cause_and_done_are_seen_together() {
    model(|| {
        let (root, cancel) = Context::background().with_cancel();
        let (child, _keep) = root.with_cancel();
        let canceling = thread::spawn(move || cancel.cancel_with("why"));
        if child.is_done() {
            assert_eq!(cause(&child), "why");
        }
        if let Some(error) = child.err() {
            assert_eq!(error.cause().unwrap().to_string(), "why");
        }
        canceling.join().unwrap();
        assert!(child.is_done());
    });
}

#[test]
fn two_cancels_have_one_winner() {
    model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let other = cancel.handle();
        let canceling = thread::spawn(move || other.cancel_with("other"));
        cancel.cancel_with("one");
        let seen = cause(&ctx);
        canceling.join().unwrap();
        assert_eq!(cause(&ctx), seen, "an end changed");
    });
}

#[test]
fn two_cancels_of_a_watched_node_have_one_winner() {
    model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let (child, _keep) = ctx.with_cancel();
        let (wakes, wakes_below) = (Wakes::new(), Wakes::new());
        let (waiting, waiting_below) = (ctx.clone(), child.clone());
        let (mut done, mut done_below) = (pin!(waiting.done()), pin!(waiting_below.done()));
        assert!(poll(done.as_mut(), &wakes).is_pending());
        assert!(poll(done_below.as_mut(), &wakes_below).is_pending());
        let other = cancel.handle();
        let canceling = thread::spawn(move || {
            other.cancel_with("other");
        });
        cancel.cancel_with("one");
        // The call that loses the race returns when all descendants are done, although the other call may still be marking them.
        assert!(ctx.is_done() && child.is_done());
        let seen = cause(&ctx);
        assert_eq!(cause(&child), seen, "parent and child ended by different cancels");
        canceling.join().unwrap();
        assert_eq!((cause(&ctx), cause(&child)), (seen.clone(), seen), "an end changed");
        assert_eq!((wakes.count(), wakes_below.count()), (1, 1));
    });
}

#[test]
fn child_derived_while_its_parent_ends_inherits_that_end() {
    model(|| {
        let (root, cancel) = Context::background().with_cancel();
        let (child, _keep_child) = root.with_cancel();
        let waiting = child.clone();
        let mut done = pin!(waiting.done());
        assert!(poll(done.as_mut(), &Wakes::new()).is_pending());
        let canceling = thread::spawn(move || cancel.cancel_with("why"));
        let (late, cancel_late) = child.with_cancel();
        cancel_late.cancel_with("late");
        let seen = cause(&late);
        if child.is_done() {
            assert_eq!(cause(&child), "why");
        }
        canceling.join().unwrap();
        assert_eq!(cause(&late), seen, "an end changed");
    });
}
