//! A load's deadline: the latest of its callers', moving as they join.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use ripcord::Context;
use ripcord_policy::cache::{load_deadline, with_load_deadline};

use crate::common::{Failed, SECOND, manual, seconds, settle};

#[tokio::test]
async fn the_latest_deadline_ends_a_load_whose_callers_are_not_polled() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let limited = ctx.with_timeout(SECOND);
    let mut caller = Box::pin(cache.get_or_load(&limited, "a", |_| std::future::pending::<Result<u32, Failed>>()));
    assert!(caller.as_mut().now_or_never().is_none());
    settle().await;
    time.advance(SECOND);
    settle().await;
    assert_eq!((cache.stats().calls.canceled, cache.stats().loading), (1, 0));
    let fresh = cache.get_or_load(&ctx, "a", |_| async { Ok::<_, Failed>(2) }).await;
    assert_eq!(fresh.unwrap(), 2, "nobody joins a load that is over");
    assert!(caller.await.unwrap_err().is_deadline_exceeded());
}

#[tokio::test]
async fn a_loads_context_shows_the_latest_callers_deadline_as_it_is_now() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let inside = Arc::new(Mutex::new(None));
    let load = || {
        let inside = Arc::clone(&inside);
        move |ctx: Context| async move {
            *inside.lock().unwrap() = Some(ctx.clone());
            ctx.sleep(SECOND * 30).await.map(|()| 1)
        }
    };
    let join = async |timeout: Option<Duration>| {
        let caller = timeout.map_or(ctx.clone(), |timeout| ctx.with_timeout(timeout));
        let (cache, load) = (cache.clone(), load());
        let deadline = caller.deadline();
        let waiting = tokio::spawn(async move { cache.get_or_load(&caller, "a", load).await });
        settle().await;
        (deadline, waiting)
    };
    assert_eq!(load_deadline(&ctx), None, "outside of a load");
    assert_eq!(with_load_deadline(&ctx).deadline(), None);

    let (first_deadline, first) = join(Some(SECOND * 5)).await;
    let loading = inside.lock().unwrap().clone().unwrap();
    assert_eq!(loading.deadline(), None, "a context cannot change its mind");
    assert_eq!(load_deadline(&loading), first_deadline);
    assert_eq!(with_load_deadline(&loading).deadline(), first_deadline);
    assert_eq!(load_deadline(&loading.with_timeout(SECOND)), first_deadline, "below the load's own context too");

    let (later_deadline, later) = join(Some(SECOND * 20)).await;
    let (_, sooner) = join(Some(SECOND * 2)).await;
    assert_eq!(load_deadline(&loading), later_deadline);
    time.advance(SECOND * 6);
    settle().await;
    assert!(first.await.unwrap().unwrap_err().is_deadline_exceeded());
    assert!(sooner.await.unwrap().unwrap_err().is_deadline_exceeded());
    assert!(!loading.is_done());

    let (_, endless) = join(None).await;
    assert_eq!(load_deadline(&loading), None, "somebody waits without end");
    time.advance(SECOND * 30);
    assert!(later.await.unwrap().unwrap_err().is_deadline_exceeded());
    assert_eq!(endless.await.unwrap().unwrap(), 1);
    assert_eq!(cache.stats().calls.started, 1);
}

#[tokio::test]
async fn a_load_within_a_load_shows_the_outer_ones_deadline_and_goes_on_as_long_as_that_does() {
    let (ctx, time) = manual();
    let (outer, inner) = (seconds(60).build(&ctx).unwrap(), seconds(60).build(&ctx).unwrap());
    let shown = Arc::new(Mutex::new(None));
    let load = || {
        let (inner, shown) = (inner.clone(), Arc::clone(&shown));
        |ctx: Context| async move {
            let load = |ctx: Context| async move {
                *shown.lock().unwrap() = load_deadline(&ctx);
                ctx.sleep(SECOND * 10).await.map(|()| 1)
            };
            inner.get_or_load(&ctx, "inner", load).await.map_err(|error| Failed::other(error.to_string()))
        }
    };
    let limited = ctx.with_timeout(SECOND * 5);
    let deadline = limited.deadline();
    let (first, second) = (outer.clone(), outer.clone());
    let (first_load, second_load) = (load(), load());
    let leading = tokio::spawn(async move { first.get_or_load(&limited, "outer", first_load).await });
    settle().await;
    assert_eq!(*shown.lock().unwrap(), deadline);
    let patient = ctx.with_timeout(SECOND * 20);
    let joined = tokio::spawn(async move { second.get_or_load(&patient, "outer", second_load).await });
    settle().await;
    time.advance(SECOND * 6);
    settle().await;
    assert!(leading.await.unwrap().is_err());
    time.advance(SECOND * 4);
    assert_eq!(joined.await.unwrap().unwrap(), 1);
    assert_eq!((outer.stats().calls.started, inner.stats().calls.started), (1, 1));
}

