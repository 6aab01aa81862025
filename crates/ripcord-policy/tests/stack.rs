//! The composition: what each layer saw, for every way a call can end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::FutureExt;
use ripcord::{Clock, Context, ManualTime};
use ripcord_policy::breaker::State;
use ripcord_policy::pool::Overflow;
use ripcord_policy::{
    Bulkhead, Cache, CircuitBreaker, Error, Fallback, Hedge, Outcome, Rate, RateLimiter, Rejected, Retry, RetryBudget,
    Stack, WorkerPool,
};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq)]
struct Down;
impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("down")
    }
}
impl std::error::Error for Down {}

/// A stack with every layer, and a handle of each.
struct Fixture {
    ctx: Context,
    time: ManualTime,
    fallback: Fallback<u32, Down>,
    cache: Cache<&'static str, u32>,
    budget: Arc<RetryBudget>,
    retry: Retry<Error<Down>>,
    hedge: Hedge,
    breaker: CircuitBreaker,
    limiter: RateLimiter,
    bulkhead: Bulkhead,
    stack: Stack<u32, Down, &'static str>,
}

/// A fallback that gives the error back: it counts and changes nothing.
fn fixture() -> Fixture {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock.clone());
    let fallback = Fallback::new(|_, error| async move { Err(error) });
    let cache = Cache::builder().capacity(100).ttl(SECOND * 60).negative_ttl(SECOND * 60).build(&ctx).unwrap();
    let budget = Arc::new(RetryBudget::new());
    let retry = Retry::constant(SECOND).max_attempts(2).budget(Arc::clone(&budget));
    let hedge = Hedge::after(SECOND * 2).build().unwrap();
    let breaker = CircuitBreaker::builder("callee")
        .consecutive_failures(4)
        .open_for(SECOND * 10)
        .half_open_calls(1)
        .clock(clock.clone())
        .build()
        .unwrap();
    let limiter = RateLimiter::new(Rate::per_second(1.0), 10).unwrap().with_clock(clock);
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
    /// What each layer saw: [stack attempts, retry retries, hedges, breaker started, limiter allowed or waited,
    /// bulkhead started].
    fn saw(&self) -> [u64; 6] {
        let limiter = self.limiter.stats();
        [
            self.stack.stats().attempts,
            self.retry.stats().retries,
            self.hedge.stats().hedges,
            self.breaker.stats().started,
            limiter.allowed + limiter.waited,
            self.bulkhead.stats().started,
        ]
    }

    /// Every counter adds up and everything that was held is back.
    fn at_rest(&self) {
        let stack = self.stack.stats();
        assert_eq!(stack.started, stack.succeeded + stack.failed + stack.canceled, "{stack:?}");
        let fallback = self.fallback.stats();
        assert_eq!(fallback.started, fallback.succeeded + fallback.failed + fallback.canceled, "{fallback:?}");
        let retry = self.retry.stats();
        assert_eq!(retry.started, retry.succeeded + retry.failed + retry.canceled, "{retry:?}");
        let hedge = self.hedge.stats();
        assert_eq!(hedge.started, hedge.succeeded + hedge.failed + hedge.canceled, "{hedge:?}");
        let breaker = self.breaker.stats();
        assert_eq!(breaker.started, breaker.succeeded + breaker.failed + breaker.canceled, "{breaker:?}");
        let bulkhead = self.bulkhead.stats();
        assert_eq!(bulkhead.started, bulkhead.succeeded + bulkhead.failed + bulkhead.canceled, "{bulkhead:?}");
        assert_eq!((bulkhead.running, bulkhead.waiting), (0, 0));
        assert_eq!(self.limiter.stats().waiters, 0);
        assert_eq!(self.cache.stats().loading, 0);
    }

    /// Polls to the end, moving time on by half a second whenever the call waits.
    async fn finish<R>(&self, call: impl Future<Output = R>) -> R {
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

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn success() {
    let it = fixture();
    assert_eq!(it.stack.run(&it.ctx, |_| async { Ok(7) }).await.unwrap(), 7);
    assert_eq!(it.saw(), [1, 0, 0, 1, 1, 1]);
    assert_eq!((it.breaker.stats().succeeded, it.bulkhead.stats().succeeded, it.stack.stats().succeeded), (1, 1, 1));
    assert_eq!(it.fallback.stats().fallbacks, 0);
    it.at_rest();
}

#[tokio::test]
async fn failure_is_retried_and_given_up() {
    let it = fixture();
    let error = it.finish(it.stack.run(&it.ctx, |_| async { Err(Down) })).await.unwrap_err();
    assert_eq!(error.inner(), Some(&Down));
    assert_eq!(it.saw(), [2, 1, 0, 2, 2, 2]);
    assert_eq!((it.breaker.stats().failed, it.bulkhead.stats().failed, it.stack.stats().failed), (2, 2, 1));
    assert_eq!((it.fallback.stats().fallbacks, it.budget.tokens()), (1, 495));
    it.at_rest();
}

#[tokio::test]
async fn the_callers_cancellation_is_neutral_everywhere() {
    let it = fixture();
    let (ctx, cancel) = it.ctx.with_cancel();
    let mut dropped = Box::pin(it.stack.run(&ctx, |_| std::future::pending()));
    assert!(dropped.as_mut().now_or_never().is_none());
    drop(dropped);
    let mut canceled = Box::pin(it.stack.run(&ctx, |_| std::future::pending()));
    assert!(canceled.as_mut().now_or_never().is_none());
    cancel.cancel();
    assert!(canceled.await.unwrap_err().is_canceled());
    assert!(it.stack.run(&ctx, |_| async { Ok(7) }).await.unwrap_err().is_canceled());
    assert_eq!(it.saw(), [2, 0, 0, 2, 2, 2], "the last one reached nobody");
    assert_eq!((it.breaker.stats().failed, it.breaker.stats().canceled), (0, 2));
    let stack = it.stack.stats();
    assert_eq!((stack.canceled, stack.rejected, stack.failed), (2, 1, 0));
    assert_eq!(it.fallback.stats().fallbacks, 0);
    it.at_rest();
}

#[tokio::test]
async fn an_attempt_timeout_is_a_failure_and_a_hedge_comes_before_it() {
    let it = fixture();
    let error = it.finish(it.stack.run(&it.ctx, |_| std::future::pending())).await.unwrap_err();
    let Error::Retry(gave_up) = &error else { panic!("{error}") };
    assert!(gave_up.last().unwrap().is_attempt_timeout());
    assert!(!error.is_deadline_exceeded(), "the caller's time is not over");
    assert_eq!(it.saw(), [4, 1, 2, 4, 4, 4], "two attempts, each doubled");
    assert_eq!((it.breaker.stats().failed, it.breaker.state()), (4, State::Open));
    it.at_rest();
}

#[tokio::test]
async fn an_open_breaker_refuses_before_anything_is_taken() {
    let it = fixture();
    it.breaker.force_open();
    let error = it.finish(it.stack.run(&it.ctx, |_| async { Ok(7) })).await.unwrap_err();
    let Error::Retry(gave_up) = &error else { panic!("{error}") };
    assert!(matches!(gave_up.last(), Some(Error::Rejected(Rejected::BreakerOpen { .. }))), "{error}");
    assert_eq!((it.saw()[0], it.saw()[4], it.saw()[5]), (0, 0, 0));
    assert_eq!(it.budget.tokens(), 500, "nothing was sent, so nothing is paid");
    assert_eq!((it.stack.stats().canceled, it.stack.stats().failed), (1, 0));
    assert_eq!(it.fallback.stats().fallbacks, 1, "what a fallback is for");
    it.at_rest();
}

#[tokio::test]
async fn a_breaker_is_waited_out_if_the_deadline_allows() {
    let it = fixture();
    for _ in 0..2 {
        let _ = it.finish(it.stack.run(&it.ctx, |_| async { Err(Down) })).await;
    }
    assert_eq!(it.breaker.state(), State::Open);
    let near = it.ctx.with_timeout(SECOND * 5);
    let error = it.stack.run(&near, |_| async { Ok(7) }).await.unwrap_err();
    assert!(error.is_deadline_exceeded(), "at once: {error}");
    assert_eq!(it.finish(it.stack.run(&it.ctx, |_| async { Ok(7) })).await.unwrap(), 7);
    assert_eq!(it.breaker.state(), State::Closed);
    it.at_rest();
}

#[tokio::test]
async fn a_probe_that_queues_is_not_one_that_hangs() {
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
async fn the_breakers_clocks_start_at_the_call() {
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
    // A quick call that has queued for five seconds is not slow.
    assert!(it.limiter.allow_n(10));
    let ahead = it.limiter.reserve_n(4).unwrap();
    assert_eq!(it.finish(stack.run(&it.ctx, |_| async { Ok(7) })).await.unwrap(), 7);
    assert_eq!((breaker.state(), breaker.stats().slow, breaker.stats().succeeded), (State::Closed, 0, 1));
    drop(ahead);

    // A probe that has queued has its three seconds from then on, and no more.
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
async fn what_a_call_fails_with_once_its_caller_has_gone_is_nobodys_failure() {
    let it = fixture();
    let (ctx, cancel) = it.ctx.with_cancel();
    let cancel = &cancel;
    let call = it.stack.run(&ctx, |_| async move {
        cancel.cancel_with("the client has gone");
        Err(Down)
    });
    assert!(call.await.unwrap_err().is_canceled());
    let (breaker, bulkhead) = (it.breaker.stats(), it.bulkhead.stats());
    assert_eq!((breaker.failed, breaker.canceled, bulkhead.failed, bulkhead.canceled), (0, 1, 0, 1));
    assert_eq!((it.hedge.stats().failed, it.retry.stats().failed, it.stack.stats().failed), (0, 0, 0));
    assert_eq!((it.fallback.stats().fallbacks, it.budget.tokens()), (0, 500));
    it.at_rest();

    // Also where there is no retry to say so.
    let (ctx, cancel) = it.ctx.with_cancel();
    let cancel = &cancel;
    let plain: Stack<u32, Down> = Stack::builder().build().unwrap();
    let call = plain.run(&ctx, |_| async move {
        cancel.cancel();
        Err(Down)
    });
    assert!(matches!(call.await, Err(Error::Inner(Down))));
    assert_eq!((plain.stats().failed, plain.stats().canceled), (0, 1));
}

#[tokio::test]
async fn a_place_that_comes_together_with_the_callers_end_is_not_used() {
    let it = fixture();
    let (ctx, cancel) = it.ctx.with_cancel();
    let held = [it.bulkhead.try_acquire().unwrap(), it.bulkhead.try_acquire().unwrap()];
    let mut call = Box::pin(it.stack.run(&ctx, |_| -> std::future::Ready<_> { unreachable!("nobody wants it") }));
    assert!(call.as_mut().now_or_never().is_none());
    drop(held);
    cancel.cancel();
    assert!(call.await.unwrap_err().is_canceled());
    assert_eq!((it.stack.stats().attempts, it.limiter.tokens()), (0, 10.0));
    let (breaker, bulkhead) = (it.breaker.stats(), it.bulkhead.stats());
    assert_eq!((breaker.canceled, bulkhead.canceled), (1, 3));
    it.at_rest();
}

#[tokio::test]
async fn the_limiter_is_waited_for_and_a_deadline_too_near_fails_at_once() {
    let it = fixture();
    assert!(it.limiter.allow_n(10));
    let near = it.ctx.with_timeout(SECOND / 2);
    let error = it.stack.run(&near, |_| async { Ok(7) }).await.unwrap_err();
    assert!(error.is_deadline_exceeded() && !error.is_canceled(), "{error}");
    let Error::Retry(gave_up) = &error else { panic!("{error}") };
    assert!(gave_up.is_deadline_exceeded() && gave_up.last().unwrap().is_deadline_exceeded(), "{error}");
    assert_eq!((it.saw()[0], it.saw()[5]), (0, 0));
    assert_eq!((it.breaker.stats().canceled, it.breaker.stats().failed), (1, 0));
    assert!(it.limiter.tokens().abs() < 1e-6, "nothing was taken");
    assert_eq!(it.finish(it.stack.run(&it.ctx, |_| async { Ok(7) })).await.unwrap(), 7);
    it.at_rest();
}

#[tokio::test]
async fn a_full_bulkhead_refuses_and_is_nobodys_failure() {
    let it = fixture();
    let held = [it.bulkhead.try_acquire().unwrap(), it.bulkhead.try_acquire().unwrap()];
    let mut queued = Box::pin(it.bulkhead.acquire(&it.ctx));
    assert!(queued.as_mut().now_or_never().is_none());
    let error = it.finish(it.stack.run(&it.ctx, |_| async { Ok(7) })).await.unwrap_err();
    let Error::Retry(gave_up) = &error else { panic!("{error}") };
    assert!(matches!(gave_up.last(), Some(Error::Rejected(Rejected::BulkheadFull { limit: 2 }))), "{error}");
    assert_eq!(it.saw()[0], 0);
    assert_eq!((it.breaker.stats().canceled, it.breaker.stats().failed), (2, 0));
    assert_eq!(it.budget.tokens(), 500);
    assert_eq!(it.limiter.tokens(), 10.0, "nothing was sent, so no token is spent");
    assert_eq!((it.limiter.stats().waited, it.limiter.stats().refunded), (2, 2));
    drop((held, queued));
    it.at_rest();
}

#[tokio::test]
async fn a_full_pool_refuses_before_the_stack_begins() {
    let it = fixture();
    let pool = WorkerPool::builder().workers(1).queue(1).overflow(Overflow::Reject).build(&it.ctx).unwrap();
    let submit = || {
        let stack = it.stack.clone();
        pool.submit(&it.ctx, move |ctx: Context| async move { stack.run(&ctx, |_| std::future::pending()).await })
    };
    let running = submit().await.unwrap();
    settle().await;
    let queued = submit().await.unwrap();
    let refused = submit().await.unwrap_err();
    assert!(matches!(refused, Error::Rejected(Rejected::PoolFull { capacity: 1 })), "{refused}");
    assert_eq!((refused.outcome(), refused.is_deadline_exceeded()), (Outcome::Neutral, false));
    assert_eq!(it.saw(), [1, 0, 0, 1, 1, 1], "the one that runs");
    assert_eq!((it.stack.stats().started, it.fallback.stats().fallbacks, it.budget.tokens()), (1, 0, 500));
    drop((running, queued));
    pool.shutdown(&it.ctx.with_timeout(Duration::ZERO)).await.unwrap_err();
    settle().await;
    let stats = pool.stats();
    assert_eq!((stats.started, stats.rejected), (stats.succeeded + stats.failed + stats.canceled, 1));
    assert_eq!(it.breaker.stats().failed, 0);
    it.at_rest();
}

#[tokio::test]
async fn a_token_is_passed_on_to_who_waits_when_it_is_not_used() {
    let it = fixture();
    let held = [it.bulkhead.try_acquire().unwrap(), it.bulkhead.try_acquire().unwrap()];
    assert!(it.limiter.allow_n(9));
    // It has the last token, and waits for a place.
    let mut queued = Box::pin(it.stack.run(&it.ctx, |_| async { Ok(7) }));
    assert!(queued.as_mut().now_or_never().is_none());
    let mut waiting = Box::pin(it.limiter.wait(&it.ctx));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(queued);
    assert!(waiting.as_mut().now_or_never().is_some_and(|waited| waited.is_ok()));
    drop((held, waiting));
    assert_eq!(it.limiter.tokens(), 0.0);
    it.at_rest();
}

#[test]
fn threads_spend_a_token_for_each_attempt_that_is_sent_and_for_no_other() {
    // Nothing is earned here, so what is not sent must be left.
    let limiter = RateLimiter::new(Rate::ZERO, 2000).unwrap();
    let bulkhead = Bulkhead::builder().limit(1).build().unwrap();
    let stack: Stack<(), Down> = Stack::builder()
        .limiter(limiter.clone())
        .bulkhead(bulkhead.clone())
        .attempt_timeout(SECOND * 60)
        .build()
        .unwrap();
    let ctx = Context::background().with_timeout(SECOND * 60);
    let sent = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let call = stack.run(&ctx, |_| async {
                        sent.fetch_add(1, Ordering::Relaxed);
                        std::thread::yield_now();
                        Ok(())
                    });
                    let refused = futures::executor::block_on(call).is_err_and(|error| !error.is_rejected());
                    assert!(!refused);
                }
            });
        }
    });
    let sent = sent.into_inner();
    assert_eq!(f64::from(sent) + limiter.tokens(), 2000.0, "{:?}", limiter.stats());
    assert_eq!(stack.stats().attempts, u64::from(sent));
}

