//! Loads that fail or panic, and users' code that does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ripcord::Context;
use ripcord_policy::Error;
use ripcord_policy::cache::Cache;

use crate::common::{Failed, SECOND, manual, seconds};

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
            assert!(error.inner().unwrap().downcast_ref::<Failed>().is_some());
        }
        assert_eq!(cache.stats().started, 1);
        assert_eq!(cache.get(&ctx, &"a").unwrap(), None, "a failure is no value");
        assert!(load().await.is_err());
        assert_eq!(cache.stats().started, if negative.is_some() { 1 } else { 2 });
        time.advance(Duration::from_secs(2));
        assert!(load().await.is_err());
        assert_eq!(cache.stats().started, if negative.is_some() { 2 } else { 3 });
    }
}

#[tokio::test]
async fn a_panicking_load_harms_only_those_who_waited_for_it() {
    let (ctx, _time) = manual();
    let cache = seconds(60).negative_ttl(SECOND).build(&ctx).unwrap();
    fn boom(_: Context) -> std::future::Ready<Result<u32, Failed>> {
        panic!("at the disco")
    }
    let error = cache.get_or_load(&ctx, "a", boom).await.unwrap_err();
    assert!(matches!(&error, Error::Panicked(panicked) if panicked.message() == "at the disco"), "{error}");
    let later = cache.get_or_load(&ctx, "a", |_| async {
        panic!("later");
        #[allow(unreachable_code, reason = "types it")]
        Ok::<_, Failed>(1)
    });
    assert!(matches!(later.await.unwrap_err(), Error::Panicked(_)));
    assert_eq!(cache.get_or_load(&ctx, "a", |_| async { Ok::<_, Failed>(1) }).await.unwrap(), 1);
    assert_eq!((cache.stats().panicked, cache.stats().failed), (2, 2));
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
    assert!(matches!(load(13).await.unwrap_err(), Error::Panicked(_)));
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
    assert!(matches!(error, Error::Panicked(_)), "{error}");
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
