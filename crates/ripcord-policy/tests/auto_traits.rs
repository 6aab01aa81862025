//! Checks at compile time which types are `Send` and `Sync`. These traits are part of the API.

use std::convert::Infallible;
use std::time::Duration;

use ripcord::Context;
use ripcord_policy::breaker::Permit;
use ripcord_policy::bulkhead::{AdaptiveLimit, BulkheadPermit};
use ripcord_policy::pool::{Completion, JobHandle, Results};
use ripcord_policy::retry::BudgetReservation;
use ripcord_policy::{
    Bulkhead, Cache, CircuitBreaker, ConfigError, Error, Fallback, Hedge, KeyedCircuitBreaker, KeyedLimiter, Random,
    Rate, RateLimiter, Refused, Reservation, Retry, RetryBudget, SharedError, Stack, WorkerPool,
};

fn send_sync<T: Send + Sync + 'static>() {}
fn send<T: Send>(_: T) {}

#[test]
fn handles_errors_and_permits_are_send_and_sync() {
    send_sync::<(RateLimiter, KeyedLimiter<String>, Reservation, Rate)>();
    send_sync::<(CircuitBreaker, KeyedCircuitBreaker<String>, Permit<'static>)>();
    send_sync::<(Retry<std::io::Error>, RetryBudget, BudgetReservation, Refused)>();
    send_sync::<(Error<Infallible>, Refused, ConfigError, Random, SharedError)>();
    send_sync::<(Cache<String, u64>, WorkerPool, JobHandle<u64>, Results, Completion)>();
    send_sync::<(Bulkhead, BulkheadPermit, AdaptiveLimit, Hedge, Fallback<u64, String>)>();
    send_sync::<Stack<u64, String, String>>();
}

#[test]
fn futures_are_send_if_the_wrapped_future_is() {
    let ctx = Context::background();
    let limiter = RateLimiter::new(Rate::ZERO, 1).unwrap();
    send(limiter.wait(&ctx));
    let keyed = KeyedLimiter::new(Rate::ZERO, 1).unwrap();
    send(keyed.wait(&ctx, &"key"));
    let breaker = CircuitBreaker::builder("send").build().unwrap();
    send(breaker.call(&ctx, |_| async { Ok::<_, String>(()) }));
    let breakers = KeyedCircuitBreaker::new(CircuitBreaker::builder("send")).unwrap();
    send(breakers.run(&ctx, &"key", |_| async { Ok::<_, String>(()) }));
    send(Retry::exponential().build().unwrap().run(&ctx, |_| async { Ok::<_, String>(()) }));
    let bulkhead = Bulkhead::builder().limit(1).build().unwrap();
    send(bulkhead.acquire(&ctx));
    send(bulkhead.run(&ctx, |_| async { Ok::<_, String>(()) }));
    let hedge = Hedge::after(Duration::from_secs(1)).build().unwrap();
    send(hedge.run(&ctx, |_| async { Ok::<_, String>(()) }));
    let fallback: Fallback<(), String> = Fallback::value(());
    send(fallback.run(&ctx, |_| async { Ok(()) }));
}

#[tokio::test]
async fn runtime_futures_are_send() {
    let ctx = Context::background();
    let cache: Cache<&str, u64> = Cache::builder().capacity(1).build(&ctx).unwrap();
    send(cache.get_or_load(&ctx, "key", |_| async { Ok::<_, Infallible>(1) }));
    send(cache.refresh(&ctx, "key", |_| async { Ok::<_, Infallible>(1) }));
    let pool = WorkerPool::builder().workers(1).build(&ctx).unwrap();
    send(pool.submit(&ctx, |_| async { Ok::<_, Infallible>(1) }));
    send(pool.submit_blocking(&ctx, |_| Ok::<_, Infallible>(1)));
    send(pool.results().next(&ctx));
    send(pool.shutdown(&ctx));
    let stack: Stack<u64, std::fmt::Error, &str> = Stack::builder().cache(cache).build().unwrap();
    send(stack.run(&ctx, |_| async { Ok(1) }));
    send(stack.run_keyed(&ctx, "key", |_| async { Ok(1) }));
}
