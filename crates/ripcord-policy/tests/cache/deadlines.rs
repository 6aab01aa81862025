//! The deadline of a load, which is the deadline of its most patient caller.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt;
use ripcord::{Context, ManualTime};
use ripcord_policy::{Cache, Error, Rate, RateLimiter, Retry, SharedError, Stack};
use tokio::task::JoinHandle;

use crate::common::{Failed, SECOND, manual, seconds, settle};

/// Records the deadline of each load's context, then takes `takes`.
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
async fn load_starts_with_the_latest_deadline_of_its_callers() {
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

/// A load that never returns, its callers, and its context.
struct Endless {
    ctx: Context,
    time: ManualTime,
    cache: Cache<&'static str, u32>,
    load: Arc<Mutex<Vec<Context>>>,
}

impl Endless {
    fn new() -> Self {
        let (ctx, time) = manual();
        let cache = seconds(60).build(&ctx).unwrap();
        Self { ctx, time, cache, load: Arc::default() }
    }

    /// Starts a caller. Returns when the caller waits.
    async fn join(&self, ctx: Context) -> JoinHandle<Result<u32, Error<SharedError>>> {
        let (cache, seen) = (self.cache.clone(), Arc::clone(&self.load));
        let load = move |ctx: Context| {
            seen.lock().unwrap().push(ctx);
            std::future::pending::<Result<u32, Failed>>()
        };
        let caller = tokio::spawn(async move { cache.get_or_load(&ctx, "a", load).await });
        settle().await;
        caller
    }

    /// Returns the number of loads started, and the time left to the last load.
    fn load(&self) -> (usize, Option<Duration>) {
        let loads = self.load.lock().unwrap();
        (loads.len(), loads.last().unwrap().remaining())
    }
}

#[tokio::test]
async fn load_deadline_follows_the_most_patient_caller() {
    let endless = Endless::new();
    let after = |seconds: u32| endless.ctx.with_timeout(SECOND * seconds);
    let five = endless.join(after(5)).await;
    assert_eq!(endless.load(), (1, Some(SECOND * 5)));
    let twenty = endless.join(after(20)).await;
    assert_eq!(endless.load(), (1, Some(SECOND * 20)), "later: a more patient caller has joined");
    let ten = endless.join(after(10)).await;
    let without = endless.join(endless.ctx.clone()).await;
    assert_eq!(endless.load(), (1, None), "a caller has no deadline");
    for (leaves, left) in [(without, Some(20)), (twenty, Some(10)), (five, Some(10))] {
        leaves.abort();
        settle().await;
        assert_eq!(endless.load(), (1, left.map(|seconds| SECOND * seconds)), "earlier: a caller has left");
    }
    endless.time.advance(SECOND * 10);
    assert!(ten.await.unwrap().unwrap_err().is_deadline_exceeded());
    settle().await;
    assert!(endless.load.lock().unwrap()[0].err().is_some_and(|end| end.is_deadline_exceeded()));
    let calls = endless.cache.stats().calls;
    assert_eq!((calls.started, calls.canceled), (1, 1));
}

#[tokio::test]
async fn load_goes_on_past_the_first_callers_deadline_for_a_caller_that_joined() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let source = Source::default();
    let start = |caller: Context| {
        let (cache, load) = (cache.clone(), source.loader(SECOND * 10));
        tokio::spawn(async move { cache.get_or_load(&caller, "a", load).await })
    };
    let hurried = start(ctx.with_timeout(SECOND * 5));
    settle().await;
    let patient = start(ctx.with_timeout(SECOND * 20));
    settle().await;
    time.advance(SECOND * 5);
    assert!(hurried.await.unwrap().unwrap_err().is_deadline_exceeded());
    settle().await;
    time.advance(SECOND * 5);
    assert_eq!(patient.await.unwrap().unwrap(), 1);
    assert_eq!(cache.stats().calls.started, 1, "the same load");
}

#[tokio::test]
async fn load_keeps_the_deadline_that_its_caller_had_when_it_joined() {
    let endless = Endless::new();
    let (moving, deadline) = endless.ctx.with_movable_deadline(endless.time.now() + SECOND * 5);
    let caller = endless.join(moving).await;
    assert!(deadline.reset_after(SECOND * 60));
    assert_eq!(endless.load(), (1, Some(SECOND * 5)));
    endless.time.advance(SECOND * 5);
    assert!(caller.await.unwrap().unwrap_err().is_deadline_exceeded(), "the load's time is over, not the caller's");
}

#[tokio::test]
async fn load_ends_with_the_deadline_of_the_caches_context() {
    let endless = Endless::new();
    let cache = seconds(60).build(&endless.ctx.with_timeout(SECOND * 3)).unwrap();
    let endless = Endless { cache, ..endless };
    let caller = endless.join(endless.ctx.clone()).await;
    assert_eq!(endless.load(), (1, Some(SECOND * 3)));
    endless.time.advance(SECOND * 3);
    assert!(caller.await.unwrap().unwrap_err().is_closed());
}

#[tokio::test]
async fn load_deadline_error_names_the_line_of_the_callers_deadline() {
    let endless = Endless::new();
    let caller = endless.ctx.with_timeout(SECOND);
    let line = line!() - 1;
    let caller = endless.join(caller).await;
    endless.time.advance(SECOND);
    assert!(caller.await.unwrap().is_err());
    let end = endless.load.lock().unwrap()[0].err().unwrap();
    let story = format!("{end:#}");
    assert!(story.contains(&format!("deadline set at {}:{line}", file!())), "{story}");
}

