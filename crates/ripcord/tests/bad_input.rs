//! Bad input: each with a documented outcome; nothing hangs, nothing is lost.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use common::{
    HOUR, MS, SEC, User, Wakes, assert_canceled, assert_exceeded, assert_live, manual, poll, poll_pinned, poll_with,
    waker_fn, within,
};
use ripcord::{CancelHandle, Canceler, Clock, Context, DoneOwned, Value};

// ===== deadlines =====

#[test]
fn zero_timeout_is_done_at_once_everywhere() {
    let (root, _time) = manual();
    for root in [root, Context::background()] {
        let ctx = root.with_timeout(Duration::ZERO);
        assert_exceeded(&ctx, None);
        assert_eq!(ctx.remaining(), Some(Duration::ZERO));
        assert!(ctx.sleep_blocking(HOUR).is_err());
        assert!(futures::executor::block_on(ctx.run(std::future::pending::<()>())).is_err());
        assert!(futures::executor::block_on(ctx.sleep(Duration::MAX)).is_err());
    }
}

#[test]
fn instant_as_far_back_as_the_machine_knows_is_done_at_once() {
    let mut past = Instant::now();
    let mut step = Duration::from_secs(1 << 40);
    while step > Duration::ZERO {
        match past.checked_sub(step) {
            Some(earlier) => past = earlier,
            None => step /= 2,
        }
    }
    let (root, _time) = manual();
    for root in [root, Context::background()] {
        let ctx = root.with_deadline(past);
        assert_exceeded(&ctx, None);
        assert!(ctx.deadline().is_some_and(|at| at <= Instant::now()));
        assert_eq!(ctx.remaining(), Some(Duration::ZERO));
        assert_exceeded(&ctx.with_timeout(HOUR), None);
        let told = format!("{ctx} {:#}", ctx.err().expect("done"));
        assert!(!told.is_empty());
    }
}

#[test]
fn instant_as_far_ahead_as_the_machine_knows_never_comes() {
    let mut far = Instant::now();
    let mut step = Duration::from_secs(1 << 62);
    while step > Duration::ZERO {
        match far.checked_add(step) {
            Some(later) => far = later,
            None => step /= 2,
        }
    }
    within("an absurdly far deadline", move || {
        let (root, _time) = manual();
        assert!(Context::background().with_deadline(far).wait_timeout(MS).is_none());
        for root in [root, Context::background()] {
            let ctx = root.with_deadline(far);
            assert_live(&ctx);
            let wakes = Wakes::new();
            let mut wait = ctx.done();
            assert!(poll(&mut wait, &wakes).is_pending());
            // So far ahead that it may count as none.
            assert!(ctx.remaining().is_none_or(|left| left > HOUR));
            assert!(ctx.deadline().is_none_or(|at| at > Instant::now()));
            let (child, cancel) = ctx.with_cancel();
            let _shown = format!("{child} {child:?}");
            cancel.cancel_with("stop");
            assert_canceled(&child, Some("stop"));
            assert_eq!(wakes.count(), 0);
            // A nearer one below it still fires.
            assert_exceeded(&ctx.with_timeout(Duration::ZERO), None);
        }
    });
}

#[test]
fn durations_near_the_largest_saturate_and_never_panic() {
    let (root, time) = manual();
    for root in [root, Context::background()] {
        for d in [
            Duration::MAX,
            Duration::MAX - Duration::from_nanos(1),
            Duration::from_secs(u64::MAX),
            Duration::from_secs(i64::MAX as u64),
            Duration::from_secs(i64::MAX as u64 - 1),
            Duration::from_millis(u64::MAX),
            Duration::from_micros(u64::MAX),
            Duration::from_nanos(u64::MAX),
            Duration::from_nanos(i64::MAX as u64),
        ] {
            let ctx = root.with_timeout(d);
            assert_live(&ctx);
            let wakes = Wakes::new();
            let mut wait = ctx.done();
            assert!(poll(&mut wait, &wakes).is_pending(), "{d:?}");
            let mut sleep = Box::pin(ctx.sleep(d));
            assert!(poll_pinned(sleep.as_mut(), &wakes.waker()).is_pending(), "{d:?}");
            assert!(ctx.with_timeout(d).with_timeout(d).err().is_none());
            let _shown = format!("{ctx} {ctx:?}");
            assert!(ctx.remaining().is_none_or(|left| left <= d && left > HOUR));
        }
    }
    time.advance(1_000_000 * HOUR);
}

