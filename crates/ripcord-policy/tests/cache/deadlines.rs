//! A load's deadline: that of its most patient caller.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt;
use ripcord::Context;
use ripcord_policy::{Rate, RateLimiter, Retry, Stack};

use crate::common::{Failed, SECOND, manual, seconds, settle};

/// Notes the deadline of each load's context, then takes `takes`.
#[derive(Clone, Default)]
struct Source(Arc<Mutex<Vec<Option<Instant>>>>);

impl Source {
    fn loader(
        &self,
        takes: Duration,
    ) -> impl FnOnce(Context) -> futures::future::BoxFuture<'static, Result<u32, Failed>> + use<> {
        let source = self.clone();
        move |ctx| {
            source.0.lock().unwrap().push(ctx.deadline());
            Box::pin(async move { Ok(ctx.sleep(takes).await.map(|()| 1)?) })
        }
    }

    fn deadlines(&self) -> Vec<Option<Instant>> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn load_has_the_latest_deadline_of_the_callers_at_its_start() {
    let (ctx, time) = manual();
    let cases =
        [(&[Some(5)][..], Some(5)), (&[Some(5), Some(20), Some(2)], Some(20)), (&[Some(5), None, Some(2)], None)];
    for (callers, latest) in cases {
        let cache = seconds(60).build(&ctx).unwrap();
        let source = Source::default();
        let callers: Vec<_> = callers
            .iter()
            .map(|seconds| seconds.map_or(ctx.clone(), |seconds| ctx.with_timeout(SECOND * seconds)))
            .map(|ctx| {
                let (cache, load) = (cache.clone(), source.loader(SECOND));
                tokio::spawn(async move { cache.get_or_load(&ctx, "a", load).await })
            })
            .collect();
        settle().await;
        assert_eq!(source.deadlines(), [latest.map(|seconds| ctx.clock().now() + SECOND * seconds)]);
        time.advance(SECOND);
        for caller in callers {
            assert_eq!(caller.await.unwrap().unwrap(), 1);
        }
    }
}

#[tokio::test]
async fn load_ends_at_its_deadline_even_if_nobody_polls_its_callers() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let limited = ctx.with_timeout(SECOND);
    let mut caller = Box::pin(cache.get_or_load(&limited, "a", |_| std::future::pending::<Result<u32, Failed>>()));
    assert!(caller.as_mut().now_or_never().is_none());
    settle().await;
    time.advance(SECOND);
    settle().await;
    assert_eq!((cache.stats().calls.canceled, cache.stats().calls.in_flight()), (1, 0));
    let later = cache.get_or_load(&ctx, "a", |_| async { Ok::<_, Failed>(2) }).await;
    assert_eq!(later.unwrap(), 2, "a later caller starts a new load");
    assert!(caller.await.unwrap_err().is_deadline_exceeded());
}

#[tokio::test]
async fn more_patient_caller_gets_a_second_load_when_the_first_runs_out_of_time() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let source = Source::default();
    let start = |timeout: Option<Duration>| {
        let caller = timeout.map_or(ctx.clone(), |timeout| ctx.with_timeout(timeout));
        let (cache, load) = (cache.clone(), source.loader(SECOND * 10));
        tokio::spawn(async move { cache.get_or_load(&caller, "a", load).await })
    };
    let begun = ctx.clock().now();
    let hurried = start(Some(SECOND * 5));
    settle().await;
    let (patient, most_patient) = (start(Some(SECOND * 8)), start(Some(SECOND * 40)));
    settle().await;
    time.advance(SECOND * 5);
    settle().await;
    assert!(hurried.await.unwrap().unwrap_err().is_deadline_exceeded());
    // The second load has the time of the most patient caller, and is for the others too.
    assert_eq!(source.deadlines(), [Some(begun + SECOND * 5), Some(begun + SECOND * 40)]);
    let joined = start(Some(SECOND * 30));
    settle().await;
    time.advance(SECOND * 3);
    assert!(patient.await.unwrap().unwrap_err().is_deadline_exceeded());
    time.advance(SECOND * 7);
    assert_eq!((most_patient.await.unwrap().unwrap(), joined.await.unwrap().unwrap()), (1, 1));
    let calls = cache.stats().calls;
    assert_eq!((calls.started, calls.canceled, calls.succeeded, cache.stats().coalesced), (2, 1, 1, 3));
}

