//! Wakers that panic, and wakers that use the context that wakes them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use crate::common::{HOUR, MS, SEC, Wakes, assert_canceled, manual, poll, poll_with, waker_fn, within};
use ripcord::{CancelHandle, Canceler, Context, DoneOwned};

/// A waker whose wake, clone or drop panics a given number of times. `std::task::Wake` clones by a reference count, which
/// cannot panic, so this waker has its own vtable.
mod hostile {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{RawWaker, RawWakerVTable, Waker};

    #[derive(Debug, Default)]
    pub(crate) struct Hostile {
        pub(crate) wakes: AtomicUsize,
        /// The number of panics that are left.
        pub(crate) in_wake: AtomicUsize,
        pub(crate) in_clone: AtomicUsize,
        pub(crate) in_drop: AtomicUsize,
    }

    fn strike(from: &AtomicUsize) {
        let left = from.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        assert!(left.is_err(), "a waker that panics (on purpose)");
    }

    const TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_it);

    #[expect(unsafe_code, reason = "a waker whose clone panics cannot be written with std::task::Wake")]
    impl Hostile {
        pub(crate) fn waker(self: &Arc<Hostile>) -> Waker {
            let data = Arc::into_raw(Arc::clone(self)).cast();
            // SAFETY: `data` is from `Arc::into_raw` of an `Arc<Hostile>`. Every function of the table expects that and keeps
            // the reference count correct. `Hostile` is Send and Sync.
            unsafe { Waker::from_raw(RawWaker::new(data, &TABLE)) }
        }
    }

    #[expect(unsafe_code, reason = "see Hostile::waker")]
    fn clone(data: *const ()) -> RawWaker {
        // SAFETY: `data` came from `Arc::into_raw`, and this waker still owns that count.
        strike(unsafe { &(*data.cast::<Hostile>()).in_clone });
        // SAFETY: as above. The new waker gets its own count.
        unsafe { Arc::increment_strong_count(data.cast::<Hostile>()) };
        RawWaker::new(data, &TABLE)
    }

    #[expect(unsafe_code, reason = "see Hostile::waker")]
    fn wake(data: *const ()) {
        // SAFETY: `wake` consumes the waker and its count, even if it panics.
        let hostile = unsafe { Arc::from_raw(data.cast::<Hostile>()) };
        strike(&hostile.in_wake);
        hostile.wakes.fetch_add(1, Ordering::SeqCst);
    }

    #[expect(unsafe_code, reason = "see Hostile::waker")]
    fn wake_by_ref(data: *const ()) {
        // SAFETY: the waker is borrowed for the call, so its count remains.
        let hostile = unsafe { &*data.cast::<Hostile>() };
        strike(&hostile.in_wake);
        hostile.wakes.fetch_add(1, Ordering::SeqCst);
    }

    #[expect(unsafe_code, reason = "see Hostile::waker")]
    fn drop_it(data: *const ()) {
        // SAFETY: the drop of the waker releases its count, even if it panics.
        let hostile = unsafe { Arc::from_raw(data.cast::<Hostile>()) };
        strike(&hostile.in_drop);
    }
}

use hostile::Hostile;

/// Checks a tree that contained a hostile waker. Every context ends, every other waiter is woken once, and the tree still
/// works.
fn goes_on(ctx: &Context, cancel: &Canceler, beside: &mut [DoneOwned], wakes: &Arc<Wakes>) {
    let _swallowed_or_not = catch_unwind(AssertUnwindSafe(|| cancel.cancel_with("stop")));
    assert_canceled(ctx, Some("stop"));
    assert_eq!(wakes.count(), beside.len());
    for wait in beside {
        assert!(poll(wait, wakes).is_ready());
    }
    assert!(ctx.with_name("after").is_done());
}

