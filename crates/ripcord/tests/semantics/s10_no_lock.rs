//! 10. Wakers (including their clone and drop), callbacks and users' `Drop`s never run under a lock of this crate. A panic in
//!     one of them does not keep the others from running.
//!
//! Each test runs on its own thread with a time limit, because a lock that is held too long causes a hang. `peers.rs` and
//! `bad_input/` have more tests of this kind, ordered by fault.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use ripcord::{Context, Value};

use crate::common::{HANG, HOUR, SEC, User, Wakes, manual, poll, poll_with, waker_fn, within};

/// Runs everything that a woken task might do with the contexts around it.
fn do_everything(ctx: &Context, parent: &Context) {
    for ctx in [ctx, parent] {
        let _ = (ctx.is_done(), ctx.err(), ctx.cause(), ctx.deadline(), ctx.value::<User>().is_some());
        let (child, cancel) = ctx.with_cancel();
        let _pending_or_ready = poll(&mut child.done(), &Wakes::new());
        cancel.cancel();
        let timed = ctx.with_timeout(HOUR);
        let _pending_or_ready = poll(&mut timed.done(), &Wakes::new());
        ctx.after_func(|| ()).stop();
        drop(ctx.merge(parent).with_value(User(1)));
        let _shown = format!("{ctx} {ctx:?} {:#}", parent.err().map_or_else(String::new, |e| format!("{e:#}")));
    }
}

