//! Loads that would wait for themselves.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use ripcord::Context;
use ripcord_policy::cache::Cache;
use ripcord_policy::{Error, SharedError};

use crate::common::{Failed, SECOND, manual, seconds, settle};

type Users = Cache<&'static str, u32>;
type Refusals = Arc<Mutex<Vec<Error<SharedError>>>>;

/// Loads `keys` of one cache. Each load runs inside the load of the previous key. The innermost request fails or returns 1.
fn nested(
    cache: Users,
    ctx: Context,
    keys: &'static [&'static str],
    refusals: Refusals,
) -> futures::future::BoxFuture<'static, Result<u32, Failed>> {
    Box::pin(async move {
        let Some((key, rest)) = keys.split_first() else {
            return Ok(1);
        };
        let (inner, seen) = (cache.clone(), Arc::clone(&refusals));
        let load = move |ctx| nested(inner, ctx, rest, seen);
        let result = cache.get_or_load(&ctx, *key, load).await;
        result.map_err(|error| {
            let failed = Failed::other(error.to_string());
            if error.is_load_cycle() {
                refusals.lock().unwrap().push(error);
            }
            failed
        })
    })
}

async fn refused(keys: &'static [&'static str]) -> (Users, Vec<Error<SharedError>>) {
    let (ctx, _time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let refusals = Refusals::default();
    let mut caller = pin!(nested(cache.clone(), ctx, keys, Arc::clone(&refusals)));
    assert!((&mut caller).now_or_never().is_none());
    settle().await;
    assert!(caller.now_or_never().expect("nothing waits any more").is_err());
    let refusals = std::mem::take(&mut *refusals.lock().unwrap());
    (cache, refusals)
}

#[tokio::test]
async fn load_that_requests_its_own_key_is_refused_with_the_cycle_shown() {
    let (cache, refusals) = refused(&["a", "a"]).await;
    let [error] = &refusals[..] else { panic!("{refusals:?}") };
    assert_eq!(error.to_string(), r#"cache load waits for itself: "a" -> "a""#);
    assert!(format!("{error:#}").contains(concat!("(requested at ", file!(), ":")), "{error:#}");
    assert!(error.is_rejected() && !error.is_canceled() && !error.is_deadline_exceeded());
    let calls = cache.stats().calls;
    assert_eq!((calls.started, calls.failed, calls.in_flight()), (1, 1, 0));
}

#[tokio::test]
async fn load_that_requests_its_own_key_through_others_is_refused_with_the_cycle_shown() {
    let (cache, refusals) = refused(&["a", "b", "c", "a"]).await;
    let [error] = &refusals[..] else { panic!("{refusals:?}") };
    assert_eq!(error.to_string(), r#"cache load waits for itself: "a" -> "b" -> "c" -> "a""#);
    assert_eq!((cache.stats().calls.started, cache.stats().calls.in_flight()), (3, 0));
}

#[tokio::test]
async fn cycle_that_does_not_include_the_first_load_shows_only_its_own_keys() {
    let (_, refusals) = refused(&["a", "b", "c", "b"]).await;
    let [error] = &refusals[..] else { panic!("{refusals:?}") };
    assert_eq!(error.to_string(), r#"cache load waits for itself: "b" -> "c" -> "b""#);
}

#[tokio::test]
async fn nested_loads_without_a_cycle_succeed() {
    let (ctx, _time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let load = nested(cache.clone(), ctx.clone(), &["a", "b", "c"], Refusals::default());
    assert_eq!(load.await.unwrap(), 1);
    // Each key is a hit now, also inside another load.
    let load = nested(cache.clone(), ctx, &["d", "c", "b", "a"], Refusals::default());
    assert_eq!(load.await.unwrap(), 1);
    assert_eq!((cache.stats().calls.started, cache.stats().hits), (4, 1));
}

#[tokio::test]
async fn key_is_loaded_as_usual_after_a_refused_cycle() {
    for keys in [&["a", "a"][..], &["a", "b", "a"]] {
        let (cache, refusals) = refused(keys).await;
        assert_eq!(refusals.len(), 1);
        let (ctx, _time) = manual();
        for key in keys {
            assert_eq!(cache.get_or_load(&ctx, *key, |_| async { Ok::<_, Failed>(7) }).await.unwrap(), 7);
        }
    }
}

#[tokio::test]
async fn two_callers_whose_loads_request_each_others_key_do_not_deadlock() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let refusals = Refusals::default();
    let start = |keys: [&'static str; 2]| {
        let (cache, ctx, refusals) = (cache.clone(), ctx.clone(), Arc::clone(&refusals));
        tokio::spawn(async move {
            let inner = cache.clone();
            let load = move |ctx: Context| async move {
                // Both loads are in flight before either requests the other's key.
                ctx.sleep(SECOND).await?;
                let other = inner.get_or_load(&ctx, keys[1], |_| async { Ok::<_, Failed>(0) }).await;
                other.map_err(|error| {
                    refusals.lock().unwrap().push(error);
                    Failed::other("no answer")
                })
            };
            cache.get_or_load(&ctx, keys[0], load).await
        })
    };
    let (one, other) = (start(["a", "b"]), start(["b", "a"]));
    settle().await;
    time.advance(SECOND);
    settle().await;
    assert!(one.is_finished() && other.is_finished());
    let refusals: Vec<_> =
        refusals.lock().unwrap().iter().filter(|error| error.is_load_cycle()).map(ToString::to_string).collect();
    let [shown] = &refusals[..] else { panic!("{refusals:?}") };
    let expected = [r#""a" -> "b" -> "a""#, r#""b" -> "a" -> "b""#];
    assert!(expected.iter().any(|keys| shown.ends_with(keys)), "{shown}");
    assert_eq!((cache.stats().calls.started, cache.stats().calls.in_flight()), (2, 0));
}

#[tokio::test]
async fn cycle_through_another_cache_is_refused() {
    let (ctx, _time) = manual();
    let users = seconds(60).build(&ctx).unwrap();
    let groups: Cache<u8, u32> = Cache::builder().capacity(10).build(&ctx).unwrap();
    let (inner_users, inner_groups) = (users.clone(), groups.clone());
    let load = move |ctx: Context| async move {
        let load = move |ctx: Context| async move {
            inner_users.get_or_load(&ctx, "gopher", |_| async { Ok::<_, Failed>(0) }).await
        };
        inner_groups.get_or_load(&ctx, 7, load).await
    };
    let error = users.get_or_load(&ctx, "gopher", load).await.unwrap_err();
    assert_eq!(error.to_string(), r#"cache load waits for itself: "gopher" -> 7 -> "gopher""#);
    assert_eq!((users.stats().calls.in_flight(), groups.stats().calls.in_flight()), (0, 0));
}

#[tokio::test]
async fn loader_that_ignores_its_context_is_refused_its_own_key_too() {
    let (ctx, _time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let (inner, app) = (cache.clone(), ctx.clone());
    let load = move |_| async move { inner.get_or_load(&app, "a", |_| async { Ok::<_, Failed>(0) }).await };
    let error = cache.get_or_load(&ctx, "a", load).await.unwrap_err();
    assert_eq!(error.to_string(), r#"cache load waits for itself: "a" -> "a""#);
}

#[tokio::test]
async fn task_that_a_loader_spawned_is_refused_the_key_of_that_load() {
    let (ctx, _time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let inner = cache.clone();
    let load = move |ctx: Context| async move {
        let task = tokio::spawn(async move { inner.get_or_load(&ctx, "a", |_| async { Ok::<_, Failed>(0) }).await });
        task.await.unwrap()
    };
    let error = cache.get_or_load(&ctx, "a", load).await.unwrap_err();
    assert_eq!(error.to_string(), r#"cache load waits for itself: "a" -> "a""#);
}

#[tokio::test]
async fn background_load_that_refreshes_its_own_key_is_refused() {
    let (ctx, time) = manual();
    let cache = seconds(10).stale_for(SECOND * 5).build(&ctx).unwrap();
    cache.insert(&ctx, "a", 1).unwrap();
    time.advance(SECOND * 12);
    let (inner, refusal) = (cache.clone(), Arc::new(Mutex::new(None)));
    let seen = Arc::clone(&refusal);
    let load = move |ctx: Context| async move {
        // Reading the stale value does not wait.
        assert_eq!(inner.get_or_load(&ctx, "a", |_| async { Ok::<_, Failed>(3) }).await.unwrap(), 1);
        let refreshed = inner.refresh(&ctx, "a", |_| async { Ok::<_, Failed>(4) }).await;
        *seen.lock().unwrap() = refreshed.err();
        Ok::<_, Failed>(2)
    };
    assert_eq!(cache.get_or_load(&ctx, "a", load).await.unwrap(), 1);
    settle().await;
    assert!(refusal.lock().unwrap().as_ref().unwrap().is_load_cycle());
    assert_eq!(cache.get(&ctx, "a").unwrap(), Some(2));
    assert_eq!((cache.stats().calls.started, cache.stats().calls.in_flight()), (1, 0));
}

/// A regression test: every caller left at its deadline, but the load's own request kept the load alive.
#[tokio::test]
async fn load_does_not_count_as_its_own_caller_when_all_callers_have_left() {
    let (ctx, time) = manual();
    for keys in [&["a", "a"][..], &["a", "b", "a"]] {
        for ignores_context in [false, true] {
            let cache = seconds(60).build(&ctx).unwrap();
            let (inner, app, refusals) = (cache.clone(), ctx.clone(), Refusals::default());
            let load = move |ctx: Context| async move {
                let ctx = if ignores_context { app } else { ctx };
                // The loader ignores the refusal, and waits for another future.
                assert!(nested(inner, ctx, &keys[1..], refusals).await.is_err());
                std::future::pending::<Result<u32, Failed>>().await
            };
            let caller = ctx.with_timeout(SECOND);
            let mut waiting = Box::pin(cache.get_or_load(&caller, "a", load));
            assert!((&mut waiting).now_or_never().is_none());
            settle().await;
            time.advance(SECOND);
            assert!(waiting.await.unwrap_err().is_deadline_exceeded());
            settle().await;
            assert_eq!(cache.stats().calls.in_flight(), 0);
            assert_eq!(cache.get_or_load(&ctx, "a", |_| async { Ok::<_, Failed>(7) }).await.unwrap(), 7);
        }
    }
}

#[tokio::test]
async fn refused_request_leaves_nothing_of_the_load_behind() {
    let (ctx, _time) = manual();
    let cache = Cache::<Arc<str>, u32>::builder().capacity(10).build(&ctx).unwrap();
    let key = Arc::<str>::from("a");
    let refused = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let (inner, same, count) = (cache.clone(), Arc::clone(&key), Arc::clone(&refused));
        let load = move |ctx: Context| async move {
            let result = inner.get_or_load(&ctx, same, |_| async { Ok::<_, Failed>(1) }).await;
            count.fetch_add(usize::from(result.is_err_and(|error| error.is_load_cycle())), Ordering::Relaxed);
            Err::<u32, _>(Failed::other("down"))
        };
        assert!(cache.get_or_load(&ctx, Arc::clone(&key), load).await.is_err());
        settle().await;
        assert_eq!(Arc::strong_count(&key), 1);
    }
    assert_eq!(refused.load(Ordering::Relaxed), 100);
}
