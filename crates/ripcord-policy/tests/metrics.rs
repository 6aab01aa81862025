//! The metrics of the feature `metrics`, as an exporter sees them.
#![cfg(feature = "metrics")]

#[macro_use]
mod policies;

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use policies::POLICIES;
use ripcord::{Clock, Context};
use ripcord_policy::bulkhead::AdaptiveLimit;
use ripcord_policy::{
    Bulkhead, Cache, CircuitBreaker, Fallback, Hedge, KeyedCircuitBreaker, KeyedLimiter, Rate, RateLimiter, Retry,
    Stack, WorkerPool,
};

/// A policy that records its metrics under its own name, and removes this name from `unrecorded`.
trait Record {
    fn record(&self, unrecorded: &mut BTreeSet<&str>);
}

macro_rules! implement_record {
    ($($policy:ident $(<$($argument:ty),*>)?),* $(,)?) => {
        $(impl Record for $policy $(<$($argument),*>)? {
            fn record(&self, unrecorded: &mut BTreeSet<&str>) {
                unrecorded.remove(stringify!($policy));
                self.record_metrics(stringify!($policy));
            }
        })*
    };
}

for_each_policy!(implement_record);

/// Returns the text that an exporter renders for the metrics of `record`.
fn rendered(record: impl FnOnce()) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        ripcord_policy::describe_metrics();
        record();
    });
    handle.render()
}

fn assert_has(text: &str, samples: &[&str]) {
    for sample in samples {
        assert!(text.lines().any(|line| line == *sample), "{sample} is not in\n{text}");
    }
}

#[tokio::test]
async fn stack_records_its_layers_under_one_name() {
    let cache = Cache::builder().capacity(10).build(&Context::background()).expect("a valid cache");
    let stack: Stack<u32, std::fmt::Error, u32> = Stack::builder()
        .fallback(Fallback::value(7))
        .cache(cache)
        .retry(Retry::constant(Duration::ZERO).max_attempts(3).retry_if(|_| true))
        .breaker(CircuitBreaker::builder("inventory").consecutive_failures(3))
        .limiter(RateLimiter::builder().rate(Rate::per_second(1.0)).burst(10))
        .bulkhead(Bulkhead::builder().limit(4))
        .build()
        .expect("a valid stack");
    let result = stack.run_keyed(&Context::background(), 1, |_| async { Err(std::fmt::Error) }).await;
    assert_eq!(result.expect("the fallback answers"), 7);
    let text = rendered(|| stack.record_metrics("inventory"));
    assert_has(
        &text,
        &[
            r#"ripcord_policy_calls_total{policy="stack",name="inventory",outcome="succeeded"} 1"#,
            r#"ripcord_policy_calls_total{policy="cache",name="inventory",outcome="failed"} 1"#,
            r#"ripcord_cache_reads_total{name="inventory",result="miss"} 1"#,
            r#"ripcord_policy_calls_total{policy="retry",name="inventory",outcome="failed"} 1"#,
            r#"ripcord_policy_calls_total{policy="breaker",name="inventory",outcome="failed"} 3"#,
            r#"ripcord_policy_calls_started_total{policy="bulkhead",name="inventory"} 3"#,
            r#"ripcord_policy_calls_in_flight{policy="bulkhead",name="inventory"} 0"#,
            r#"ripcord_stack_attempts_total{name="inventory"} 3"#,
            r#"ripcord_retry_retries_total{name="inventory"} 2"#,
            r#"ripcord_fallback_fallbacks_total{name="inventory"} 1"#,
            r#"ripcord_breaker_state{name="inventory"} 2"#,
            r#"ripcord_breaker_opened_total{name="inventory"} 1"#,
            r#"ripcord_bulkhead_limit{name="inventory"} 4"#,
        ],
    );
}

#[tokio::test]
async fn second_recording_replaces_the_first() {
    let cache: Cache<u32, u32> = Cache::builder().capacity(10).build(&Context::background()).expect("a valid cache");
    let load = async |key| cache.get_or_load(&Context::background(), key, async |_| Ok::<_, io::Error>(1)).await;
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    load(1).await.expect("it loads");
    metrics::with_local_recorder(&recorder, || cache.record_metrics("users"));
    load(1).await.expect("it is there");
    metrics::with_local_recorder(&recorder, || cache.record_metrics("users"));
    assert_has(
        &handle.render(),
        &[
            r#"ripcord_cache_reads_total{name="users",result="hit"} 1"#,
            r#"ripcord_cache_reads_total{name="users",result="miss"} 1"#,
            r#"ripcord_policy_calls_total{policy="cache",name="users",outcome="succeeded"} 1"#,
            r#"ripcord_cache_entries{name="users"} 1"#,
        ],
    );
}

#[tokio::test]
async fn every_metric_of_every_policy_has_a_help_text() {
    let (clock, time) = Clock::manual();
    let cache: Cache<u32, u32> = Cache::builder().capacity(10).build(&Context::background()).expect("a valid cache");
    let stack: Stack<u32, io::Error, u32> = Stack::builder()
        .fallback(Fallback::value(7))
        .cache(cache)
        .retry(Retry::builder())
        .hedge(Hedge::after(Duration::from_secs(1)))
        .breaker(CircuitBreaker::builder("all").consecutive_failures(3))
        .limiter(RateLimiter::builder().rate(Rate::per_second(1.0)).burst(100))
        .bulkhead(Bulkhead::builder().limit(5).adaptive(AdaptiveLimit::new()).clock(clock))
        .build()
        .expect("a valid stack");
    // An adaptive limit knows the unloaded latency after one window.
    for _ in 0..40 {
        time.advance(Duration::from_millis(10));
        let answer = stack.run(&Context::background(), async |_| Ok::<_, io::Error>(1)).await;
        answer.expect("the call succeeds");
    }
    let pool = WorkerPool::builder().workers(1).build(&Context::background()).expect("a valid pool");
    let breakers = KeyedCircuitBreaker::<u32>::new(CircuitBreaker::builder("each")).expect("valid breakers");
    let limiters = KeyedLimiter::<u32>::new(Rate::per_second(1.0), 1).expect("valid limiters");
    let unrecorded = &mut BTreeSet::from(POLICIES);
    let text = rendered(|| {
        stack.bulkhead().expect("a layer").record(unrecorded);
        stack.cache().expect("a layer").record(unrecorded);
        stack.breaker().expect("a layer").record(unrecorded);
        stack.fallback().expect("a layer").record(unrecorded);
        stack.hedge().expect("a layer").record(unrecorded);
        breakers.record(unrecorded);
        limiters.record(unrecorded);
        stack.limiter().expect("a layer").record(unrecorded);
        stack.retry().expect("a layer").record(unrecorded);
        stack.record(unrecorded);
        pool.record(unrecorded);
    });
    assert!(unrecorded.is_empty(), "not recorded: {unrecorded:?}");
    for policy in POLICIES {
        let name = format!("name=\"{policy}\"");
        let is_of_policy = |line: &str| line.starts_with("ripcord_policy_calls_started_total") && line.contains(&name);
        assert!(text.lines().any(is_of_policy), "{policy} is not in\n{text}");
    }
    let described: BTreeSet<_> =
        text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    let recorded: BTreeSet<_> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(described, recorded);
    assert_eq!(recorded.len(), 28 + 15, "every described metric is recorded");
}