#[tokio::test]
async fn a_caller_who_leaves_while_it_waits_for_a_place_has_sent_nothing() {
    for keyed in [false, true] {
        let it = fixture();
        let held = [it.bulkhead.try_acquire().unwrap(), it.bulkhead.try_acquire().unwrap()];
        assert!(it.limiter.allow_n(8));
        let near = it.ctx.with_timeout(SECOND);
        let error = match keyed {
            false => it.finish(it.stack.run(&near, |_| async { Ok(7) })).await.unwrap_err(),
            true => it.finish(it.stack.run_keyed(&near, "key", |_| async { Ok(7) })).await.unwrap_err(),
        };
        assert!(error.is_deadline_exceeded(), "{error}");
        settle().await;
        assert_eq!(
            (it.saw()[0], it.limiter.tokens(), it.budget.tokens()),
            (0, 3.0, 500),
            "a second's token is there too"
        );
        drop(held);
        it.at_rest();
    }
}

#[tokio::test]
async fn the_total_deadline_bounds_all_attempts() {
    let it = fixture();
    let started = it.ctx.clock().now();
    let stack: Stack<u32, Down> = Stack::builder()
        .deadline(SECOND * 3)
        .retry(Retry::constant(SECOND).max_attempts(100))
        .attempt_timeout(SECOND * 2)
        .build()
        .unwrap();
    let error = it.finish(stack.run(&it.ctx, |_| std::future::pending())).await.unwrap_err();
    assert!(error.is_deadline_exceeded(), "{error}");
    let Error::Retry(gave_up) = &error else { panic!("{error}") };
    assert!(gave_up.last().unwrap().is_attempt_timeout(), "it carries the last real error");
    assert!(it.ctx.clock().now() - started <= SECOND * 3, "and does not begin a wait that cannot end in time");
}

