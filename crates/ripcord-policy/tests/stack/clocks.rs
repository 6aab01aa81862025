//! The clocks of the layers: when each time limit starts.

use std::time::Duration;

use futures::future::FutureExt;
use ripcord::{Clock, Context};
use ripcord_policy::breaker::State;
use ripcord_policy::{CircuitBreaker, Rate, RateLimiter, Retry, Stack};

use crate::common::{Down, SECOND, fixture};

#[tokio::test]
async fn queued_probe_does_not_time_out() {
    let it = fixture();
    let breaker = CircuitBreaker::builder("queued")
        .consecutive_failures(1)
        .open_for(SECOND)
        .half_open_timeout(SECOND * 2)
        .clock(it.ctx.clock())
        .build()
        .unwrap();
    let stack: Stack<u32, Down> =
        Stack::builder().breaker(breaker.clone()).limiter(it.limiter.clone()).build().unwrap();
    breaker.try_acquire().unwrap().failure();
    it.time.advance(SECOND);
    let ahead = it.limiter.reserve_n(10).unwrap();
    let ahead = (ahead, it.limiter.reserve_n(5).unwrap());
    let mut probe = Box::pin(stack.run(&it.ctx, |ctx: Context| async move {
        ctx.sleep(SECOND).await.map_err(|_| Down)?;
        Ok(7)
    }));
    assert!(probe.as_mut().now_or_never().is_none());
    it.time.advance(SECOND * 5);
    assert!(probe.as_mut().now_or_never().is_none());
    assert_eq!(breaker.state(), State::HalfOpen, "it has waited for five seconds and has not been sent");
    assert!(breaker.try_acquire().is_err(), "its place is taken all the same");
    assert_eq!(it.finish(probe).await.unwrap(), 7);
    assert_eq!((breaker.state(), breaker.stats().stale), (State::Closed, 0));
    drop(ahead);
}

#[tokio::test]
async fn breakers_clocks_start_at_the_call() {
    let it = fixture();
    let breaker = CircuitBreaker::builder("queued")
        .consecutive_failures(1)
        .minimum_calls(1)
        .slow_call(SECOND * 2, 1.0)
        .open_for(SECOND)
        .half_open_timeout(SECOND * 3)
        .clock(it.ctx.clock())
        .build()
        .unwrap();
    let stack: Stack<u32, Down> =
        Stack::builder().breaker(breaker.clone()).limiter(it.limiter.clone()).build().unwrap();
    // A fast call that has waited in the queue for five seconds is not slow.
    assert!(it.limiter.allow_n(10));
    let ahead = it.limiter.reserve_n(4).unwrap();
    assert_eq!(it.finish(stack.run(&it.ctx, |_| async { Ok(7) })).await.unwrap(), 7);
    assert_eq!((breaker.state(), breaker.stats().slow, breaker.stats().calls.succeeded), (State::Closed, 0, 1));
    drop(ahead);

    // A probe that has waited in the queue has exactly three seconds from its send.
    breaker.try_acquire().unwrap().failure();
    it.time.advance(SECOND);
    let ahead = it.limiter.reserve_n(4).unwrap();
    let wait = ahead.delay() + SECOND;
    let mut probe = Box::pin(stack.run(&it.ctx, |_| std::future::pending()));
    assert!(probe.as_mut().now_or_never().is_none());
    it.time.advance(wait);
    assert!(probe.as_mut().now_or_never().is_none());
    assert_eq!(stack.stats().attempts, 2, "it is sent");
    it.time.advance(SECOND * 3 - Duration::from_nanos(1));
    assert_eq!(breaker.state(), State::HalfOpen);
    it.time.advance(Duration::from_nanos(1));
    assert_eq!((breaker.state(), breaker.remaining_delay()), (State::Open, Some(SECOND)));
}

#[tokio::test]
async fn total_deadline_bounds_all_attempts() {
    let it = fixture();
    let started = it.ctx.clock().now();
    let stack: Stack<u32, Down> = Stack::builder()
        .deadline(SECOND * 3)
        .retry(Retry::constant(SECOND).max_attempts(100).build().unwrap())
        .attempt_timeout(SECOND * 2)
        .build()
        .unwrap();
    let error = it.finish(stack.run(&it.ctx, |_| std::future::pending())).await.unwrap_err();
    assert!(error.is_deadline_exceeded(), "{error}");
    assert!(error.is_attempt_timeout(), "it carries the last real error");
    assert!(it.ctx.clock().now() - started <= SECOND * 3, "and does not begin a wait that cannot end in time");
}

#[tokio::test]
async fn layers_passed_as_builders_use_the_clock_of_the_stack() {
    let (clock, time) = Clock::manual();
    let stack: Stack<u32, Down> = Stack::builder()
        .clock(clock)
        .breaker(CircuitBreaker::builder("users").consecutive_failures(1).open_for(SECOND * 3600))
        .limiter(RateLimiter::builder().rate(Rate::every(SECOND * 3600)).burst(1))
        .build()
        .unwrap();
    let (breaker, limiter) = (stack.breaker().unwrap(), stack.limiter().unwrap());
    let ctx = Context::background();
    assert!(stack.run(&ctx, |_| async { Err(Down) }).await.is_err());
    assert_eq!(breaker.state(), State::Open);
    assert!(limiter.tokens() < 0.5, "{}", limiter.tokens());
    time.advance(SECOND * 3600);
    assert!(limiter.tokens() > 0.5, "{}", limiter.tokens());
    assert_eq!(stack.run(&ctx, |_| async { Ok(7) }).await.unwrap(), 7);
}
