//! The scenarios of Go's own tests for package `context`, ported by hand.
//!
//! Source: `src/context/x_test.go`, `context_test.go` and `afterfunc_test.go` of the Go project, copyright 2014 to 2023
//! The Go Authors, BSD-3-Clause (<https://go.dev/LICENSE>). The port takes the scenarios and the conditions that must hold
//! after them. The code is our own, and every test keeps the name of Go's test. The differences:
//!
//! - Time is manual where Go sleeps or waits a short time, so no test here waits for time to pass.
//! - `WithTimeout` returns no canceler here. Where Go cancels a timed context, the test uses `with_timeout` above or below
//!   `with_cancel`, depending on the scenario.
//! - The key of a value is its type, so `k2` and `k3` of `TestValues`, which are one type and two numbers, are two types here.
//!   A nil value is a `None`.
//! - `String()` begins with `Background`, not with `context.Background`, and shows only the type's name of a value.
//! - A Context is a concrete type. Go's tests with a user's own contexts (`otherContext`, `customDoneContext`,
//!   `customCauseContext`, `afterFuncContext`, `TestCustomContextGoroutines`) have no counterpart. Where the scenario is about
//!   a foreign source of cancellation, a merge replaces it.
//! - `TestWithValueChecksKey` and `TestInvalidDerivedFail` (a nil or incomparable key, a nil parent) do not compile here: see
//!   `compile_fail.rs`. `TestAllocs` is in `leak.rs`, which has the counting allocator.

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::{
    HANG, HOUR, MS, SEC, Wakes, assert_canceled, assert_error, assert_exceeded, assert_live, manual, other, poll,
    within,
};
use ripcord::{CancelHandle, Canceler, Context, ErrorKind, Value};

/// `<-ctx.Done()` in a select with a default.
fn done_is_closed(ctx: &Context) -> bool {
    poll(&mut ctx.done(), &Wakes::new()).is_ready()
}

#[test]
fn background() {
    let c = Context::background();
    assert!(!done_is_closed(&c));
    assert_eq!(c.to_string(), "Background");
}

#[test]
fn todo() {
    let c = Context::todo();
    assert!(!done_is_closed(&c));
    assert_eq!(c.to_string(), "TODO");
}

#[test]
fn with_cancel() {
    let (c1, cancel) = Context::background().with_cancel();
    assert_eq!(c1.to_string(), "Background.WithCancel");
    let merged = c1.merge(&other());
    let (c2, _cancel2) = merged.with_cancel();
    let contexts = [c1, merged, c2];
    for c in &contexts {
        assert_live(c);
        assert!(!done_is_closed(c));
    }
    cancel.cancel();
    for c in &contexts {
        assert!(done_is_closed(c));
        assert_canceled(c, None);
    }
}

/// Go inspects the parent's set of children here. Our set is private, so the test checks the effects of the set.
#[test]
fn parent_finishes_child() {
    // parent -> cancel_child
    // parent -> value_child -> timer_child
    let (root, _time) = manual();
    let (parent, cancel) = root.with_cancel();
    let (cancel_child, _stop) = parent.with_cancel();
    let value_child = parent.with_value(common::User(1));
    let timer_child = value_child.with_timeout(10_000 * HOUR);
    let all = [&parent, &cancel_child, &value_child, &timer_child];
    for c in all {
        assert!(!done_is_closed(c));
    }
    cancel.cancel();
    for c in all {
        assert!(done_is_closed(c));
        assert_canceled(c, None);
    }
    let precanceled = parent.with_value(common::User(2));
    assert!(done_is_closed(&precanceled));
    assert_canceled(&precanceled, None);
}

#[test]
fn child_finishes_first() {
    let (cancelable, _stop) = Context::background().with_cancel();
    for parent in [Context::background(), cancelable] {
        let (child, cancel) = parent.with_cancel();
        assert!(!done_is_closed(&parent));
        assert!(!done_is_closed(&child));
        cancel.cancel();
        assert!(done_is_closed(&child));
        assert_canceled(&child, None);
        assert!(!done_is_closed(&parent));
        assert_live(&parent);
    }
}