#[tokio::test]
async fn a_hit_costs_nothing_below_and_misses_share_one_call() {
    let it = fixture();
    let call = || {
        it.stack.run_keyed(&it.ctx, "key", |ctx: Context| async move {
            ctx.sleep(SECOND).await.map_err(|_| Down)?;
            Ok(7)
        })
    };
    let (first, second) = it.finish(async { tokio::join!(call(), call()) }).await;
    assert_eq!((first.unwrap(), second.unwrap()), (7, 7));
    assert_eq!(it.saw(), [1, 0, 0, 1, 1, 1]);
    assert_eq!(call().await.unwrap(), 7);
    assert_eq!(it.saw(), [1, 0, 0, 1, 1, 1]);
    assert_eq!((it.cache.stats().hits, it.cache.stats().coalesced), (1, 1));
    it.at_rest();
}

#[tokio::test]
async fn a_real_failure_is_remembered_and_a_rejection_is_not() {
    let it = fixture();
    let failing = || it.stack.run_keyed(&it.ctx, "failing", |_| async { Err(Down) });
    assert_eq!(it.finish(failing()).await.unwrap_err().inner(), Some(&Down));
    assert_eq!(failing().await.unwrap_err().inner(), Some(&Down));
    assert_eq!(it.saw()[0], 2, "the second caller got the remembered error");

    it.breaker.force_open();
    let refused = it.finish(it.stack.run_keyed(&it.ctx, "refused", |_| async { Ok(7) })).await;
    assert!(refused.is_err());
    it.breaker.reset();
    assert_eq!(it.finish(it.stack.run_keyed(&it.ctx, "refused", |_| async { Ok(7) })).await.unwrap(), 7);
    it.at_rest();
}

