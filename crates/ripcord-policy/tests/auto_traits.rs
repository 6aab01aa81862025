//! What may go from thread to thread is part of the API: checked when this compiles.

use std::convert::Infallible;

use ripcord::Context;
use ripcord_policy::breaker::Permit;
use ripcord_policy::retry::Spent;
use ripcord_policy::{
    CircuitBreaker, ConfigError, Error, KeyedLimiter, Random, Rate, RateLimiter, Rejected, Reservation, Retry,
    RetryBudget, RetryError,
};

fn send_sync<T: Send + Sync + 'static>() {}
fn send<T: Send>(_: T) {}

#[test]
fn handles_errors_and_permits_are_send_and_sync() {
    send_sync::<(RateLimiter, KeyedLimiter<String>, Reservation, Rate)>();
    send_sync::<(CircuitBreaker, Permit<'static>)>();
    send_sync::<(Retry<std::io::Error>, RetryBudget, Spent, RetryError<std::io::Error>)>();
    send_sync::<(Error<Infallible>, Rejected, ConfigError, Random)>();
}

#[test]
fn futures_are_send_when_what_they_wrap_is() {
    let ctx = Context::background();
    let limiter = RateLimiter::new(Rate::ZERO, 1).unwrap();
    send(limiter.wait(&ctx));
    let keyed = KeyedLimiter::new(Rate::ZERO, 1).unwrap();
    send(keyed.wait(&ctx, &"key"));
    let breaker = CircuitBreaker::builder("send").build().unwrap();
    send(breaker.call(&ctx, |_| async { Ok::<_, String>(()) }));
    send(Retry::exponential().run(&ctx, |_, _| async { Ok::<_, String>(()) }));
}
