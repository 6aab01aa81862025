//! Threads that use one cache. `RIPCORD_CACHE_SEED` repeats the random choices of a run, but not its interleaving.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ripcord::Context;
use ripcord_policy::cache::Cache;
use ripcord_policy::{Error, Random};

use crate::common::Failed;

const TASKS: u64 = 8;
const KEYS: u64 = 6;

#[expect(clippy::print_stderr, reason = "the seed repeats a failure")]
fn seed() -> u64 {
    let seed =
        std::env::var("RIPCORD_CACHE_SEED").ok().map_or_else(|| Random::new().next_u64(), |seed| seed.parse().unwrap());
    eprintln!("RIPCORD_CACHE_SEED={seed}");
    seed
}

/// Yields a random number of times, so that other tasks run in between.
async fn dawdle(random: &Random, most: u64) {
    for _ in 0..random.next_u64() % (most + 1) {
        tokio::task::yield_now().await;
    }
}

/// Returns a random value that identifies its key.
fn value(key: u64, random: &Random) -> u64 {
    random.next_u64() / KEYS / 2 * KEYS + key
}

/// Waits until no load is in flight. The tasks of the loads cannot be awaited.
async fn at_rest(cache: &Cache<u64, u64>) {
    while cache.stats().calls.in_flight() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_operations_lose_nothing_and_mix_up_nothing() {
    let ctx = Context::background();
    let random = Arc::new(Random::seeded(seed()));
    // Entries expire after 50 µs, are stale for another 50 µs, and may be evicted for other entries.
    let cache = Cache::builder()
        .capacity(KEYS - 2)
        .ttl(Duration::from_micros(50))
        .stale_for(Duration::from_micros(50))
        .negative_ttl(Duration::from_micros(20))
        .sweep_every(Duration::from_micros(200))
        .build(&ctx)
        .unwrap();
    let tasks = (0..TASKS).map(|_| {
        let (cache, ctx, random) = (cache.clone(), ctx.clone(), Arc::clone(&random));
        tokio::spawn(async move {
            for _ in 0..2_000 {
                let key = random.next_u64() % KEYS;
                let source = Arc::clone(&random);
                let load = move |_| async move {
                    dawdle(&source, 3).await;
                    if source.chance(0.1) { Err(Failed::other("down")) } else { Ok(value(key, &source)) }
                };
                let got = match random.next_u64() % 20 {
                    0..9 => cache.get_or_load(&ctx, key, load).await.ok(),
                    9..11 => cache.refresh(&ctx, key, load).await.ok(),
                    // Some callers leave early.
                    11..14 => tokio::select! {
                        biased;
                        got = cache.get_or_load(&ctx, key, load) => got.ok(),
                        () = dawdle(&random, 4) => None,
                    },
                    14 => cache.get_or_load(&ctx.with_timeout(Duration::from_micros(10)), key, load).await.ok(),
                    15 => cache.get(&ctx, &key).unwrap(),
                    16 => cache.remove(&ctx, &key).unwrap(),
                    17 => cache.insert(&ctx, key, value(key, &random)).map(|()| None).unwrap(),
                    18 => cache.cleanup(&ctx).map(|_| None).unwrap(),
                    _ => cache.clear(&ctx).map(|()| None).unwrap(),
                };
                assert!(got.is_none_or(|got| got % KEYS == key));
            }
        })
    });
    let tasks = futures::future::join_all(tasks);
    for task in tokio::time::timeout(Duration::from_secs(60), tasks).await.expect("a caller was forgotten") {
        task.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(60), at_rest(&cache)).await.expect("a load was forgotten");
    cache.clear(&ctx).unwrap();
    let stats = cache.stats();
    assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled);
    assert_eq!(stats.inserted, stats.evicted + stats.expired + stats.replaced + stats.removed);
    assert_eq!((stats.entries, stats.weight), (0, 0));
    assert!(
        stats.coalesced > 100 && stats.calls.canceled > 100 && stats.calls.succeeded > 100,
        "a dull run: {stats:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn key_is_never_loaded_twice_at_the_same_time() {
    let ctx = Context::background();
    let random = Arc::new(Random::seeded(seed()));
    let builder = || Cache::builder().capacity(KEYS).ttl(Duration::from_micros(20));
    // Loads by callers that wait, then loads in the background. No caller leaves and no window ends, so no load is canceled.
    for builder in [builder(), builder().stale_for(Duration::from_secs(3600))] {
        let cache = builder.build(&ctx).unwrap();
        let loading: Arc<Vec<AtomicBool>> = Arc::new((0..KEYS).map(|_| AtomicBool::new(false)).collect());
        let tasks = (0..TASKS).map(|_| {
            let (cache, ctx, random, loading) = (cache.clone(), ctx.clone(), Arc::clone(&random), Arc::clone(&loading));
            tokio::spawn(async move {
                for _ in 0..2_000 {
                    let key = random.next_u64() % KEYS;
                    let (source, loading) = (Arc::clone(&random), Arc::clone(&loading));
                    let load = move |_| async move {
                        let loading = &loading[key as usize];
                        assert!(!loading.swap(true, Ordering::AcqRel), "key {key} is being loaded");
                        dawdle(&source, 3).await;
                        loading.store(false, Ordering::Release);
                        Ok::<_, Failed>(value(key, &source))
                    };
                    let got = match random.chance(0.2) {
                        true => cache.refresh(&ctx, key, load).await,
                        false => cache.get_or_load(&ctx, key, load).await,
                    };
                    assert_eq!(got.unwrap() % KEYS, key);
                }
            })
        });
        let tasks = futures::future::join_all(tasks);
        for task in tokio::time::timeout(Duration::from_secs(60), tasks).await.expect("a caller was forgotten") {
            task.unwrap();
        }
        at_rest(&cache).await;
        let stats = cache.stats();
        assert_eq!((stats.panicked, stats.calls.started), (0, stats.calls.succeeded));
        assert!(stats.calls.started > 100 && stats.coalesced > 100, "a dull run: {stats:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn close_leaves_no_entry_no_load_and_no_waiting_caller() {
    let ctx = Context::background();
    let random = Arc::new(Random::seeded(seed()));
    let refused = Arc::new(AtomicU64::new(0));
    for _ in 0..200 {
        let cache = Cache::builder().capacity(KEYS).negative_ttl(Duration::from_secs(60)).build(&ctx).unwrap();
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let (cache, ctx, random) = (cache.clone(), ctx.clone(), Arc::clone(&random));
                let refused = Arc::clone(&refused);
                tokio::spawn(async move {
                    loop {
                        let key = random.next_u64() % KEYS;
                        let source = Arc::clone(&random);
                        let load = move |_| async move {
                            dawdle(&source, 3).await;
                            if source.chance(0.5) { Err(Failed::other("down")) } else { Ok(value(key, &source)) }
                        };
                        let result = match random.next_u64() % 3 {
                            0 => cache.insert(&ctx, key, value(key, &random)).map_err(Error::from),
                            1 => cache.remove(&ctx, &key).map(drop).map_err(Error::from),
                            _ => cache.refresh(&ctx, key, load).await.map(drop),
                        };
                        match result {
                            Ok(()) => {}
                            Err(error) if error.last().is_some() => {}
                            Err(error) => {
                                assert!(error.is_rejected(), "{error}");
                                refused.fetch_add(1, Ordering::Relaxed);
                                return;
                            }
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        dawdle(&random, 20).await;
        cache.close();
        let tasks = futures::future::join_all(tasks);
        for task in tokio::time::timeout(Duration::from_secs(60), tasks).await.expect("a caller was forgotten") {
            task.unwrap();
        }
        tokio::time::timeout(Duration::from_secs(60), at_rest(&cache)).await.expect("a load was forgotten");
        assert_eq!(cache.len(), 0);
    }
    assert_eq!(refused.load(Ordering::Relaxed), 200 * TASKS);
}