#[tokio::test]
async fn policies_in_a_load_begin_no_wait_that_its_callers_will_not_see_the_end_of() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let retry = ripcord_policy::Retry::<Failed>::constant(SECOND * 8).build().unwrap();
    let limiter = ripcord_policy::RateLimiter::builder().rate(ripcord_policy::Rate::every(SECOND * 8));
    let limiter = limiter.clock(ctx.clock()).build().unwrap();
    assert!(limiter.allow());

    // The wait of eight seconds does not fit the only caller's five: it fails at once, with the last real error.
    let again = retry.clone();
    let load = |ctx: Context| async move { again.run(&ctx, |_| async { Err::<u32, _>(Failed::other("down")) }).await };
    let limited = ctx.with_timeout(SECOND * 5);
    let error = cache.get_or_load(&limited, "a", load).await.unwrap_err();
    assert!(format!("{error:#}").ends_with("last error: down"), "{error:#}");
    assert_eq!(retry.stats().deadline_refused, 1);

    let again = limiter.clone();
    let load = |ctx: Context| async move { again.wait(&ctx).await.map(|_| 1) };
    let error = cache.get_or_load(&limited, "b", load).await.unwrap_err();
    assert!(error.to_string().starts_with("deadline too near: needs 8s, 5s left"), "{error}");

    // With a caller who has the time it is waited out.
    let again = limiter.clone();
    let load = |ctx: Context| async move { again.wait(&ctx).await.map(|_| 1) };
    let patient = ctx.with_timeout(SECOND * 10);
    let waiting = tokio::spawn(async move { cache.get_or_load(&patient, "c", load).await });
    settle().await;
    time.advance(SECOND * 8);
    assert_eq!(waiting.await.unwrap().unwrap(), 1);
}

/// A load bound to the deadline that is known as it begins, whose error tells of its end in its chain of sources or not.
async fn bound(ctx: Context, chained: bool) -> Result<u32, Failed> {
    match with_load_deadline(&ctx).sleep(SECOND * 10).await {
        Ok(()) => Ok(1),
        Err(end) if chained => Err(Failed::from(end)),
        Err(end) => Err(Failed::other(end.to_string())),
    }
}

#[tokio::test]
async fn a_load_that_notices_first_that_its_callers_time_is_over_is_no_failure_of_the_key() {
    let (ctx, time) = manual();
    for chained in [false, true] {
        let cache = seconds(60).negative_ttl(SECOND * 60).build(&ctx).unwrap();
        let limited = ctx.with_timeout(SECOND);
        // Not polled again, so that it does not leave before the load has ended.
        let mut caller = Box::pin(cache.get_or_load(&limited, "a", move |ctx| bound(ctx, chained)));
        assert!(caller.as_mut().now_or_never().is_none());
        settle().await;
        time.advance(SECOND);
        settle().await;
        let stats = cache.stats();
        assert_eq!((stats.calls.canceled, stats.calls.failed, stats.loading, stats.entries), (1, 0, 0, 0));
        assert!(caller.await.unwrap_err().is_deadline_exceeded());
        assert_eq!(cache.get_or_load(&ctx, "a", |_| async { Ok::<_, Failed>(2) }).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn a_load_that_less_time_than_its_callers_have_ended_is_no_failure_of_the_key() {
    let (ctx, time) = manual();
    let cache = seconds(60).negative_ttl(SECOND * 60).build(&ctx).unwrap();
    let start = |caller: Context| {
        let cache = cache.clone();
        tokio::spawn(async move { cache.get_or_load(&caller, "a", |ctx| bound(ctx, true)).await })
    };
    let limited = start(ctx.with_timeout(SECOND));
    settle().await;
    let patient = start(ctx.clone());
    settle().await;
    time.advance(SECOND);
    assert!(limited.await.unwrap().unwrap_err().is_deadline_exceeded());
    let error = patient.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "context deadline exceeded", "it had joined a call with less time");
    assert_eq!((cache.stats().calls.failed, cache.stats().entries), (1, 0));
    assert_eq!(cache.get_or_load(&ctx, "a", |_| async { Ok::<_, Failed>(2) }).await.unwrap(), 2);
}
