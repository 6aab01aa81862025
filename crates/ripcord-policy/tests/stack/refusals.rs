//! Calls that the stack refuses or delays, and unused permits and tokens that it returns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::FutureExt;
use ripcord::Context;
use ripcord_policy::breaker::State;
use ripcord_policy::pool::Overflow;
use ripcord_policy::{
    Bulkhead, Error, Hedge, Outcome, Rate, RateLimiter, Retry, RetryBudget, Stack, StopReason, WorkerPool,
};

use crate::common::{Down, SECOND, fixture, settle};

#[tokio::test]
async fn open_breaker_refuses_before_anything_is_taken() {
    let it = fixture();
    it.breaker.force_open();
    let error = it.finish(it.stack.run(&it.ctx, |_| async { Ok(7) })).await.unwrap_err();
    assert!(error.is_breaker_open(), "{error}");
    assert_eq!((it.saw()[0], it.saw()[4], it.saw()[5]), (0, 0, 0));
    assert_eq!(it.budget.tokens(), 500, "nothing was sent, so nothing is paid");
    assert_eq!((it.stack.stats().calls.canceled, it.stack.stats().calls.failed), (1, 0));
    assert_eq!(it.fallback.stats().fallbacks, 1, "what a fallback is for");
    it.at_rest();
}