#[tokio::test]
async fn a_load_by_hand_that_failed_is_told_as_what_it_is() {
    let it = fixture();
    let call = |key| it.stack.run_keyed(&it.ctx, key, |_| async { Ok(7) });
    let by_hand = it.cache.get_or_load(&it.ctx, "foreign", |_| async { Err(std::io::Error::other("disk on fire")) });
    assert!(by_hand.await.is_err());
    let error = call("foreign").await.unwrap_err();
    let Error::Foreign(shared) = &error else { panic!("{error:?}") };
    assert!(shared.downcast_ref::<std::io::Error>().is_some());
    assert_eq!((error.to_string().as_str(), error.outcome()), ("disk on fire", Outcome::Failure));
    assert_eq!(error.inner(), None);

    // The call's own error type is no stranger.
    assert!(it.cache.get_or_load(&it.ctx, "own", |_| async { Err(Down) }).await.is_err());
    assert!(matches!(call("own").await, Err(Error::Inner(Down))));
    assert_eq!(it.saw()[0], 0, "both were remembered");
    it.at_rest();
}

#[tokio::test]
async fn dropping_at_every_await_point_gives_everything_back() {
    for (keyed, full) in [(false, false), (false, true), (true, false), (true, true)] {
        for steps in 0..40 {
            let it = fixture();
            let began = it.ctx.clock().now();
            assert!(it.limiter.allow_n(10));
            // With all places taken for a time, it waits for one of them too.
            let mut held: Vec<_> = (0..if full { 2 } else { 0 }).map(|_| it.bulkhead.try_acquire().unwrap()).collect();
            let calls = AtomicU32::new(0);
            let call: std::pin::Pin<Box<dyn Future<Output = Result<u32, Error<Down>>>>> = if keyed {
                Box::pin(it.stack.run_keyed(&it.ctx, "key", |ctx: Context| async move {
                    ctx.sleep(SECOND * 3).await.map_err(|_| Down)?;
                    Err(Down)
                }))
            } else {
                Box::pin(it.stack.run(&it.ctx, |ctx| {
                    calls.fetch_add(1, Ordering::Relaxed);
                    async move {
                        ctx.sleep(SECOND * 3).await.map_err(|_| Down)?;
                        Err(Down)
                    }
                }))
            };
            let mut call = call;
            for step in 0..steps {
                if call.as_mut().now_or_never().is_some() {
                    break;
                }
                settle().await;
                it.time.advance(SECOND / 3);
                if step == 12 {
                    held.clear();
                }
            }
            drop(call);
            settle().await;
            held.clear();
            it.at_rest();
            // A token a second, less one for each attempt that was sent: all others have come back.
            let earned = (it.ctx.clock().now() - began).as_secs_f64();
            let due = earned - it.saw()[0] as f64;
            assert!((it.limiter.tokens() - due).abs() < 1e-6, "after {steps} steps: {} of {due}", it.limiter.tokens());
        }
    }
}