#[tokio::test]
async fn callers_with_little_time_do_not_starve_a_patient_one() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let source = Source::default();
    let start = |caller: Context| {
        let (cache, load) = (cache.clone(), source.loader(SECOND * 10));
        tokio::spawn(async move { cache.get_or_load(&caller, "a", load).await })
    };
    let mut hurried = vec![start(ctx.with_timeout(SECOND))];
    settle().await;
    let patient = start(ctx.clone());
    for _ in 0..11 {
        settle().await;
        time.advance(SECOND / 2);
        hurried.push(start(ctx.with_timeout(SECOND)));
        settle().await;
        time.advance(SECOND / 2);
    }
    settle().await;
    assert_eq!(patient.await.unwrap().unwrap(), 1);
    assert_eq!(cache.stats().calls.started, 2);
}

#[tokio::test]
async fn patient_caller_that_leaves_takes_its_second_load_along() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let source = Source::default();
    let limited = ctx.with_timeout(SECOND);
    let mut hurried = Box::pin(cache.get_or_load(&limited, "a", source.loader(SECOND * 10)));
    assert!((&mut hurried).now_or_never().is_none());
    settle().await;
    let held = Arc::new(());
    let load = {
        let held = Arc::clone(&held);
        move |_| async move {
            drop(held);
            Ok::<_, Failed>(2)
        }
    };
    let mut patient = Box::pin(cache.get_or_load(&ctx, "a", load));
    assert!((&mut patient).now_or_never().is_none());
    drop(patient);
    assert_eq!(Arc::strong_count(&held), 1, "nothing keeps its loader");
    time.advance(SECOND);
    settle().await;
    assert!(hurried.await.unwrap_err().is_deadline_exceeded());
    assert_eq!((cache.stats().calls.started, cache.stats().calls.in_flight()), (1, 0));
}

#[tokio::test]
async fn nested_load_has_the_time_of_the_outer_loads_callers() {
    let (ctx, time) = manual();
    let (outer, inner) = (seconds(60).build(&ctx).unwrap(), seconds(60).build(&ctx).unwrap());
    let source = Source::default();
    let load = || {
        let (inner, load) = (inner.clone(), source.loader(SECOND * 10));
        move |ctx: Context| async move { inner.get_or_load(&ctx, "inner", load).await }
    };
    let begun = ctx.clock().now();
    let limited = ctx.with_timeout(SECOND * 5);
    let (first, second) = (outer.clone(), outer.clone());
    let (first_load, second_load) = (load(), load());
    let hurried = tokio::spawn(async move { first.get_or_load(&limited, "outer", first_load).await });
    settle().await;
    let caller = ctx.with_timeout(SECOND * 20);
    let patient = tokio::spawn(async move { second.get_or_load(&caller, "outer", second_load).await });
    settle().await;
    time.advance(SECOND * 5);
    settle().await;
    assert!(hurried.await.unwrap().unwrap_err().is_deadline_exceeded());
    time.advance(SECOND * 10);
    assert_eq!(patient.await.unwrap().unwrap(), 1);
    assert_eq!(source.deadlines(), [Some(begun + SECOND * 5), Some(begun + SECOND * 20)]);
}

