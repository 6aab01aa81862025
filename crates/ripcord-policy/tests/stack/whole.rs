//! Building a stack, sharing inside a stack, and dropping a call early.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::FutureExt;
use ripcord::{Clock, Context};
use ripcord_policy::{Bulkhead, Error, Hedge, Retry, RetryBudget, Stack};

use crate::common::{Down, SECOND, fixture, settle};

#[tokio::test]
async fn dropping_at_every_await_point_gives_everything_back() {
    for (keyed, full) in [(false, false), (false, true), (true, false), (true, true)] {
        for steps in 0..40 {
            let it = fixture();
            let began = it.ctx.clock().now();
            assert!(it.limiter.allow_n(10));
            // If all permits are taken for a time, the call also waits for a permit.
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
            // The limiter earns one token per second. Each sent attempt costs one token. All other tokens have been returned.
            let earned = (it.ctx.clock().now() - began).as_secs_f64();
            let due = earned - it.saw()[0] as f64;
            assert!((it.limiter.tokens() - due).abs() < 1e-6, "after {steps} steps: {} of {due}", it.limiter.tokens());
        }
    }
}

#[tokio::test]
async fn bad_stacks_are_named() {
    fn stack() -> ripcord_policy::stack::StackBuilder<u32, Down> {
        Stack::builder()
    }
    let retry = Retry::<Down>::exponential;
    let field = |result: Result<Stack<u32, Down>, ripcord_policy::ConfigError>| result.unwrap_err().field();
    assert_eq!(field(stack().retry(retry()).deadline(SECOND).build()), "deadline");
    assert_eq!(field(stack().retry(retry()).retry(retry()).build()), "retry");
    assert_eq!(field(stack().retry(retry()).clock(Clock::system()).build()), "clock");
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
async fn retry_and_hedge_share_one_budget() {
    let it = fixture();
    let budget = Arc::new(RetryBudget::builder().capacity(5).build().unwrap());
    let hedge = Hedge::after(SECOND).build().unwrap();
    let stack: Stack<u32, Down> = Stack::builder()
        .retry(Retry::constant(SECOND).max_attempts(5).budget(Arc::clone(&budget)).build().unwrap())
        .hedge(hedge.clone())
        .build()
        .unwrap();
    let call = stack.run(&it.ctx, |ctx| async move {
        ctx.sleep(SECOND * 2).await.map_err(|_| Down)?;
        Err(Down)
    });
    let error = it.finish(call).await.unwrap_err();
    assert!(error.attempts() == 1, "{error}");
    assert_eq!((hedge.stats().hedges, budget.tokens()), (1, 0));
    // A success refunds one token once, although both the hedge and the retry see the success.
    stack.run(&it.ctx, |_| async { Ok(7) }).await.unwrap();
    assert_eq!(budget.tokens(), 1);
    budget.refund(4);
    let attempts = AtomicU32::new(0);
    let call = stack.run(&it.ctx, |_| {
        let is_first = attempts.fetch_add(1, Ordering::Relaxed) == 0;
        async move { if is_first { std::future::pending().await } else { Ok(7) } }
    });
    it.finish(call).await.unwrap();
    // The hedge's five tokens are refunded. The retry saw a first attempt that succeeded, but the budget is full.
    assert_eq!((hedge.stats().hedge_wins, budget.tokens()), (1, 5));
}

#[tokio::test]
async fn stack_returns_handles_of_its_layers_and_none_for_layers_left_out() {
    let it = fixture();
    it.finish(it.stack.run_keyed(&it.ctx, "key", |_| async { Ok(7) })).await.unwrap();
    let stack = &it.stack;
    let started = [
        stack.fallback().unwrap().stats().calls.started,
        stack.cache().unwrap().stats().calls.started,
        stack.retry().unwrap().stats().calls.started,
        stack.hedge().unwrap().stats().calls.started,
        stack.breaker().unwrap().stats().calls.started,
        stack.bulkhead().unwrap().stats().calls.started,
    ];
    assert_eq!(started, [1; 6]);
    let limiter = stack.limiter().unwrap().stats();
    assert_eq!(limiter.allowed + limiter.waited, 1);
    let empty: Stack<u32, Down> = Stack::builder().retry(None::<Retry<Down>>).build().unwrap();
    assert!(empty.retry().is_none() && empty.breaker().is_none());
}
