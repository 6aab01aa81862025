//! Loads that fail, and user code that panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ripcord::Context;
use ripcord_policy::cache::Cache;
use ripcord_policy::{Bulkhead, Error, Rate, RateLimiter, Retry};

use crate::common::{Failed, SECOND, manual, seconds};

#[tokio::test]
async fn failure_is_shared_and_remembered_only_for_the_negative_ttl() {
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
        assert_eq!(cache.get(&ctx, &"a").unwrap(), None, "a failure is not a value");
        assert!(load().await.is_err());
        assert_eq!(cache.stats().calls.started, if negative.is_some() { 1 } else { 2 });
        time.advance(Duration::from_secs(2));
        assert!(load().await.is_err());
        assert_eq!(cache.stats().calls.started, if negative.is_some() { 2 } else { 3 });
    }
}

#[tokio::test]
async fn evicted_failure_is_forgotten_without_calling_the_listener() {
    let (ctx, _time) = manual();
    let told = Arc::new(AtomicUsize::new(0));
    let listener = Arc::clone(&told);
    let builder = Cache::<&str, u32>::builder().capacity(3).weigher(|_, weight| *weight).negative_ttl(SECOND * 60);
    let builder = builder.on_evict(move |_, _, _| {
        listener.fetch_add(1, Ordering::Relaxed);
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
        "no value was evicted"
    );
    // The next caller loads again, and the new failure replaces the old one.
    assert!(load().await.is_err());
    let stats = cache.stats();
    assert_eq!((stats.calls.started, stats.negative_hits), (2, 1));
    assert_eq!(
        (stats.entries, stats.weight, stats.evicted, told.load(Ordering::Relaxed)),
        (1, 1, 1, 1),
        "a value was evicted"
    );
    assert_eq!(cache.get(&ctx, "b").unwrap(), None);
}

#[tokio::test]
async fn panic_of_a_load_reaches_only_its_callers() {
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
async fn panic_of_a_weigher_or_listener_affects_only_its_own_call() {
    let (ctx, _time) = manual();
    let cache = Cache::<u32, u32>::builder()
        .capacity(2)
        .weigher(|_, value| if *value == 13 { panic!("unlucky") } else { 1 })
        .on_evict(|_, _, _| panic!("no reports"))
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
            std::panic::panic_any("a value's drop");
        }
    }
}

#[tokio::test]
async fn panic_whose_payload_panics_on_drop_is_reported_as_a_panic() {
    let (ctx, _time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    fn explode() -> Result<u32, Failed> {
        std::panic::panic_any(Bomb(Arc::new(AtomicBool::new(true))))
    }
    let error = cache.get_or_load(&ctx, "a", |_| async { explode() }).await.unwrap_err();
    assert!(error.is_panicked(), "{error}");
}

#[tokio::test]
async fn panic_of_a_values_drop_does_not_keep_other_values_from_leaving() {
    let (ctx, time) = manual();
    let armed = Arc::new(AtomicBool::new(false));
    let told = Arc::new(AtomicUsize::new(0));
    let listener = Arc::clone(&told);
    let builder = Cache::builder().capacity(100).ttl(SECOND);
    let builder = builder.on_evict(move |_, _, _| {
        listener.fetch_add(1, Ordering::Relaxed);
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
    assert!(cache.refresh(&ctx, 0, load).await.is_ok(), "the drop of the replaced value does not affect it");
    time.advance(SECOND);
    assert_eq!(cache.cleanup(&ctx).unwrap(), 3);
    assert_eq!((told.load(Ordering::Relaxed), cache.len()), (7, 0));
}

/// A value whose clone panics when it is armed.
#[derive(Debug, PartialEq, Eq)]
struct Uncloneable(u32);

static ARMED: AtomicBool = AtomicBool::new(false);

impl Clone for Uncloneable {
    fn clone(&self) -> Self {
        assert!(self.0 != 13 || !ARMED.load(Ordering::Relaxed), "not to be cloned");
        Self(self.0)
    }
}

#[tokio::test]
async fn panic_of_a_values_clone_affects_only_its_own_call() {
    let (ctx, _time) = manual();
    let cache = Cache::<u32, Uncloneable>::builder().capacity(20).ttl(SECOND * 60).build(&ctx).unwrap();
    (0..20).for_each(|key| cache.insert(&ctx, key, Uncloneable(key)).unwrap());
    ARMED.store(true, Ordering::Relaxed);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cache.get(&ctx, &13))).is_err());
    assert_eq!(cache.get(&ctx, &12).unwrap(), Some(Uncloneable(12)));
    let load = |key| cache.refresh(&ctx, key, move |_| async move { Ok::<_, Failed>(Uncloneable(key)) });
    assert!(load(13).await.unwrap_err().is_panicked());
    assert_eq!(load(12).await.unwrap(), Uncloneable(12));
    assert_eq!(cache.remove(&ctx, &13).unwrap(), Some(Uncloneable(13)), "which clones nothing");
    assert_eq!((cache.len(), cache.cleanup(&ctx).unwrap(), cache.stats().calls.in_flight()), (19, 0, 0));
    ARMED.store(false, Ordering::Relaxed);
}

#[tokio::test]
async fn local_rejection_inside_a_load_is_not_remembered() {
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

    // A caller with enough time gets an answer, and a real failure is remembered.
    let load = |_| async { Err::<u32, _>(Error::new(Failed::other("down"))) };
    assert_eq!(cache.get_or_load(&ctx, "a", load).await.unwrap_err().to_string(), "down");
    assert_eq!(cache.get_or_load(&ctx, "a", load).await.unwrap_err().to_string(), "down");
    assert_eq!((cache.stats().calls.failed, cache.stats().negative_hits), (4, 1));
}