#[tokio::test]
async fn policies_in_a_load_refuse_a_wait_that_does_not_fit_the_callers_time() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let retry = Retry::<Failed>::constant(SECOND * 8).build().unwrap();
    let limiter = RateLimiter::builder().rate(Rate::every(SECOND * 8)).clock(ctx.clock()).build().unwrap();
    assert!(limiter.allow());

    // A wait of eight seconds does not fit the only caller's five: it fails at once, with the last error.
    let again = retry.clone();
    let load = |ctx: Context| async move { again.run(&ctx, |_| async { Err::<u32, _>(Failed::other("down")) }).await };
    let limited = ctx.with_timeout(SECOND * 5);
    let error = cache.get_or_load(&limited, "a", load).await.unwrap_err();
    assert!(format!("{:#}", error.last().unwrap()).contains("down"), "{error:#}");
    assert_eq!(retry.stats().deadline_refused, 1);

    let again = limiter.clone();
    let load = |ctx: Context| async move { again.wait(&ctx).await.map(|_| 1) };
    let error = cache.get_or_load(&limited, "b", load).await.unwrap_err();
    assert!(error.to_string().starts_with("deadline too near: needs 8s, 5s left"), "{error}");

    // For a caller that has the time, the limiter waits.
    let again = limiter.clone();
    let load = |ctx: Context| async move { again.wait(&ctx).await.map(|_| 1) };
    let patient = ctx.with_timeout(SECOND * 10);
    let waiting = tokio::spawn(async move { cache.get_or_load(&patient, "c", load).await });
    settle().await;
    time.advance(SECOND * 8);
    assert_eq!(waiting.await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn refusal_for_a_hurried_callers_deadline_is_not_given_to_a_patient_caller() {
    let (ctx, time) = manual();
    let cache = seconds(60).negative_ttl(SECOND * 60).build(&ctx).unwrap();
    let limiter = RateLimiter::builder().rate(Rate::every(SECOND * 8)).clock(ctx.clock()).build().unwrap();
    assert!(limiter.allow());
    let start = |caller: Context| {
        let (cache, limiter) = (cache.clone(), limiter.clone());
        let load = |ctx: Context| async move {
            ctx.sleep(SECOND).await?;
            limiter.wait(&ctx).await.map_err(Failed::other)?;
            Ok::<_, Failed>(1)
        };
        tokio::spawn(async move { cache.get_or_load(&caller, "a", load).await })
    };
    let hurried = start(ctx.with_timeout(SECOND * 5));
    settle().await;
    let patient = start(ctx.with_timeout(SECOND * 30));
    settle().await;
    time.advance(SECOND);
    settle().await;
    assert!(!hurried.is_finished() && !patient.is_finished(), "a load with more time is in flight");
    time.advance(SECOND * 4);
    assert!(hurried.await.unwrap().unwrap_err().is_deadline_exceeded());
    time.advance(SECOND * 4);
    assert_eq!(patient.await.unwrap().unwrap(), 1);
    assert_eq!(cache.stats().calls.started, 2);
}

/// A loader that notices first that its time is over. Its error has that end among its sources, or not.
async fn limited(ctx: Context, chained: bool) -> Result<u32, Failed> {
    match ctx.sleep(SECOND * 10).await {
        Ok(()) => Ok(1),
        Err(end) if chained => Err(Failed::from(end)),
        Err(end) => Err(Failed::other(end.to_string())),
    }
}

#[tokio::test]
async fn error_of_a_load_whose_time_is_over_is_not_remembered() {
    let (ctx, time) = manual();
    for chained in [false, true] {
        let cache = seconds(60).negative_ttl(SECOND * 60).build(&ctx).unwrap();
        let caller = ctx.with_timeout(SECOND);
        // Not polled again, so that it does not leave before the load has ended.
        let mut waiting = Box::pin(cache.get_or_load(&caller, "a", move |ctx| limited(ctx, chained)));
        assert!(waiting.as_mut().now_or_never().is_none());
        settle().await;
        time.advance(SECOND);
        settle().await;
        let stats = cache.stats();
        assert_eq!((stats.calls.canceled, stats.calls.failed, stats.calls.in_flight(), stats.entries), (1, 0, 0, 0));
        assert!(waiting.await.unwrap_err().is_deadline_exceeded());
        assert_eq!(cache.get_or_load(&ctx, "a", |_| async { Ok::<_, Failed>(2) }).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn call_through_a_cached_stack_has_at_most_the_callers_time() {
    let (ctx, _time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let stack: Stack<u32, std::fmt::Error, &str> = Stack::builder()
        .cache(cache)
        .deadline(SECOND * 30)
        .retry(Retry::exponential())
        .attempt_timeout(SECOND / 2)
        .build()
        .unwrap();
    for (key, timeout, remaining) in [("a", SECOND * 3 / 10, SECOND * 3 / 10), ("b", SECOND * 5, SECOND / 2)] {
        let seen = Arc::new(Mutex::new(None));
        let inside = Arc::clone(&seen);
        let call = move |ctx: Context| {
            *inside.lock().unwrap() = ctx.remaining();
            async { Ok(1) }
        };
        assert_eq!(stack.run_keyed(&ctx.with_timeout(timeout), key, call).await.unwrap(), 1);
        assert_eq!(*seen.lock().unwrap(), Some(remaining));
    }
}
