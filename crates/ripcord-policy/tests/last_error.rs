//! Every error contains the error that the call returned, for any nesting of policies.

use std::error::Error as _;
use std::time::Duration;

use futures::FutureExt;
use ripcord::{Clock, Context};
use ripcord_policy::retry::Jitter;
use ripcord_policy::{CircuitBreaker, Error, Retry, Stack, StopReason};

/// The call's error.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reset;

impl std::fmt::Display for Reset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("connection reset")
    }
}

impl std::error::Error for Reset {}

async fn until_end(ctx: Context) -> Result<(), Reset> {
    ctx.done().await;
    Err(Reset)
}

/// Returns the texts of `error` and of its sources.
fn chain(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    let (mut texts, mut next) = (Vec::new(), Some(error));
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    texts
}

#[tokio::test(start_paused = true)]
async fn end_of_a_nested_stack_keeps_what_the_call_returned() {
    let inner: Stack<(), Reset> = Stack::builder().attempt_timeout(Duration::from_secs(50)).build().unwrap();
    let outer: Stack<(), Error<Reset>> = Stack::builder().attempt_timeout(Duration::from_secs(40)).build().unwrap();
    let retry: Retry<Error<Reset>> = Retry::builder().build().unwrap();
    let root = Context::background().with_clock(Clock::tokio());

    let (ctx, cancel) = root.with_cancel();
    let (in_stack, in_retry, ()) = tokio::join!(
        outer.run(&ctx, |ctx| inner_run(&inner, ctx)),
        retry.run(&ctx, |ctx| inner_run(&inner, ctx)),
        async { cancel.cancel_with("the user left") }
    );
    let error = in_stack.unwrap_err();
    assert_eq!(chain(&error), ["context canceled", "connection reset"]);
    let details = format!("{error:#}");
    assert!(details.starts_with("context canceled: the user left (canceled at "), "{details}");
    assert!(details.ends_with("), last error: connection reset") && details.matches("left").count() == 1, "{details}");

    let error = in_retry.unwrap_err();
    assert_eq!(chain(&error), ["context canceled", "connection reset"]);
    let details = format!("{error:#}");
    assert!(details.ends_with("), after 1 attempt, last error: connection reset"), "{details}");
    assert_eq!(details.matches("left").count(), 1, "{details}");

    // The outer stack's attempt timeout is the deadline of the caller of the nested stack.
    let error = outer.run(&root, |ctx| inner_run(&inner, ctx)).await.unwrap_err();
    assert!(error.is_attempt_timeout());
    assert_eq!(chain(&error).last().unwrap(), "connection reset");
    assert!(format!("{error:#}").ends_with("last error: connection reset"), "{error:#}");
}

async fn inner_run(inner: &Stack<(), Reset>, ctx: Context) -> Result<(), Error<Reset>> {
    inner.run(&ctx, until_end).await
}

#[tokio::test(start_paused = true)]
async fn refused_attempt_keeps_what_an_earlier_one_returned() {
    let stack: Stack<(), Reset> = Stack::builder()
        .retry(Retry::builder().max_attempts(3).jitter(Jitter::None))
        .breaker(CircuitBreaker::builder("users").consecutive_failures(1).open_for(Duration::from_secs(900)))
        .build()
        .unwrap();
    let ctx = Context::background().with_clock(Clock::tokio()).with_timeout(Duration::from_secs(60));
    let error = stack.run(&ctx, |_| async { Err(Reset) }).await.unwrap_err();
    assert!(error.is_breaker_open());
    assert_eq!((error.last(), error.attempts(), error.stop_reason()), (Some(&Reset), 2, Some(StopReason::Deadline)));
    assert_eq!(error.source().unwrap().to_string(), "circuit breaker 'users' is OPEN");
    assert_eq!(chain(&error).last().unwrap(), "connection reset");
    let line = line!() - 9;
    let last =
        format!("last error: circuit breaker 'users' is OPEN (built at {}:{line}:18): connection reset", file!());
    assert!(format!("{error:#}").ends_with(&last), "{error:#}");
}

