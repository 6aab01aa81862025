//! A waiter is registered, replaced or removed while its context ends.

use std::pin::pin;
use std::sync::Arc;

use loom::thread;

use super::{Wakes, model, poll, three_levels};
use crate::Context;

#[test]
fn register_against_cancel() {
    model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let canceling = thread::spawn(move || cancel.cancel());
        let wakes = Wakes::new();
        let mut done = pin!(ctx.done());
        let first = poll(done.as_mut(), &wakes);
        canceling.join().unwrap();
        assert!(first.is_ready() || wakes.count() == 1, "a wake-up was lost");
        assert!(poll(done, &wakes).is_ready());
    });
}

#[test]
fn another_waker_against_cancel() {
    model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let (before, after) = (Wakes::new(), Wakes::new());
        let mut done = pin!(ctx.done());
        assert!(poll(done.as_mut(), &before).is_pending());
        let canceling = thread::spawn(move || cancel.cancel());
        let second = poll(done.as_mut(), &after);
        canceling.join().unwrap();
        assert!(second.is_ready() || after.count() == 1, "the newer waker was not woken");
    });
}

#[test]
fn forget_against_cancel() {
    model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let wakes = Wakes::new();
        {
            let mut done = Box::pin(ctx.done_owned());
            assert!(poll(done.as_mut(), &wakes).is_pending());
            let canceling = thread::spawn(move || cancel.cancel());
            drop(done);
            canceling.join().unwrap();
        }
        assert!(ctx.is_done() && wakes.count() <= 1);
        assert_eq!(Arc::strong_count(&wakes), 1, "a waker was kept");
    });
}

#[test]
fn link_against_cancel() {
    model(|| {
        let [(_root, cancel), child, (grandchild, _keep)] = three_levels();
        let canceling = thread::spawn(move || cancel.cancel());
        let wakes = Wakes::new();
        let mut done = pin!(grandchild.done());
        let first = poll(done.as_mut(), &wakes);
        canceling.join().unwrap();
        assert!(first.is_ready() || wakes.count() == 1, "a wake-up was lost");
        assert!(grandchild.is_done() && child.0.is_done());
    });
}

#[test]
fn two_links_of_one_path() {
    model(|| {
        let (root, cancel) = Context::background().with_cancel();
        let (child, _child) = root.with_cancel();
        let [(here, _here), (there, _there)] = [child.with_cancel(), child.with_cancel()];
        // Both threads link the child to the root. Neither thread may assume that the link exists before it does.
        let linking = thread::spawn(move || {
            let wakes = Wakes::new();
            let mut done = Box::pin(there.done_owned());
            let first = poll(done.as_mut(), &wakes);
            (first.is_ready(), done, wakes)
        });
        let wakes = Wakes::new();
        let mut done = pin!(here.done());
        assert!(poll(done.as_mut(), &wakes).is_pending());
        cancel.cancel();
        // The other thread may have taken over a part of the marking and its wakes, so it is joined first.
        let (ready, mut done_there, wakes_there) = linking.join().unwrap();
        assert!(ready || wakes_there.count() == 1, "a wake-up was lost");
        assert_eq!(wakes.count(), 1, "a wake-up was lost");
        assert!(poll(done_there.as_mut(), &wakes_there).is_ready());
    });
}
