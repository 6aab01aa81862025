//! The retry, tested against its specification on a manual clock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use ripcord::{Clock, Context, ManualTime};
use ripcord_policy::retry::{RetryBudgetBuilder, RetryBuilder};
use ripcord_policy::{
    Attempt, CircuitBreaker, Error, Jitter, Outcome, Random, Rate, RateLimiter, Refused, Retry, RetryBudget, Stack,
    StopReason,
};

const MS: Duration = Duration::from_millis(1);

fn manual() -> (Context, ManualTime) {
    let (clock, time) = Clock::manual();
    (Context::background().with_clock(clock), time)
}

/// Advances the clock by one millisecond at a time until `run` is ready. Returns the result and the elapsed milliseconds.
fn drive<T>(time: &ManualTime, run: impl Future<Output = T> + Send) -> (T, u32) {
    let mut run = Box::pin(run);
    for ms in 0..100_000 {
        if let Poll::Ready(result) = run.as_mut().poll(&mut Task::from_waker(Waker::noop())) {
            return (result, ms);
        }
        time.advance(MS);
    }
    panic!("it never ends");
}

/// Returns a call that fails in the first `failures` attempts.
fn flaky(failures: u32) -> impl FnMut(Context) -> BoxFuture<'static, Result<u32, &'static str>> {
    move |ctx| {
        Box::pin(async move {
            let attempt = Attempt::number(&ctx);
            if attempt < failures { Err("down") } else { Ok(attempt) }
        })
    }
}

#[test]
fn defaults_are_those_of_the_chapter() {
    let (ctx, time) = manual();
    let waits = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&waits);
    let retry = Retry::exponential()
        .max_attempts(6)
        .on_retry(move |event| {
            log.lock().unwrap().push(format!("Retry attempt {} after {:?}", event.attempt, event.delay))
        })
        .build()
        .unwrap();
    let (result, took) = drive(&time, retry.run(&ctx, flaky(9)));
    let error = result.unwrap_err();
    assert_eq!(format!("{error:#}"), "all 6 attempts failed, last error: down");
    assert_eq!((error.attempts(), error.last(), took), (6, Some(&"down"), 3100));
    assert!(error.stop_reason() == Some(StopReason::Exhausted));
    assert_eq!(
        *waits.lock().unwrap(),
        [
            "Retry attempt 1 after 100ms",
            "Retry attempt 2 after 200ms",
            "Retry attempt 3 after 400ms",
            "Retry attempt 4 after 800ms",
            "Retry attempt 5 after 1.6s"
        ]
    );
    let (result, took) = drive(&time, Retry::exponential().build().unwrap().run(&ctx, flaky(9)));
    assert_eq!((result.unwrap_err().attempts(), took), (4, 700));
}

#[test]
fn first_success_is_returned() {
    let (ctx, time) = manual();
    let retry = Retry::exponential().build().unwrap();
    assert_eq!(drive(&time, retry.run(&ctx, flaky(0))).0.unwrap(), 0);
    assert_eq!(drive(&time, retry.run(&ctx, flaky(3))).0.unwrap(), 3);
    let stats = retry.stats();
    assert_eq!((stats.calls.started, stats.calls.succeeded, stats.retries), (2, 2, 3));
}

#[test]
fn done_context_means_zero_calls() {
    let (ctx, cancel) = Context::background().with_cancel();
    cancel.cancel_with("shutting down");
    let retry = Retry::exponential().build().unwrap();
    let run = retry.run(&ctx, |_| async { unreachable!() as Result<(), &str> });
    let error = run.now_or_never().unwrap().unwrap_err();
    assert!(error.is_canceled() && error.attempts() == 0 && error.last().is_none());
    assert_eq!((retry.stats().calls.started, retry.stats().calls.rejected), (0, 1));
}

#[test]
fn result_in_spite_of_cancellation_is_returned() {
    let (ctx, cancel) = Context::background().with_cancel();
    let retry = Retry::<&str>::exponential().build().unwrap();
    let run = retry.run(&ctx, |_| async {
        cancel.cancel();
        Ok(1)
    });
    assert_eq!(run.now_or_never().unwrap().unwrap(), 1);
}

