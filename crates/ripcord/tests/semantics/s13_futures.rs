//! 13. No future of this crate holds a lock across an await. `run` on a done context never polls the future. Later, a ready
//!     result wins over an end that comes at the same poll.

use std::future::{pending, poll_fn, ready};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use ripcord::FutureExt;

use crate::common::{
    HANG, HOUR, MS, SEC, Wakes, Yields, assert_error, bump, manual, poll, poll_pinned, race, rounds, waker_fn, within,
};
use ripcord::{Context, ErrorKind};

#[test]
fn s13_done_is_pending_then_ready_and_wakes_once() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let wakes = Wakes::new();
    let (mut borrowed, mut owned) = (ctx.done(), ctx.done_owned());
    assert!(poll(&mut borrowed, &wakes).is_pending());
    assert!(poll(&mut owned, &wakes).is_pending());
    assert_eq!(wakes.count(), 0);
    cancel.cancel_with("stop");
    cancel.cancel_with("again");
    assert_eq!(wakes.count(), 2);
    for result in [poll(&mut borrowed, &wakes), poll(&mut owned, &wakes)] {
        let Poll::Ready(error) = result else { panic!("pending after the end") };
        assert_error(&error, ErrorKind::Canceled, Some("stop"));
    }
}

#[test]
fn s13_done_wakes_the_waker_of_its_last_poll() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let (first, second) = (Wakes::new(), Wakes::new());
    let mut wait = ctx.done();
    assert!(poll(&mut wait, &first).is_pending());
    assert!(poll(&mut wait, &second).is_pending());
    assert_eq!(first.held(), 0, "the old waker is kept");
    cancel.cancel();
    assert_eq!((first.count(), second.count()), (0, 1));
}

#[test]
fn s13_a_future_dropped_or_ready_holds_no_waker() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_timeout(HOUR).with_cancel();
    let wakes = Wakes::new();
    let mut done = ctx.done();
    let mut owned = ctx.done_owned();
    let mut sleep = Box::pin(ctx.sleep(SEC));
    let mut run = Box::pin(ctx.run(pending::<()>()));
    let mut with = Box::pin(pending::<()>().with_context(&ctx));
    let waker = wakes.waker();
    assert!(poll_pinned(pin!(&mut done), &waker).is_pending());
    assert!(poll_pinned(pin!(&mut owned), &waker).is_pending());
    assert!(poll_pinned(sleep.as_mut(), &waker).is_pending());
    assert!(poll_pinned(run.as_mut(), &waker).is_pending());
    assert!(poll_pinned(with.as_mut(), &waker).is_pending());
    drop(waker);
    assert!(wakes.held() >= 5);
    drop((done, owned, sleep, run, with));
    assert_eq!(wakes.held(), 0, "a waker is kept after its future is gone");
    time.advance(SEC);
    cancel.cancel();
    assert_eq!(wakes.count(), 0, "a future that is gone was woken");
}

#[test]
fn s13_one_future_of_many_is_dropped_and_the_others_are_woken() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let wakes: Vec<_> = (0..100).map(|_| Wakes::new()).collect();
    let mut waits: Vec<_> = wakes.iter().map(|_| Some(ctx.done())).collect();
    for (wait, wakes) in waits.iter_mut().zip(&wakes) {
        assert!(poll(wait.as_mut().expect("there"), wakes).is_pending());
    }
    for i in (0..100).filter(|i| i % 7 == 3 || i % 11 == 0) {
        waits[i] = None;
    }
    cancel.cancel();
    for i in 0..100 {
        assert_eq!(wakes[i].count(), usize::from(waits[i].is_some()), "future {i}");
    }
}

