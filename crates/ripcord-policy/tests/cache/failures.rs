//! Loads that fail or panic, and users' code that does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use ripcord::Context;
use ripcord_policy::cache::Cache;
use ripcord_policy::{Bulkhead, Error, Rate, RateLimiter, Retry};

use crate::common::{Failed, SECOND, manual, seconds, settle};

#[tokio::test]
async fn failures_are_shared_and_kept_only_for_the_negative_ttl() {
    let (ctx, time) = manual();
    for negative in [None, Some(Duration::from_secs(2))] {
        let builder = seconds(60);
        let builder = match negative {
            Some(ttl) => builder.negative_ttl(ttl),
            None => builder,
        };
        let cache = builder.build(&ctx).unwrap();
        let load = || cache.get_or_load(&ctx, "a", |_| async { Err::<u32, _>(Failed::other("no such user")) });
        let (first, second) = tokio::join!(load(), load());
        for error in [first.unwrap_err(), second.unwrap_err()] {
            assert_eq!(error.to_string(), "no such user");
            assert!(error.last().unwrap().downcast_ref::<Failed>().is_some());
        }
        assert_eq!(cache.stats().calls.started, 1);
        assert_eq!(cache.get(&ctx, &"a").unwrap(), None, "a failure is no value");
        assert!(load().await.is_err());
        assert_eq!(cache.stats().calls.started, if negative.is_some() { 1 } else { 2 });
        time.advance(Duration::from_secs(2));
        assert!(load().await.is_err());
        assert_eq!(cache.stats().calls.started, if negative.is_some() { 2 } else { 3 });
    }
}

#[tokio::test]
async fn a_remembered_failure_that_is_pushed_out_for_room_is_forgotten_and_nobody_is_told() {
    let (ctx, _time) = manual();
    let told = Arc::new(AtomicUsize::new(0));
    let hook = Arc::clone(&told);
    let builder = Cache::<&str, u32>::builder().capacity(3).weigher(|_, weight| *weight).negative_ttl(SECOND * 60);
    let builder = builder.on_evict(move |_, _, _| {
        hook.fetch_add(1, Ordering::Relaxed);
    });
    let cache = builder.build(&ctx).unwrap();
    let load = || cache.get_or_load(&ctx, "a", |_| async { Err::<u32, _>(Failed::other("no such user")) });
    assert!(load().await.is_err());
    assert!(load().await.is_err());
    assert_eq!((cache.stats().calls.started, cache.stats().negative_hits, cache.stats().weight), (1, 1, 1));
    cache.insert(&ctx, "b", 3).unwrap();
    let stats = cache.stats();
    assert_eq!(
        (stats.entries, stats.weight, stats.evicted, told.load(Ordering::Relaxed)),
        (1, 3, 0, 0),
        "no value went"
    );
    // Whoever asks again has it loaded, and the failure has to make room for itself.
    assert!(load().await.is_err());
    let stats = cache.stats();
    assert_eq!((stats.calls.started, stats.negative_hits), (2, 1));
    assert_eq!((stats.entries, stats.weight, stats.evicted, told.load(Ordering::Relaxed)), (1, 1, 1, 1), "a value did");
    assert_eq!(cache.get(&ctx, "b").unwrap(), None);
}

#[tokio::test]
async fn a_panicking_load_harms_only_those_who_waited_for_it() {
    let (ctx, _time) = manual();
    let cache = seconds(60).negative_ttl(SECOND).build(&ctx).unwrap();
    fn boom(_: Context) -> std::future::Ready<Result<u32, Failed>> {
        panic!("at the disco")
    }
    let error = cache.get_or_load(&ctx, "a", boom).await.unwrap_err();
    assert!(error.is_panicked() && error.to_string() == "panicked: at the disco", "{error}");
    let later = cache.get_or_load(&ctx, "a", |_| async {
        panic!("later");
        #[allow(unreachable_code, reason = "types it")]
        Ok::<_, Failed>(1)
    });
    assert!(later.await.unwrap_err().is_panicked());
    assert_eq!(cache.get_or_load(&ctx, "a", |_| async { Ok::<_, Failed>(1) }).await.unwrap(), 1);
    assert_eq!((cache.stats().panicked, cache.stats().calls.failed), (2, 2));
}