#[test]
fn wait_past_the_deadline_is_not_begun() {
    let (ctx, time) = manual();
    let ctx = ctx.with_timeout(Duration::from_secs(1));
    let (result, took) = drive(&time, Retry::exponential().max_attempts(9).build().unwrap().run(&ctx, flaky(9)));
    let error = result.unwrap_err();
    // The waits are 100, 200 and 400 ms. The next wait of 800 ms does not fit.
    assert_eq!((error.attempts(), took), (4, 700));
    assert!(error.is_deadline_exceeded() && !error.is_canceled());
    assert_eq!(error.last(), Some(&"down"));
    assert_eq!(error.stop_reason(), Some(StopReason::Deadline));
    assert!(error.to_string().contains("needs 800ms, 300ms left"), "{error}");
    // A wait that ends exactly at the deadline leaves no time for an attempt.
    let (ctx, time) = manual();
    let ctx = ctx.with_timeout(100 * MS);
    let retry = Retry::exponential().build().unwrap();
    let (result, took) = drive(&time, retry.run(&ctx, flaky(9)));
    assert_eq!((result.unwrap_err().attempts(), took, retry.stats().deadline_refused), (1, 0, 1));
}

#[test]
fn cancellation_ends_the_wait_and_keeps_the_last_error() {
    let (ctx, _time) = manual();
    let (ctx, cancel) = ctx.with_cancel();
    let retry = Retry::exponential().build().unwrap();
    let mut run = Box::pin(retry.run(&ctx, flaky(9)));
    assert!(run.as_mut().now_or_never().is_none());
    cancel.cancel();
    let error = run.now_or_never().unwrap().unwrap_err();
    assert!(error.is_canceled());
    assert_eq!(error.to_string(), "context canceled");
    assert!(format!("{error:#}").ends_with(", after 1 attempt, last error: down"), "{error:#}");
    assert_eq!((retry.stats().calls.canceled, retry.stats().calls.failed), (1, 0));
}

#[test]
fn end_of_the_caller_is_neutral_whatever_failed_before_it() {
    let (root, _time) = manual();
    let failing = |_| async { Err::<(), _>(Error::new("down")) };
    let retry = Retry::exponential().over_policies().build().unwrap();
    for by_deadline in [false, true] {
        let (ctx, cancel) = root.with_timeout(if by_deadline { 50 * MS } else { 5000 * MS }).with_cancel();
        let mut run = Box::pin(retry.run(&ctx, failing));
        let early = run.as_mut().now_or_never();
        cancel.cancel();
        // A wait that does not fit the deadline is not started. Then the result is the failure of the call.
        let error = Error::<&str>::from(early.unwrap_or_else(|| run.now_or_never().unwrap()).unwrap_err());
        let said = if by_deadline { Outcome::Failure } else { Outcome::Neutral };
        assert_eq!((error.outcome(), error.last(), error.is_canceled()), (said, Some(&"down"), !by_deadline));
    }
}

#[test]
fn permanent_error_is_not_retried() {
    let (ctx, time) = manual();
    let retry = Retry::exponential().retry_if(|error: &&str| *error != "fatal").build().unwrap();
    let run = retry.run(&ctx, |ctx| async move {
        let attempt = Attempt::number(&ctx);
        Err::<(), _>(if attempt == 1 { "fatal" } else { "down" })
    });
    let error = drive(&time, run).0.unwrap_err();
    assert_eq!((error.attempts(), error.into_last()), (2, Some("fatal")));
}

#[test]
fn retry_after_of_a_server_is_honored_within_limits() {
    let wait = |asked: Duration| {
        let (ctx, time) = manual();
        let retry = Retry::exponential()
            .max_attempts(2)
            .retry_after(move |_| Some(asked))
            .max_retry_after(5000 * MS)
            .build()
            .unwrap();
        drive(&time, retry.run(&ctx, flaky(9))).1
    };
    assert_eq!((wait(10 * MS), wait(3000 * MS), wait(3600 * 1000 * MS)), (100, 3000, 5000));
}

#[test]
fn first_wait_is_clamped_and_jitter_stays_below_the_maximum() {
    let (ctx, time) = manual();
    for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated] {
        let retry = Retry::exponential()
            .max_attempts(500)
            .base(10 * MS)
            .max_delay(20 * MS)
            .jitter(jitter)
            .random(Random::seeded(1))
            .on_retry(move |event| assert!(event.delay <= 20 * MS, "{jitter:?}: {:?}", event.delay))
            .build()
            .unwrap();
        drive(&time, retry.run(&ctx, flaky(u32::MAX))).0.unwrap_err();
    }
}