#[tokio::test(start_paused = true)]
async fn caller_who_leaves_during_the_second_attempt_keeps_what_the_first_returned() {
    let retry: Retry<Reset> = Retry::builder().build().unwrap();
    let ctx = Context::background().with_clock(Clock::tokio()).with_timeout(Duration::from_secs(60));
    let stack: Stack<(), Reset> =
        Stack::builder().retry(retry).attempt_timeout(Duration::from_secs(100)).build().unwrap();
    let first = std::sync::atomic::AtomicBool::new(true);
    let call = |_| {
        let is_first = first.swap(false, std::sync::atomic::Ordering::Relaxed);
        async move { if is_first { Err(Reset) } else { std::future::pending().await } }
    };
    let error = stack.run(&ctx, call).await.unwrap_err();
    assert!(error.is_deadline_exceeded());
    assert_eq!((error.last(), error.attempts()), (Some(&Reset), 2));
    assert!(format!("{error:#}").ends_with("after 2 attempts, last error: connection reset"), "{error:#}");
}

#[tokio::test]
async fn stack_counts_a_panic_of_its_call_as_a_failure() {
    let stack: Stack<(), Reset> = Stack::builder().attempt_timeout(Duration::from_secs(1)).build().unwrap();
    let ctx = Context::background();
    let run = stack.run(&ctx, |_| async { panic!("out of range") });
    std::panic::AssertUnwindSafe(run).catch_unwind().await.unwrap_err();
    let calls = stack.stats().calls;
    assert_eq!((calls.started, calls.failed, calls.canceled), (1, 1, 0));
}

#[tokio::test]
async fn nested_retries_tell_the_number_of_attempts_once() {
    let inner: Retry<Reset> = Retry::builder().build().unwrap();
    let outer: Retry<Error<Reset>> = Retry::builder().over_policies().build().unwrap();
    let (ctx, cancel) = Context::background().with_cancel();
    let (result, ()) = tokio::join!(
        outer.run(&ctx, |ctx| {
            let inner = &inner;
            async move { inner.run(&ctx, until_end).await }
        }),
        async { cancel.cancel_with("the user left") }
    );
    let details = format!("{:#}", result.unwrap_err());
    assert_eq!(details.matches("after 1 attempt").count(), 1, "{details}");
    assert!(details.ends_with(", after 1 attempt, last error: connection reset"), "{details}");
}

/// An error whose source is the end of the context.
#[derive(Debug)]
struct QueryFailed(ripcord::Error);

impl std::fmt::Display for QueryFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("query failed")
    }
}

impl std::error::Error for QueryFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[tokio::test]
async fn end_that_the_calls_error_wraps_is_in_the_chain_once() {
    let query = async |ctx: Context| Err::<(), _>(QueryFailed(ctx.done().await));
    let retry: Retry<QueryFailed> = Retry::builder().build().unwrap();
    let stack: Stack<(), QueryFailed> = Stack::builder().attempt_timeout(Duration::from_secs(60)).build().unwrap();
    let breaker = CircuitBreaker::builder("users").build().unwrap();
    let (ctx, cancel) = Context::background().with_cancel();
    let (in_retry, in_stack, in_breaker, ()) =
        tokio::join!(retry.run(&ctx, query), stack.run(&ctx, query), breaker.run(&ctx, query), async {
            cancel.cancel_with("the user left")
        });
    for error in [in_retry.unwrap_err(), in_stack.unwrap_err(), in_breaker.unwrap_err()] {
        assert_eq!(chain(&error), ["context canceled", "query failed", "the user left"], "{error:#}");
        assert!(error.last().is_some() && error.is_canceled());
    }
    let live = breaker.run(&Context::background(), async |_| Err::<(), _>(QueryFailed(ctx.err().unwrap()))).await;
    assert_eq!(
        chain(&live.unwrap_err()),
        ["query failed", "context canceled", "the user left"],
        "an end of another context"
    );
}
