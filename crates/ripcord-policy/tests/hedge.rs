//! The hedge, tested against its specification on a manual clock.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::FutureExt;
use ripcord::{Clock, Context, ManualTime};
use ripcord_policy::{Attempt, Error, Hedge, Retry, RetryBudget};

const SECOND: Duration = Duration::from_secs(1);

fn manual() -> (Context, ManualTime) {
    let (clock, time) = Clock::manual();
    (Context::background().with_clock(clock), time)
}

fn hedge() -> Hedge {
    Hedge::after(SECOND).build().unwrap()
}

#[tokio::test]
async fn quick_answer_or_failure_is_not_hedged() {
    let (ctx, _time) = manual();
    let hedge = hedge();
    assert_eq!(
        hedge
            .run(&ctx, |ctx| async move {
                let attempt = Attempt::hedge_number(&ctx);
                Ok::<_, &str>(attempt)
            })
            .await
            .unwrap(),
        0
    );
    let failed = hedge.run(&ctx, |_| async { Err::<(), _>("down") }).await.unwrap_err();
    assert_eq!(failed.last(), Some(&"down"));
    let stats = hedge.stats();
    assert_eq!((stats.calls.started, stats.calls.succeeded, stats.calls.failed, stats.hedges), (2, 1, 1, 0));
}

#[tokio::test]
async fn second_attempt_wins_and_the_first_is_canceled_and_dropped() {
    let (ctx, time) = manual();
    let hedge = hedge();
    let first = Arc::new(Mutex::new(None));
    let guard = Arc::new(());
    let (seen, held) = (Arc::clone(&first), Arc::clone(&guard));
    let mut call = Box::pin(hedge.run(&ctx, |ctx| {
        let attempt = Attempt::hedge_number(&ctx);
        let (seen, held) = (Arc::clone(&seen), Arc::clone(&held));
        async move {
            let _held = held;
            if attempt == 0 {
                *seen.lock().unwrap() = Some(ctx.clone());
            }
            ctx.sleep(if attempt == 0 { SECOND * 60 } else { SECOND }).await?;
            Ok::<_, ripcord::Error>(attempt)
        }
    }));
    assert!(call.as_mut().now_or_never().is_none());
    time.advance(SECOND - Duration::from_nanos(1));
    assert!(call.as_mut().now_or_never().is_none());
    assert_eq!(hedge.stats().hedges, 0);
    time.advance(Duration::from_nanos(1));
    assert!(call.as_mut().now_or_never().is_none());
    assert_eq!(hedge.stats().hedges, 1);
    time.advance(SECOND);
    assert_eq!(call.as_mut().now_or_never().unwrap().unwrap(), 1);
    drop(call);
    let loser = first.lock().unwrap().take().unwrap();
    assert_eq!(loser.cause().unwrap().to_string(), "another attempt of the same call won");
    drop(held);
    assert_eq!(Arc::strong_count(&guard), 1);
    assert_eq!((hedge.stats().hedge_wins, hedge.stats().calls.succeeded), (1, 1));
}

#[tokio::test]
async fn failure_among_several_leaves_the_others_running_and_the_last_counts() {
    let (ctx, time) = manual();
    for first_succeeds in [true, false] {
        let hedge = hedge();
        let mut call = Box::pin(hedge.run(&ctx, |ctx| async move {
            let attempt = Attempt::hedge_number(&ctx);
            ctx.sleep(SECOND * 3).await.map_err(|_| "canceled")?;
            match attempt {
                0 if first_succeeds => Ok(0),
                0 => Err("first"),
                _ => Err("second"),
            }
        }));
        assert!(call.as_mut().now_or_never().is_none());
        time.advance(SECOND);
        assert!(call.as_mut().now_or_never().is_none());
        time.advance(SECOND * 2);
        match call.as_mut().now_or_never() {
            Some(result) => assert_eq!(result.unwrap(), 0),
            None => {
                time.advance(SECOND);
                assert!(call.await.unwrap_err().last() == Some(&"second"));
            }
        }
    }
}