#[test]
fn s13_run_on_a_done_context_never_polls() {
    let (root, time) = manual();
    let (canceled, cancel) = root.with_cancel();
    cancel.cancel_with("stop");
    let expired = root.with_timeout(SEC);
    time.advance(SEC);
    for ctx in [&canceled, &expired] {
        let polls = AtomicUsize::new(0);
        let count = || {
            poll_fn(|_| {
                polls.fetch_add(1, Ordering::SeqCst);
                Poll::Ready(())
            })
        };
        let waker = Wakes::new().waker();
        let Poll::Ready(Err(error)) = poll_pinned(pin!(ctx.run(count())), &waker) else { panic!("it must fail") };
        assert_eq!(error.kind(), ctx.err().expect("done").kind());
        let Poll::Ready(Err(_)) = poll_pinned(pin!(count().with_context(ctx)), &waker) else { panic!("it must fail") };
        assert_eq!(polls.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn s13_a_ready_result_wins_over_an_end_at_the_same_poll() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let waker = Wakes::new().waker();
    // The end comes between two polls. At the second poll the future is also ready.
    let mut run = pin!(ctx.run(Yields(1)));
    assert!(poll_pinned(run.as_mut(), &waker).is_pending());
    let mut with = pin!(Yields(1).with_context(&ctx));
    assert!(poll_pinned(with.as_mut(), &waker).is_pending());
    // The future's own poll cancels the context, and then returns ready.
    let mut ends_itself = pin!(ctx.run(poll_fn(|_| {
        cancel.cancel_with("stop");
        Poll::Ready("result")
    })));
    assert!(matches!(poll_pinned(ends_itself.as_mut(), &waker), Poll::Ready(Ok("result"))));
    assert!(ctx.is_done());
    assert!(matches!(poll_pinned(run.as_mut(), &waker), Poll::Ready(Ok("result"))));
    assert!(matches!(poll_pinned(with.as_mut(), &waker), Poll::Ready(Ok("result"))));
}

#[test]
fn s13_an_end_wins_over_a_future_that_is_still_pending() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let wakes = Wakes::new();
    let mut run = pin!(ctx.run(pending::<()>()));
    assert!(poll_pinned(run.as_mut(), &wakes.waker()).is_pending());
    cancel.cancel_with("stop");
    assert_eq!(wakes.count(), 1);
    let Poll::Ready(Err(error)) = poll_pinned(run.as_mut(), &wakes.waker()) else { panic!("it must fail") };
    assert_error(&error, ErrorKind::Canceled, Some("stop"));
}

#[test]
fn s13_an_end_out_of_the_futures_own_poll_is_not_lost() {
    // The future cancels its own context while it is polled, and stays pending. No other event will wake this task.
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let wakes = Wakes::new();
    let mut run = pin!(ctx.run(poll_fn(|_| -> Poll<()> {
        cancel.cancel_with("myself");
        Poll::Pending
    })));
    if poll_pinned(run.as_mut(), &wakes.waker()).is_pending() {
        assert_eq!(wakes.count(), 1, "the end came during the poll and nobody was told");
        assert!(poll_pinned(run.as_mut(), &wakes.waker()).is_ready());
    }
}

#[test]
fn s13_run_gives_the_result_of_a_future_that_ends_in_time() {
    let (root, time) = manual();
    let ctx = root.with_timeout(SEC);
    let waker = Wakes::new().waker();
    assert!(matches!(poll_pinned(pin!(ctx.run(ready(7))), &waker), Poll::Ready(Ok(7))));
    let mut run = pin!(ctx.run(Yields(3)));
    for _ in 0..3 {
        assert!(poll_pinned(run.as_mut(), &waker).is_pending());
        time.advance(MS);
    }
    assert!(matches!(poll_pinned(run.as_mut(), &waker), Poll::Ready(Ok("result"))));
    assert!(matches!(poll_pinned(pin!(Context::background().run(ready(7))), &waker), Poll::Ready(Ok(7))));
}

#[test]
fn s13_a_deadline_ends_run() {
    let (root, time) = manual();
    let ctx = root.with_timeout_cause(SEC, "slow");
    let wakes = Wakes::new();
    let mut run = pin!(ctx.run(pending::<()>()));
    assert!(poll_pinned(run.as_mut(), &wakes.waker()).is_pending());
    time.advance(SEC - MS);
    assert_eq!(wakes.count(), 0);
    assert!(poll_pinned(run.as_mut(), &wakes.waker()).is_pending());
    time.advance(MS);
    assert_eq!(wakes.count(), 1);
    let Poll::Ready(Err(error)) = poll_pinned(run.as_mut(), &wakes.waker()) else { panic!("it must fail") };
    assert_error(&error, ErrorKind::DeadlineExceeded, Some("slow"));
}

#[test]
fn s13_sleep_ends_in_time_or_with_the_context() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let wakes = Wakes::new();
    let mut sleep = pin!(ctx.sleep(SEC));
    assert!(poll_pinned(sleep.as_mut(), &wakes.waker()).is_pending());
    time.advance(SEC - MS);
    assert!(poll_pinned(sleep.as_mut(), &wakes.waker()).is_pending());
    time.advance(MS);
    assert!(wakes.count() >= 1);
    assert!(matches!(poll_pinned(sleep.as_mut(), &wakes.waker()), Poll::Ready(Ok(()))));

    let wakes = Wakes::new();
    let mut sleep = pin!(ctx.sleep(SEC));
    assert!(poll_pinned(sleep.as_mut(), &wakes.waker()).is_pending());
    cancel.cancel_with("stop");
    assert_eq!(wakes.count(), 1);
    let Poll::Ready(Err(error)) = poll_pinned(sleep.as_mut(), &wakes.waker()) else { panic!("it must fail") };
    assert_error(&error, ErrorKind::Canceled, Some("stop"));
    let Poll::Ready(Err(_)) = poll_pinned(pin!(ctx.sleep(Duration::ZERO)), &wakes.waker()) else {
        panic!("a sleep on a done context fails")
    };
}

