//! The reasons why a retry stops: the error, the budget, and the calls that are no longer made.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use ripcord::{Clock, Context, ManualTime};
use ripcord_policy::retry::RetryBuilder;
use ripcord_policy::{Attempt, CircuitBreaker, Error, Refused, Retry, RetryBudget, StopReason};

const MS: Duration = Duration::from_millis(1);

fn manual() -> (Context, ManualTime) {
    let (clock, time) = Clock::manual();
    (Context::background().with_clock(clock), time)
}

/// Advances the clock by one millisecond at a time until `run` is ready.
fn drive<T>(time: &ManualTime, run: impl Future<Output = T>) -> T {
    let mut run = Box::pin(run);
    for _ in 0..100_000 {
        if let Poll::Ready(result) = run.as_mut().poll(&mut Task::from_waker(Waker::noop())) {
            return result;
        }
        time.advance(MS);
    }
    panic!("it never ends");
}

/// The exact output of the Go program when all of its attempts have failed.
const ALL_FAILED: &str = "\
Attempt 0 failed: random failure
Retry attempt 1 after 100ms
Attempt 1 failed: random failure
Retry attempt 2 after 200ms
Attempt 2 failed: random failure
Retry attempt 3 after 400ms
Attempt 3 failed: random failure
Retry attempt 4 after 800ms
Attempt 4 failed: random failure
Retry attempt 5 after 1.6s
Attempt 5 failed: random failure
Final error: all 6 attempts failed, last error: random failure
";

#[test]
fn output_matches_the_chapter_when_all_attempts_fail() {
    let (ctx, time) = manual();
    let ctx = ctx.with_timeout(Duration::from_secs(5));
    let printed = Arc::new(Mutex::new(String::new()));
    let print = |line: String| {
        let mut printed = printed.lock().unwrap();
        printed.push_str(&line);
        printed.push('\n');
    };
    let hook = Arc::clone(&printed);
    let retry = Retry::exponential()
        .max_attempts(6)
        .on_retry(move |event| {
            let line = format!("Retry attempt {} after {:?}\n", event.attempt, event.delay);
            hook.lock().unwrap().push_str(&line);
        })
        .build()
        .unwrap();
    let run = retry.run(&ctx, |ctx| {
        let attempt = Attempt::number(&ctx);
        print(format!("Attempt {attempt} failed: random failure"));
        async { Err::<(), _>("random failure") }
    });
    let error = drive(&time, run).unwrap_err();
    print(format!("Final error: {error:#}"));
    assert_eq!(*printed.lock().unwrap(), ALL_FAILED);
}

/// An error that can be a source.
#[derive(Clone, Debug)]
struct Down;

impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("down")
    }
}

impl std::error::Error for Down {}

/// Runs `retry` with a call that always fails. Returns the texts of the error and of its source.
fn told(retry: &Retry<Down>, ctx: &Context, time: &ManualTime) -> (String, Option<String>) {
    let error = drive(time, retry.run(ctx, |_| async { Err::<(), _>(Down) })).unwrap_err();
    (format!("{error:#}"), std::error::Error::source(&error).map(ToString::to_string))
}