#[tokio::test]
async fn panicking_weighers_and_hooks_harm_only_their_own_call() {
    let (ctx, _time) = manual();
    let cache = Cache::<u32, u32>::builder()
        .capacity(2)
        .weigher(|_, value| if *value == 13 { panic!("unlucky") } else { 1 })
        .on_evict(|_, _, _| panic!("no goodbyes"))
        .build(&ctx)
        .unwrap();
    let load = |value: u32| cache.get_or_load(&ctx, 13, move |_| async move { Ok::<_, Failed>(value) });
    assert!(load(13).await.unwrap_err().is_panicked());
    assert_eq!(load(14).await.unwrap(), 14);
    for key in 0..10 {
        cache.insert(&ctx, key, key).unwrap();
    }
    assert!(cache.len() <= 2);
    cache.clear(&ctx).unwrap();
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cache.insert(&ctx, 1, 13))).is_err());
    cache.insert(&ctx, 1, 1).unwrap();
    assert_eq!(cache.get(&ctx, &1).unwrap(), Some(1));
}

/// A value whose drop panics when it is armed.
#[derive(Clone)]
struct Bomb(Arc<AtomicBool>);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0.load(Ordering::Relaxed) {
            std::panic::panic_any("a value's own affair");
        }
    }
}

#[tokio::test]
async fn a_load_whose_panic_carries_what_panics_when_dropped_is_a_panic_like_others() {
    let (ctx, _time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    fn explode() -> Result<u32, Failed> {
        std::panic::panic_any(Bomb(Arc::new(AtomicBool::new(true))))
    }
    let error = cache.get_or_load(&ctx, "a", |_| async { explode() }).await.unwrap_err();
    assert!(error.is_panicked(), "{error}");
}

#[tokio::test]
async fn values_whose_drops_panic_keep_no_others_from_going() {
    let (ctx, time) = manual();
    let armed = Arc::new(AtomicBool::new(false));
    let told = Arc::new(AtomicUsize::new(0));
    let hook = Arc::clone(&told);
    let builder = Cache::builder().capacity(100).ttl(SECOND);
    let builder = builder.on_evict(move |_, _, _| {
        hook.fetch_add(1, Ordering::Relaxed);
    });
    let cache: Cache<u32, Bomb> = builder.build(&ctx).unwrap();
    let fill = || (0..3).for_each(|key| cache.insert(&ctx, key, Bomb(Arc::clone(&armed))).unwrap());

    fill();
    armed.store(true, Ordering::Relaxed);
    cache.clear(&ctx).unwrap();
    assert_eq!((told.load(Ordering::Relaxed), cache.len()), (3, 0));

    armed.store(false, Ordering::Relaxed);
    fill();
    let load = |_| async { Ok::<_, Failed>(Bomb(Arc::default())) };
    armed.store(true, Ordering::Relaxed);
    assert!(cache.refresh(&ctx, 0, load).await.is_ok(), "what it replaces is not its affair");
    time.advance(SECOND);
    assert_eq!(cache.cleanup(&ctx).unwrap(), 3);
    assert_eq!((told.load(Ordering::Relaxed), cache.len()), (7, 0));
}

/// A key, or a value, whose clone panics when it is armed.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Uncopyable(u32);

static UNCOPYABLE: AtomicBool = AtomicBool::new(false);

impl Clone for Uncopyable {
    fn clone(&self) -> Self {
        assert!(self.0 != 13 || !UNCOPYABLE.load(Ordering::Relaxed), "there is only one");
        Self(self.0)
    }
}

#[tokio::test]
async fn a_clone_that_panics_harms_only_its_own_call() {
    fn panics<T>(call: impl FnOnce() -> T) -> bool {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err()
    }
    let (ctx, time) = manual();
    let keys =
        Cache::<Uncopyable, u32>::builder().capacity(20).ttl(SECOND).sweep_every(SECOND * 2).build(&ctx).unwrap();
    let values = Cache::<u32, Uncopyable>::builder().capacity(20).ttl(SECOND * 60).build(&ctx).unwrap();
    // The sweeper's sleep begins now.
    settle().await;
    let fill = || {
        (0..20).for_each(|key| keys.insert(&ctx, Uncopyable(key), key).unwrap());
        (0..20).for_each(|key| values.insert(&ctx, key, Uncopyable(key)).unwrap());
    };
    fill();
    UNCOPYABLE.store(true, Ordering::Relaxed);

    // Of all keys one cannot be swept. That one is let go by what does without a copy.
    time.advance(SECOND * 2);
    settle().await;
    assert_eq!((keys.len(), keys.stats().expired), (1, 19));
    assert_eq!(keys.cleanup(&ctx).unwrap(), 0);
    assert_eq!(keys.get(&ctx, &Uncopyable(13)).unwrap(), None);
    keys.insert(&ctx, Uncopyable(13), 1).unwrap();
    assert_eq!(keys.get(&ctx, &Uncopyable(13)).unwrap(), Some(1));
    assert_eq!(keys.remove(&ctx, &Uncopyable(13)).unwrap(), Some(1));
    // The sweeper is still there.
    fill();
    time.advance(SECOND * 2);
    settle().await;
    assert_eq!(keys.len(), 1);
    keys.clear(&ctx).unwrap();
    assert!(keys.is_empty());
    let load = |key| keys.get_or_load(&ctx, Uncopyable(key), |_| async { Ok::<_, Failed>(1) });
    assert!(panics(|| load(13).now_or_never()));
    assert_eq!(load(12).await.unwrap(), 1);
    assert_eq!(keys.stats().loading, 0);

    assert!(panics(|| values.get(&ctx, &13)));
    assert_eq!(values.get(&ctx, &12).unwrap(), Some(Uncopyable(12)));
    let load = |key| values.refresh(&ctx, key, move |_| async move { Ok::<_, Failed>(Uncopyable(key)) });
    assert!(load(13).await.unwrap_err().is_panicked());
    assert_eq!(load(12).await.unwrap(), Uncopyable(12));
    assert_eq!(values.remove(&ctx, &13).unwrap(), Some(Uncopyable(13)));
    assert_eq!((values.len(), values.cleanup(&ctx).unwrap()), (19, 0));
    UNCOPYABLE.store(false, Ordering::Relaxed);
}

/// A key that panics when it is hashed, or compared with another like it: 13 alone, when that is armed.
#[derive(Clone, Debug)]
struct Touchy(u32);

static HASH: AtomicBool = AtomicBool::new(false);
static EQ: AtomicBool = AtomicBool::new(false);

impl std::hash::Hash for Touchy {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        assert!(self.0 != 13 || !HASH.load(Ordering::Relaxed), "not to be hashed");
        self.0.hash(state);
    }
}