#[test]
fn s10_a_waker_may_do_everything_with_the_contexts_around_it() {
    within("a waker that does everything", || {
        let (root, _time) = manual();
        let (parent, cancel) = root.with_cancel();
        let (ctx, cancel_ctx) = parent.with_cancel();
        let handle = cancel_ctx.handle();
        let ran = Arc::new(AtomicUsize::new(0));
        let waker = waker_fn({
            let (ctx, parent, handle, ran) = (ctx.clone(), parent.clone(), handle.clone(), Arc::clone(&ran));
            move || {
                handle.cancel_with("again");
                do_everything(&ctx, &parent);
                ran.fetch_add(1, Ordering::SeqCst);
            }
        });
        let (mut a, mut b) = (ctx.done(), parent.done());
        assert!(poll_with(&mut a, &waker).is_pending());
        assert!(poll_with(&mut b, &waker).is_pending());
        cancel.cancel();
        assert_eq!(ran.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn s10_a_waker_woken_by_a_deadline_may_too() {
    within("a waker woken by a deadline", || {
        let (root, time) = manual();
        let ctx = root.with_timeout(SEC);
        let ran = Arc::new(AtomicUsize::new(0));
        let waker = waker_fn({
            let (ctx, root, time, ran) = (ctx.clone(), root.clone(), time.clone(), Arc::clone(&ran));
            move || {
                do_everything(&ctx, &root);
                let _now = time.now();
                ran.fetch_add(1, Ordering::SeqCst);
            }
        });
        let mut wait = ctx.done();
        assert!(poll_with(&mut wait, &waker).is_pending());
        time.advance(SEC);
        assert_eq!(ran.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn s10_a_callback_may_do_everything() {
    within("a callback that does everything", || {
        let (root, _time) = manual();
        let (ctx, cancel) = root.with_cancel();
        let (sender, receiver) = mpsc::channel();
        let _registered = ctx.after_func({
            let (ctx, root) = (ctx.clone(), root.clone());
            move || {
                do_everything(&ctx, &root);
                sender.send(()).expect("the test waits");
            }
        });
        cancel.cancel();
        receiver.recv_timeout(HANG).expect("the callback ran");
    });
}

/// Calls a function when dropped, like users' values, closures and wakers.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn s10_a_waker_may_do_everything_when_it_is_dropped() {
    within("a waker that does everything in drop", || {
        for ending in ["poll again", "drop the future", "cancel", "deadline"] {
            let (root, time) = manual();
            let (parent, cancel) = root.with_timeout(SEC).with_cancel();
            let ctx = parent.with_name("ctx");
            let dropped = Arc::new(AtomicUsize::new(0));
            let waker = waker_fn({
                let guard = OnDrop({
                    let (ctx, parent, dropped) = (ctx.clone(), parent.clone(), Arc::clone(&dropped));
                    move || {
                        do_everything(&ctx, &parent);
                        dropped.fetch_add(1, Ordering::SeqCst);
                    }
                });
                move || {
                    let _keep = &guard;
                }
            });
            let mut wait = ctx.done();
            assert!(poll_with(&mut wait, &waker).is_pending());
            drop(waker);
            match ending {
                "poll again" => assert!(poll(&mut wait, &Wakes::new()).is_pending()),
                "drop the future" => drop(wait),
                "cancel" => cancel.cancel(),
                _ => time.advance(SEC),
            }
            assert_eq!(dropped.load(Ordering::SeqCst), 1, "on {ending}");
        }
    });
}

#[test]
fn s10_a_value_may_do_everything_when_it_is_dropped() {
    struct Noisy(#[expect(dead_code, reason = "it is there to be dropped")] OnDrop<Box<dyn FnMut() + Send + Sync>>);
    impl Value for Noisy {}
    within("a value that does everything in drop", || {
        let (root, _time) = manual();
        let (parent, _cancel) = root.with_cancel();
        let dropped = Arc::new(AtomicUsize::new(0));
        let ctx = parent.with_value(Noisy(OnDrop(Box::new({
            let (parent, dropped) = (parent.clone(), Arc::clone(&dropped));
            move || {
                do_everything(&parent.with_name("from a drop"), &parent);
                dropped.fetch_add(1, Ordering::SeqCst);
            }
        }))));
        let mut wait = ctx.done_owned();
        assert!(poll(&mut wait, &Wakes::new()).is_pending());
        drop(ctx);
        drop(wait);
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn s10_a_stopped_callback_is_dropped_outside_the_lock() {
    within("a callback that does everything in drop", || {
        let (root, _time) = manual();
        let (ctx, _cancel) = root.with_cancel();
        let dropped = Arc::new(AtomicUsize::new(0));
        let guard = OnDrop({
            let (ctx, dropped) = (ctx.clone(), Arc::clone(&dropped));
            move || {
                do_everything(&ctx, &ctx);
                dropped.fetch_add(1, Ordering::SeqCst);
            }
        });
        let registered = ctx.after_func(move || drop(guard));
        assert!(registered.stop());
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn s10_a_cause_is_dropped_outside_the_lock() {
    #[derive(Debug)]
    struct Why(Mutex<Option<Context>>);
    impl std::fmt::Display for Why {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("why")
        }
    }
    impl std::error::Error for Why {}
    impl Drop for Why {
        fn drop(&mut self) {
            if let Some(ctx) = self.0.lock().expect("not poisoned").take() {
                do_everything(&ctx, &ctx);
            }
        }
    }
    within("a cause that does everything in drop", || {
        let (root, _time) = manual();
        let (ctx, cancel) = root.with_cancel();
        cancel.cancel_with("first");
        // The second cause is not used, so it is dropped inside the call.
        cancel.cancel_with(Why(Mutex::new(Some(ctx.clone()))));
        let (other, cancel) = root.with_cancel();
        cancel.cancel_with(Why(Mutex::new(Some(ctx))));
        drop((other, cancel));
    });
}

#[test]
fn s10_a_panic_in_a_waker_keeps_none_of_the_others_from_running() {
    within("a waker that panics", || {
        let (root, time) = manual();
        for by_deadline in [false, true] {
            let (parent, cancel) = root.with_timeout(SEC).with_cancel();
            let wakes = Wakes::new();
            let panics = waker_fn(|| panic!("a waker that panics (on purpose)"));
            let width = if cfg!(miri) { 8 } else { 64 };
            let contexts: Vec<_> = (0..width).map(|i| parent.with_name(format!("{i}")).with_timeout(HOUR)).collect();
            let mut waits: Vec<_> = contexts.iter().chain([&parent]).flat_map(|ctx| [ctx.done(), ctx.done()]).collect();
            for (i, wait) in waits.iter_mut().enumerate() {
                let waker = if i % 3 == 0 { panics.clone() } else { wakes.waker() };
                assert!(poll_with(wait, &waker).is_pending());
            }
            let well_behaved = waits.iter().enumerate().filter(|(i, _)| i % 3 != 0).count();
            let (sender, receiver) = mpsc::channel();
            let _registered = parent.after_func(move || sender.send(()).expect("the test waits"));
            // The panic may be resumed here or contained. It must not stop the rest.
            let _outcome =
                catch_unwind(AssertUnwindSafe(|| if by_deadline { time.advance(SEC) } else { cancel.cancel() }));
            assert_eq!(wakes.count(), well_behaved);
            assert!(contexts.iter().all(Context::is_done));
            assert!(waits.iter_mut().all(|wait| poll(wait, &wakes).is_ready()));
            receiver.recv_timeout(HANG).expect("the callback ran");
        }
    });
}

#[test]
fn s10_a_panic_in_a_callback_keeps_none_of_the_others_from_running() {
    within("a callback that panics", || {
        let (root, _time) = manual();
        let (ctx, cancel) = root.with_cancel();
        let (sender, receiver) = mpsc::channel();
        for i in 0..30 {
            let sender = sender.clone();
            drop(ctx.with_name("child").after_func(move || {
                assert!(i % 3 != 0, "a callback that panics (on purpose)");
                sender.send(i).expect("the test waits");
            }));
        }
        cancel.cancel();
        let mut ran: Vec<_> = (0..20).map(|_| receiver.recv_timeout(HANG).expect("the others run")).collect();
        ran.sort_unstable();
        assert_eq!(ran, (0..30).filter(|i| i % 3 != 0).collect::<Vec<_>>());
        // Callbacks run after that as before.
        let (sender, receiver) = mpsc::channel();
        let _registered = ctx.after_func(move || sender.send(()).expect("the test waits"));
        receiver.recv_timeout(HANG).expect("the callback ran");
    });
}