#[tokio::test]
async fn hedge_ends_with_its_caller_and_sends_nothing_past_the_deadline() {
    let (ctx, time) = manual();
    let hedge = hedge();
    let attempts = AtomicU32::new(0);
    let near = ctx.with_timeout(SECOND);
    let stuck = |_: Context| {
        attempts.fetch_add(1, Ordering::Relaxed);
        std::future::pending::<Result<(), &str>>()
    };
    let mut call = Box::pin(hedge.run(&near, stuck));
    assert!(call.as_mut().now_or_never().is_none());
    time.advance(SECOND);
    assert!(call.await.unwrap_err().is_deadline_exceeded());
    assert!(hedge.run(&near, stuck).await.unwrap_err().is_deadline_exceeded());
    assert_eq!(attempts.load(Ordering::Relaxed), 1);
    let stats = hedge.stats();
    assert_eq!((stats.calls.canceled, stats.calls.rejected, stats.hedges), (1, 1, 0));
}

#[tokio::test]
async fn budget_bounds_what_hedging_costs() {
    let (ctx, time) = manual();
    let budget = Arc::new(RetryBudget::builder().capacity(10).build().unwrap());
    let hedge = Hedge::after(SECOND).max_attempts(5).budget(Arc::clone(&budget)).build().unwrap();
    let mut stuck = Box::pin(hedge.run(&ctx, |_| std::future::pending::<Result<(), &str>>()));
    for _ in 0..5 {
        assert!(stuck.as_mut().now_or_never().is_none());
        time.advance(SECOND);
    }
    assert!(stuck.as_mut().now_or_never().is_none());
    drop(stuck);
    let stats = hedge.stats();
    assert_eq!((stats.hedges, stats.budget_refused, stats.calls.canceled, budget.tokens()), (2, 1, 1, 0));
    hedge.run(&ctx, |_| async { Ok::<_, &str>(()) }).await.unwrap();
    assert_eq!(budget.tokens(), 1, "a success brings something back");
}

#[tokio::test]
async fn success_inside_another_retry_refunds_the_budget() {
    let (ctx, _time) = manual();
    let budget = Arc::new(RetryBudget::builder().capacity(10).build().unwrap());
    let hedge = Hedge::after(SECOND).budget(Arc::clone(&budget)).build().unwrap();
    RetryBudget::try_spend(&budget, 10).unwrap().commit();
    let retry = Retry::<Error<&str>>::constant(SECOND).build().unwrap();
    let hedge = &hedge;
    let nested = |ctx: Context| async move { hedge.run(&ctx, |_| async { Ok::<_, &str>(()) }).await };
    retry.run(&ctx, nested).await.unwrap();
    assert_eq!(budget.tokens(), 1, "else what is only called so would hedge no more, once it has spent its tokens");
}

#[tokio::test]
async fn hedges_do_not_multiply() {
    let (ctx, time) = manual();
    let (outer, inner) = (hedge(), hedge());
    let calls = AtomicU32::new(0);
    let mut call = Box::pin(outer.run(&ctx, |ctx| {
        let (inner, calls) = (&inner, &calls);
        async move {
            inner
                .run(&ctx, |_| {
                    calls.fetch_add(1, Ordering::Relaxed);
                    std::future::pending::<Result<(), &str>>()
                })
                .await
        }
    }));
    for _ in 0..4 {
        assert!(call.as_mut().now_or_never().is_none());
        time.advance(SECOND);
    }
    assert_eq!(calls.load(Ordering::Relaxed), 3, "the hedged attempt is not hedged again");
}

#[tokio::test]
async fn dropping_at_every_await_point_cancels_all_attempts() {
    let (ctx, time) = manual();
    for polls in 0..5 {
        let hedge = hedge();
        let contexts = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&contexts);
        let mut call = Box::pin(hedge.run(&ctx, |ctx| {
            seen.lock().unwrap().push(ctx);
            std::future::pending::<Result<(), &str>>()
        }));
        for _ in 0..polls {
            assert!(call.as_mut().now_or_never().is_none());
            time.advance(SECOND);
        }
        drop(call);
        assert!(contexts.lock().unwrap().iter().all(Context::is_done));
        let stats = hedge.stats();
        assert_eq!(stats.calls.started, stats.calls.canceled);
    }
}

#[test]
fn bad_settings_are_named() {
    assert_eq!(Hedge::after(Duration::ZERO).build().unwrap_err().field(), "delay");
    assert_eq!(Hedge::after(SECOND).max_attempts(0).build().unwrap_err().field(), "max_attempts");
}
