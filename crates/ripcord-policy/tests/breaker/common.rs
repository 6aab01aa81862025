//! Breakers on a manual clock, and helpers that make calls.

use std::time::Duration;

use futures::executor::block_on;
use ripcord::{Clock, Context, ManualTime};
use ripcord_policy::breaker::CircuitBreakerBuilder;
use ripcord_policy::breaker::Classify;
use ripcord_policy::{CircuitBreaker, Error};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn builder() -> (CircuitBreakerBuilder, ManualTime) {
    let (clock, time) = Clock::manual();
    (CircuitBreaker::builder("test").clock(clock), time)
}

/// Returns a breaker with the chapter's settings: three failures in a row, two seconds, two successes.
pub(crate) fn chapter() -> (CircuitBreaker, ManualTime) {
    let (builder, time) = builder();
    let breaker = builder.consecutive_failures(3).open_for(2 * SECOND).half_open_successes(2).build();
    (breaker.unwrap(), time)
}

/// Runs a call on this thread.
pub(crate) fn call_blocking<C: Classify<T, E>, T, E>(
    breaker: &CircuitBreaker<C>,
    ctx: &Context,
    call: impl FnOnce(Context) -> Result<T, E>,
) -> Result<T, Error<E>> {
    block_on(breaker.run(ctx, |ctx| std::future::ready(call(ctx))))
}

pub(crate) fn call(breaker: &CircuitBreaker, ok: bool) -> Result<(), Error<&'static str>> {
    let result = if ok { Ok(()) } else { Err("service error") };
    block_on(breaker.call(&Context::background(), |_| async move { result }))
}

pub(crate) fn fail(breaker: &CircuitBreaker, times: usize) {
    for _ in 0..times {
        breaker.try_acquire().unwrap().failure();
    }
}

pub(crate) fn succeed(breaker: &CircuitBreaker, times: usize) {
    for _ in 0..times {
        breaker.try_acquire().unwrap().success();
    }
}
