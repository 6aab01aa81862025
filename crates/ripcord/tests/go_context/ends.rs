//! Cancels and deadlines.

use std::thread;
use std::time::{Duration, Instant};

use ripcord::{Canceler, Context, ErrorKind};

use super::done_is_closed;
use crate::common::{
    HOUR, MS, SEC, Wakes, assert_canceled, assert_error, assert_exceeded, assert_live, manual, other, poll, within,
};

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
    let value_child = parent.with_value(crate::common::User(1));
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
    let precanceled = parent.with_value(crate::common::User(2));
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
        let gate = crate::common::Gate::new(all.len());
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