#[test]
fn decorrelated_wait_depends_on_the_previous_wait() {
    let (ctx, time) = manual();
    let waits = Arc::new(Mutex::new(vec![10 * MS]));
    let log = Arc::clone(&waits);
    let retry = Retry::exponential().max_attempts(200).base(10 * MS).max_delay(1000 * MS);
    let retry = retry
        .jitter(Jitter::Decorrelated)
        .random(Random::seeded(1))
        .on_retry(move |event| log.lock().unwrap().push(event.delay))
        .build()
        .unwrap();
    drive(&time, retry.run(&ctx, flaky(u32::MAX))).0.unwrap_err();
    let waits = waits.lock().unwrap();
    assert!(waits.windows(2).all(|pair| pair[1] >= 10 * MS && pair[1] <= pair[0] * 3), "{waits:?}");
    // Waits of at most three times the base could not be this long.
    assert!(waits.iter().any(|wait| *wait > 500 * MS) && waits.iter().all(|wait| *wait <= 1000 * MS));
}

#[test]
fn seed_repeats_the_waits() {
    let waits = |seed| {
        let (ctx, time) = manual();
        let retry =
            Retry::exponential().max_attempts(8).jitter(Jitter::Full).random(Random::seeded(seed)).build().unwrap();
        drive(&time, retry.run(&ctx, flaky(9))).1
    };
    assert_eq!(waits(7), waits(7));
    assert_ne!(waits(7), waits(8));
}

#[test]
fn budget_bounds_the_retries_of_all() {
    let (ctx, time) = manual();
    let budget = Arc::new(RetryBudget::new());
    let retry =
        Retry::exponential().base(MS).max_delay(MS).max_attempts(50).budget(Arc::clone(&budget)).build().unwrap();
    let mut retries = 0;
    for _ in 0..20 {
        let error = drive(&time, retry.run(&ctx, flaky(u32::MAX))).0.unwrap_err();
        retries += error.attempts() - 1;
        if budget.tokens() == 0 {
            assert!(error.stop_reason() == Some(StopReason::Budget));
        }
    }
    assert_eq!((retries, budget.tokens()), (100, 0));
    // A success refunds one token. A successful retry refunds its cost.
    for _ in 0..5 {
        drive(&time, retry.run(&ctx, flaky(0))).0.unwrap();
    }
    assert_eq!(budget.tokens(), 5);
    drive(&time, retry.run(&ctx, flaky(1))).0.unwrap();
    assert_eq!((budget.tokens(), retry.stats().budget_refused), (5, 18));
}

#[test]
fn budget_comes_back_from_every_await_point() {
    for polls in 0..4 {
        let (ctx, time) = manual();
        let budget = Arc::new(RetryBudget::new());
        let retry = Retry::exponential().budget(Arc::clone(&budget)).build().unwrap();
        let mut run = Box::pin(retry.run(&ctx, |_| async {
            tokio::task::yield_now().await;
            Err::<(), _>("down")
        }));
        for _ in 0..polls {
            assert!(run.as_mut().now_or_never().is_none());
        }
        // After two polls, the run waits. In the third poll, the next attempt has been sent and paid.
        if polls == 3 {
            time.advance(100 * MS);
            assert!(run.as_mut().now_or_never().is_none());
        }
        drop(run);
        let paid = if polls == 3 { 5 } else { 0 };
        assert_eq!(budget.tokens(), 500 - paid, "dropped after {polls} polls");
        let stats = retry.stats();
        assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled);
    }
}

