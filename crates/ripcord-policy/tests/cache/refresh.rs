//! Reloads while the old value is served: background loads of stale values, and `refresh`.

use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use ripcord::Context;
use ripcord_policy::SharedError;
use ripcord_policy::cache::{Cache, Source};

use crate::common::{Failed, SECOND, manual, seconds, settle};

#[tokio::test]
async fn stale_value_is_served_inside_its_window_while_the_next_is_loaded() {
    let (ctx, time) = manual();
    let cache = seconds(10).stale_for(Duration::from_secs(5)).build(&ctx).unwrap();
    cache.insert(&ctx, "a", 1).unwrap();
    time.advance(Duration::from_secs(10));
    assert_eq!(cache.get(&ctx, &"a").unwrap(), Some(1));
    let load = |value: u32| {
        cache.get_or_load(&ctx, "a", move |ctx| async move {
            ctx.sleep(SECOND).await?;
            Ok::<_, ripcord::Error>(value)
        })
    };
    assert_eq!(load(2).await.unwrap(), 1);
    assert_eq!(load(3).await.unwrap(), 1, "one load at a time");
    settle().await;
    time.advance(SECOND);
    settle().await;
    assert_eq!(cache.get(&ctx, &"a").unwrap(), Some(2));
    assert_eq!((cache.stats().calls.started, cache.stats().stale_hits), (1, 3));
    time.advance(Duration::from_secs(15));
    assert_eq!(cache.get(&ctx, &"a").unwrap(), None, "past its window it is gone");
}

#[tokio::test]
async fn value_with_a_ttl_of_zero_is_stale_at_once() {
    let (ctx, time) = manual();
    let cache = seconds(10).stale_for(SECOND * 5).build(&ctx).unwrap();
    cache.insert_with_ttl(&ctx, "a", 1, Duration::ZERO).unwrap();
    assert_eq!(cache.get(&ctx, &"a").unwrap(), Some(1));
    assert_eq!(cache.get_or_load(&ctx, "a", |_| async { Ok::<_, Failed>(2) }).await.unwrap(), 1);
    settle().await;
    assert_eq!(cache.get(&ctx, &"a").unwrap(), Some(2));
    assert_eq!((cache.stats().hits, cache.stats().stale_hits), (1, 2));
    cache.insert_with_ttl(&ctx, "a", 3, Duration::ZERO).unwrap();
    time.advance(SECOND * 5);
    assert_eq!(cache.get(&ctx, &"a").unwrap(), None, "at the end of its window it is gone");
}

#[tokio::test]
async fn failed_background_load_leaves_the_stale_value() {
    let (ctx, time) = manual();
    let cache = seconds(10).stale_for(Duration::from_secs(5)).negative_ttl(SECOND).build(&ctx).unwrap();
    cache.insert(&ctx, "a", 1).unwrap();
    time.advance(Duration::from_secs(12));
    let load = || cache.get_or_load(&ctx, "a", |_| async { Err::<u32, _>(Failed::other("down")) });
    assert_eq!(load().await.unwrap(), 1);
    settle().await;
    assert_eq!(load().await.unwrap(), 1);
    time.advance(Duration::from_secs(3));
    assert_eq!(load().await.unwrap_err().to_string(), "down");
}

#[tokio::test]
async fn background_load_is_not_repeated_right_after_a_failed_one() {
    let (ctx, time) = manual();
    type Failing = fn(Context) -> Ready<Result<u32, SharedError>>;
    let fails: Failing = |_| ready(Err(SharedError::new("down")));
    let panics: Failing = |_| panic!("at the disco");
    for (negative, load, pause) in [
        (None, fails, SECOND),
        (None, panics, SECOND),
        (Some(SECOND * 3), fails, SECOND * 3),
        (Some(SECOND * 3), panics, SECOND),
    ] {
        let builder = seconds(10).stale_for(SECOND * 5);
        let builder = match negative {
            Some(ttl) => builder.negative_ttl(ttl),
            None => builder,
        };
        let cache = builder.build(&ctx).unwrap();
        cache.insert(&ctx, "a", 1).unwrap();
        time.advance(SECOND * 10);
        let asked = async |started: u64| {
            for _ in 0..3 {
                assert_eq!(cache.get_or_load(&ctx, "a", load).await.unwrap(), 1);
                settle().await;
            }
            assert_eq!(cache.stats().calls.started, started, "negative_ttl {negative:?}");
        };
        asked(1).await;
        time.advance(pause - Duration::from_nanos(1));
        asked(1).await;
        time.advance(Duration::from_nanos(1));
        asked(2).await;
        // The pause does not affect a refresh or a newly inserted value.
        assert!(cache.refresh(&ctx, "a", load).await.is_err());
        assert_eq!(cache.stats().calls.started, 3);
        cache.insert_with_ttl(&ctx, "a", 1, Duration::ZERO).unwrap();
        asked(4).await;
        // The pause does not affect a load after the window.
        time.advance(SECOND * 5 - Duration::from_nanos(1));
        asked(5).await;
        time.advance(Duration::from_nanos(1));
        assert!(cache.get_or_load(&ctx, "a", load).await.is_err());
        assert_eq!(cache.stats().calls.started, 6);
    }
}

