//! A stack whose layers the tests can inspect.

use std::sync::Arc;
use std::time::Duration;

use futures::future::FutureExt;
use ripcord::{Clock, Context, ManualTime};
use ripcord_policy::{Bulkhead, Cache, CircuitBreaker, Fallback, Hedge, Rate, RateLimiter, Retry, RetryBudget, Stack};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Down;
impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("down")
    }
}
impl std::error::Error for Down {}

/// A stack with every layer, and a handle of each.
pub(crate) struct Fixture {
    pub(crate) ctx: Context,
    pub(crate) time: ManualTime,
    pub(crate) fallback: Fallback<u32, Down>,
    pub(crate) cache: Cache<&'static str, u32>,
    pub(crate) budget: Arc<RetryBudget>,
    pub(crate) retry: Retry<Down>,
    pub(crate) hedge: Hedge,
    pub(crate) breaker: CircuitBreaker,
    pub(crate) limiter: RateLimiter,
    pub(crate) bulkhead: Bulkhead,
    pub(crate) stack: Stack<u32, Down, &'static str>,
}

/// Creates a stack whose fallback returns the error unchanged, so the fallback only counts.
pub(crate) fn fixture() -> Fixture {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock.clone());
    let fallback = Fallback::new(|_, error| async move { Err(error) });
    let cache = Cache::builder().capacity(100).ttl(SECOND * 60).negative_ttl(SECOND * 60).build(&ctx).unwrap();
    let budget = Arc::new(RetryBudget::new());
    let retry = Retry::constant(SECOND).max_attempts(2).budget(Arc::clone(&budget)).build().unwrap();
    let hedge = Hedge::after(SECOND * 2).build().unwrap();
    let breaker = CircuitBreaker::builder("callee")
        .consecutive_failures(4)
        .open_for(SECOND * 10)
        .half_open_calls(1)
        .clock(clock.clone())
        .build()
        .unwrap();
    let limiter = RateLimiter::builder().rate(Rate::per_second(1.0)).burst(10).clock(clock).build().unwrap();
    let bulkhead = Bulkhead::builder().limit(2).queue(1).build().unwrap();
    let stack = Stack::builder()
        .fallback(fallback.clone())
        .cache(cache.clone())
        .deadline(SECOND * 20)
        .retry(retry.clone())
        .hedge(hedge.clone())
        .breaker(breaker.clone())
        .limiter(limiter.clone())
        .bulkhead(bulkhead.clone())
        .attempt_timeout(SECOND * 5)
        .build()
        .unwrap();
    Fixture { ctx, time, fallback, cache, budget, retry, hedge, breaker, limiter, bulkhead, stack }
}

impl Fixture {
    /// Returns a counter of each layer: [stack attempts, retry retries, hedges, breaker started, limiter allowed or waited,
    /// bulkhead started].
    pub(crate) fn saw(&self) -> [u64; 6] {
        let limiter = self.limiter.stats();
        [
            self.stack.stats().attempts,
            self.retry.stats().retries,
            self.hedge.stats().hedges,
            self.breaker.stats().calls.started,
            limiter.allowed + limiter.waited,
            self.bulkhead.stats().calls.started,
        ]
    }

    /// Checks that all counters add up and no permit or token is held.
    pub(crate) fn at_rest(&self) {
        let stack = self.stack.stats();
        assert_eq!(stack.calls.started, stack.calls.succeeded + stack.calls.failed + stack.calls.canceled, "{stack:?}");
        let fallback = self.fallback.stats();
        assert_eq!(
            fallback.calls.started,
            fallback.calls.succeeded + fallback.calls.failed + fallback.calls.canceled,
            "{fallback:?}"
        );
        let retry = self.retry.stats();
        assert_eq!(retry.calls.started, retry.calls.succeeded + retry.calls.failed + retry.calls.canceled, "{retry:?}");
        let hedge = self.hedge.stats();
        assert_eq!(hedge.calls.started, hedge.calls.succeeded + hedge.calls.failed + hedge.calls.canceled, "{hedge:?}");
        let breaker = self.breaker.stats();
        assert_eq!(
            breaker.calls.started,
            breaker.calls.succeeded + breaker.calls.failed + breaker.calls.canceled,
            "{breaker:?}"
        );
        let bulkhead = self.bulkhead.stats();
        assert_eq!(
            bulkhead.calls.started,
            bulkhead.calls.succeeded + bulkhead.calls.failed + bulkhead.calls.canceled,
            "{bulkhead:?}"
        );
        assert_eq!((bulkhead.calls.in_flight(), bulkhead.waiting), (0, 0));
        assert_eq!(self.limiter.stats().waiters, 0);
        assert_eq!(self.cache.stats().calls.in_flight(), 0);
    }

    /// Polls a call until it ends. Advances the clock by half a second whenever the call waits.
    pub(crate) async fn finish<R>(&self, call: impl Future<Output = R>) -> R {
        let mut call = std::pin::pin!(call);
        for _ in 0..200 {
            if let Some(result) = call.as_mut().now_or_never() {
                return result;
            }
            settle().await;
            self.time.advance(SECOND / 2);
        }
        panic!("it never ends");
    }
}

pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