#[test]
fn deadline() {
    let c = Context::background().with_deadline(Instant::now() + HOUR);
    assert!(c.to_string().starts_with("Background.WithDeadline("), "{c}");

    let (root, time) = manual();
    let soon = || time.now() + MS;

    let c = root.with_deadline(soon());
    let merged = root.with_deadline(soon()).merge(&other());
    let below = merged.with_deadline(time.now() + 1000 * HOUR);
    for c in [&c, &merged, &below] {
        assert_live(c);
    }
    time.advance(MS);
    for c in [&c, &merged, &below] {
        assert!(done_is_closed(c));
        assert_exceeded(c, None);
    }
    assert_exceeded(&root.with_deadline(time.now() - MS), None);
    assert_exceeded(&root.with_deadline(time.now()), None);
}

#[test]
fn timeout() {
    let c = Context::background().with_timeout(HOUR);
    assert!(c.to_string().starts_with("Background.WithDeadline("), "{c}");

    let (root, time) = manual();
    let c = root.with_timeout(MS);
    let merged = root.with_timeout(MS).merge(&other());
    let below = merged.with_timeout(1000 * HOUR);
    time.advance(MS);
    for c in [&c, &merged, &below] {
        assert!(done_is_closed(c));
        assert_exceeded(c, None);
    }
}

#[test]
fn canceled_timeout() {
    let (root, _time) = manual();
    let merged = root.with_timeout(SEC).merge(&other());
    let (c, cancel) = merged.with_timeout(1000 * HOUR).with_cancel();
    cancel.cancel();
    assert!(done_is_closed(&c));
    assert_canceled(&c, None);
}