#[test]
fn local_rejections_are_waited_out_and_cost_no_budget() {
    let (ctx, time) = manual();
    let budget = Arc::new(RetryBudget::new());
    let retry = Retry::exponential().budget(Arc::clone(&budget)).over_policies().build().unwrap();
    let breaker = CircuitBreaker::new("b", 1, 7000 * MS).unwrap();
    breaker.force_open();
    let open = || Error::<&str>::from(Refused::from(breaker.try_acquire().unwrap_err()));
    let run = retry.run(&ctx, |ctx| async move {
        let attempt = Attempt::number(&ctx);
        if attempt == 0 { Err(open()) } else { Ok(attempt) }
    });
    let (result, took) = drive(&time, run);
    assert_eq!((result.unwrap(), took), (1, 7000));
    assert_eq!(budget.tokens(), 500);
    // The retry does not wait if the wait does not fit the deadline.
    let near = ctx.with_timeout(5000 * MS);
    let (result, took) = drive(&time, retry.run(&near, |_| async { Err::<(), _>(open()) }));
    let error = Error::<&str>::from(result.unwrap_err());
    assert_eq!((took, error.retry_after(), error.outcome()), (0, Some(7000 * MS), Outcome::Neutral));
    assert!(error.is_deadline_exceeded());
    // The retry does not wait if time does not help.
    let limiter = RateLimiter::new(Rate::per_second(1.0), 1).unwrap();
    let above = Refused::from(limiter.reserve_n(2).unwrap_err());
    let hopeless = retry.run(&ctx, |_| async { Err::<(), _>(Error::<&str>::from(above.clone())) });
    assert_eq!(drive(&time, hopeless).0.unwrap_err().stop_reason(), Some(StopReason::NotRetryable));
    // A timeout costs more than another failure. The success of its retry refunds that cost.
    let hanging: Stack<(), &str> = Stack::builder().attempt_timeout(MS).build().unwrap();
    let timed_out = drive(&time, hanging.run(&ctx, |_| std::future::pending())).0.unwrap_err();
    let timeout = retry.run(&ctx, |_| async { Err::<(), _>(timed_out.clone()) });
    drive(&time, timeout).0.unwrap_err();
    assert_eq!(budget.tokens(), 500 - 3 * 10);
}

#[test]
fn panic_harms_only_its_own_run() {
    let (ctx, time) = manual();
    let retry = Retry::exponential()
        .retry_if(|error: &&str| if *error == "predicate" { panic!("predicate") } else { true })
        .on_retry(|event| {
            if event.error.last() == Some(&"hook") {
                panic!("hook")
            }
        })
        .budget(Arc::new(RetryBudget::new()))
        .build()
        .unwrap();
    for bad in ["predicate", "hook"] {
        let run =
            catch_unwind(AssertUnwindSafe(|| drive(&time, retry.run(&ctx, |_| async move { Err::<(), _>(bad) }))));
        assert!(run.is_err());
    }
    let panics = catch_unwind(AssertUnwindSafe(|| retry.run_blocking(&ctx, |_| -> Result<(), _> { panic!("call") })));
    assert!(panics.is_err());
    assert_eq!(drive(&time, retry.run(&ctx, flaky(1))).0.unwrap(), 1);
    let stats = retry.stats();
    // A run that panics does not count as canceled, whether the call or a hook panicked.
    assert_eq!((stats.calls.started, stats.calls.succeeded, stats.calls.canceled, stats.calls.failed), (4, 1, 0, 3));
}

#[test]
fn threads_retry_too() {
    let ctx = Context::background().with_timeout(Duration::from_secs(60));
    let retry = Retry::constant(MS).max_attempts(3).build().unwrap();
    assert_eq!(
        retry
            .run_blocking(&ctx, |ctx| if Attempt::number(&ctx) < 2 { Err("down") } else { Ok(Attempt::number(&ctx)) })
            .unwrap(),
        2
    );
    let near = ctx.with_timeout(MS / 2);
    let error = retry.run_blocking(&near, |_| Err::<(), _>("down")).unwrap_err();
    assert!(error.is_deadline_exceeded() && error.attempts() == 1);
}

#[test]
fn bad_settings_are_named_when_built() {
    let field = |retry: RetryBuilder<&str>| retry.build().unwrap_err().to_string();
    assert_eq!(field(Retry::exponential().max_attempts(0)), "max_attempts must be at least 1, got 0");
    assert_eq!(field(Retry::exponential().base(3000 * MS)), "base must be at most max_delay (2s), got 3s");
    for multiplier in [0.0, 0.99, -1.0, f64::NAN, f64::INFINITY] {
        assert!(field(Retry::exponential().multiplier(multiplier)).starts_with("multiplier must be"));
    }
    // The settings may be given in any order, as long as their final values are valid.
    assert!(Retry::<&str>::exponential().base(3000 * MS).max_delay(9000 * MS).build().is_ok());
    let budget = |builder: RetryBudgetBuilder| builder.build().unwrap_err().to_string();
    assert_eq!(budget(RetryBudget::builder().retry_cost(0)), "retry_cost must be at least 1, got 0");
    assert_eq!(budget(RetryBudget::builder().capacity(4)), "capacity must be at least retry_cost (5), got 4");
    assert_eq!(budget(RetryBudget::builder().timeout_cost(4)), "timeout_cost must be at least retry_cost (5), got 4");
    assert!(RetryBudget::builder().capacity(5).timeout_cost(u32::MAX).success_refund(0).build().is_ok());
}
