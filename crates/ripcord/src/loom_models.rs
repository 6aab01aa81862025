//! One small model per race: loom runs each in every order in which its threads can be interleaved.
//!
//! `scripts/loom` runs them. They use the public API on the code that ships; only the atomics are loom's.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{self, Poll, Wake, Waker};

use loom::thread;

use crate::{Canceler, Context, Error};

/// Counts how often it is woken. Looked at only after the threads were joined, so a plain atomic will do.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn poll(future: Pin<&mut impl Future<Output = Error>>, wakes: &Arc<Wakes>) -> Poll<Error> {
    future.poll(&mut task::Context::from_waker(&Waker::from(Arc::clone(wakes))))
}

/// A root, a child and a grandchild, each with its canceler.
fn three_levels() -> [(Context, Canceler); 3] {
    let root = Context::background().with_cancel();
    let child = root.0.with_cancel();
    let grandchild = child.0.with_cancel();
    [root, child, grandchild]
}

#[test]
fn register_against_cancel() {
    loom::model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let canceling = thread::spawn(move || cancel.cancel());
        let wakes = Arc::new(Wakes::default());
        let mut done = pin!(ctx.done());
        let first = poll(done.as_mut(), &wakes);
        canceling.join().unwrap();
        assert!(first.is_ready() || wakes.0.load(SeqCst) == 1, "a wake-up was lost");
        assert!(poll(done, &wakes).is_ready());
    });
}

#[test]
fn another_waker_against_cancel() {
    loom::model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let (before, after) = (Arc::new(Wakes::default()), Arc::new(Wakes::default()));
        let mut done = pin!(ctx.done());
        assert!(poll(done.as_mut(), &before).is_pending());
        let canceling = thread::spawn(move || cancel.cancel());
        let second = poll(done.as_mut(), &after);
        canceling.join().unwrap();
        assert!(second.is_ready() || after.0.load(SeqCst) == 1, "the newer waker was not woken");
    });
}

#[test]
fn forget_against_cancel() {
    loom::model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let wakes = Arc::new(Wakes::default());
        {
            let mut done = Box::pin(ctx.done_owned());
            assert!(poll(done.as_mut(), &wakes).is_pending());
            let canceling = thread::spawn(move || cancel.cancel());
            drop(done);
            canceling.join().unwrap();
        }
        assert!(ctx.is_done() && wakes.0.load(SeqCst) <= 1);
        assert_eq!(Arc::strong_count(&wakes), 1, "a waker was kept");
    });
}

#[test]
fn link_against_cancel() {
    loom::model(|| {
        let [(_root, cancel), child, (grandchild, _keep)] = three_levels();
        let canceling = thread::spawn(move || cancel.cancel());
        let wakes = Arc::new(Wakes::default());
        let mut done = pin!(grandchild.done());
        let first = poll(done.as_mut(), &wakes);
        canceling.join().unwrap();
        assert!(first.is_ready() || wakes.0.load(SeqCst) == 1, "a wake-up was lost");
        assert!(grandchild.is_done() && child.0.is_done());
    });
}

#[test]
fn two_links_of_one_path() {
    loom::model(|| {
        let (root, cancel) = Context::background().with_cancel();
        let (child, _child) = root.with_cancel();
        let [(here, _here), (there, _there)] = [child.with_cancel(), child.with_cancel()];
        // Both want the edge from the child to the root: neither may believe it linked before it is.
        let linking = thread::spawn(move || {
            let wakes = Arc::new(Wakes::default());
            let mut done = Box::pin(there.done_owned());
            let first = poll(done.as_mut(), &wakes);
            (first.is_ready(), done, wakes)
        });
        let wakes = Arc::new(Wakes::default());
        let mut done = pin!(here.done());
        assert!(poll(done.as_mut(), &wakes).is_pending());
        cancel.cancel();
        // The other thread may have taken a part of the marking over, and its wakes: they come when it is through.
        let (ready, mut done_there, wakes_there) = linking.join().unwrap();
        assert!(ready || wakes_there.0.load(SeqCst) == 1, "a wake-up was lost");
        assert_eq!(wakes.0.load(SeqCst), 1, "a wake-up was lost");
        assert!(poll(done_there.as_mut(), &wakes_there).is_ready());
    });
}