#[tokio::test]
async fn background_load_is_canceled_at_the_end_of_the_window() {
    let (ctx, time) = manual();
    let cache = seconds(10).stale_for(Duration::from_secs(5)).build(&ctx).unwrap();
    cache.insert(&ctx, "a", 1).unwrap();
    time.advance(Duration::from_secs(12));
    let started = Arc::new(Mutex::new(None));
    for asked in 0..3 {
        let inside = Arc::clone(&started);
        let load = cache.get_or_load(&ctx, "a", move |ctx| {
            *inside.lock().unwrap() = Some(ctx);
            std::future::pending::<Result<u32, Failed>>()
        });
        assert_eq!(load.await.unwrap(), 1);
        settle().await;
        let loading = started.lock().unwrap().clone().unwrap();
        let window_left = loading.remaining().unwrap();
        assert_eq!((window_left, cache.stats().calls.in_flight()), (SECOND * (3 - asked), 1));
        time.advance(SECOND);
        settle().await;
    }
    // The window ended at 15 s, no matter when the load was started.
    let stats = cache.stats();
    assert_eq!((stats.calls.started, stats.calls.in_flight(), stats.calls.canceled), (1, 0, 1));
    assert_eq!((stats.stale_hits, stats.coalesced), (3, 0), "no caller waited");
}

#[tokio::test]
async fn background_load_goes_on_past_its_window_for_a_caller_that_joined_it() {
    let (ctx, time) = manual();
    let cache = seconds(10).stale_for(SECOND * 5).build(&ctx).unwrap();
    cache.insert(&ctx, "a", 1).unwrap();
    time.advance(SECOND * 12);
    let pending = |_| std::future::pending::<Result<u32, Failed>>();
    assert_eq!(cache.get_or_load(&ctx, "a", pending).await.unwrap(), 1);
    settle().await;
    let mut joined = Box::pin(cache.refresh(&ctx, "a", pending));
    assert!((&mut joined).now_or_never().is_none());
    time.advance(SECOND * 8);
    settle().await;
    let calls = cache.stats().calls;
    assert_eq!((cache.stats().coalesced, calls.started, calls.in_flight()), (1, 1, 1));
    drop(joined);
    settle().await;
    let calls = cache.stats().calls;
    assert_eq!((calls.started, calls.in_flight(), calls.canceled), (1, 0, 1));
}

#[tokio::test]
async fn background_load_joined_before_its_start_ends_with_the_window_when_that_caller_has_left() {
    let (ctx, time) = manual();
    let cache = seconds(10).stale_for(SECOND * 5).build(&ctx).unwrap();
    cache.insert(&ctx, "a", 1).unwrap();
    time.advance(SECOND * 12);
    let pending = |_| std::future::pending::<Result<u32, Failed>>();
    assert_eq!(cache.get_or_load(&ctx, "a", pending).now_or_never().unwrap().unwrap(), 1);
    let mut joined = Box::pin(cache.refresh(&ctx, "a", pending));
    assert!((&mut joined).now_or_never().is_none());
    settle().await;
    drop(joined);
    settle().await;
    assert_eq!(cache.stats().calls.in_flight(), 1);
    time.advance(SECOND * 3);
    settle().await;
    assert_eq!((cache.stats().calls.in_flight(), cache.stats().calls.canceled), (0, 1));
}

#[tokio::test]
async fn stale_hit_does_not_join_a_load_in_flight() {
    let (ctx, time) = manual();
    let cache = seconds(10).stale_for(SECOND * 5).build(&ctx).unwrap();
    cache.insert(&ctx, "a", 1).unwrap();
    time.advance(SECOND * 12);
    let pending = |_| std::future::pending::<Result<u32, Failed>>();
    let limited = ctx.with_timeout(SECOND);
    let mut refreshing = Box::pin(cache.refresh(&limited, "a", pending));
    assert!((&mut refreshing).now_or_never().is_none());
    settle().await;
    assert_eq!(cache.get_or_load(&ctx, "a", pending).await.unwrap(), 1);
    time.advance(SECOND);
    settle().await;
    assert_eq!((cache.stats().calls.in_flight(), cache.stats().calls.canceled, cache.stats().coalesced), (0, 1, 0));
}

