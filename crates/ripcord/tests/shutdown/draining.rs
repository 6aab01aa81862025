//! The stop request, as contexts see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ripcord::{Context, Shutdown};

use crate::common::{HOUR, SEC, User, Wakes, assert_canceled, assert_live, bump, manual, other, poll, race};
use crate::report_of;

#[test]
fn stop_request_reaches_every_context_below_and_cancels_none() {
    let (root, time) = manual();
    let shutdown = Shutdown::builder().context(&root.with_value(User(7))).drain(SEC).build();
    let _work = shutdown.context().with_name("work").task_guard();
    let ctx = shutdown.context();
    let (request, _cancel) = Context::background().with_cancel();
    let below = [
        ctx.clone(),
        ctx.with_timeout(HOUR).with_name("request"),
        ctx.without_cancel(),
        ctx.without_cancel().with_value(User(8)).without_cancel(),
        ctx.merge(&request),
        request.merge(ctx),
        other().merge(&ctx.without_cancel()),
        ctx.shielded(SEC),
        ctx.without_cancel().shielded(SEC),
        request.merge(&ctx.shielded(SEC)).with_name("cleanup"),
    ];
    let mut waits: Vec<_> = below.iter().map(Context::draining).collect();
    let wakes = Wakes::new();
    for (ctx, wait) in below.iter().zip(&mut waits) {
        assert!(!ctx.is_draining(), "{ctx}");
        assert!(poll(wait, &wakes).is_pending(), "{ctx}");
    }

    shutdown.begin("deployment");

    assert_eq!(wakes.count(), below.len());
    for (ctx, wait) in below.iter().zip(&mut waits) {
        assert!(ctx.is_draining(), "{ctx}");
        assert!(poll(wait, &wakes).is_ready(), "{ctx}");
        assert_live(ctx);
    }
    assert!(!root.is_draining() && !request.is_draining());
    assert_eq!(shutdown.context().value::<User>(), Some(&User(7)));
    time.advance(SEC);
}

#[test]
fn context_without_a_shutdown_never_drains() {
    let (ctx, cancel) = Context::background().with_cancel();
    let mut draining = ctx.draining();
    cancel.cancel();
    assert!(poll(&mut draining, &Wakes::new()).is_pending());
    assert!(!ctx.is_draining());
}

#[test]
fn merge_of_two_shutdowns_drains_with_either() {
    for second_stops in [false, true] {
        let (first, second) = (Shutdown::builder().build(), Shutdown::builder().build());
        let merged = first.context().merge(second.context()).without_cancel();
        let again = merged.merge(&first.context().with_name("again"));
        let mut draining = again.draining();
        assert!(poll(&mut draining, &Wakes::new()).is_pending());
        if second_stops { &second } else { &first }.begin("one of them");
        assert!(merged.is_draining() && again.is_draining());
        assert!(poll(&mut draining, &Wakes::new()).is_ready());
    }
}

#[test]
fn inner_shutdown_drains_with_the_outer_shutdown_only() {
    let outer = Shutdown::builder().build();
    let _work = outer.context().with_name("work").task_guard();
    let inner = Shutdown::builder().context(outer.context()).build();
    let other = Shutdown::builder().context(outer.context()).build();
    inner.begin("only the inner one");
    assert!(inner.context().is_draining() && !outer.context().is_draining() && !other.context().is_draining());
    outer.begin("both");
    assert!(other.context().is_draining());
}

#[test]
fn stop_request_has_ended_every_context_for_the_loser_of_a_race_too() {
    for _ in 0..crate::common::rounds(500) {
        let shutdown = Shutdown::builder().build();
        let begin = |cause: &'static str| {
            shutdown.begin(cause);
            shutdown.context().is_draining()
        };
        assert_eq!(race(|| begin("first"), || begin("second")), (true, true));
        let report = report_of(&shutdown);
        assert!(["first", "second"].contains(&report.cause().to_string().as_str()));
    }
}

#[test]
fn end_of_the_root_is_a_stop_request() {
    let (root, cancel) = Context::background().with_cancel();
    let shutdown = Shutdown::builder().context(&root).build();
    let draining = shutdown.context().without_cancel();
    cancel.cancel_with("the parent has gone");
    assert!(draining.is_draining());
    assert_canceled(shutdown.context(), Some("the parent has gone"));
    assert_eq!(report_of(&shutdown).cause().to_string(), "the parent has gone");
}

#[test]
fn end_of_the_root_starts_the_shutdown_without_run() {
    let (root, cancel) = Context::background().with_cancel();
    let shutdown = Shutdown::builder().context(&root).build();
    cancel.cancel();
    crate::common::eventually("the report", || poll(&mut Box::pin(shutdown.run()), &Wakes::new()).is_ready());
}

#[test]
fn dropped_shutdown_leaves_nothing_in_its_root() {
    let (root, cancel) = Context::background().with_cancel();
    let dropped = Arc::new(AtomicUsize::new(0));
    struct Counts(Arc<AtomicUsize>);
    impl Drop for Counts {
        fn drop(&mut self) {
            bump(&self.0);
        }
    }
    impl ripcord::Value for Counts {}
    let below = root.with_value(Counts(Arc::clone(&dropped)));
    let shutdown = Shutdown::builder().context(&below).build();
    drop((below, shutdown));
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    cancel.cancel();
}

#[test]
fn context_goes_on_when_every_handle_is_dropped() {
    let shutdown = Shutdown::builder().build();
    let ctx = shutdown.context().clone();
    drop(shutdown);
    assert_live(&ctx);
    assert!(!ctx.is_draining());
}