#[test]
fn s13_sleep_beyond_the_deadline_ends_at_the_deadline() {
    let (root, time) = manual();
    let ctx = root.with_timeout_cause(SEC, "slow");
    for d in [2 * SEC, HOUR, Duration::MAX] {
        let ctx = ctx.with_name("each");
        let wakes = Wakes::new();
        let mut sleep = pin!(ctx.sleep(d));
        assert!(poll_pinned(sleep.as_mut(), &wakes.waker()).is_pending());
    }
    let wakes = Wakes::new();
    let mut sleep = pin!(ctx.sleep(HOUR));
    assert!(poll_pinned(sleep.as_mut(), &wakes.waker()).is_pending());
    time.advance(SEC);
    let Poll::Ready(Err(error)) = poll_pinned(sleep.as_mut(), &wakes.waker()) else { panic!("it must fail") };
    assert_error(&error, ErrorKind::DeadlineExceeded, Some("slow"));
}

#[test]
fn s13_the_end_wins_over_a_sleep_that_ends_at_the_same_time() {
    // As documented for `sleep` and `wait_timeout`: at the same time, the context's end wins.
    let (root, time) = manual();
    let ctx = root.with_timeout_cause(SEC, "slow");
    let mut sleep = pin!(ctx.sleep(SEC));
    assert!(poll_pinned(sleep.as_mut(), &Wakes::new().waker()).is_pending());
    time.advance(SEC);
    let Poll::Ready(Err(error)) = poll_pinned(sleep.as_mut(), &Wakes::new().waker()) else { panic!("it must fail") };
    assert_error(&error, ErrorKind::DeadlineExceeded, Some("slow"));
    assert!(ctx.wait_timeout(Duration::ZERO).is_some());
    // The earlier event counts, even if the poll is late.
    let (ctx, cancel) = root.with_cancel();
    let mut sleep = pin!(ctx.sleep(SEC));
    assert!(poll_pinned(sleep.as_mut(), &Wakes::new().waker()).is_pending());
    time.advance(SEC);
    cancel.cancel();
    assert!(matches!(poll_pinned(sleep.as_mut(), &Wakes::new().waker()), Poll::Ready(Ok(()))));
}

#[test]
fn s13_a_sleep_of_zero_is_ready() {
    let (root, _time) = manual();
    assert!(matches!(poll_pinned(pin!(root.sleep(Duration::ZERO)), &Wakes::new().waker()), Poll::Ready(Ok(()))));
}

#[test]
fn s13_a_sleep_counts_from_its_first_poll_or_its_making_but_never_ends_early() {
    let (root, time) = manual();
    let start = time.now();
    let mut sleep = pin!(root.sleep(SEC));
    assert!(poll_pinned(sleep.as_mut(), &Wakes::new().waker()).is_pending());
    let mut at = start;
    while poll_pinned(sleep.as_mut(), &Wakes::new().waker()).is_pending() {
        time.advance(MS);
        at = time.now();
    }
    assert_eq!(at - start, SEC);
}

#[test]
fn s13_a_future_may_wait_on_one_context_inside_another() {
    // The outer futures hold no lock while the inner future waits.
    within("three futures in one another", || {
        let (root, time) = manual();
        let (outer, cancel) = root.with_cancel();
        let middle = outer.with_timeout(2 * SEC);
        let inner = middle.with_timeout(SEC);
        let wakes = Wakes::new();
        let mut all = pin!(outer.run(middle.run(inner.run(pending::<()>()))));
        assert!(poll_pinned(all.as_mut(), &wakes.waker()).is_pending());
        time.advance(SEC);
        let Poll::Ready(Ok(Ok(Err(error)))) = poll_pinned(all.as_mut(), &wakes.waker()) else {
            panic!("the innermost deadline fires alone")
        };
        assert!(error.is_deadline_exceeded());
        cancel.cancel();
    });
}

#[test]
fn s13_polling_races_with_cancel_and_no_wake_up_is_lost() {
    for round in 0..rounds(500) {
        let (root, _time) = manual();
        let (top, cancel) = root.with_cancel();
        let ctx = top.with_name("leaf");
        let wakes = Wakes::new();
        let mut wait = ctx.done();
        let ((), pending) = race(
            || {
                crate::common::jitter(round);
                cancel.cancel();
            },
            || poll(&mut wait, &wakes).is_pending(),
        );
        assert_eq!(wakes.count(), usize::from(pending), "round {round}");
        assert!(poll(&mut wait, &wakes).is_ready());
    }
}