#[test]
fn waiting_for_the_largest_duration_is_waiting_for_the_end() {
    within("wait_timeout(Duration::MAX)", || {
        let (root, _time) = manual();
        for root in [root, Context::background()] {
            let (ctx, cancel) = root.with_cancel();
            std::thread::scope(|scope| {
                let a = scope.spawn(|| ctx.wait_timeout(Duration::MAX));
                let b = scope.spawn(|| ctx.sleep_blocking(Duration::MAX));
                cancel.cancel_with("stop");
                assert!(a.join().expect("no panic").expect("ended").is_canceled());
                assert!(b.join().expect("no panic").expect_err("ended").is_canceled());
            });
        }
    });
}

#[test]
fn manual_time_advanced_by_the_largest_duration_ends_what_has_a_deadline() {
    // The clock saturates or refuses loudly; it does not wrap round and give time back.
    let (root, time) = manual();
    let ctx = root.with_timeout(HOUR);
    let before = time.now();
    let outcome = catch_unwind(AssertUnwindSafe(|| time.advance(Duration::MAX)));
    assert!(time.now() >= before, "time went backwards");
    if outcome.is_err() {
        time.advance(HOUR);
    }
    assert_exceeded(&ctx, None);
}

// ===== wakers =====

/// A waker whose wake, clone or drop panics as often as it is told to. `std::task::Wake` clones by count, which cannot
/// panic, so this one brings its own table.
mod hostile {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{RawWaker, RawWakerVTable, Waker};

    #[derive(Debug, Default)]
    pub(crate) struct Hostile {
        pub(crate) wakes: AtomicUsize,
        /// Panics still to come.
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
            // SAFETY: `data` is an `Arc<Hostile>` turned raw, which is what every function of the table expects and
            // keeps count of. `Hostile` is Send and Sync.
            unsafe { Waker::from_raw(RawWaker::new(data, &TABLE)) }
        }
    }

    #[expect(unsafe_code, reason = "see Hostile::waker")]
    fn clone(data: *const ()) -> RawWaker {
        // SAFETY: `data` came from `Arc::into_raw` and this waker still owns that count.
        strike(unsafe { &(*data.cast::<Hostile>()).in_clone });
        // SAFETY: as above; the new waker gets a count of its own.
        unsafe { Arc::increment_strong_count(data.cast::<Hostile>()) };
        RawWaker::new(data, &TABLE)
    }

    #[expect(unsafe_code, reason = "see Hostile::waker")]
    fn wake(data: *const ()) {
        // SAFETY: `wake` consumes the waker and so its count, also when it panics.
        let hostile = unsafe { Arc::from_raw(data.cast::<Hostile>()) };
        strike(&hostile.in_wake);
        hostile.wakes.fetch_add(1, Ordering::SeqCst);
    }

    #[expect(unsafe_code, reason = "see Hostile::waker")]
    fn wake_by_ref(data: *const ()) {
        // SAFETY: the waker is borrowed for the call, so its count holds.
        let hostile = unsafe { &*data.cast::<Hostile>() };
        strike(&hostile.in_wake);
        hostile.wakes.fetch_add(1, Ordering::SeqCst);
    }

    #[expect(unsafe_code, reason = "see Hostile::waker")]
    fn drop_it(data: *const ()) {
        // SAFETY: dropping the waker gives up its count, also when it panics.
        let hostile = unsafe { Arc::from_raw(data.cast::<Hostile>()) };
        strike(&hostile.in_drop);
    }
}

use hostile::Hostile;

/// What has to hold of a tree after a hostile waker was in it: everything ends, everybody else is woken, once, and the
/// tree works on.
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
        // Whoever polls with such a waker gets its panic back.
        let outcome = catch_unwind(AssertUnwindSafe(|| poll_with(&mut wait, &waker)));
        assert!(outcome.is_err() || hostile.in_clone.load(Ordering::SeqCst) == 1, "the panic was swallowed");
        // The future can be polled again, and with a better waker it works.
        let better = Wakes::new();
        assert!(poll(&mut wait, &better).is_pending());
        // A later poll panics in the same place, when there is something registered to be replaced.
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
                // Replaced by another.
                0 => {
                    let _panics = catch_unwind(AssertUnwindSafe(|| poll(&mut wait, &Wakes::new()).is_pending()));
                }
                // Dropped with its future.
                1 => {
                    let wait = wait;
                    let _panics = catch_unwind(AssertUnwindSafe(|| drop(wait)));
                }
                // Dropped after it was woken, if it is woken by reference at all.
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
        // However often advance() lets a panic through, the time it was asked for has passed and all are done.
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
    // A second panic out of a drop during unwinding would end the process.
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

