//! `AfterFunc`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use ripcord::Context;

use super::done_is_closed;
use crate::common::{HANG, HOUR, MS, Wakes, manual, other, poll, within};

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