impl PartialEq for Touchy {
    fn eq(&self, other: &Self) -> bool {
        assert!(self.0 != 13 || other.0 != 13 || !EQ.load(Ordering::Relaxed), "not to be compared");
        self.0 == other.0
    }
}

impl Eq for Touchy {}

#[tokio::test]
async fn a_hash_or_a_comparison_that_panics_harms_only_its_own_call() {
    fn panics<T>(call: impl FnOnce() -> T) -> bool {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err()
    }
    let (ctx, time) = manual();
    for armed in [&HASH, &EQ] {
        let cache = Cache::<Touchy, u32>::builder().capacity(20).ttl(SECOND).sweep_every(SECOND * 60);
        let cache = cache.negative_ttl(SECOND).build(&ctx).unwrap();
        let load = |key| cache.get_or_load(&ctx, Touchy(key), move |_| async move { Ok::<_, Failed>(key) });
        let waits = |key| {
            let load = cache.refresh(&ctx, Touchy(key), |ctx| async move {
                ctx.sleep(SECOND / 2).await?;
                Ok::<_, ripcord::Error>(1)
            });
            let mut load = Box::pin(load);
            assert!((&mut load).now_or_never().is_none());
            load
        };
        (0..20).for_each(|key| cache.insert(&ctx, Touchy(key), key).unwrap());
        let loaded = waits(13);
        settle().await;

        // What is done with the key itself.
        armed.store(true, Ordering::Relaxed);
        assert!(panics(|| cache.get(&ctx, &Touchy(13))));
        assert!(panics(|| cache.insert(&ctx, Touchy(13), 1)));
        assert!(panics(|| cache.insert_with_ttl(&ctx, Touchy(13), 1, SECOND)));
        assert!(panics(|| cache.remove(&ctx, &Touchy(13))));
        assert!(panics(|| load(13).now_or_never()));
        // Its load knows its flight by itself, and has the key compared only as it stores the value.
        time.advance(SECOND / 2);
        let loaded = loaded.await;
        assert_eq!(loaded.is_ok(), std::ptr::eq(armed, &HASH), "{loaded:?}");
        assert!(loaded.is_ok() || loaded.is_err_and(|error| error.is_panicked()));
        assert_eq!((cache.stats().loading, cache.stats().calls.started), (0, 1));

        // With others: they come and go beside it, also in its place.
        for key in 100..200 {
            assert_eq!(load(key).await.unwrap(), key);
            cache.insert(&ctx, Touchy(key), key + 1).unwrap();
            assert_eq!(cache.get(&ctx, &Touchy(key)).unwrap(), Some(key + 1));
            assert!(cache.len() <= 20);
        }
        let stats = cache.stats();
        assert_eq!((stats.entries, stats.weight, stats.loading), (20, 20, 0));
        assert_eq!(cache.remove(&ctx, &Touchy(199)).unwrap(), Some(200));
        time.advance(SECOND);
        assert_eq!(cache.cleanup(&ctx).unwrap(), 19);

        // And with the key again, once it is as keys should be.
        armed.store(false, Ordering::Relaxed);
        assert_eq!(load(13).await.unwrap(), 13);
        assert_eq!(cache.remove(&ctx, &Touchy(13)).unwrap(), Some(13));
        // Emptied by what needs neither.
        (0..20).for_each(|key| cache.insert(&ctx, Touchy(key), key).unwrap());
        armed.store(true, Ordering::Relaxed);
        cache.clear(&ctx).unwrap();
        armed.store(false, Ordering::Relaxed);
        let stats = cache.stats();
        assert_eq!((stats.entries, stats.weight), (0, 0));
        assert_eq!(stats.inserted, stats.evicted + stats.expired + stats.replaced + stats.removed);
    }
}