#[tokio::test]
async fn a_panicking_call_harms_only_itself() {
    let it = fixture();
    let call = std::panic::AssertUnwindSafe(
        it.stack.run(&it.ctx, |_| -> std::future::Ready<Result<u32, Down>> { panic!("oh") }),
    );
    assert!(call.catch_unwind().await.is_err());
    let keyed = it.stack.run_keyed(&it.ctx, "key", |_| -> std::future::Ready<Result<u32, Down>> { panic!("oh") });
    assert!(matches!(it.finish(keyed).await, Err(Error::Panicked(_))));
    assert_eq!(it.stack.run(&it.ctx, |_| async { Ok(7) }).await.unwrap(), 7);
    it.at_rest();
}

#[tokio::test]
async fn bad_stacks_are_named() {
    fn stack() -> ripcord_policy::stack::StackBuilder<u32, Down> {
        Stack::builder()
    }
    let retry = || Retry::<Error<Down>>::exponential();
    let field = |result: Result<Stack<u32, Down>, ripcord_policy::ConfigError>| result.unwrap_err().field();
    assert_eq!(field(stack().retry(retry()).deadline(SECOND).build()), "deadline");
    assert_eq!(field(stack().retry(retry()).retry(retry()).build()), "retry");
    assert_eq!(field(stack().deadline(Duration::ZERO).build()), "deadline");
    assert_eq!(field(stack().attempt_timeout(Duration::ZERO).build()), "attempt_timeout");
    assert_eq!(field(stack().deadline(SECOND).attempt_timeout(SECOND * 2).build()), "attempt_timeout");
    assert_eq!(field(stack().retry(retry().max_attempts(0)).build()), "max_attempts");
    let hedge = || Hedge::after(SECOND);
    assert_eq!(field(stack().hedge(hedge().build().unwrap()).attempt_timeout(SECOND).build()), "hedge");
    let budgets = [Arc::new(RetryBudget::new()), Arc::new(RetryBudget::new())].map(Some);
    let [a, b] = budgets.map(Option::unwrap);
    let two = stack().retry(retry().budget(a)).hedge(hedge().budget(b).build().unwrap()).build();
    assert_eq!(two.unwrap_err().to_string(), "hedge must be paid from the retry's budget, got another budget");
    let message = stack().bulkhead(Bulkhead::builder().limit(1).build().unwrap()).retry(retry()).build().unwrap_err();
    assert!(message.to_string().ends_with("got after bulkhead"), "{message}");
}