#[test]
fn waker_that_panics_in_wake_harms_no_other() {
    within("a waker that panics in wake", || {
        let (root, _time) = manual();
        let (ctx, cancel) = root.with_cancel();
        let wakes = Wakes::new();
        let mut beside: Vec<_> = (0..20).map(|_| ctx.with_name("beside").done_owned()).collect();
        let (first, second) = beside.split_at_mut(10);
        first.iter_mut().for_each(|wait| assert!(poll(wait, &wakes).is_pending()));
        let hostile = Arc::new(Hostile::default());
        hostile.in_wake.store(1, Ordering::SeqCst);
        let mut wait = ctx.done();
        assert!(poll_with(&mut wait, &hostile.waker()).is_pending());
        second.iter_mut().for_each(|wait| assert!(poll(wait, &wakes).is_pending()));
        goes_on(&ctx, &cancel, &mut beside, &wakes);
        assert!(poll(&mut wait, &wakes).is_ready());
        assert_eq!(Arc::strong_count(&hostile), 1, "a waker that panicked was leaked");
    });
}

#[test]
fn waker_that_panics_in_clone_harms_no_other() {
    within("a waker that panics in clone", || {
        let (root, _time) = manual();
        let (ctx, cancel) = root.with_cancel();
        let wakes = Wakes::new();
        let mut beside: Vec<_> = (0..10).map(|_| ctx.with_name("beside").done_owned()).collect();
        beside.iter_mut().for_each(|wait| assert!(poll(wait, &wakes).is_pending()));
        let hostile = Arc::new(Hostile::default());
        let waker = hostile.waker();
        let mut wait = ctx.done();
        hostile.in_clone.store(1, Ordering::SeqCst);
        // The waker's panic unwinds out of the poll.
        let outcome = catch_unwind(AssertUnwindSafe(|| poll_with(&mut wait, &waker)));
        assert!(outcome.is_err() || hostile.in_clone.load(Ordering::SeqCst) == 1, "the panic was swallowed");
        // The future can be polled again. With another waker it works.
        let better = Wakes::new();
        assert!(poll(&mut wait, &better).is_pending());
        // A later poll panics at the same place, when a registered waker has to be replaced.
        hostile.in_clone.store(1, Ordering::SeqCst);
        let _panics = catch_unwind(AssertUnwindSafe(|| poll_with(&mut wait, &waker).is_pending()));
        assert!(poll(&mut wait, &better).is_pending());
        hostile.in_clone.store(0, Ordering::SeqCst);
        goes_on(&ctx, &cancel, &mut beside, &wakes);
        assert_eq!(better.count(), 1);
        drop((wait, waker));
        assert_eq!(Arc::strong_count(&hostile), 1, "leaked");
    });
}

#[test]
fn waker_that_panics_in_drop_harms_no_other() {
    within("a waker that panics in drop", || {
        for ending in 0..3 {
            let (root, _time) = manual();
            let (ctx, cancel) = root.with_cancel();
            let wakes = Wakes::new();
            let mut beside: Vec<_> = (0..10).map(|_| ctx.with_name("beside").done_owned()).collect();
            beside.iter_mut().for_each(|wait| assert!(poll(wait, &wakes).is_pending()));
            let hostile = Arc::new(Hostile::default());
            let waker = hostile.waker();
            let mut wait = ctx.done_owned();
            assert!(poll_with(&mut wait, &waker).is_pending());
            hostile.in_drop.store(1, Ordering::SeqCst);
            match ending {
                // Replaced by another waker.
                0 => {
                    let _panics = catch_unwind(AssertUnwindSafe(|| poll(&mut wait, &Wakes::new()).is_pending()));
                }
                // Dropped with its future.
                1 => {
                    let wait = wait;
                    let _panics = catch_unwind(AssertUnwindSafe(|| drop(wait)));
                }
                // Dropped after it was woken, if the wake is by reference.
                _ => {
                    let _swallowed_or_not = catch_unwind(AssertUnwindSafe(|| cancel.cancel_with("stop")));
                }
            }
            hostile.in_drop.store(0, Ordering::SeqCst);
            drop(waker);
            goes_on(&ctx, &cancel, &mut beside, &wakes);
            assert_eq!(Arc::strong_count(&hostile), 1, "leaked, ending {ending}");
        }
    });
}