#[test]
fn every_reason_has_its_words() {
    let (ctx, time) = manual();
    let down = Some("down".to_owned());
    let check = |retry: RetryBuilder<Down>, ctx: &Context, text: &str| {
        assert_eq!(told(&retry.build().unwrap(), ctx, &time), (text.to_owned(), down.clone()));
    };
    let plain = Retry::builder;
    check(plain().max_attempts(3), &ctx, "all 3 attempts failed, last error: down");
    check(plain().max_attempts(1), &ctx, "the only attempt failed, last error: down");
    check(plain().retry_if(|_| false), &ctx, "not retryable, after 1 attempt, last error: down");
    let second = AtomicU32::new(0);
    let once = plain().retry_if(move |_| second.fetch_add(1, Ordering::Relaxed) == 0);
    check(once, &ctx, "not retryable, after 2 attempts, last error: down");
    let near = ctx.with_timeout(250 * MS);
    let line = line!() - 1;
    let (text, _) = told(&plain().build().unwrap(), &near, &time);
    assert_eq!(
        text,
        format!(
            "deadline too near: needs 200ms, 150ms left (timeout of 250ms set at {}:{line}:20), after 2 attempts, last error: down",
            file!()
        )
    );
    let budget = Arc::new(RetryBudget::builder().capacity(5).build().unwrap());
    let line = line!() - 1;
    let spent = format!("retry budget is spent (built at {}:{line}:27), after 2 attempts, last error: down", file!());
    check(plain().budget(budget), &ctx, &spent);

    // Nested retries: the outer retry ends with the error of the inner retry.
    let outer = Retry::<Error<Down>>::exponential().max_attempts(1).build().unwrap();
    let (inner, ctx) = (&plain().build().unwrap(), &ctx);
    let run = outer.run(ctx, |ctx| async move { inner.run(&ctx, |_| async { Err::<(), _>(Down) }).await });
    assert_eq!(
        format!("{:#}", drive(&time, run).unwrap_err()),
        "the only attempt failed, last error: the attempt failed, and an outer retry decides on another, last error: down"
    );

    // Without an attempt there is no last error, and the source is the cause of the context's end.
    let (text, source) = told(&plain().build().unwrap(), &ctx.with_timeout(Duration::ZERO), &time);
    assert!(text.starts_with("context deadline exceeded (timeout of 0ns set at "), "{text}");
    assert!(text.ends_with("), before the first attempt"), "{text}");
    assert_eq!(source, None);
    let (done, cancel) = ctx.with_cancel();
    cancel.cancel_with("enough");
    let (text, source) = told(&plain().build().unwrap(), &done, &time);
    assert!(text.starts_with("context canceled: enough (canceled at ") && text.contains(file!()), "{text}");
    assert_eq!(source.as_deref(), Some("enough"));
}

#[test]
fn wait_that_is_canceled_has_cost_nothing() {
    let (ctx, _time) = manual();
    let (ctx, cancel) = ctx.with_cancel();
    let budget = Arc::new(RetryBudget::new());
    let retry = Retry::exponential().budget(Arc::clone(&budget)).build().unwrap();
    let mut run = Box::pin(retry.run(&ctx, |_| async { Err::<(), _>("down") }));
    assert!((&mut run).now_or_never().is_none());
    assert_eq!(budget.tokens(), 495, "taken as the wait begins: others may not count on them");
    cancel.cancel();
    let error = run.now_or_never().unwrap().unwrap_err();
    assert!(error.is_canceled() && error.attempts() == 1);
    assert_eq!(budget.tokens(), 500, "the attempt they were for has not been made");
    assert_eq!((retry.stats().retries, retry.stats().budget_refused), (0, 0));
}

#[test]
fn failure_under_a_context_that_has_ended_meanwhile_is_followed_by_nothing() {
    let asked = Arc::new(AtomicU32::new(0));
    let ask = |answer: bool| {
        let asked = Arc::clone(&asked);
        move || {
            asked.fetch_add(1, Ordering::Relaxed);
            answer
        }
    };
    let (on_retry, retry_if, retry_after) = (ask(true), ask(true), ask(true));
    let budget = Arc::new(RetryBudget::new());
    let retry = Retry::exponential()
        .budget(Arc::clone(&budget))
        .retry_if(move |_| retry_if())
        .retry_after(move |_| {
            retry_after();
            None
        })
        .on_retry(move |_| {
            on_retry();
        })
        .build()
        .unwrap();
    for by_deadline in [false, true] {
        let (ctx, time) = manual();
        let (ctx, cancel) = ctx.with_timeout(50 * MS).with_cancel();
        let (cancel, time) = (&cancel, &time);
        let run = retry.run(&ctx, |_| async move {
            match by_deadline {
                true => time.advance(50 * MS),
                false => cancel.cancel_with("the user left"),
            }
            Err::<(), _>("broken pipe")
        });
        let error = run.now_or_never().expect("nothing to wait for").unwrap_err();
        assert!(matches!(error.stop_reason(), Some(StopReason::Deadline | StopReason::Canceled)));
        assert_eq!((error.is_deadline_exceeded(), error.is_canceled()), (by_deadline, !by_deadline));
        assert_eq!((error.attempts(), error.last()), (1, Some(&"broken pipe")));
    }
    assert_eq!((asked.load(Ordering::Relaxed), budget.tokens()), (0, 500));
    assert_eq!((retry.stats().calls.canceled, retry.stats().calls.failed), (2, 0));
}