#[tokio::test]
async fn local_rejections_within_a_load_are_no_failure_of_the_key() {
    let (ctx, _time) = manual();
    let cache = seconds(60).negative_ttl(SECOND * 60).build(&ctx).unwrap();
    let limiter = RateLimiter::builder().rate(Rate::every(SECOND)).burst(1).clock(ctx.clock()).build().unwrap();
    assert!(limiter.allow());
    let limited = ctx.with_timeout(SECOND / 2);

    let wait = limiter.clone();
    let load = |ctx: Context| async move { wait.wait(&ctx).await.map(|_| 1) };
    let error = cache.get_or_load(&limited, "a", load).await.unwrap_err();
    assert!(error.to_string().starts_with("deadline too near"), "{error}");
    let wait = limiter.clone();
    let load = |ctx: Context| async move { wait.wait(&ctx).await.map(|_| 1).map_err(Failed::other) };
    assert!(cache.get_or_load(&limited, "a", load).await.is_err(), "wrapped in another");
    let load = |ctx: Context| async move {
        let retry = Retry::exponential().max_attempts(1).over_policies().build().unwrap();
        let full = || {
            let bulkhead = Bulkhead::builder().limit(1).build().unwrap();
            let _permit = bulkhead.try_acquire();
            bulkhead.try_acquire().map(|_| 1).map_err(Error::<Failed>::from)
        };
        retry.run(&ctx, |_| async { full() }).await
    };
    assert!(cache.get_or_load(&limited, "a", load).await.is_err(), "the last of a retry");
    assert_eq!((cache.stats().calls.failed, cache.stats().entries), (3, 0));

    // Those who have the time are served, and a real failure is remembered.
    let load = |_| async { Err::<u32, _>(Error::new(Failed::other("down"))) };
    assert_eq!(cache.get_or_load(&ctx, "a", load).await.unwrap_err().to_string(), "down");
    assert_eq!(cache.get_or_load(&ctx, "a", load).await.unwrap_err().to_string(), "down");
    assert_eq!((cache.stats().calls.failed, cache.stats().negative_hits), (4, 1));
}
