//! Policies as tower layers.
#![cfg(feature = "tower")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use ripcord::{Clock, Context};
use ripcord_policy::tower::PolicyLayer;
use ripcord_policy::{Attempt, Bulkhead, CircuitBreaker, Error, Fallback, Hedge, Rate, RateLimiter, Retry, Stack};
use tower::{Layer, Service, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// A request that cannot be cloned.
struct Once {
    ctx: Context,
}

#[derive(Clone)]
struct Request {
    ctx: Context,
}

fn once(ctx: &Context) -> Once {
    Once { ctx: ctx.clone() }
}

fn request(ctx: &Context) -> Request {
    Request { ctx: ctx.clone() }
}

async fn fail(_: Once) -> Result<u32, &'static str> {
    Err("down")
}

async fn answer(_: Once) -> Result<u32, &'static str> {
    Ok(7)
}

fn layer<P>(policy: P) -> PolicyLayer<P, impl Fn(&mut Once) -> &mut Context + Clone + Send + Sync + 'static> {
    PolicyLayer::new(policy, |request: &mut Once| &mut request.ctx)
}

fn repeating<P>(policy: P) -> PolicyLayer<P, impl Fn(&mut Request) -> &mut Context + Clone + Send + Sync + 'static> {
    PolicyLayer::new(policy, |request: &mut Request| &mut request.ctx)
}

#[tokio::test]
async fn breaker_opens_for_the_service_and_refuses_its_requests() {
    let breaker = CircuitBreaker::builder("users").consecutive_failures(1).build().unwrap();
    let ctx = Context::background();
    let error = layer(breaker.clone()).layer(service_fn(fail)).call(once(&ctx)).await.unwrap_err();
    assert_eq!(error.last(), Some(&"down"));
    let error = layer(breaker).layer(service_fn(answer)).call(once(&ctx)).await.unwrap_err();
    assert!(error.is_breaker_open());
}

#[tokio::test]
async fn limiter_delays_the_request_until_its_token() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock.clone());
    let limiter = RateLimiter::builder().rate(Rate::per_second(1.0)).clock(clock).build().unwrap();
    let mut service = layer(limiter).layer(service_fn(answer));
    assert_eq!(service.call(once(&ctx)).await.unwrap(), 7);
    let mut delayed = service.call(once(&ctx));
    assert!((&mut delayed).now_or_never().is_none());
    time.advance(SECOND);
    assert_eq!(delayed.await.unwrap(), 7);
    let error = service.call(once(&ctx.with_timeout(SECOND / 2))).await.unwrap_err();
    assert!(error.is_deadline_exceeded() && error.is_rejected());
}

#[tokio::test]
async fn bulkhead_refuses_requests_above_its_limit() {
    let bulkhead = Bulkhead::builder().limit(1).build().unwrap();
    let mut service = layer(bulkhead).layer(service_fn(|_: Once| std::future::pending::<Result<u32, &str>>()));
    let ctx = Context::background();
    let mut held = service.call(once(&ctx));
    assert!((&mut held).now_or_never().is_none());
    assert!(service.call(once(&ctx)).await.unwrap_err().is_full());
    drop(held);
    assert!(service.call(once(&ctx)).now_or_never().is_none(), "the permit is back");
}

#[tokio::test]
async fn fallback_answers_for_a_failing_service() {
    let mut service = layer(Fallback::value(1)).layer(service_fn(fail));
    assert_eq!(service.call(once(&Context::background())).await.unwrap(), 1);
}

#[tokio::test]
async fn retry_sends_the_request_again_with_the_context_of_the_attempt() {
    let retry = Retry::constant(Duration::ZERO).max_attempts(3).build().unwrap();
    let mut service = repeating(retry.clone()).layer(service_fn(|request: Request| async move {
        let number = Attempt::number(&request.ctx);
        if number == 2 { Ok(number) } else { Err("down") }
    }));
    assert_eq!(service.call(request(&Context::background())).await.unwrap(), 2);
    assert_eq!(retry.stats().retries, 2);
}

#[tokio::test]
async fn hedge_sends_a_second_request_while_the_first_is_slow() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock);
    let hedge = Hedge::after(SECOND).build().unwrap();
    let mut service = repeating(hedge).layer(service_fn(|request: Request| async move {
        if Attempt::hedge_number(&request.ctx) == 0 {
            request.ctx.done().await;
        }
        Ok::<_, &str>(Attempt::hedge_number(&request.ctx))
    }));
    let mut call = service.call(request(&ctx));
    assert!((&mut call).now_or_never().is_none());
    time.advance(SECOND);
    assert_eq!(call.await.unwrap(), 1);
}

#[tokio::test]
async fn stack_gives_the_service_the_time_of_the_attempt() {
    let (clock, _time) = Clock::manual();
    let ctx = Context::background().with_clock(clock).with_timeout(SECOND * 60);
    let stack: Stack<Option<Duration>, &str> =
        Stack::builder().retry(Retry::builder()).attempt_timeout(SECOND).build().unwrap();
    let mut service = repeating(stack).layer(service_fn(|request: Request| async move { Ok(request.ctx.remaining()) }));
    assert_eq!(service.call(request(&ctx)).await.unwrap(), Some(SECOND));
}

#[tokio::test]
async fn request_whose_context_has_ended_is_not_sent() {
    let (ctx, cancel) = Context::background().with_cancel();
    cancel.cancel();
    let sent = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&sent);
    let retry = Retry::builder().build().unwrap();
    let mut service = repeating(retry).layer(service_fn(move |_: Request| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, &str>(()) }
    }));
    assert!(service.call(request(&ctx)).await.unwrap_err().is_canceled());
    assert_eq!(sent.load(Ordering::Relaxed), 0);
}

/// A service that is ready when `open` is set, and fails to become ready when `broken` is set.
#[derive(Clone, Default)]
struct Gate {
    open: Arc<AtomicBool>,
    broken: Arc<AtomicBool>,
    /// Whether this clone is ready. A call on a clone that is not ready panics, as tower allows.
    is_ready: bool,
}

impl Service<Once> for Gate {
    type Response = u32;
    type Error = &'static str;
    type Future = BoxFuture<'static, Result<u32, &'static str>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        if self.broken.load(Ordering::Relaxed) {
            return Poll::Ready(Err("broken"));
        }
        self.is_ready = self.open.load(Ordering::Relaxed);
        if self.is_ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, _: Once) -> Self::Future {
        assert!(self.is_ready);
        Box::pin(async { Ok(7) })
    }
}

#[tokio::test]
async fn readiness_of_the_service_is_awaited_within_the_policy() {
    let gate = Gate::default();
    let bulkhead = Bulkhead::builder().limit(1).build().unwrap();
    let mut service = layer(bulkhead.clone()).layer(gate.clone());
    assert!(service.poll_ready(&mut TaskContext::from_waker(Waker::noop())).is_ready());
    let ctx = Context::background();
    let mut call = service.call(once(&ctx));
    assert!((&mut call).now_or_never().is_none());
    assert_eq!(bulkhead.stats().calls.in_flight(), 1);
    gate.open.store(true, Ordering::Relaxed);
    assert_eq!(call.await.unwrap(), 7);

    gate.broken.store(true, Ordering::Relaxed);
    let error: Error<&str> = service.call(once(&ctx)).await.unwrap_err();
    assert_eq!(error.last(), Some(&"broken"));
    assert_eq!(bulkhead.stats().calls.failed, 1);
}
