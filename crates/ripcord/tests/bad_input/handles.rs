//! Handles used in an unusual order.

use crate::common::{SEC, Wakes, assert_canceled, assert_live, manual, poll, within};

use ripcord::Context;

#[test]
fn canceler_outlives_its_context() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let handle = cancel.handle();
    drop(ctx);
    cancel.cancel_with("nobody hears it");
    handle.cancel();
    drop(cancel);
    handle.clone().cancel_with("nobody hears it");
    assert_live(&root);
}

#[test]
fn future_outlives_every_handle() {
    let (root, time) = manual();
    let wakes = Wakes::new();
    let (ctx, cancel) = root.with_timeout(SEC).with_cancel();
    cancel.detach();
    let mut wait = ctx.done_owned();
    drop((ctx, root));
    assert!(poll(&mut wait, &wakes).is_pending());
    time.advance(SEC);
    assert_eq!(wakes.count(), 1);
    assert!(poll(&mut wait, &wakes).is_ready());
}

#[test]
fn merge_with_itself_or_a_relative_ends_once() {
    within("a merge with itself", || {
        let (root, _time) = manual();
        let (ctx, cancel) = root.with_cancel();
        let child = ctx.with_name("child");
        let merges = [ctx.merge(&ctx), ctx.merge(&child), child.merge(&ctx), child.merge(&child).merge(&ctx)];
        let wakes = Wakes::new();
        let mut waits: Vec<_> = merges.iter().map(Context::done).collect();
        waits.iter_mut().for_each(|wait| assert!(poll(wait, &wakes).is_pending()));
        cancel.cancel_with("stop");
        assert_eq!(wakes.count(), merges.len());
        merges.iter().for_each(|ctx| assert_canceled(ctx, Some("stop")));
    });
}

#[test]
fn names_of_every_shape() {
    let long = "x".repeat(10_000);
    for name in ["", " ", "\n", "(a).b", "\u{1F984}", long.as_str()] {
        let ctx = Context::background().with_name(name.to_owned());
        assert_eq!(ctx.name(), Some(name));
        let (ctx, cancel) = ctx.with_cancel();
        cancel.cancel_with("");
        assert!(!format!("{ctx} {:#}", ctx.err().expect("done")).is_empty());
        assert_canceled(&ctx, Some(""));
    }
}