#[test]
fn s13_dropping_a_future_races_with_cancel() {
    for round in 0..rounds(500) {
        let (root, _time) = manual();
        let (top, cancel) = root.with_cancel();
        let ctx = top.with_name("leaf");
        let wakes = Wakes::new();
        let (mut kept, mut dropped) = (ctx.done_owned(), ctx.done_owned());
        assert!(poll(&mut kept, &wakes).is_pending());
        assert!(poll(&mut dropped, &Wakes::new()).is_pending());
        race(
            || {
                crate::common::jitter(round);
                cancel.cancel();
            },
            || drop(dropped),
        );
        assert_eq!(wakes.count(), 1, "round {round}");
    }
}

#[test]
fn s13_a_scope_makes_its_context_current_only_while_it_is_polled() {
    let (root, _time) = manual();
    let ctx = root.with_name("scoped");
    let name = || Context::current().name().map(str::to_owned);
    assert_eq!(name(), None);
    let mut scoped = pin!(ctx.scope(poll_fn({
        let mut polls = 0;
        move |_| {
            assert_eq!(Context::current().name(), Some("scoped"));
            polls += 1;
            if polls == 3 { Poll::Ready(polls) } else { Poll::Pending }
        }
    })));
    let waker = Wakes::new().waker();
    assert_eq!(name(), None);
    assert!(poll_pinned(scoped.as_mut(), &waker).is_pending());
    assert_eq!(name(), None);
    root.with_name("outside").sync_scope(|| {
        assert_eq!(name().as_deref(), Some("outside"));
        assert!(poll_pinned(scoped.as_mut(), &waker).is_pending());
        assert_eq!(name().as_deref(), Some("outside"));
    });
    assert!(matches!(poll_pinned(scoped.as_mut(), &waker), Poll::Ready(3)));
    assert_eq!(name(), None);
}

#[test]
fn s13_a_scope_is_left_when_its_closure_panics() {
    let ctx = Context::background().with_name("scoped");
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        ctx.sync_scope(|| panic!("inside a scope (on purpose)"));
    }));
    assert!(outcome.is_err());
    assert_eq!(Context::current().name(), None);
    let waker = Wakes::new().waker();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut scoped = pin!(ctx.scope(poll_fn(|_| -> Poll<()> { panic!("inside a scope (on purpose)") })));
        let _never = poll_pinned(scoped.as_mut(), &waker);
    }));
    assert!(outcome.is_err());
    assert_eq!(Context::current().name(), None);
    assert_eq!(ctx.sync_scope(|| 7), 7);
}

#[test]
fn s13_a_scope_is_still_there_while_its_future_is_dropped() {
    // A `Drop` inside the future may query the current context, as the future may. The query must not panic.
    struct Asks(Arc<AtomicUsize>);
    impl Drop for Asks {
        fn drop(&mut self) {
            let _any = Context::current().is_done();
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let ctx = Context::background().with_name("scoped");
    let asks = Asks(Arc::clone(&asked));
    let mut scoped = Box::pin(ctx.scope(async move {
        let _asks = asks;
        pending::<()>().await;
    }));
    assert!(poll_pinned(scoped.as_mut(), &Wakes::new().waker()).is_pending());
    drop(scoped);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn s13_a_waiting_thread_returns_at_the_end() {
    within("threads that wait", || {
        let (root, time) = manual();
        let (top, cancel) = root.with_cancel();
        let slow = root.with_timeout(SEC).with_name("slow");
        std::thread::scope(|scope| {
            let waits: Vec<_> = (0..4)
                .map(|i| {
                    let ctx = if i % 2 == 0 { top.with_name("leaf") } else { slow.clone() };
                    scope.spawn(move || match i {
                        0 | 1 => Some(ctx.wait()),
                        2 => ctx.wait_timeout(HANG),
                        _ => ctx.sleep_blocking(HANG).err(),
                    })
                })
                .collect();
            cancel.cancel();
            time.advance(SEC);
            for (i, wait) in waits.into_iter().enumerate() {
                let error = wait.join().expect("no panic").expect("it ended");
                assert_eq!(error.is_canceled(), i % 2 == 0, "thread {i}: {error}");
            }
        });
    });
}

#[test]
fn s13_a_future_may_be_polled_by_one_task_and_then_by_another() {
    within("a future handed on", || {
        let (root, _time) = manual();
        let (ctx, cancel) = root.with_cancel();
        let ran = Arc::new(AtomicUsize::new(0));
        let waker = waker_fn({
            let ran = Arc::clone(&ran);
            move || bump(&ran)
        });
        let mut wait = ctx.done_owned();
        assert!(poll(&mut wait, &Wakes::new()).is_pending());
        let mut wait = std::thread::spawn(move || {
            assert!(crate::common::poll_with(&mut wait, &waker).is_pending());
            wait
        })
        .join()
        .expect("no panic");
        cancel.cancel();
        assert_eq!(ran.load(Ordering::SeqCst), 1);
        assert!(poll(&mut wait, &Wakes::new()).is_ready());
    });
}