#[test]
fn waker_that_panics_at_a_deadline_costs_no_other_deadline() {
    within("wakers that panic at a deadline", || {
        let (root, time) = manual();
        let wakes = Wakes::new();
        let contexts: Vec<_> = (1..=30_u32).map(|s| root.with_timeout((1 + s / 3) * SEC)).collect();
        let mut waits: Vec<_> = contexts.iter().map(Context::done).collect();
        let panics = waker_fn(|| panic!("a waker that panics (on purpose)"));
        for (i, wait) in waits.iter_mut().enumerate() {
            let waker = if i % 4 == 1 { panics.clone() } else { wakes.waker() };
            assert!(poll_with(wait, &waker).is_pending());
        }
        // Even if `advance` lets panics through, the clock has reached the requested time and all contexts are done.
        let end = time.now() + HOUR;
        for _ in 0..40 {
            if catch_unwind(AssertUnwindSafe(|| time.advance(end - time.now()))).is_ok() {
                break;
            }
        }
        assert_eq!(wakes.count(), 30 - 8);
        assert!(contexts.iter().all(Context::is_done));
    });
}

#[test]
fn panicking_waker_on_the_system_clock_stops_no_later_timer() {
    within("a waker that panics on the timer's thread", || {
        let panics = waker_fn(|| panic!("a waker that panics (on purpose)"));
        let bad = Context::background().with_timeout(2 * MS);
        let mut wait = bad.done();
        let _may_be_ready_already = poll_with(&mut wait, &panics);
        assert!(Context::background().with_timeout(10 * MS).wait().is_deadline_exceeded());
        assert!(bad.is_done());
        assert!(Context::background().with_timeout(2 * MS).wait().is_deadline_exceeded());
    });
}

#[test]
fn canceler_dropped_by_a_panic_does_not_abort_when_a_waker_panics_too() {
    // A second panic in a drop during unwinding would abort the process.
    let (root, _time) = manual();
    let wakes = Wakes::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let (ctx, _cancel) = root.with_cancel();
        let mut waits = [ctx.done_owned(), ctx.done_owned()];
        let panics = waker_fn(|| panic!("a waker that panics (on purpose)"));
        assert!(poll_with(&mut waits[0], &panics).is_pending());
        assert!(poll(&mut waits[1], &wakes).is_pending());
        std::mem::forget(waits);
        panic!("the first panic (on purpose)");
    }));
    assert!(outcome.is_err());
    assert_eq!(wakes.count(), 1);
}