#[test]
fn drop_against_cancel() {
    loom::model(|| {
        let (root, cancel) = Context::background().with_cancel();
        let (child, keep) = root.with_cancel();
        let wakes = Arc::new(Wakes::default());
        assert!(poll(pin!(child.done()), &wakes).is_pending());
        // It is in its parent's list now: dropping takes it out, canceling takes it out.
        let dropping = thread::spawn(move || drop((child, keep)));
        cancel.cancel();
        dropping.join().unwrap();
    });
}

#[test]
fn drop_of_a_parent_of_children_against_cancel() {
    loom::model(|| {
        let [(_root, cancel), child, (grandchild, keep)] = three_levels();
        let wakes = Arc::new(Wakes::default());
        assert!(poll(pin!(grandchild.done()), &wakes).is_pending());
        let dropping = thread::spawn(move || drop((grandchild, keep, child)));
        cancel.cancel();
        dropping.join().unwrap();
    });
}

#[test]
fn stop_against_fire() {
    loom::model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let runs = Arc::new(loom::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let after = ctx.after_func(move || {
            counted.fetch_add(1, SeqCst);
        });
        let canceling = thread::spawn(move || cancel.cancel());
        let stopped = after.stop();
        canceling.join().unwrap();
        if stopped {
            assert_eq!(runs.load(SeqCst), 0, "stopped, and ran");
        } else {
            // It runs on a thread of its own; the model ends only when that has.
            while runs.load(SeqCst) == 0 {
                thread::yield_now();
            }
        }
        assert!(!after.stop());
    });
}

#[test]
fn a_second_cancel_returns_with_all_descendants_done() {
    loom::model(|| {
        let [(_root, cancel), (_child, cancel_child), (grandchild, _keep)] = three_levels();
        let wakes = Arc::new(Wakes::default());
        let waiting = grandchild.clone();
        let mut done = pin!(waiting.done());
        assert!(poll(done.as_mut(), &wakes).is_pending());
        let above = thread::spawn(move || cancel.cancel_with("above"));
        cancel_child.cancel_with("child");
        // `above` may be half way: the child is marked and its child is not.
        assert!(grandchild.is_done());
        let cause = grandchild.cause().unwrap().to_string();
        above.join().unwrap();
        assert_eq!(grandchild.cause().unwrap().to_string(), cause, "an end changed");
        assert_eq!(wakes.0.load(SeqCst), 1);
    });
}

#[test]
fn error_cause_and_done_are_seen_together() {
    loom::model(|| {
        let (root, cancel) = Context::background().with_cancel();
        let (child, _keep) = root.with_cancel();
        let canceling = thread::spawn(move || cancel.cancel_with("why"));
        if child.is_done() {
            assert_eq!(child.cause().unwrap().to_string(), "why");
        }
        if let Some(error) = child.err() {
            assert_eq!(error.cause().unwrap().to_string(), "why");
        }
        canceling.join().unwrap();
        assert!(child.is_done());
    });
}

#[test]
fn two_cancels_have_one_winner() {
    loom::model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let other = cancel.handle();
        let canceling = thread::spawn(move || other.cancel_with("other"));
        cancel.cancel_with("one");
        let seen = ctx.cause().unwrap().to_string();
        canceling.join().unwrap();
        assert_eq!(ctx.cause().unwrap().to_string(), seen, "an end changed");
    });
}

#[test]
fn merged_against_both() {
    loom::model(|| {
        let (first, cancel_first) = Context::background().with_cancel();
        let (second, cancel_second) = Context::background().with_cancel();
        let merged = first.merge(&second);
        let wakes = Arc::new(Wakes::default());
        let waiting = merged.clone();
        let mut done = pin!(waiting.done());
        assert!(poll(done.as_mut(), &wakes).is_pending());
        let canceling = thread::spawn(move || cancel_first.cancel_with("first"));
        cancel_second.cancel_with("second");
        assert!(merged.is_done());
        let seen = merged.cause().unwrap().to_string();
        canceling.join().unwrap();
        assert_eq!(merged.cause().unwrap().to_string(), seen, "an end changed");
        assert_eq!(wakes.0.load(SeqCst), 1);
    });
}
