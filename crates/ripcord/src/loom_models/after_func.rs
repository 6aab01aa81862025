//! A function is registered or stopped while its context ends.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use loom::sync::atomic::AtomicUsize;
use loom::thread;

use super::model;
use crate::Context;

/// Waits for a function that runs on a thread of its own, so that the model does not end before the function.
fn wait_for_one(runs: &AtomicUsize) {
    while runs.load(SeqCst) == 0 {
        thread::yield_now();
    }
    assert_eq!(runs.load(SeqCst), 1, "it ran twice");
}

fn counting(runs: &Arc<AtomicUsize>) -> impl FnOnce() + Send + 'static {
    let runs = Arc::clone(runs);
    move || {
        runs.fetch_add(1, SeqCst);
    }
}

#[test]
fn stop_against_fire() {
    model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let runs = Arc::new(AtomicUsize::new(0));
        let after = ctx.after_func(counting(&runs));
        let canceling = thread::spawn(move || cancel.cancel());
        let stopped = after.stop();
        canceling.join().unwrap();
        if stopped {
            assert_eq!(runs.load(SeqCst), 0, "it was stopped, and ran");
        } else {
            wait_for_one(&runs);
        }
        assert!(!after.stop());
    });
}

#[test]
fn registration_against_cancel() {
    model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let runs = Arc::new(AtomicUsize::new(0));
        let canceling = thread::spawn(move || cancel.cancel());
        let _after = ctx.after_func(counting(&runs));
        canceling.join().unwrap();
        wait_for_one(&runs);
    });
}

#[test]
fn registration_against_detach() {
    model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let below = ctx.with_cancel();
        let detaching = thread::spawn(move || cancel.detach());
        let (below, cancel_below) = below;
        cancel_below.detach();
        drop(below.after_func(|| ()));
        drop((ctx, below));
        detaching.join().unwrap();
    });
}

#[test]
fn two_detaches_release_a_function() {
    model(|| {
        let (above, cancel_above) = Context::background().with_cancel();
        let (ctx, cancel) = above.with_cancel();
        drop(ctx.after_func(|| ()));
        drop((above, ctx));
        let detaching = thread::spawn(move || cancel_above.detach());
        cancel.detach();
        detaching.join().unwrap();
    });
}