#[test]
fn context_that_the_hook_ends_is_seen_although_there_is_nothing_to_wait_for() {
    let (ctx, _time) = manual();
    for blocking in [false, true] {
        let (ctx, cancel) = ctx.with_cancel();
        let budget = Arc::new(RetryBudget::new());
        let retry = Retry::constant(Duration::ZERO)
            .budget(Arc::clone(&budget))
            .on_retry(move |event| {
                assert_eq!((event.attempt, event.delay), (1, Duration::ZERO));
                cancel.cancel_with("enough");
            })
            .build()
            .unwrap();
        let calls = AtomicU32::new(0);
        let call = || {
            calls.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>("down")
        };
        let ended = match blocking {
            true => retry.run_blocking(&ctx, |_| call()),
            false => retry.run(&ctx, |_| std::future::ready(call())).now_or_never().expect("nothing to wait for"),
        };
        let error = ended.unwrap_err();
        assert!(error.stop_reason() == Some(StopReason::Canceled) && error.is_canceled());
        assert_eq!((error.attempts(), error.last(), calls.load(Ordering::Relaxed)), (1, Some(&"down"), 1));
        assert_eq!(budget.tokens(), 500, "the attempt they were for has not been made");
        assert_eq!((retry.stats().calls.canceled, retry.stats().calls.failed, retry.stats().retries), (1, 0, 0));
    }
}

#[test]
fn retry_after_past_the_deadline_gives_up_at_once() {
    let stopped = |asked: Duration, left: Duration| {
        let (ctx, _time) = manual();
        let told = Arc::new(AtomicU32::new(0));
        let hook = Arc::clone(&told);
        let budget = Arc::new(RetryBudget::new());
        let retry = Retry::exponential()
            .budget(Arc::clone(&budget))
            .retry_after(move |_| Some(asked))
            .on_retry(move |_| {
                hook.fetch_add(1, Ordering::Relaxed);
            })
            .build()
            .unwrap();
        let ctx = ctx.with_timeout(left);
        let run = retry.run(&ctx, |_| async { Err::<(), _>("busy") });
        let error = run.now_or_never().expect("no wait is started").unwrap_err();
        assert!(error.is_deadline_exceeded() && error.last() == Some(&"busy"));
        assert_eq!((told.load(Ordering::Relaxed), budget.tokens(), retry.stats().deadline_refused), (0, 500, 1));
        assert_eq!(error.stop_reason(), Some(StopReason::Deadline));
        error.to_string()
    };
    let too_near = |needed: Duration, left: Duration| format!("deadline too near: needs {needed:?}, {left:?} left");
    let second = 1000 * MS;
    assert_eq!(stopped(7 * second, 5 * second), too_near(7 * second, 5 * second));
    assert_eq!(
        stopped(5 * second, 5 * second),
        too_near(5 * second, 5 * second),
        "at the deadline it would be too late"
    );
    // The wait is at most `max_retry_after`.
    assert_eq!(stopped(3600 * second, 20 * second), too_near(30 * second, 20 * second));

    // The error reports the wait of a local rejection in the same way.
    let (ctx, _time) = manual();
    let retry = Retry::exponential().over_policies().build().unwrap();
    let near = ctx.with_timeout(5 * second);
    let breaker = CircuitBreaker::new("b", 1, 7 * second).unwrap();
    breaker.force_open();
    let open = || Error::<&str>::from(Refused::from(breaker.try_acquire().unwrap_err()));
    let error = retry.run(&near, |_| async { Err::<(), _>(open()) }).now_or_never().unwrap().unwrap_err();
    assert_eq!(
        (error.stop_reason(), error.to_string()),
        (Some(StopReason::Deadline), too_near(7 * second, 5 * second))
    );
}

#[test]
fn no_attempt_so_far_counts_as_one() {
    let retry = Retry::<Down>::builder().build().unwrap();
    let breaker = CircuitBreaker::builder("down").build().unwrap();
    breaker.force_open();
    let (ctx, cancel) = Context::background().with_cancel();
    let run = breaker.run(&ctx, |_| async { Ok::<(), Down>(()) });
    let refused: Error<Down> = run.now_or_never().expect("an open breaker refuses at once").unwrap_err();
    cancel.cancel();
    // The one attempt was refused, so it was not made.
    assert_eq!(retry.next_delay(&ctx, 0, Duration::ZERO, refused).unwrap_err().attempts(), 0);
}
