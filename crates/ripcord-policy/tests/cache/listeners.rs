//! Eviction listeners that use the cache themselves.

use std::sync::{Arc, Mutex, OnceLock};

use ripcord::Context;
use ripcord_policy::cache::{Cache, CacheBuilder, Eviction};

use crate::common::manual;

/// A slot in which the listener of a cache finds the cache.
type Slot = Arc<OnceLock<Cache<u32, u32>>>;

/// Returns a cache whose listener gets the cache itself.
fn with_listener(
    ctx: &Context,
    builder: CacheBuilder<u32, u32>,
    listener: impl Fn(&Cache<u32, u32>, u32, u32, Eviction) + Send + Sync + 'static,
) -> (Cache<u32, u32>, Slot) {
    let slot = Arc::new(OnceLock::new());
    let inside = Arc::downgrade(&slot);
    let builder = builder.on_evict(move |key, value, why| {
        if let Some(slot) = inside.upgrade() {
            listener(slot.get().unwrap(), *key, *value, why);
        }
    });
    let cache: Cache<u32, u32> = builder.build(ctx).unwrap();
    slot.set(cache.clone()).unwrap();
    (cache, slot)
}

#[tokio::test]
async fn listener_may_insert_the_value_again() {
    let (ctx, _time) = manual();
    let again = ctx.clone();
    let (cache, _slot) = with_listener(&ctx, Cache::builder().capacity(100), move |cache, key, value, why| {
        if why == Eviction::Removed {
            cache.insert(&again, key, value + 1).unwrap();
        }
    });
    (0..50).for_each(|key| cache.insert(&ctx, key, 0).unwrap());
    cache.clear(&ctx).unwrap();
    assert_eq!((cache.len(), cache.get(&ctx, &7).unwrap()), (50, Some(1)));
}

#[tokio::test]
async fn listener_that_removes_a_value_is_called_for_it_inside_the_first_call() {
    let (ctx, _time) = manual();
    let log = Arc::new(Mutex::new(Vec::new()));
    let (calls, again) = (Arc::clone(&log), ctx.clone());
    let (cache, _slot) = with_listener(&ctx, Cache::builder().capacity(100), move |cache, key, _, _| {
        calls.lock().unwrap().push(format!("begin {key}"));
        if key < 2 {
            assert_eq!(cache.remove(&again, &(key + 1)).unwrap(), Some(key + 1));
        }
        calls.lock().unwrap().push(format!("end {key}"));
    });
    (0..3).for_each(|key| cache.insert(&ctx, key, key).unwrap());
    cache.remove(&ctx, &0).unwrap();
    let expected = ["begin 0", "begin 1", "begin 2", "end 2", "end 1", "end 0"];
    assert_eq!(*log.lock().unwrap(), expected);
}

#[tokio::test]
async fn listener_may_close_the_cache() {
    let (ctx, _time) = manual();
    let again = ctx.clone();
    let (cache, _slot) = with_listener(&ctx, Cache::builder().capacity(100), move |cache, key, _, _| {
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