/// Wakers that use the context that wakes them. Each waker does one thing, on the thread that wakes it.
#[test]
fn waker_that_re_enters_the_same_context() {
    type Act = fn(&Context, &CancelHandle, &Mutex<Option<DoneOwned>>);
    let acts: [(&str, Act); 8] = [
        ("cancels it", |_, cancel, _| cancel.cancel_with("from the waker")),
        ("derives from it", |ctx, _, _| assert!(ctx.with_cancel().0.is_done())),
        ("waits on it", |ctx, _, _| assert!(poll(&mut ctx.done(), &Wakes::new()).is_ready())),
        ("blocks on it", |ctx, _, _| assert!(ctx.wait().is_canceled())),
        ("drops a future of it", |_, _, other| drop(other.lock().expect("not poisoned").take())),
        ("registers a callback", |ctx, _, _| drop(ctx.after_func(|| ()))),
        ("merges it with itself", |ctx, _, _| assert!(ctx.merge(ctx).is_done())),
        ("shows it", |ctx, _, _| drop(format!("{ctx} {ctx:?} {:#}", ctx.err().expect("done")))),
    ];
    for (what, act) in acts {
        within(&format!("a waker that {what}"), move || {
            let (root, _time) = manual();
            let (ctx, cancel) = root.with_cancel();
            let ran = Arc::new(AtomicUsize::new(0));
            let other = Arc::new(Mutex::new(None));
            let waker = waker_fn({
                let (ctx, handle, ran, other) = (ctx.clone(), cancel.handle(), Arc::clone(&ran), Arc::clone(&other));
                move || {
                    act(&ctx, &handle, &other);
                    ran.fetch_add(1, Ordering::SeqCst);
                }
            });
            let quiet = Wakes::new();
            let mut waits: Vec<_> = (0..3).map(|_| ctx.done_owned()).collect();
            assert!(poll_with(&mut waits[0], &waker).is_pending());
            let mut victim = ctx.done_owned();
            assert!(poll(&mut victim, &Wakes::new()).is_pending());
            *other.lock().expect("not poisoned") = Some(victim);
            assert!(poll_with(&mut waits[1], &waker).is_pending());
            assert!(poll(&mut waits[2], &quiet).is_pending());
            cancel.cancel_with("the first");
            assert_eq!(ran.load(Ordering::SeqCst), 2);
            assert_eq!(quiet.count(), 1);
            assert_canceled(&ctx, Some("the first"));
        });
    }
}

#[test]
fn waker_that_drops_its_own_future() {
    // The last references to the future and to its context are dropped inside the wake.
    within("a waker that drops its own future", || {
        for by_deadline in [false, true] {
            let (root, time) = manual();
            let (ctx, cancel) = root.with_timeout(SEC).with_cancel();
            let slot = Arc::new(Mutex::new(None));
            let waker = waker_fn({
                let slot = Arc::clone(&slot);
                move || {
                    let gone = slot.lock().expect("not poisoned").take();
                    drop::<Option<DoneOwned>>(gone);
                }
            });
            let mut wait = ctx.done_owned();
            assert!(poll_with(&mut wait, &waker).is_pending());
            *slot.lock().expect("not poisoned") = Some(wait);
            drop(ctx);
            if by_deadline {
                time.advance(SEC)
            } else {
                cancel.cancel()
            }
            assert!(slot.lock().expect("not poisoned").is_none());
        }
    });
}

#[test]
fn waker_that_drops_the_canceler_which_wakes_it() {
    struct Holds(Mutex<Option<Canceler>>);
    impl Wake for Holds {
        fn wake(self: Arc<Self>) {
            drop(self.0.lock().expect("not poisoned").take());
        }
    }
    within("a waker that drops the canceler", || {
        let (root, _time) = manual();
        let (ctx, cancel) = root.with_cancel();
        let handle = cancel.handle();
        let holds = Arc::new(Holds(Mutex::new(Some(cancel))));
        let mut wait = ctx.done();
        assert!(poll_with(&mut wait, &Waker::from(Arc::clone(&holds))).is_pending());
        handle.cancel_with("stop");
        assert!(holds.0.lock().expect("not poisoned").is_none());
        assert_canceled(&ctx, Some("stop"));
    });
}

#[test]
fn waker_that_advances_manual_time() {
    within("a waker that advances manual time", || {
        let (root, time) = manual();
        let (first, second) = (root.with_timeout(SEC), root.with_timeout(3 * SEC));
        let ran = Arc::new(AtomicUsize::new(0));
        let waker = waker_fn({
            let (time, ran) = (time.clone(), Arc::clone(&ran));
            move || {
                if ran.fetch_add(1, Ordering::SeqCst) == 0 {
                    time.advance(2 * SEC);
                }
            }
        });
        let (mut a, mut b) = (first.done(), second.done());
        assert!(poll_with(&mut a, &waker).is_pending());
        assert!(poll_with(&mut b, &waker).is_pending());
        time.advance(SEC);
        assert_eq!(ran.load(Ordering::SeqCst), 2);
        assert!(first.is_done() && second.is_done());
    });
}