#[test]
fn values() {
    #[derive(Debug)]
    struct K1(Option<&'static str>);
    #[derive(Debug)]
    struct K2(Option<&'static str>);
    #[derive(Debug)]
    struct K3(Option<&'static str>);
    impl Value for K1 {}
    impl Value for K2 {}
    impl Value for K3 {}
    #[track_caller]
    fn check(c: &Context, v1: &str, v2: &str, v3: &str) {
        assert_eq!(c.value::<K1>().and_then(|v| v.0).unwrap_or(""), v1, "{c}");
        assert_eq!(c.value::<K2>().and_then(|v| v.0).unwrap_or(""), v2, "{c}");
        assert_eq!(c.value::<K3>().and_then(|v| v.0).unwrap_or(""), v3, "{c}");
    }
    let background = Context::background();
    check(&background, "", "", "");
    let c1 = background.with_value(K1(Some("c1k1")));
    check(&c1, "c1k1", "", "");
    assert_eq!(c1.to_string(), "Background.WithValue(K1)");
    let c2 = c1.with_value(K2(Some("c2k2")));
    check(&c2, "c1k1", "c2k2", "");
    assert_eq!(c2.to_string(), "Background.WithValue(K1).WithValue(K2)");
    let c3 = c2.with_value(K3(Some("c3k3")));
    check(&c3, "c1k1", "c2k2", "c3k3");
    let c4 = c3.with_value(K1(None));
    check(&c4, "", "c2k2", "c3k3");
    assert_eq!(c4.to_string(), "Background.WithValue(K1).WithValue(K2).WithValue(K3).WithValue(K1)");

    let merged = other().merge(&background);
    check(&merged, "", "", "");
    let merged = other().merge(&background.with_value(K1(Some("c1k1"))));
    check(&merged, "c1k1", "", "");
    check(&merged.with_value(K2(Some("o2k2"))), "c1k1", "o2k2", "");
    let merged = c4.merge(&other());
    check(&merged, "", "c2k2", "c3k3");
    check(&merged.with_value(K3(None)), "", "c2k2", "");
}

#[test]
fn simultaneous_cancels() {
    within("simultaneous cancels", || {
        let (root, cancel) = Context::background().with_cancel();
        let mut all: Vec<(Context, Canceler)> = vec![(root, cancel)];
        let mut next = 0;
        while all.len() < 100 {
            for _ in 0..4 {
                let child = all[next].0.with_cancel();
                all.push(child);
            }
            next += 1;
        }
        let contexts: Vec<Context> = all.iter().map(|(ctx, _)| ctx.clone()).collect();
        let gate = common::Gate::new(all.len());
        thread::scope(|scope| {
            for (_, cancel) in &all {
                scope.spawn(|| {
                    gate.pass();
                    cancel.cancel();
                });
            }
            for ctx in &contexts {
                assert_error(&ctx.wait(), ErrorKind::Canceled, None);
            }
        });
    });
}

#[test]
fn interlocked_cancels() {
    within("interlocked cancels", || {
        let (parent, cancel_parent) = Context::background().with_cancel();
        let (child, cancel_child) = parent.with_cancel();
        thread::scope(|scope| {
            scope.spawn(|| {
                parent.wait();
                cancel_child.cancel();
            });
            cancel_parent.cancel();
            assert!(child.wait().is_canceled());
        });
    });
}

/// A value that stores the number of its layer. Go's keys are pointers, so Go finds the value of every layer. Here only the
/// nearest value of a type is found, which is the last one added.
#[derive(Debug, PartialEq)]
struct Layer(usize);
impl Value for Layer {}

fn layers(seed: u64, by_timeout: bool) {
    let mut random = common::Random(seed);
    let (root, time) = manual();
    let (mut ctx, mut cancels, mut timers, mut last) = (root, Vec::<Canceler>::new(), 0, None);
    let mut i = 0;
    while i < 30 || timers == 0 || cancels.is_empty() || last.is_none() {
        match random.below(3) {
            0 => {
                ctx = ctx.with_value(Layer(i));
                last = Some(Layer(i));
            }
            1 => {
                let (child, cancel) = ctx.with_cancel();
                ctx = child;
                cancels.push(cancel);
            }
            _ => {
                ctx = ctx.with_timeout(if by_timeout { MS } else { 1000 * HOUR });
                timers += 1;
            }
        }
        i += 1;
    }
    assert!(!done_is_closed(&ctx), "seed {seed}");
    assert!(ctx.to_string().starts_with("Background."), "seed {seed}: {ctx}");
    assert_eq!(ctx.value::<Layer>(), last.as_ref(), "seed {seed}");
    if by_timeout {
        time.advance(MS);
        assert_exceeded(&ctx, None);
    } else {
        cancels[random.below(cancels.len())].cancel();
        assert_canceled(&ctx, None);
    }
    assert!(done_is_closed(&ctx), "seed {seed}");
    assert_eq!(ctx.value::<Layer>(), last.as_ref(), "seed {seed}");
}

#[test]
fn layers_cancel() {
    (0..50).for_each(|seed| layers(seed, false));
}

#[test]
fn layers_timeout() {
    (0..50).for_each(|seed| layers(seed, true));
}

/// Go counts the parent's children. From outside, the test can check that nothing of the child is kept (`leak.rs` counts
/// bytes).
#[test]
fn cancel_removes() {
    let (root, _time) = manual();
    let (ctx, _cancel) = root.with_cancel();
    for timed in [false, true] {
        let wakes = Wakes::new();
        let (mut child, cancel) = ctx.with_cancel();
        if timed {
            child = child.with_timeout(HOUR);
        }
        let mut wait = child.done();
        assert!(poll(&mut wait, &wakes).is_pending());
        cancel.cancel();
        assert_eq!(wakes.held(), 0);
        assert_eq!(wakes.count(), 1);
    }
    assert_live(&ctx);
}

#[test]
fn with_cancel_canceled_parent() {
    let (parent, cancel) = Context::background().with_cancel();
    cancel.cancel_with("Because!");
    let (c, _cancel) = parent.with_cancel();
    assert!(done_is_closed(&c));
    assert_canceled(&c, Some("Because!"));
}

#[test]
fn with_cancel_simultaneously_canceled_parent() {
    within("a parent canceled while its child is made", || {
        for _ in 0..100 {
            let (parent, cancel) = Context::background().with_cancel();
            thread::scope(|scope| {
                scope.spawn(|| cancel.cancel_with("Because!"));
                let (c, _cancel) = parent.with_cancel();
                c.wait();
                assert_canceled(&c, Some("Because!"));
            });
        }
    });
}

/// `DeadlineExceeded` is a `net.Error` whose `Timeout()` is true. In Rust, it is an `io::Error` of kind `TimedOut`.
#[test]
fn deadline_exceeded_is_net_error() {
    let error = Context::background().with_timeout(Duration::ZERO).err().expect("done");
    assert!(error.is_deadline_exceeded());
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::TimedOut);
}

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

// ===== AfterFunc =====

#[test]
fn after_func_called_after_cancel() {
    let (ctx, cancel) = Context::background().with_cancel();
    let (sender, donec) = mpsc::channel();
    let registered = ctx.after_func(move || sender.send(()).expect("the test waits"));
    assert!(donec.try_recv().is_err(), "called before the context is done");
    cancel.cancel();
    donec.recv_timeout(HANG).expect("called after the context is canceled");
    assert!(!registered.stop());
}

#[test]
fn after_func_called_after_timeout() {
    let (root, time) = manual();
    let ctx = root.with_timeout(MS);
    let (sender, donec) = mpsc::channel();
    drop(ctx.after_func(move || sender.send(()).expect("the test waits")));
    time.advance(MS);
    donec.recv_timeout(HANG).expect("called after the timeout");
}

#[test]
fn after_func_called_immediately() {
    let (ctx, cancel) = Context::background().with_cancel();
    cancel.cancel();
    let (sender, donec) = mpsc::channel();
    drop(ctx.after_func(move || sender.send(()).expect("the test waits")));
    donec.recv_timeout(HANG).expect("called for a context already canceled");
}

#[test]
fn after_func_not_called_after_stop() {
    let (ctx, cancel) = Context::background().with_cancel();
    let called = Arc::new(AtomicBool::new(false));
    let registered = ctx.after_func({
        let called = Arc::clone(&called);
        move || called.store(true, Ordering::SeqCst)
    });
    assert!(registered.stop());
    cancel.cancel();
    // Go waits a millisecond. Here another callback, which was registered later and has run, replaces the wait.
    let (sender, donec) = mpsc::channel();
    drop(ctx.after_func(move || sender.send(()).expect("the test waits")));
    donec.recv_timeout(HANG).expect("called");
    assert!(!called.load(Ordering::SeqCst));
    assert!(!registered.stop());
}

/// A cancel does not wait for the callbacks of its context to finish.
#[test]
fn after_func_called_asynchronously() {
    within("a callback that waits for cancel() to return", || {
        let (ctx, cancel) = Context::background().with_cancel();
        // A channel of capacity 0, so the send blocks until the message is received.
        let (sender, donec) = mpsc::sync_channel(0);
        let _registered = ctx.after_func(move || sender.send(()).expect("the test waits"));
        cancel.cancel();
        donec.recv_timeout(HANG).expect("called after the context is canceled");
    });
}

/// `TestCustomContextAfterFunc...` (cancel, timeout, callback), with a merge as the foreign source.
#[test]
fn custom_context_after_func() {
    let (foreign, cancel) = Context::background().with_cancel();
    let ctx0 = other().merge(&foreign);
    let (ctx1, _cancel) = ctx0.with_cancel();
    let ctx2 = ctx0.with_timeout(1000 * HOUR);
    let (sender, donec) = mpsc::channel();
    drop(ctx0.after_func(move || sender.send(()).expect("the test waits")));
    cancel.cancel();
    assert!(done_is_closed(&ctx1));
    assert!(done_is_closed(&ctx2));
    donec.recv_timeout(HANG).expect("called");
}

/// `TestCustomContextAfterFuncUnregister...`: a function that is registered on a child is released with the child.
#[test]
fn custom_context_after_func_unregister() {
    let (ctx0, _cancel) = Context::background().with_cancel();
    let held = Arc::new(AtomicUsize::new(0));
    let registered = ctx0.after_func({
        let held = Arc::clone(&held);
        move || drop(held)
    });
    assert_eq!(Arc::strong_count(&held), 2);
    assert!(registered.stop());
    assert_eq!(Arc::strong_count(&held), 1);
    let wakes = Wakes::new();
    for timed in [false, true] {
        let (mut child, cancel) = ctx0.with_cancel();
        if timed {
            child = child.with_timeout(1000 * HOUR);
        }
        let mut wait = child.done_owned();
        assert!(poll(&mut wait, &wakes).is_pending());
        assert_eq!(wakes.held(), 1);
        drop(child);
        drop(wait);
        cancel.cancel();
        assert_eq!(wakes.held(), 0);
    }
}
