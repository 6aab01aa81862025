//! All policies have the same API: `builder()`, `build()`, a run under a context, `stats()` with the same counters of calls,
//! `record_metrics`, and clones that share their state.

#[macro_use]
mod policies;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use policies::POLICIES;
use ripcord::{Clock, Context};
use ripcord_policy::{
    Bulkhead, Cache, CallStats, CircuitBreaker, Fallback, Hedge, KeyedCircuitBreaker, KeyedLimiter, Rate, RateLimiter,
    Retry, Stack, WorkerPool,
};

/// The methods that every policy has.
trait Policy: Clone + Debug + Send + Sync {
    const NAME: &str;
    fn calls(&self) -> CallStats;
    #[cfg(feature = "metrics")]
    fn record(&self);
}

macro_rules! implement_policy {
    ($($policy:ident $(<$($argument:ty),*>)?),* $(,)?) => {
        $(impl Policy for $policy $(<$($argument),*>)? {
            const NAME: &str = stringify!($policy);

            fn calls(&self) -> CallStats {
                self.stats().calls
            }

            #[cfg(feature = "metrics")]
            fn record(&self) {
                self.record_metrics(Self::NAME);
            }
        })*
    };
}

for_each_policy!(implement_policy);

/// Checks the statistics of a policy that has admitted one successful call. Removes the policy from `untested`.
fn assert_one_success<P: Policy>(policy: &P, untested: &mut BTreeSet<&str>) {
    let name = P::NAME;
    assert!(untested.remove(name), "{name} is not in the list of policies");
    let calls = policy.clone().calls();
    assert_eq!((calls.started, calls.succeeded, calls.rejected), (1, 1, 0), "{name}");
    assert_eq!(calls.in_flight(), 0, "{name}");
    #[cfg(feature = "metrics")]
    {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || policy.record());
        let started = format!(r#"name="{name}"}} 1"#);
        let text = handle.render();
        let is_started =
            |line: &str| line.starts_with("ripcord_policy_calls_started_total") && line.ends_with(&started);
        assert!(text.lines().any(is_started), "{name}: {text}");
    }
}

/// Returns the names of all public builders in the sources below `folder`, without the suffix `Builder`.
fn built_types(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.append(&mut built_types(&path));
            continue;
        }
        let source = fs::read_to_string(path).unwrap();
        names.extend(
            source
                .lines()
                .filter_map(|line| line.trim_start().strip_prefix("pub struct "))
                .filter_map(|line| line.split(|c: char| !c.is_alphanumeric()).next()?.strip_suffix("Builder"))
                .map(str::to_owned),
        );
    }
    names
}

/// A new policy has a builder, so this test fails until the new policy is in the list.
#[test]
fn every_type_with_a_builder_is_in_the_list_of_policies() {
    let mut built = built_types(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    assert!(built.remove("RetryBudget"), "a budget is part of a retry, and makes no calls");
    assert_eq!(built, BTreeSet::from(POLICIES.map(str::to_owned)));
}

#[test]
fn docs_of_the_crate_name_every_policy_in_both_tables() {
    let docs = include_str!("../src/lib.rs");
    for heading in ["//! # Which policy\n", "//! # Running calls\n"] {
        let section = docs.split(heading).nth(1).expect("the heading is there").split("//! # ").next().unwrap();
        for policy in POLICIES {
            assert!(section.contains(&format!("[`{policy}`]")), "{policy} is not in the section {heading}");
        }
    }
}

async fn answer(_: Context) -> Result<u32, io::Error> {
    Ok(42)
}

#[tokio::test]
async fn every_policy_counts_a_call_in_the_same_figures() -> Result<(), Box<dyn std::error::Error>> {
    let (clock, _time) = Clock::manual();
    let ctx = &Context::background().with_clock(clock.clone());
    let untested = &mut BTreeSet::from(POLICIES);

    let bulkhead = Bulkhead::builder().limit(1).clock(clock.clone()).build()?;
    bulkhead.run(ctx, answer).await?;
    assert_one_success(&bulkhead, untested);

    let cache = Cache::builder().capacity(1).clock(clock.clone()).build(ctx)?;
    cache.run(ctx, 1, answer).await?;
    assert_one_success(&cache, untested);

    let breaker = CircuitBreaker::builder("one").clock(clock.clone()).build()?;
    breaker.run(ctx, answer).await?;
    assert_one_success(&breaker, untested);

    let fallback = Fallback::builder().value(7).build()?;
    fallback.run(ctx, answer).await?;
    assert_one_success(&fallback, untested);

    let hedge = Hedge::builder().delay(Duration::from_secs(1)).clock(clock.clone()).build()?;
    hedge.run(ctx, answer).await?;
    assert_one_success(&hedge, untested);

    let breakers = KeyedCircuitBreaker::builder(CircuitBreaker::builder("each")).clock(clock.clone()).build()?;
    breakers.run(ctx, &1, answer).await?;
    assert_one_success(&breakers, untested);

    let limiters = KeyedLimiter::builder().rate(Rate::per_second(1.0)).clock(clock.clone()).build()?;
    limiters.run(ctx, &1, answer).await?;
    assert_one_success(&limiters, untested);

    let limiter = RateLimiter::builder().rate(Rate::per_second(1.0)).clock(clock.clone()).build()?;
    limiter.run(ctx, answer).await?;
    assert_one_success(&limiter, untested);

    let retry = Retry::builder().clock(clock.clone()).build()?;
    retry.run(ctx, answer).await?;
    assert_one_success(&retry, untested);

    let stack = Stack::builder().clock(clock.clone()).cache(cache).build()?;
    stack.run(ctx, answer).await?;
    assert_one_success(&stack, untested);

    let pool = WorkerPool::builder().workers(1).clock(clock).build(ctx)?;
    pool.run(ctx, answer).await?;
    assert_one_success(&pool, untested);

    assert!(untested.is_empty(), "no call through {untested:?}");
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
