//! Merged contexts and the ends of their parents.

use std::pin::pin;

use loom::thread;

use super::{Wakes, cause, large_model, model, poll};
use crate::Context;

#[test]
fn merged_against_both() {
    large_model(|| {
        let (first, cancel_first) = Context::background().with_cancel();
        let (second, cancel_second) = Context::background().with_cancel();
        let merged = first.merge(&second);
        let wakes = Wakes::new();
        let waiting = merged.clone();
        let mut done = pin!(waiting.done());
        assert!(poll(done.as_mut(), &wakes).is_pending());
        let canceling = thread::spawn(move || cancel_first.cancel_with("first"));
        cancel_second.cancel_with("second");
        assert!(merged.is_done());
        let seen = cause(&merged);
        canceling.join().unwrap();
        assert_eq!(cause(&merged), seen, "an end changed");
        assert_eq!(wakes.count(), 1);
    });
}

#[test]
fn merging_while_a_parent_ends() {
    large_model(|| {
        let (first, cancel_first) = Context::background().with_cancel();
        let (second, _cancel_second) = Context::background().with_cancel();
        let canceling = thread::spawn(move || cancel_first.cancel_with("first"));
        let merged = first.merge(&second);
        let wakes = Wakes::new();
        let mut done = pin!(merged.done());
        let ready = poll(done.as_mut(), &wakes).is_ready();
        canceling.join().unwrap();
        assert!(merged.is_done());
        assert_eq!(cause(&merged), "first");
        assert!(ready || wakes.count() == 1, "a wake-up was lost");
    });
}

#[test]
fn drop_of_a_merged_context_against_the_ends_of_its_parents() {
    model(|| {
        let (first, cancel_first) = Context::background().with_cancel();
        let (second, cancel_second) = Context::background().with_cancel();
        let merged = first.merge(&second);
        drop((first, second));
        let canceling = thread::spawn(move || {
            cancel_first.cancel();
            cancel_second.cancel();
        });
        drop(merged);
        canceling.join().unwrap();
    });
}

#[test]
fn context_merged_with_its_own_parent_ends_once() {
    model(|| {
        let (parent, cancel) = Context::background().with_cancel();
        let (child, _keep) = parent.with_cancel();
        let merged = child.merge(&parent);
        let wakes = Wakes::new();
        let waiting = merged.clone();
        let mut done = pin!(waiting.done());
        assert!(poll(done.as_mut(), &wakes).is_pending());
        let canceling = thread::spawn(move || cancel.cancel_with("why"));
        if child.is_done() {
            assert!(parent.is_done());
        }
        if parent.is_done() {
            assert!(merged.is_done(), "an end was taken back");
        }
        canceling.join().unwrap();
        assert_eq!(cause(&merged), "why");
        assert_eq!(wakes.count(), 1);
    });
}

#[test]
fn merge_of_an_ended_and_an_ending_context_has_the_earlier_end() {
    large_model(|| {
        let (first, cancel_first) = Context::background().with_cancel();
        let (second, cancel_second) = Context::background().with_cancel();
        cancel_second.cancel_with("second");
        let canceling = thread::spawn(move || cancel_first.cancel_with("first"));
        // The second parent ended before the thread was spawned, so its end is the earlier one in every order.
        let merged = first.merge(&second);
        assert_eq!(cause(&merged), "second");
        canceling.join().unwrap();
        assert_eq!(cause(&merged), "second", "an end changed");
    });
}
