//! References are dropped on several threads, and while an end is propagated.

use std::pin::pin;

use loom::thread;

use super::{Wakes, model, poll, three_levels};
use crate::Context;

#[test]
fn last_of_two_references_frees_after_all_uses() {
    model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        cancel.detach();
        let other = ctx.clone();
        let dropping = thread::spawn(move || {
            assert!(!other.is_done());
            drop(other);
        });
        assert!(!ctx.is_done());
        drop(ctx);
        dropping.join().unwrap();
    });
}

#[test]
fn last_child_frees_its_parent_after_all_uses() {
    model(|| {
        let (parent, cancel) = Context::background().with_cancel();
        cancel.detach();
        let child = parent.with_name("child");
        drop(parent);
        let sibling = child.with_name("grandchild");
        let dropping = thread::spawn(move || drop(sibling.with_name("great-grandchild")));
        drop(child);
        dropping.join().unwrap();
    });
}

#[test]
fn siblings_dropped_on_two_threads_free_their_parent_after_all_uses() {
    model(|| {
        let (parent, cancel) = Context::background().with_cancel();
        cancel.detach();
        let (one, other) = (parent.with_name("one"), parent.with_name("other"));
        drop(parent);
        // Each child queries its parent, so that loom checks that the parent is freed after this use.
        let dropping = thread::spawn(move || {
            assert!(!other.is_done());
            drop(other);
        });
        assert!(!one.is_done());
        drop(one);
        dropping.join().unwrap();
    });
}

#[test]
fn canceler_and_context_dropped_by_two_threads() {
    model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        assert!(poll(pin!(ctx.done()), &Wakes::new()).is_pending());
        let dropping = thread::spawn(move || drop(ctx));
        drop(cancel);
        dropping.join().unwrap();
    });
}

#[test]
fn drop_against_cancel() {
    model(|| {
        let (root, cancel) = Context::background().with_cancel();
        let (child, keep) = root.with_cancel();
        assert!(poll(pin!(child.done()), &Wakes::new()).is_pending());
        // The child is in its parent's list, and both the drop and the cancel remove it from there.
        let dropping = thread::spawn(move || drop((child, keep)));
        cancel.cancel();
        dropping.join().unwrap();
    });
}

#[test]
fn drop_of_a_parent_of_children_against_cancel() {
    model(|| {
        let [(_root, cancel), child, (grandchild, keep)] = three_levels();
        assert!(poll(pin!(grandchild.done()), &Wakes::new()).is_pending());
        let dropping = thread::spawn(move || drop((grandchild, keep, child)));
        cancel.cancel();
        dropping.join().unwrap();
    });
}

#[test]
fn two_siblings_dropped_from_one_list() {
    model(|| {
        let (root, _cancel) = Context::background().with_cancel();
        let (one, other) = (root.with_cancel(), root.with_cancel());
        assert!(poll(pin!(one.0.done()), &Wakes::new()).is_pending());
        assert!(poll(pin!(other.0.done()), &Wakes::new()).is_pending());
        let dropping = thread::spawn(move || drop(other));
        drop(one);
        dropping.join().unwrap();
    });
}
