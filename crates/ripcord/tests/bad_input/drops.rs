//! Drops of values, causes and closures that use a context.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::{User, Wakes, assert_canceled, assert_live, manual, poll, within};
use ripcord::{Context, Value};

/// A value that calls its closure when it is dropped.
struct Last(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Value for Last {}

impl Drop for Last {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

#[test]
fn drop_of_a_value_that_derives_and_cancels() {
    within("a value that derives and cancels in drop", || {
        let (root, _time) = manual();
        let (parent, cancel) = root.with_cancel();
        let handle = cancel.handle();
        let wakes = Wakes::new();
        let mut wait = parent.done();
        assert!(poll(&mut wait, &wakes).is_pending());
        let ctx = parent.with_value(Last(Some(Box::new({
            let parent = parent.clone();
            move || {
                let (derived, cancel) = parent.with_value(User(1)).with_cancel();
                let mut wait = derived.done();
                assert!(poll(&mut wait, &Wakes::new()).is_pending());
                cancel.cancel();
                drop(wait);
                handle.cancel_with("from a drop");
            }
        }))));
        // Linked to its parent, so that the drop also has to unlink the context.
        let mut below = ctx.with_name("below").done_owned();
        assert!(poll(&mut below, &Wakes::new()).is_pending());
        drop(ctx);
        assert_live(&parent);
        drop(below);
        assert_canceled(&parent, Some("from a drop"));
        assert_eq!(wakes.count(), 1);
    });
}

#[test]
fn drop_of_a_value_that_drops_a_long_chain_of_such_values() {
    // Each value holds the next context, like a linked list. The drops of users' values nest only as deep as users nest the
    // values, and here that is the length of the list.
    within("values that hold contexts", || {
        let (root, _time) = manual();
        let dropped = Arc::new(AtomicUsize::new(0));
        let mut ctx = root.with_name("last");
        for _ in 0..200 {
            let (held, counted) = (ctx, Arc::clone(&dropped));
            ctx = root.with_value(Last(Some(Box::new(move || {
                drop(held);
                counted.fetch_add(1, Ordering::SeqCst);
            }))));
        }
        drop(ctx);
        assert_eq!(dropped.load(Ordering::SeqCst), 200, "a value was not dropped");
    });
}

#[test]
fn drop_of_a_value_that_panics_leaves_the_parent_in_order() {
    within("a value that panics in drop", || {
        let (root, _time) = manual();
        let (parent, cancel) = root.with_cancel();
        let (other, wakes) = (parent.with_name("other"), Wakes::new());
        let mut beside = other.done();
        assert!(poll(&mut beside, &wakes).is_pending());
        let ctx = parent.with_value(Last(Some(Box::new(|| panic!("a value that panics (on purpose)")))));
        let mut wait = ctx.done_owned();
        assert!(poll(&mut wait, &Wakes::new()).is_pending());
        drop(ctx);
        let _panics = catch_unwind(AssertUnwindSafe(|| drop(wait)));
        assert_live(&parent);
        cancel.cancel();
        assert_eq!(wakes.count(), 1);
    });
}

#[test]
fn closure_that_is_dropped_by_stop_may_cancel() {
    within("a callback that cancels in drop", || {
        let (root, _time) = manual();
        let (ctx, cancel) = root.with_cancel();
        let last = Last(Some(Box::new(move || cancel.cancel_with("from a drop"))));
        let registered = ctx.after_func(move || drop(last));
        assert!(registered.stop());
        assert_canceled(&ctx, Some("from a drop"));
    });
}

#[test]
fn cause_whose_display_queries_the_context_does_not_hang() {
    #[derive(Debug)]
    struct Curious(Context);
    impl std::fmt::Display for Curious {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "curious, and done is {}", self.0.is_done())
        }
    }
    impl std::error::Error for Curious {}
    within("a cause that asks its context", || {
        let (root, _time) = manual();
        let (ctx, cancel) = root.with_cancel();
        cancel.cancel_with(Curious(ctx.without_cancel()));
        assert_eq!(ctx.cause().expect("done").to_string(), "curious, and done is false");
        assert!(format!("{:#}", ctx.err().expect("done")).contains("curious"));
    });
}

#[test]
fn value_whose_show_queries_the_context_does_not_hang() {
    struct Shows;
    impl Value for Shows {
        fn show(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(if Context::current().is_done() { "done" } else { "live" })
        }
    }
    within("a value that asks in show", || {
        let ctx = Context::background().with_value(Shows);
        assert_eq!(ctx.sync_scope(|| ctx.to_string()), "Background.WithValue(live)");
    });
}