#[tokio::test]
async fn loaded_value_that_holds_its_loads_context_outlives_callers_deadlines_and_cache() {
    let (ctx, time) = manual();
    let (owner, owner_canceler) = ctx.with_cancel();
    let load = |ctx: Context| async move { Ok::<_, Failed>(ctx) };
    let mut held = Vec::new();
    for closes in [false, true] {
        let cache: Cache<&str, Context> = Cache::builder().capacity(1).ttl(SECOND).build(&owner).unwrap();
        let limited = ctx.with_timeout(SECOND);
        let (one, other) = tokio::join!(cache.get_or_load(&limited, "a", load), cache.get_or_load(&limited, "a", load));
        drop(other);
        let value = one.unwrap();
        assert_eq!(value.deadline(), None);
        time.advance(SECOND * 2);
        assert!(!value.is_done(), "the callers' deadlines have passed");
        if closes {
            cache.close();
        }
        drop(cache);
        settle().await;
        assert!(!value.is_done(), "the cache is gone");
        held.push(value);
    }
    owner_canceler.cancel();
    assert!(
        held.iter().all(Context::is_done),
        "work for the values ends with the context that the cache was built with"
    );
}

#[tokio::test]
async fn context_of_a_failed_load_ends() {
    let (ctx, _time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let seen = Arc::new(Mutex::new(None));
    let load = {
        let seen = Arc::clone(&seen);
        move |ctx: Context| async move {
            *seen.lock().unwrap() = Some(ctx);
            Err::<u32, _>(Failed::other("down"))
        }
    };
    assert!(cache.get_or_load(&ctx, "a", load).await.is_err());
    let seen = seen.lock().unwrap().take().unwrap();
    assert!(format!("{:#}", seen.err().unwrap()).contains("the load failed"));
}

#[tokio::test]
async fn nested_load_has_the_time_of_the_outer_loads_callers() {
    let (ctx, _time) = manual();
    let (outer, inner) = (seconds(60).build(&ctx).unwrap(), seconds(60).build(&ctx).unwrap());
    let source = Source::default();
    let load = source.loader(Duration::ZERO);
    let load = move |ctx: Context| async move { inner.get_or_load(&ctx, "inner", load).await };
    let limited = ctx.with_timeout(SECOND * 5);
    assert_eq!(outer.get_or_load(&limited, "outer", load).await.unwrap(), 1);
    assert_eq!(source.deadlines(), [limited.deadline()]);
}

#[tokio::test]
async fn policies_in_a_load_refuse_a_wait_that_does_not_fit_the_callers_time() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let retry = Retry::<Failed>::constant(SECOND * 8).build().unwrap();
    let limiter = RateLimiter::builder().rate(Rate::every(SECOND * 8)).clock(ctx.clock()).build().unwrap();
    assert!(limiter.allow());

    // A wait of eight seconds does not fit the caller's five seconds, so the retry fails at once, with the last error.
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

    // A caller with enough time lets the limiter wait.
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
    time.advance(SECOND * 4);
    assert!(hurried.await.unwrap().unwrap_err().is_deadline_exceeded());
    time.advance(SECOND * 4);
    assert_eq!(patient.await.unwrap().unwrap(), 1);
    assert_eq!(cache.stats().calls.started, 1, "the limiter has seen the patient caller's deadline");
}

/// Makes two callers of one key, with 5 and 20 seconds. The service fails `after` seconds into the first load.
async fn hurried_and_patient(after: u32) -> (Cache<&'static str, u32>, [Result<u32, Error<SharedError>>; 2]) {
    let (ctx, time) = manual();
    let cache = seconds(60).negative_ttl(SECOND * 60).build(&ctx).unwrap();
    let start = |caller: Context| {
        let cache = cache.clone();
        let load = move |ctx: Context| async move {
            // The request carries the current deadline, like a header.
            let sent_with = ctx.remaining();
            // The service takes this time even if the deadline changes meanwhile.
            ctx.without_cancel().sleep(SECOND * after).await?;
            if sent_with == Some(SECOND * 5) { Err(Failed::other("504")) } else { Ok(2) }
        };
        tokio::spawn(async move { cache.get_or_load(&caller, "a", load).await })
    };
    let hurried = start(ctx.with_timeout(SECOND * 5));
    settle().await;
    let patient = start(ctx.with_timeout(SECOND * 20));
    settle().await;
    for _ in 0..14 {
        time.advance(SECOND);
        settle().await;
    }
    (cache, [hurried.await.unwrap(), patient.await.unwrap()])
}

#[tokio::test]
async fn patient_caller_loads_again_when_a_load_fails_after_the_hurried_callers_deadline() {
    for after in [5, 6] {
        let (cache, [hurried, patient]) = hurried_and_patient(after).await;
        assert!(hurried.unwrap_err().is_deadline_exceeded());
        assert_eq!(patient.unwrap(), 2);
        assert_eq!((cache.stats().calls.failed, cache.stats().calls.succeeded), (1, 1));
    }
}

#[tokio::test]
async fn patient_caller_gets_an_error_that_comes_before_the_hurried_callers_deadline() {
    let (cache, [hurried, patient]) = hurried_and_patient(4).await;
    for error in [hurried, patient] {
        assert_eq!(error.unwrap_err().last().unwrap().to_string(), "504");
    }
    assert_eq!((cache.stats().calls.started, cache.len()), (1, 1), "one load, whose error is remembered");
}

/// A loader that notices first that its time has run out. The end is a source of its error if `chained` is true.
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
        // The caller is not polled again, so it does not leave before the load has ended.
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
