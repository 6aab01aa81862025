//! The blocking retry, which behaves like the async retry, on a manual clock.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ripcord::{Clock, Context, ManualTime};
use ripcord_policy::{Attempt, Retry, RetryBudget, StopReason};

const MS: Duration = Duration::from_millis(1);

fn manual() -> (Context, ManualTime) {
    let (clock, time) = Clock::manual();
    (Context::background().with_clock(clock), time)
}

#[test]
fn cancel_wakes_the_wait() {
    let (root, _time) = manual();
    let budget = Arc::new(RetryBudget::new());
    let (waits, about_to_wait) = mpsc::channel();
    let retry =
        Retry::exponential().budget(Arc::clone(&budget)).on_retry(move |_| waits.send(()).unwrap()).build().unwrap();
    // Time does not advance, so only the cancel ends a wait. The cancel comes before the wait, at its start, or during it.
    for _ in 0..200 {
        let (ctx, cancel) = root.with_cancel();
        std::thread::scope(|scope| {
            let run = scope.spawn(|| retry.run_blocking(&ctx, |_| Err::<(), _>("down")));
            about_to_wait.recv().unwrap();
            cancel.cancel_with("the user left");
            let error = run.join().unwrap().unwrap_err();
            assert!(error.is_canceled());
            let story = format!("{error:#}");
            assert!(story.starts_with("context canceled: the user left (canceled at "), "{story}");
            assert!(story.ends_with("just now), after 1 attempt, last error: down"), "{story}");
        });
    }
    assert_eq!(budget.tokens(), 500, "what was not sent is not paid for");
    let stats = retry.stats();
    assert_eq!((stats.calls.started, stats.calls.canceled, stats.calls.failed, stats.retries), (200, 200, 0, 0));
}

#[test]
fn wait_ends_when_its_time_has_come() {
    let (ctx, time) = manual();
    let (waits, about_to_wait) = mpsc::channel();
    let retry = Retry::exponential().on_retry(move |event| waits.send(event.delay).unwrap()).build().unwrap();
    let ended = std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            retry.run_blocking(
                &ctx,
                |ctx| if Attempt::number(&ctx) < 3 { Err("down") } else { Ok(Attempt::number(&ctx)) },
            )
        });
        while !run.is_finished() {
            time.advance(MS);
            std::thread::yield_now();
        }
        run.join().unwrap()
    });
    assert_eq!(ended.unwrap(), 3);
    assert_eq!(about_to_wait.try_iter().collect::<Vec<_>>(), [100 * MS, 200 * MS, 400 * MS]);
}

#[test]
fn done_context_and_settings_out_of_bounds_mean_zero_calls() {
    let (ctx, _time) = manual();
    let (done, cancel) = ctx.with_cancel();
    cancel.cancel();
    let retry = Retry::<&str>::exponential().build().unwrap();
    let error = retry.run_blocking(&done, |_| -> Result<(), _> { unreachable!() }).unwrap_err();
    assert!(error.is_canceled() && error.attempts() == 0 && error.last().is_none());
    assert_eq!((retry.stats().calls.started, retry.stats().calls.rejected), (0, 1));
}

#[test]
fn result_in_spite_of_cancellation_is_returned_and_a_failure_is_the_last() {
    let (root, _time) = manual();
    let told = Arc::new(AtomicU32::new(0));
    let hook = Arc::clone(&told);
    let retry = Retry::exponential()
        .on_retry(move |_| {
            hook.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    for result in [Ok(1), Err("down")] {
        let (ctx, cancel) = root.with_cancel();
        let ended = retry.run_blocking(&ctx, |ctx| {
            assert!(Attempt::is_inside_retry(&ctx));
            cancel.cancel();
            result
        });
        match result {
            Ok(value) => assert_eq!(ended.unwrap(), value),
            Err(last) => assert!(matches!(ended, Err(error) if error.is_canceled() && error.last() == Some(&last))),
        }
    }
    assert_eq!((told.load(Ordering::Relaxed), retry.stats().calls.succeeded, retry.stats().calls.canceled), (0, 1, 1));
    assert!(!Attempt::is_inside_retry(&root));
}

#[test]
fn blocking_retry_uses_the_budget_as_the_async_one_does() {
    let ctx = Context::background();
    let budget = Arc::new(RetryBudget::builder().capacity(12).build().unwrap());
    let line = line!() - 1;
    let retry = Retry::constant(Duration::ZERO).max_attempts(2).budget(Arc::clone(&budget)).build().unwrap();
    let run = |failures: u32| {
        let ended = retry.run_blocking(&ctx, |ctx| if Attempt::number(&ctx) < failures { Err("down") } else { Ok(()) });
        (ended.map_err(|error| format!("{error:#}")), budget.tokens())
    };
    let exhausted = Err("all 2 attempts failed, last error: down".to_owned());
    assert_eq!(run(1), (Ok(()), 12), "a retry that succeeds brings back what it cost");
    assert_eq!(run(9), (exhausted.clone(), 7));
    assert_eq!(run(9), (exhausted, 2));
    let spent = format!("retry budget is spent (built at {}:{line}:27), after 1 attempt, last error: down", file!());
    assert_eq!(run(9), (Err(spent), 2));
    assert_eq!(run(0), (Ok(()), 3), "a first attempt that succeeds brings one");
    let stats = retry.stats();
    assert_eq!((stats.calls.started, stats.calls.succeeded, stats.calls.failed, stats.calls.canceled), (5, 2, 3, 0));
    assert_eq!((stats.retries, stats.budget_refused), (3, 1));
}

#[test]
fn wait_past_the_deadline_is_not_started() {
    let (ctx, _time) = manual();
    let retry = Retry::exponential().build().unwrap();
    let error = retry.run_blocking(&ctx.with_timeout(100 * MS), |_| Err::<(), _>("down")).unwrap_err();
    assert_eq!(error.stop_reason(), Some(StopReason::Deadline));
    assert!(error.to_string().contains("needs 100ms, 100ms left"), "{error}");
    assert_eq!((error.last(), retry.stats().deadline_refused), (Some(&"down"), 1));
}