#[tokio::test]
async fn refresh_loads_even_if_there_is_a_fresh_value() {
    let (ctx, _time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    cache.insert(&ctx, "a", 1).unwrap();
    assert_eq!(cache.refresh(&ctx, "a", |_| async { Ok::<_, Failed>(2) }).await.unwrap(), 2);
    assert_eq!(cache.get(&ctx, &"a").unwrap(), Some(2));
    let failed = cache.refresh(&ctx, "a", |_| async { Err::<u32, _>(Failed::other("down")) }).await;
    assert_eq!(failed.unwrap_err().to_string(), "down");
    assert_eq!(cache.get(&ctx, &"a").unwrap(), Some(2), "the old value stays");
}

/// A key that runs a hook when it is cloned, which a request does between its look-up and its load.
#[derive(Default)]
struct Hooked(Arc<Mutex<Option<Hook>>>);

type Hook = Box<dyn FnOnce() + Send>;

impl Hooked {
    /// Returns the same key, without running the hook.
    fn same(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    fn before_load(&self, hook: impl FnOnce() + Send + 'static) {
        *self.0.lock().unwrap() = Some(Box::new(hook));
    }
}

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooked")
    }
}

impl Clone for Hooked {
    fn clone(&self) -> Self {
        let hook = self.0.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        self.same()
    }
}

impl PartialEq for Hooked {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Hooked {}

impl std::hash::Hash for Hooked {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

#[tokio::test]
async fn insert_between_look_up_and_load_spares_the_load() {
    let (ctx, _time) = manual();
    let cache = Cache::<Hooked, u32>::builder().capacity(100).build(&ctx).unwrap();
    let key = Hooked::default();
    let (also, under, inserted) = (cache.clone(), ctx.clone(), key.same());
    key.before_load(move || also.insert(&under, inserted, 1).unwrap());
    let found = cache.run(&ctx, key.same(), |_| async { Ok::<_, Failed>(2) }).await.unwrap();
    assert!(key.0.lock().unwrap().is_none(), "the insert came in between");
    assert_eq!((found.value, found.source), (1, Source::Hit));
    assert_eq!((cache.stats().calls.started, cache.stats().hits, cache.stats().misses), (0, 1, 0));

    // A refresh loads even if a value was inserted meanwhile.
    let (also, under, inserted) = (cache.clone(), ctx.clone(), key.same());
    key.before_load(move || also.insert(&under, inserted, 10).unwrap());
    assert_eq!(cache.refresh(&ctx, key.same(), |_| async { Ok::<_, Failed>(20) }).await.unwrap(), 20);
    assert_eq!(cache.get(&ctx, &key).unwrap(), Some(20));
    assert_eq!(cache.stats().calls.started, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn stale_hit_that_began_before_a_background_load_failed_starts_no_other() {
    let (ctx, time) = manual();
    let cache = Cache::<Hooked, u32>::builder().capacity(100).ttl(SECOND).stale_for(SECOND).sweep_every(SECOND * 60);
    let cache = cache.build(&ctx).unwrap();
    let key = Hooked::default();
    cache.insert(&ctx, key.same(), 1).unwrap();
    time.advance(SECOND);
    let loads = Arc::new(());
    let load = {
        let loads = Arc::clone(&loads);
        move |_: Context| async move {
            drop(loads);
            Err::<u32, _>(Failed::other("down"))
        }
    };
    // Between the look-up and the load, another caller starts a load, which fails on the other thread.
    let (also, under, asked, fails) = (cache.clone(), ctx.clone(), key.same(), load.clone());
    key.before_load(move || {
        assert_eq!(also.get_or_load(&under, asked, fails).now_or_never().unwrap().unwrap(), 1);
        while also.stats().calls.failed == 0 {
            std::thread::yield_now();
        }
    });
    assert_eq!(cache.get_or_load(&ctx, key.same(), load).await.unwrap(), 1);
    assert_eq!(cache.stats().calls.failed, 1, "between its look-up and its load");
    while Arc::strong_count(&loads) > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!((cache.stats().calls.started, cache.stats().stale_hits), (1, 2));
}
