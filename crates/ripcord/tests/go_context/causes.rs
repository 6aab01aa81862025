//! Causes.

use std::thread;
use std::time::Duration;

use ripcord::{CancelHandle, Canceler, Context, ErrorKind};

use super::{Layer, done_is_closed};
use crate::common::{SEC, assert_canceled, assert_live, manual, other, within};

/// One row of Go's table: how to create the context, its error, and its cause. `Itself` in the last column means that the cause
/// is the error itself.
#[test]
fn cause() {
    const FOREVER: Duration = Duration::from_secs(1_000_000);
    enum Why {
        Given(&'static str),
        Itself,
    }
    use ErrorKind::{Canceled, DeadlineExceeded};
    use Why::{Given, Itself};
    type Row = (&'static str, fn(&Context) -> Context, Option<(ErrorKind, Why)>);

    // Go's tests never drop a cancel function. Here a canceler that goes out of scope cancels, so each row detaches the
    // cancelers that must not cancel.
    fn kept(cancel: Canceler) {
        cancel.detach();
    }
    fn parent_and_child(root: &Context) -> (CancelHandle, Context, CancelHandle) {
        let (parent, cancel_parent) = root.with_cancel();
        let (child, cancel_child) = parent.with_cancel();
        let handles = (cancel_parent.handle(), child, cancel_child.handle());
        kept(cancel_parent);
        kept(cancel_child);
        handles
    }
    let table: [Row; 23] = [
        ("Background", |_| Context::background(), None),
        ("TODO", |_| Context::todo(), None),
        (
            "WithCancel",
            |root| {
                let (ctx, cancel) = root.with_cancel();
                cancel.cancel();
                ctx
            },
            Some((Canceled, Itself)),
        ),
        (
            "WithCancelCause",
            |root| {
                let (ctx, cancel) = root.with_cancel();
                cancel.cancel_with("parentCause");
                ctx
            },
            Some((Canceled, Given("parentCause"))),
        ),
        // "WithCancelCause nil": a nil cause cannot be written. Dropping the canceler is the closest equivalent.
        ("WithCancelCause nil", |root| root.with_cancel().0, Some((Canceled, Itself))),
        (
            "WithCancelCause: parent cause before child",
            |root| {
                let (parent, ctx, child) = parent_and_child(root);
                parent.cancel_with("parentCause");
                child.cancel_with("childCause");
                ctx
            },
            Some((Canceled, Given("parentCause"))),
        ),
        (
            "WithCancelCause: parent cause after child",
            |root| {
                let (parent, ctx, child) = parent_and_child(root);
                child.cancel_with("childCause");
                parent.cancel_with("parentCause");
                ctx
            },
            Some((Canceled, Given("childCause"))),
        ),
        (
            "WithCancelCause: parent cause before nil",
            |root| {
                let (parent, ctx, child) = parent_and_child(root);
                parent.cancel_with("parentCause");
                child.cancel();
                ctx
            },
            Some((Canceled, Given("parentCause"))),
        ),
        (
            "WithCancelCause: parent cause after nil",
            |root| {
                let (parent, ctx, child) = parent_and_child(root);
                child.cancel();
                parent.cancel_with("parentCause");
                ctx
            },
            Some((Canceled, Itself)),
        ),
        (
            "WithCancelCause: child cause after nil",
            |root| {
                let (parent, ctx, child) = parent_and_child(root);
                parent.cancel();
                child.cancel_with("childCause");
                ctx
            },
            Some((Canceled, Itself)),
        ),
        (
            "WithCancelCause: child cause before nil",
            |root| {
                let (parent, ctx, child) = parent_and_child(root);
                child.cancel_with("childCause");
                parent.cancel();
                ctx
            },
            Some((Canceled, Given("childCause"))),
        ),
        (
            "WithTimeout",
            |root| {
                let (ctx, cancel) = root.with_timeout(Duration::ZERO).with_cancel();
                cancel.cancel();
                ctx
            },
            Some((DeadlineExceeded, Itself)),
        ),
        (
            "WithTimeout canceled",
            |root| {
                let (ctx, cancel) = root.with_timeout(FOREVER).with_cancel();
                cancel.cancel();
                ctx
            },
            Some((Canceled, Itself)),
        ),
        (
            "WithTimeoutCause",
            |root| {
                let (ctx, cancel) = root.with_timeout_cause(Duration::ZERO, "tooSlow").with_cancel();
                cancel.cancel();
                ctx
            },
            Some((DeadlineExceeded, Given("tooSlow"))),
        ),
        (
            "WithTimeoutCause canceled",
            |root| {
                let (ctx, cancel) = root.with_timeout_cause(FOREVER, "tooSlow").with_cancel();
                cancel.cancel();
                ctx
            },
            Some((Canceled, Itself)),
        ),
        (
            "WithTimeoutCause stacked",
            |root| {
                let (parent, cancel) = root.with_cancel();
                let ctx = parent.with_timeout_cause(Duration::ZERO, "tooSlow");
                cancel.cancel_with("finishedEarly");
                ctx
            },
            Some((DeadlineExceeded, Given("tooSlow"))),
        ),
        (
            "WithTimeoutCause stacked canceled",
            |root| {
                let (parent, cancel) = root.with_cancel();
                let ctx = parent.with_timeout_cause(FOREVER, "tooSlow");
                cancel.cancel_with("finishedEarly");
                ctx
            },
            Some((Canceled, Given("finishedEarly"))),
        ),
        ("WithoutCancel", |root| root.without_cancel(), None),
        (
            "WithoutCancel canceled",
            |root| {
                let (parent, cancel) = root.with_cancel();
                let ctx = parent.without_cancel();
                cancel.cancel_with("finishedEarly");
                ctx
            },
            None,
        ),
        ("WithoutCancel timeout", |root| root.with_timeout_cause(Duration::ZERO, "tooSlow").without_cancel(), None),
        // Not in Go's table: the same rows with deadlines set as instants, and with a value below.
        (
            "WithDeadlineCause in the past",
            |root| root.with_deadline_cause(root.clock().now() - SEC, "tooSlow"),
            Some((DeadlineExceeded, Given("tooSlow"))),
        ),
        (
            "WithDeadlineCause canceled",
            |root| {
                let (parent, cancel) = root.with_cancel();
                let ctx = parent.with_deadline_cause(root.clock().now() + SEC, "tooSlow");
                cancel.cancel();
                ctx
            },
            Some((Canceled, Itself)),
        ),
        (
            "WithValue of a canceled context",
            |root| {
                let (ctx, cancel) = root.with_cancel();
                cancel.cancel_with("parentCause");
                ctx.with_value(Layer(0))
            },
            Some((Canceled, Given("parentCause"))),
        ),
    ];
    for (name, make, want) in table {
        let (root, _time) = manual();
        let ctx = make(&root);
        let got = ctx.err().map(|error| (error.kind(), ctx.cause().expect("done").to_string()));
        let want = want.map(|(kind, why)| match (kind, why) {
            (kind, Given(cause)) => (kind, cause.to_owned()),
            (Canceled, Itself) => (kind, "context canceled".to_owned()),
            (_, Itself) => (kind, "context deadline exceeded".to_owned()),
        });
        assert_eq!(got, want, "{name}");
        assert_eq!(ctx.cause().is_some(), want.is_some(), "{name}");
    }
}

#[test]
fn cause_race() {
    within("polling the cause", || {
        let (ctx, cancel) = Context::background().with_cancel();
        thread::scope(|scope| {
            scope.spawn(|| cancel.cancel_with("TestCauseRace"));
            loop {
                if let Some(cause) = ctx.cause() {
                    assert_eq!(cause.to_string(), "TestCauseRace");
                    break;
                }
                thread::yield_now();
            }
        });
    });
}

#[test]
fn without_cancel() {
    let ctx = Context::background().with_value(Layer(1)).without_cancel();
    assert_eq!(ctx.deadline(), None);
    assert!(!done_is_closed(&ctx));
    assert_live(&ctx);
    assert_eq!(ctx.value::<Layer>(), Some(&Layer(1)));
    assert_eq!(ctx.to_string(), "Background.WithValue(Layer).WithoutCancel");
}

/// `TestCustomContextPropagation` and the third part of `TestCustomContextCause`, with a merge as the foreign source.
#[test]
fn custom_context_propagation() {
    let (ctx1, cancel1) = Context::background().with_cancel();
    let ctx2 = other().merge(&ctx1);
    let (ctx3, _cancel3) = ctx2.with_cancel();
    cancel1.cancel_with("TestCustomContextPropagation");
    assert!(done_is_closed(&ctx3));
    assert_canceled(&ctx3, Some("TestCustomContextPropagation"));
}

/// The rest of `TestCustomContextCause`. A child canceled with a cause keeps the cause when its foreign parent ends later.
#[test]
fn custom_context_cause() {
    let (foreign, cancel_foreign) = Context::background().with_cancel();
    let parent = other().merge(&foreign);
    let (ctx, cancel) = parent.with_cancel();
    cancel.cancel_with("TestCustomContextCause");
    assert_canceled(&ctx, Some("TestCustomContextCause"));
    assert_live(&parent);
    cancel_foreign.cancel();
    assert_canceled(&ctx, Some("TestCustomContextCause"));
    assert_canceled(&parent, None);
}
