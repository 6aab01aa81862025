//! All policies have the same API: `builder()`, `build()`, a run under a context, `stats()` with the same counters of calls,
//! `record_metrics`, and clones that share their state.

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use ripcord::{Clock, Context};
use ripcord_policy::{
    Bulkhead, Cache, CallStats, CircuitBreaker, Fallback, Hedge, KeyedCircuitBreaker, KeyedLimiter, Rate, RateLimiter,
    Retry, Stack, WorkerPool,
};

/// The methods that every policy has.
trait Policy: Clone + Debug + Send + Sync {
    fn calls(&self) -> CallStats;
    #[cfg(feature = "metrics")]
    fn record(&self, name: &str);
}

macro_rules! policies {
    ($($policy:ty),* $(,)?) => {
        $(impl Policy for $policy {
            fn calls(&self) -> CallStats {
                self.stats().calls
            }

            #[cfg(feature = "metrics")]
            fn record(&self, name: &str) {
                self.record_metrics(name);
            }
        })*
    };
}

policies! {
    Bulkhead,
    Cache<u32, u32>,
    CircuitBreaker,
    Fallback<u32, io::Error>,
    Hedge,
    KeyedCircuitBreaker<u32>,
    KeyedLimiter<u32>,
    RateLimiter,
    Retry<io::Error>,
    Stack<u32, io::Error>,
    WorkerPool,
}

/// Checks the statistics of a policy that has admitted one successful call.
fn assert_one_success(policy: &impl Policy, name: &str) {
    let calls = policy.clone().calls();
    assert_eq!((calls.started, calls.succeeded, calls.rejected), (1, 1, 0), "{name}");
    assert_eq!(calls.in_flight(), 0, "{name}");
    #[cfg(feature = "metrics")]
    {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || policy.record(name));
        let started = format!(r#"name="{name}"}} 1"#);
        let text = handle.render();
        let is_started =
            |line: &str| line.starts_with("ripcord_policy_calls_started_total") && line.ends_with(&started);
        assert!(text.lines().any(is_started), "{name}: {text}");
    }
}

async fn answer(_: Context) -> Result<u32, io::Error> {
    Ok(42)
}

#[tokio::test]
async fn every_policy_counts_a_call_in_the_same_figures() -> Result<(), Box<dyn std::error::Error>> {
    let (clock, _time) = Clock::manual();
    let ctx = &Context::background().with_clock(clock.clone());

    let bulkhead = Bulkhead::builder().limit(1).clock(clock.clone()).build()?;
    bulkhead.run(ctx, answer).await?;
    assert_one_success(&bulkhead, "bulkhead");

    let cache = Cache::builder().capacity(1).clock(clock.clone()).build(ctx)?;
    cache.run(ctx, 1, answer).await?;
    assert_one_success(&cache, "cache");

    let breaker = CircuitBreaker::builder("one").clock(clock.clone()).build()?;
    breaker.run(ctx, answer).await?;
    assert_one_success(&breaker, "breaker");

    let fallback = Fallback::builder().value(7).build()?;
    fallback.run(ctx, answer).await?;
    assert_one_success(&fallback, "fallback");

    let hedge = Hedge::builder().delay(Duration::from_secs(1)).clock(clock.clone()).build()?;
    hedge.run(ctx, answer).await?;
    assert_one_success(&hedge, "hedge");

    let breakers = KeyedCircuitBreaker::builder(CircuitBreaker::builder("each")).clock(clock.clone()).build()?;
    breakers.run(ctx, &1, answer).await?;
    assert_one_success(&breakers, "keyed breaker");

    let limiters = KeyedLimiter::builder().rate(Rate::per_second(1.0)).clock(clock.clone()).build()?;
    limiters.run(ctx, &1, answer).await?;
    assert_one_success(&limiters, "keyed limiter");

    let limiter = RateLimiter::builder().rate(Rate::per_second(1.0)).clock(clock.clone()).build()?;
    limiter.run(ctx, answer).await?;
    assert_one_success(&limiter, "limiter");

    let retry = Retry::builder().clock(clock.clone()).build()?;
    retry.run(ctx, answer).await?;
    assert_one_success(&retry, "retry");

    let stack = Stack::builder().clock(clock.clone()).build()?;
    stack.run(ctx, answer).await?;
    assert_one_success(&stack, "stack");

    let pool = WorkerPool::builder().workers(1).clock(clock).build(ctx)?;
    pool.run(ctx, answer).await?;
    assert_one_success(&pool, "pool");
    Ok(())
}

/// The `run` of a policy that only admits calls tells the call's failure, a refusal and the caller's end apart, as in other
/// policies.
#[tokio::test]
async fn run_of_a_limiter_tells_the_calls_error_from_a_refusal_and_from_the_callers_end()
-> Result<(), Box<dyn std::error::Error>> {
    let (clock, time) = Clock::manual();
    let ctx = &Context::background().with_clock(clock.clone());
    let near = &ctx.with_timeout(Duration::from_millis(1));
    let limiter = RateLimiter::builder().rate(Rate::per_second(1.0)).clock(clock.clone()).build()?;
    let limiters = KeyedLimiter::builder().rate(Rate::per_second(1.0)).clock(clock.clone()).build()?;
    let fails = |_: Context| async { Err::<u32, _>(io::Error::other("no such user")) };

    for error in [limiter.run(ctx, fails).await.unwrap_err(), limiters.run(ctx, &1, fails).await.unwrap_err()] {
        assert_eq!(error.last().expect("the call failed").to_string(), "no such user");
        assert!(error.context_error().is_none(), "{error:#}");
    }
    // The bucket is empty, and the next token would come after the deadline.
    for error in [limiter.run(near, answer).await.unwrap_err(), limiters.run(near, &1, answer).await.unwrap_err()] {
        assert!(error.is_deadline_exceeded() && error.last().is_none(), "{error:#}");
    }
    time.advance(Duration::from_secs(1));
    for keyed in [false, true] {
        let (ctx, cancel) = ctx.with_cancel();
        let ends = |_: Context| async move {
            cancel.cancel_with("the caller left");
            Err::<u32, _>(io::Error::other("connection closed"))
        };
        let error = if keyed { limiters.run(&ctx, &1, ends).await } else { limiter.run(&ctx, ends).await }.unwrap_err();
        assert!(error.is_canceled(), "{error:#}");
        assert_eq!(error.last().expect("the call failed").to_string(), "connection closed");
    }
    Ok(())
}

async fn return_context(ctx: Context) -> Result<Context, io::Error> {
    Ok(ctx)
}

#[tokio::test]
async fn context_of_a_successful_call_goes_on() -> Result<(), Box<dyn std::error::Error>> {
    let ctx = &Context::background();
    let hour = Duration::from_secs(3600);

    let retry = Retry::builder().build()?;
    assert!(!retry.run(ctx, return_context).await?.is_done(), "retry");

    let hedge = Hedge::builder().delay(hour).build()?;
    assert!(!hedge.run(ctx, return_context).await?.is_done(), "hedge");

    let breaker = CircuitBreaker::builder("one").build()?;
    assert!(!breaker.run(ctx, return_context).await?.is_done(), "breaker");

    let bulkhead = Bulkhead::builder().limit(1).build()?;
    assert!(!bulkhead.run(ctx, return_context).await?.is_done(), "bulkhead");

    let stack: Stack<Context, io::Error> = Stack::builder()
        .deadline(hour)
        .retry(Retry::builder())
        .hedge(Hedge::after(hour / 4))
        .attempt_timeout(hour / 2)
        .build()?;
    assert!(!stack.run(ctx, return_context).await?.is_done(), "stack");
    Ok(())
}