#[tokio::test]
async fn breaker_is_waited_out_if_the_deadline_allows() {
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
async fn permit_that_arrives_with_the_callers_end_is_not_used() {
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
    assert_eq!((breaker.calls.canceled, bulkhead.calls.canceled), (1, 3));
    it.at_rest();
}

#[tokio::test]
async fn limiter_is_waited_for_and_a_deadline_too_near_fails_at_once() {
    let it = fixture();
    assert!(it.limiter.allow_n(10));
    let near = it.ctx.with_timeout(SECOND / 2);
    let line = line!() - 1;
    let error = it.stack.run(&near, |_| async { Ok(7) }).await.unwrap_err();
    assert!(error.is_deadline_exceeded() && !error.is_canceled(), "{error}");
    assert!(error.is_rejected(), "{error}");
    assert_names_the_deadline(&error, line);
    assert_eq!((it.saw()[0], it.saw()[5]), (0, 0));
    assert_eq!((it.breaker.stats().calls.canceled, it.breaker.stats().calls.failed), (1, 0));
    assert!(it.limiter.tokens().abs() < 1e-6, "nothing was taken");
    assert_eq!(it.finish(it.stack.run(&it.ctx, |_| async { Ok(7) })).await.unwrap(), 7);
    it.at_rest();
}

/// Asserts that a refusal names the line of this file that set the deadline.
fn assert_names_the_deadline(error: &Error<Down>, line: u32) {
    let story = format!("{error:#}");
    assert!(story.contains(&format!("timeout of 500ms set at {}:{line}:", file!())), "{story}");
}

#[tokio::test]
async fn limiter_refuses_for_the_stacks_own_deadline_and_names_its_line() {
    let it = fixture();
    assert!(it.limiter.allow_n(10));
    let builder = Stack::<u32, Down>::builder();
    let builder = builder.deadline(SECOND / 2);
    let line = line!() - 1;
    let stack = builder.limiter(it.limiter.clone()).build().unwrap();
    let error = stack.run(&it.ctx, |_| async { Ok(7) }).await.unwrap_err();
    assert!(error.is_deadline_exceeded() && error.is_rejected(), "{error}");
    assert_names_the_deadline(&error, line);
}

#[tokio::test]
async fn retry_in_a_stack_refuses_a_wait_past_the_deadline_and_names_its_line() {
    let it = fixture();
    let near = it.ctx.with_timeout(SECOND / 2);
    let line = line!() - 1;
    let error = it.stack.run(&near, |_| async { Err(Down) }).await.unwrap_err();
    assert_eq!((error.stop_reason(), error.last()), (Some(StopReason::Deadline), Some(&Down)));
    assert_names_the_deadline(&error, line);
}

#[tokio::test]
async fn full_bulkhead_refusal_is_neutral() {
    let it = fixture();
    let held = [it.bulkhead.try_acquire().unwrap(), it.bulkhead.try_acquire().unwrap()];
    let mut queued = Box::pin(it.bulkhead.acquire(&it.ctx));
    assert!(queued.as_mut().now_or_never().is_none());
    let error = it.finish(it.stack.run(&it.ctx, |_| async { Ok(7) })).await.unwrap_err();
    assert!(error.is_full(), "{error}");
    assert_eq!(it.saw()[0], 0);
    assert_eq!((it.breaker.stats().calls.canceled, it.breaker.stats().calls.failed), (2, 0));
    assert_eq!(it.budget.tokens(), 500);
    assert_eq!(it.limiter.tokens(), 10.0, "nothing was sent, so no token is spent");
    assert_eq!((it.limiter.stats().waited, it.limiter.stats().refunded), (2, 2));
    drop((held, queued));
    it.at_rest();
}

#[tokio::test]
async fn full_pool_refuses_before_the_stack_begins() {
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
    assert!(refused.is_full(), "{refused}");
    assert_eq!((refused.outcome(), refused.is_deadline_exceeded()), (Outcome::Neutral, false));
    assert_eq!(it.saw(), [1, 0, 0, 1, 1, 1], "the one that runs");
    assert_eq!((it.stack.stats().calls.started, it.fallback.stats().fallbacks, it.budget.tokens()), (1, 0, 500));
    drop((running, queued));
    pool.shutdown(&it.ctx.with_timeout(Duration::ZERO)).await.unwrap_err();
    settle().await;
    let stats = pool.stats();
    assert_eq!(
        (stats.calls.started, stats.calls.rejected),
        (stats.calls.succeeded + stats.calls.failed + stats.calls.canceled, 1)
    );
    assert_eq!(it.breaker.stats().calls.failed, 0);
    it.at_rest();
}

#[tokio::test]
async fn unused_token_returned_while_others_wait_serves_the_first_of_them() {
    let it = fixture();
    let held = [it.bulkhead.try_acquire().unwrap(), it.bulkhead.try_acquire().unwrap()];
    assert!(it.limiter.allow_n(9));
    // The call has the last token, and waits for a permit.
    let mut queued = Box::pin(it.stack.run(&it.ctx, |_| async { Ok(7) }));
    assert!(queued.as_mut().now_or_never().is_none());
    let mut waiting = Box::pin(it.limiter.wait(&it.ctx));
    let mut behind = Box::pin(it.limiter.wait(&it.ctx));
    assert!(waiting.as_mut().now_or_never().is_none() && behind.as_mut().now_or_never().is_none());
    drop(queued);
    assert!(waiting.as_mut().now_or_never().is_some_and(|waited| waited.is_ok()));
    assert!(behind.as_mut().now_or_never().is_none());
    it.time.advance(SECOND);
    assert!(behind.as_mut().now_or_never().is_some_and(|waited| waited.is_ok()));
    drop((held, waiting, behind));
    assert_eq!((it.limiter.tokens(), it.limiter.stats().refunded), (0.0, 1));
    it.at_rest();
}

#[test]
fn threads_spend_a_token_for_each_attempt_that_is_sent_and_for_no_other() {
    // The limiter earns no tokens, so the tokens of unsent calls must be left.
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
async fn caller_who_leaves_while_it_waits_for_a_place_has_sent_nothing() {
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
async fn hedge_that_is_refused_costs_the_budget_nothing() {
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
    assert_eq!(error.last(), Some(&Down), "the real one: {error}");
    assert_eq!((bulkhead.stats().calls.rejected, stack.stats().attempts), (2, 1));
    assert_eq!(budget.tokens(), budget.capacity());
}

#[tokio::test]
async fn retry_that_ends_in_the_bulkheads_queue_reports_no_attempt() {
    for hedged in [false, true] {
        let bulkhead = Bulkhead::builder().limit(1).queue(1).build().unwrap();
        let stack: Stack<u32, Down> = Stack::builder()
            .retry(Retry::builder())
            .hedge(hedged.then(|| Hedge::after(SECOND)))
            .bulkhead(bulkhead.clone())
            .build()
            .unwrap();
        let (ctx, cancel) = Context::background().with_cancel();
        let _held = bulkhead.try_acquire().unwrap();
        let mut call = Box::pin(stack.run(&ctx, |_| async { Ok(7) }));
        assert!(call.as_mut().now_or_never().is_none());
        cancel.cancel();
        let error = call.await.unwrap_err();
        assert_eq!(error.attempts(), 0, "hedged: {hedged}");
        let details = format!("{error:#}");
        assert!(details.ends_with(", before the first attempt"), "hedged: {hedged}: {details}");
    }
}
