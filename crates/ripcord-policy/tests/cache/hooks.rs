//! Hooks, and drops, that use the cache themselves.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use ripcord::Context;
use ripcord_policy::cache::{Cache, CacheBuilder, Eviction};

use crate::common::manual;

const ROW: u32 = 100_000;

/// Keeps a cache where its hook finds it.
type Slot = Arc<OnceLock<Cache<u32, u32>>>;

/// A cache whose hook is given the cache itself.
fn with_hook(
    ctx: &Context,
    builder: CacheBuilder<u32, u32>,
    hook: impl Fn(&Cache<u32, u32>, u32, u32, Eviction) + Send + Sync + 'static,
) -> (Cache<u32, u32>, Slot) {
    let slot = Arc::new(OnceLock::new());
    let inside = Arc::downgrade(&slot);
    let builder = builder.on_evict(move |key, value, why| {
        if let Some(slot) = inside.upgrade() {
            hook(slot.get().unwrap(), *key, *value, why);
        }
    });
    let cache: Cache<u32, u32> = builder.build(ctx).unwrap();
    slot.set(cache.clone()).unwrap();
    (cache, slot)
}

#[tokio::test]
async fn a_row_of_inserts_by_the_hook_does_not_recurse() {
    let (ctx, _time) = manual();
    let (told, again) = (Arc::new(AtomicU32::new(0)), ctx.clone());
    let count = Arc::clone(&told);
    let (cache, _slot) = with_hook(&ctx, Cache::builder().capacity(10), move |cache, key, value, why| {
        if why == Eviction::Replaced {
            assert_eq!(count.fetch_add(1, Ordering::Relaxed), value);
            if value < ROW {
                cache.insert(&again, key, value + 2).unwrap();
            }
        }
    });
    cache.insert(&ctx, 7, 0).unwrap();
    cache.insert(&ctx, 7, 1).unwrap();
    // Each insert lets go the value of the one before it.
    assert_eq!(told.load(Ordering::Relaxed), ROW + 1);
    assert_eq!(cache.get(&ctx, &7).unwrap(), Some(ROW + 1));
    assert_eq!(cache.stats().replaced, u64::from(ROW) + 1);
}

#[tokio::test]
async fn a_row_of_removals_by_the_hook_does_not_recurse() {
    let (ctx, _time) = manual();
    let again = ctx.clone();
    let (cache, _slot) = with_hook(&ctx, Cache::builder().capacity(2 * u64::from(ROW)), move |cache, key, value, _| {
        assert_eq!(value, key);
        assert_eq!(cache.remove(&again, &(key + 1)).unwrap(), (key + 1 < ROW).then_some(key + 1));
    });
    (0..ROW).for_each(|key| cache.insert(&ctx, key, key).unwrap());
    assert_eq!(cache.remove(&ctx, &0).unwrap(), Some(0));
    assert_eq!((cache.len(), cache.stats().removed), (0, u64::from(ROW)));
}

#[tokio::test]
async fn caches_whose_hooks_feed_each_other_do_not_recurse() {
    let (ctx, _time) = manual();
    let (from_first, from_second) = (ctx.clone(), ctx.clone());
    let second_slot = Slot::default();
    let second = Arc::clone(&second_slot);
    let feed = |cache: &Cache<u32, u32>, ctx: &Context, key: u32| {
        if key < ROW {
            cache.insert(ctx, key, 0).unwrap();
        }
    };
    let (first, _slot) = with_hook(&ctx, Cache::builder().capacity(1), move |_, key, _, why| {
        if why == Eviction::Capacity {
            feed(second.get().unwrap(), &from_first, key + 1);
        }
    });
    let back = first.clone();
    let (second, _other_slot) = with_hook(&ctx, Cache::builder().capacity(1), move |_, key, _, why| {
        if why == Eviction::Capacity {
            feed(&back, &from_second, key + 1);
        }
    });
    second_slot.set(second.clone()).unwrap();
    for cache in [&first, &second, &first] {
        cache.insert(&ctx, 0, 0).unwrap();
        cache.insert(&ctx, 1, 0).unwrap();
    }
    let evicted = first.stats().evicted + second.stats().evicted;
    assert!(evicted > u64::from(ROW), "{evicted}");
    second_slot.get().unwrap().close();
}

/// A value that puts its successor in when it is dropped.
#[derive(Clone)]
struct Successive(#[expect(dead_code, reason = "held for its drop")] Arc<Inner>);

struct Inner {
    number: u32,
    cache: Arc<Mutex<Option<Cache<u32, Successive>>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let cache = self.cache.lock().unwrap().clone();
        if let (Some(cache), true) = (cache, self.number < ROW) {
            let next = Inner { number: self.number + 2, cache: Arc::clone(&self.cache) };
            cache.insert(&Context::background(), 7, Successive(Arc::new(next))).unwrap();
        }
    }
}

#[tokio::test]
async fn a_row_of_inserts_by_drops_does_not_recurse() {
    let cache = Cache::<u32, Successive>::builder().capacity(10).build(&Context::background()).unwrap();
    let slot = Arc::new(Mutex::new(Some(cache.clone())));
    for number in 0..2 {
        let value = Successive(Arc::new(Inner { number, cache: Arc::clone(&slot) }));
        cache.insert(&Context::background(), 7, value).unwrap();
    }
    *slot.lock().unwrap() = None;
    assert_eq!(cache.stats().replaced, u64::from(ROW) + 1);
}

#[tokio::test]
async fn hooks_for_what_a_hook_lets_go_run_in_order_after_it() {
    let (ctx, _time) = manual();
    let log = Arc::new(Mutex::new(Vec::new()));
    let (told, again) = (Arc::clone(&log), ctx.clone());
    let (cache, _slot) = with_hook(&ctx, Cache::builder().capacity(100), move |cache, key, _, _| {
        told.lock().unwrap().push(format!("begin {key}"));
        if key == 0 {
            for key in 1..4 {
                assert_eq!(cache.remove(&again, &key).unwrap(), Some(key));
            }
            cache.clear(&again).unwrap();
        }
        told.lock().unwrap().push(format!("end {key}"));
        assert_ne!(key, 2, "its own affair");
    });
    (0..5).for_each(|key| cache.insert(&ctx, key, key).unwrap());
    cache.remove(&ctx, &0).unwrap();
    let log = std::mem::take(&mut *log.lock().unwrap());
    let expected: Vec<_> = (0..5).flat_map(|key| [format!("begin {key}"), format!("end {key}")]).collect();
    assert_eq!(log, expected);
}

#[tokio::test]
async fn a_hook_may_close_the_cache() {
    let (ctx, _time) = manual();
    let again = ctx.clone();
    let (cache, _slot) = with_hook(&ctx, Cache::builder().capacity(100), move |cache, key, _, _| {
        cache.close();
        assert!(cache.is_closed());
        assert!(cache.insert(&again, key, 1).unwrap_err().is_rejected());
    });
    (0..5).for_each(|key| cache.insert(&ctx, key, key).unwrap());
    assert_eq!(cache.remove(&ctx, &0).unwrap(), Some(0));
    assert!(cache.is_closed());
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.removed, stats.calls.rejected), (0, 5, 5));
}