#[tokio::test]
async fn a_hedge_that_is_refused_costs_the_budget_nothing() {
    let it = fixture();
    let budget = Arc::new(RetryBudget::new());
    let hedge = Hedge::after(SECOND).max_attempts(3).budget(Arc::clone(&budget)).build().unwrap();
    let bulkhead = Bulkhead::builder().limit(1).build().unwrap();
    let stack: Stack<u32, Down> = Stack::builder().hedge(hedge.clone()).bulkhead(bulkhead.clone()).build().unwrap();
    let call = stack.run(&it.ctx, |ctx| async move {
        ctx.sleep(SECOND * 5).await.map_err(|_| Down)?;
        Err(Down)
    });
    let error = it.finish(call).await.unwrap_err();
    assert!(matches!(error, Error::Inner(Down)), "the real one: {error}");
    assert_eq!((bulkhead.stats().rejected, stack.stats().attempts), (2, 1));
    assert_eq!(budget.tokens(), budget.capacity());
}

#[tokio::test]
async fn retry_and_hedge_share_one_budget() {
    let it = fixture();
    let budget = Arc::new(RetryBudget::builder().capacity(5).build().unwrap());
    let hedge = Hedge::after(SECOND).build().unwrap();
    let stack: Stack<u32, Down> = Stack::builder()
        .retry(Retry::constant(SECOND).max_attempts(5).budget(Arc::clone(&budget)))
        .hedge(hedge.clone())
        .build()
        .unwrap();
    let call = stack.run(&it.ctx, |ctx| async move {
        ctx.sleep(SECOND * 2).await.map_err(|_| Down)?;
        Err(Down)
    });
    let error = it.finish(call).await.unwrap_err();
    assert!(matches!(&error, Error::Retry(gave_up) if gave_up.attempts() == 1), "{error}");
    assert_eq!((hedge.stats().hedges, budget.tokens()), (1, 0));
    // And a success is one, of a first attempt as of a hedge.
    stack.run(&it.ctx, |_| async { Ok(7) }).await.unwrap();
    assert_eq!(budget.tokens(), 1);
    budget.refund(4);
    let attempts = AtomicU32::new(0);
    let call = stack.run(&it.ctx, |_| {
        let is_first = attempts.fetch_add(1, Ordering::Relaxed) == 0;
        async move { if is_first { std::future::pending().await } else { Ok(7) } }
    });
    it.finish(call).await.unwrap();
    // The hedge's five are back, and the retry saw a first attempt that succeeded; there is room for no more.
    assert_eq!((hedge.stats().hedge_wins, budget.tokens()), (1, 5));
}