/// Wakers that reach back into what is being woken: each does one thing, on the thread that wakes it.
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
    // The last reference to the future and to its context goes inside the wake.
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

// ===== drops =====

/// Calls its closure when it is dropped, as a value in a context.
struct Last(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Value for Last {}

impl Drop for Last {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

#[test]
fn drop_of_a_value_that_derives_and_cancels() {
    within("a value that derives and cancels in drop", || {
        let (root, _time) = manual();
        let (parent, cancel) = root.with_cancel();
        let handle = cancel.handle();
        let wakes = Wakes::new();
        let mut wait = parent.done();
        assert!(poll(&mut wait, &wakes).is_pending());
        let ctx = parent.with_value(Last(Some(Box::new({
            let parent = parent.clone();
            move || {
                let (derived, cancel) = parent.with_value(User(1)).with_cancel();
                let mut wait = derived.done();
                assert!(poll(&mut wait, &Wakes::new()).is_pending());
                cancel.cancel();
                drop(wait);
                handle.cancel_with("from a drop");
            }
        }))));
        // Linked, so that the drop also has to unlink.
        let mut below = ctx.with_name("below").done_owned();
        assert!(poll(&mut below, &Wakes::new()).is_pending());
        drop(ctx);
        assert_live(&parent);
        drop(below);
        assert_canceled(&parent, Some("from a drop"));
        assert_eq!(wakes.count(), 1);
    });
}

#[test]
fn drop_of_a_value_that_drops_a_long_chain_of_such_values() {
    // Each value holds the next context, as a linked list does: the drops of users' values nest only where users nest
    // them, and these are no deeper than the list.
    within("values that hold contexts", || {
        let (root, _time) = manual();
        let dropped = Arc::new(AtomicUsize::new(0));
        let mut ctx = root.with_name("last");
        for _ in 0..200 {
            let (held, counted) = (ctx, Arc::clone(&dropped));
            ctx = root.with_value(Last(Some(Box::new(move || {
                drop(held);
                counted.fetch_add(1, Ordering::SeqCst);
            }))));
        }
        drop(ctx);
        assert_eq!(dropped.load(Ordering::SeqCst), 200, "a value was not dropped");
    });
}

#[test]
fn drop_of_a_value_that_panics_leaves_the_parent_in_order() {
    within("a value that panics in drop", || {
        let (root, _time) = manual();
        let (parent, cancel) = root.with_cancel();
        let (other, wakes) = (parent.with_name("other"), Wakes::new());
        let mut beside = other.done();
        assert!(poll(&mut beside, &wakes).is_pending());
        let ctx = parent.with_value(Last(Some(Box::new(|| panic!("a value that panics (on purpose)")))));
        let mut wait = ctx.done_owned();
        assert!(poll(&mut wait, &Wakes::new()).is_pending());
        drop(ctx);
        let _panics = catch_unwind(AssertUnwindSafe(|| drop(wait)));
        assert_live(&parent);
        cancel.cancel();
        assert_eq!(wakes.count(), 1);
    });
}

#[test]
fn closure_that_is_dropped_by_stop_may_cancel() {
    within("a callback that cancels in drop", || {
        let (root, _time) = manual();
        let (ctx, cancel) = root.with_cancel();
        let last = Last(Some(Box::new(move || cancel.cancel_with("from a drop"))));
        let registered = ctx.after_func(move || drop(last));
        assert!(registered.stop());
        assert_canceled(&ctx, Some("from a drop"));
    });
}

#[test]
fn cause_whose_display_asks_the_context() {
    #[derive(Debug)]
    struct Curious(Context);
    impl std::fmt::Display for Curious {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "curious, and done is {}", self.0.is_done())
        }
    }
    impl std::error::Error for Curious {}
    within("a cause that asks its context", || {
        let (root, _time) = manual();
        let (ctx, cancel) = root.with_cancel();
        cancel.cancel_with(Curious(ctx.without_cancel()));
        assert_eq!(ctx.cause().expect("done").to_string(), "curious, and done is false");
        assert!(format!("{:#}", ctx.err().expect("done")).contains("curious"));
    });
}

#[test]
fn value_whose_show_asks_the_context() {
    struct Shows;
    impl Value for Shows {
        fn show(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(if Context::current().is_done() { "done" } else { "live" })
        }
    }
    within("a value that asks in show", || {
        let ctx = Context::background().with_value(Shows);
        assert_eq!(ctx.sync_scope(|| ctx.to_string()), "Background.WithValue(live)");
    });
}

// ===== handles used out of order =====

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

// ===== a context used after its runtime is gone =====

