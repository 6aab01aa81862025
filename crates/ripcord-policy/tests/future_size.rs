//! The future of a policy contains the future of the call once, so that policies can be nested. A debug build of a service polls its
//! futures on a stack of 2 MB.

mod policies;

use std::fmt;
use std::time::Duration;

use policies::POLICIES;
use ripcord::Context;
use ripcord_policy::{
    Bulkhead, Cache, CircuitBreaker, Error, Fallback, Hedge, KeyedCircuitBreaker, KeyedLimiter, Rate, RateLimiter,
    Retry, Stack, WorkerPool,
};

/// The size of the call's future. It is large enough that a second copy cannot hide.
const CALL: usize = 16 * 1024;

/// The space that a policy may need for itself.
const OWN: usize = 2048;

async fn call(_: Context) -> Result<u32, fmt::Error> {
    let held = [0u8; CALL];
    tokio::task::yield_now().await;
    Ok(held[0].into())
}

#[tokio::test]
async fn future_of_each_policy_contains_the_call_once() {
    let (ctx, second) = (&Context::background(), Duration::from_secs(1));
    let bulkhead = Bulkhead::builder().limit(1).build().unwrap();
    let cache: Cache<u32, u32> = Cache::builder().capacity(1).build(ctx).unwrap();
    let breaker = CircuitBreaker::builder("call").build().unwrap();
    let breakers = KeyedCircuitBreaker::builder(CircuitBreaker::builder("calls")).build().unwrap();
    let fallback: Fallback<u32, fmt::Error> = Fallback::builder().value(0).build().unwrap();
    let hedge = Hedge::builder().delay(second).build().unwrap();
    let limiter = RateLimiter::builder().rate(Rate::per_second(1.0)).build().unwrap();
    let limiters = KeyedLimiter::builder().rate(Rate::per_second(1.0)).build().unwrap();
    let retry: Retry<fmt::Error> = Retry::builder().build().unwrap();
    let pool = WorkerPool::builder().workers(1).build(ctx).unwrap();
    let stack: Stack<u32, fmt::Error, u32> = Stack::builder()
        .fallback(fallback.clone())
        .cache(cache.clone())
        .deadline(second)
        .retry(retry.clone())
        .breaker(breaker.clone())
        .limiter(limiter.clone())
        .bulkhead(bulkhead.clone())
        .attempt_timeout(second)
        .build()
        .unwrap();
    let sizes = [
        ("Bulkhead", size_of_val(&bulkhead.run(ctx, call))),
        ("Cache", size_of_val(&cache.get_or_load(ctx, 1, call))),
        ("CircuitBreaker", size_of_val(&breaker.run(ctx, call))),
        ("Fallback", size_of_val(&fallback.run(ctx, call))),
        ("Hedge", size_of_val(&hedge.run(ctx, call))),
        ("KeyedCircuitBreaker", size_of_val(&breakers.run(ctx, &1, call))),
        ("KeyedLimiter", size_of_val(&limiters.run(ctx, &1, call))),
        ("RateLimiter", size_of_val(&limiter.run(ctx, call))),
        ("Retry", size_of_val(&retry.run(ctx, call))),
        ("Stack", size_of_val(&stack.run(ctx, call))),
        ("Stack", size_of_val(&stack.run_keyed(ctx, 1, call))),
        ("Stack", size_of_val(&stack.find_keyed(ctx, 1, call))),
        ("WorkerPool", size_of_val(&pool.run(ctx, call))),
    ];
    assert!(POLICIES.iter().all(|policy| sizes.iter().any(|(name, _)| name == policy)));
    let large: Vec<_> = sizes.iter().filter(|(_, size)| *size > CALL + OWN).collect();
    assert!(large.is_empty(), "{large:?}");
}

#[test]
fn policies_around_policies_contain_the_call_once() {
    let ctx = &Context::background();
    let retry: Retry<fmt::Error> = Retry::builder().build().unwrap();
    let outer: Retry<Error<fmt::Error>> = Retry::builder().build().unwrap();
    let breaker = CircuitBreaker::builder("call").build().unwrap();
    let nested = outer.run(ctx, |ctx| {
        let (retry, breaker) = (&retry, &breaker);
        async move { retry.run(&ctx, |ctx| async move { breaker.run(&ctx, call).await.map_err(|_| fmt::Error) }).await }
    });
    let size = size_of_val(&nested);
    assert!(size <= CALL + OWN, "the future has {size} bytes");
}