/// A tokio runtime, what `f` makes in it, and no runtime any more.
fn after_its_runtime<T>(f: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { f() })
}

#[test]
fn on_the_system_clock_a_context_does_not_notice_that_its_runtime_is_gone() {
    within("the system clock without a runtime", || {
        let (ctx, cancel, slow, mut polled) = after_its_runtime(|| {
            let (ctx, cancel) = Context::background().with_value(User(1)).with_cancel();
            let slow = ctx.with_timeout(5 * MS);
            let mut polled = slow.done_owned();
            let _armed = poll(&mut polled, &Wakes::new());
            (ctx, cancel, slow, polled)
        });
        assert!(slow.wait().is_deadline_exceeded());
        assert!(poll(&mut polled, &Wakes::new()).is_ready());
        assert!(futures::executor::block_on(ctx.with_timeout(MS).done()).is_deadline_exceeded());
        assert_eq!(ctx.value::<User>(), Some(&User(1)));
        cancel.cancel_with("stop");
        assert_canceled(&ctx, Some("stop"));
    });
}

#[cfg(feature = "tokio")]
#[test]
fn on_tokios_clock_a_context_works_on_after_its_runtime_is_gone() {
    within("tokio's clock without a runtime", || {
        let (root, armed, mut polled, canceled, cancel) = after_its_runtime(|| {
            let root = Context::background().with_clock(Clock::tokio());
            let armed = root.with_timeout(5 * MS);
            let mut polled = armed.done_owned();
            let _armed = poll(&mut polled, &Wakes::new());
            let (canceled, cancel) = root.with_value(User(1)).with_timeout(HOUR).with_cancel();
            (root, armed, polled, canceled, cancel)
        });
        // Armed while the runtime lived; waited on by a thread and by a bare executor after it.
        assert!(armed.wait().is_deadline_exceeded());
        assert!(futures::executor::block_on(&mut polled).is_deadline_exceeded());
        // Derived, armed and fired after it.
        let late = root.with_timeout(2 * MS);
        assert!(late.wait().is_deadline_exceeded());
        let late = root.with_timeout(2 * MS);
        assert!(futures::executor::block_on(late.done()).is_deadline_exceeded());
        assert!(root.sleep_blocking(MS).is_ok());
        assert!(futures::executor::block_on(root.sleep(MS)).is_ok());
        assert!(root.wait_timeout(MS).is_none());
        // Questions, values and cancels as ever.
        assert_live(&canceled);
        assert_eq!(canceled.value::<User>(), Some(&User(1)));
        let wakes = Wakes::new();
        let mut wait = canceled.done();
        assert!(poll(&mut wait, &wakes).is_pending());
        cancel.cancel_with("stop");
        assert_eq!(wakes.count(), 1);
        assert_canceled(&canceled, Some("stop"));
        let _now = root.clock().now();
    });
}

#[cfg(feature = "tokio")]
#[test]
fn thread_that_waits_on_tokios_clock_is_let_go_when_the_runtime_goes() {
    within("a thread that waits while its runtime goes", || {
        let (sender, receiver) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn({
            let receiver = receiver;
            move || {
                let ctx: Context = receiver.recv().expect("the runtime sends it");
                ctx.wait()
            }
        });
        after_its_runtime(|| {
            let ctx = Context::background().with_clock(Clock::tokio()).with_timeout(10 * MS);
            sender.send(ctx).expect("the thread waits");
        });
        assert!(waiting.join().expect("no panic").is_deadline_exceeded());
    });
}

#[test]
fn after_func_outlives_the_runtime_it_was_registered_in() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let cancel = after_its_runtime(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        drop(ctx.after_func(move || sender.send(()).expect("the test waits")));
        cancel
    });
    cancel.cancel();
    receiver.recv_timeout(common::HANG).expect("the callback runs");
}

#[test]
fn clock_is_that_of_the_root_whatever_is_dropped_first() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock.clone()).with_timeout(SEC);
    drop(clock);
    assert_live(&ctx);
    time.advance(SEC);
    assert_exceeded(&ctx, None);
    // The hand that moves the clock is gone: time stands still for ever, and a cancel still works.
    let (clock, time) = Clock::manual();
    let (ctx, cancel) = Context::background().with_clock(clock).with_timeout(SEC).with_cancel();
    drop(time);
    let wakes = Wakes::new();
    let mut wait = ctx.done();
    assert!(poll(&mut wait, &wakes).is_pending());
    assert_live(&ctx);
    cancel.cancel();
    assert_eq!(wakes.count(), 1);
}
