//! The entries of the cache, their lifetime, and evictions.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ripcord::Context;
use ripcord_policy::cache::{Cache, Eviction};

use crate::common::{Failed, SECOND, manual, seconds, settle};

#[tokio::test]
async fn basic_operations_return_what_was_inserted() {
    let (ctx, _time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    cache.insert(&ctx, "a", 1).unwrap();
    cache.insert(&ctx, "b", 2).unwrap();
    assert_eq!(cache.get(&ctx, &"a").unwrap(), Some(1));
    assert_eq!(cache.remove(&ctx, &"a").unwrap(), Some(1));
    assert_eq!(cache.remove(&ctx, &"a").unwrap(), None);
    assert_eq!(cache.get(&ctx, &"a").unwrap(), None);
    assert_eq!(cache.len(), 1);
    cache.clear(&ctx).unwrap();
    assert!(cache.is_empty());
    cache.insert(&ctx, "c", 3).unwrap();
    cache.close();
    cache.close();
    assert!(cache.is_closed() && cache.is_empty());
    let refused = cache.get(&ctx, &"c").unwrap_err();
    assert!(refused.is_closed(), "{refused}");
    let stats = cache.stats();
    assert_eq!((stats.inserted, stats.removed, stats.hits, stats.misses, stats.calls.rejected), (3, 3, 1, 1, 1));
}

#[tokio::test]
async fn every_operation_refuses_an_ended_caller_and_an_ended_cache() {
    let (root, _time) = manual();
    let (parent, cancel) = root.with_cancel();
    let cache = seconds(60).build(&parent).unwrap();
    cache.insert(&root, "a", 1).unwrap();
    let (gone, gone_cancel) = root.with_cancel();
    gone_cancel.cancel();

    for (ctx, own) in [(&gone, true), (&root, false)] {
        if !own {
            cancel.cancel();
        }
        let load = || cache.get_or_load(ctx, "a", |_| async { Ok::<_, Failed>(1) });
        let results = [
            cache.get(ctx, &"a").map(drop).unwrap_err().into(),
            cache.insert(ctx, "a", 1).unwrap_err().into(),
            cache.insert_with_ttl(ctx, "a", 1, SECOND).unwrap_err().into(),
            cache.remove(ctx, &"a").map(drop).unwrap_err().into(),
            cache.clear(ctx).unwrap_err().into(),
            cache.cleanup(ctx).map(drop).unwrap_err().into(),
            load().await.map(drop).unwrap_err(),
            cache.refresh(ctx, "a", |_| async { Ok::<_, Failed>(1) }).await.map(drop).unwrap_err(),
        ];
        for error in results {
            assert_eq!(error.is_canceled(), own, "{error}");
            assert_eq!(error.is_rejected(), !own, "{error}");
        }
    }
    settle().await;
    assert_eq!(cache.len(), 0, "the sweeper empties the cache when its context has ended");
}

#[tokio::test]
async fn entry_expires_exactly_at_its_ttl_and_reads_do_not_extend_it() {
    let (ctx, time) = manual();
    let cache = seconds(10).build(&ctx).unwrap();
    cache.insert(&ctx, "a", 1).unwrap();
    cache.insert_with_ttl(&ctx, "b", 2, Duration::from_secs(3)).unwrap();
    cache.insert_with_ttl(&ctx, "zero", 0, Duration::ZERO).unwrap();
    cache.insert_with_ttl(&ctx, "ever", 3, Duration::MAX).unwrap();
    assert_eq!(cache.get(&ctx, &"zero").unwrap(), None);
    for _ in 0..2 {
        time.advance(Duration::from_secs(1));
        assert_eq!(cache.get(&ctx, &"b").unwrap(), Some(2));
    }
    time.advance(SECOND - Duration::from_nanos(1));
    assert_eq!(cache.get(&ctx, &"b").unwrap(), Some(2));
    time.advance(Duration::from_nanos(1));
    assert_eq!(cache.get(&ctx, &"b").unwrap(), None, "at its TTL it has expired");
    assert_eq!(cache.remove(&ctx, &"b").unwrap(), None);
    time.advance(Duration::from_secs(7));
    assert_eq!(cache.get(&ctx, &"a").unwrap(), None);
    time.advance(Duration::from_secs(1_000_000));
    assert_eq!(cache.get(&ctx, &"ever").unwrap(), Some(3));
}

#[tokio::test]
async fn entry_that_is_not_read_expires_in_idle_mode() {
    let (ctx, time) = manual();
    let cache = seconds(10).idle(Duration::from_secs(3)).build(&ctx).unwrap();
    cache.insert(&ctx, "read", 1).unwrap();
    cache.insert(&ctx, "unread", 2).unwrap();
    for _ in 0..4 {
        time.advance(Duration::from_secs(2));
        assert_eq!(cache.get(&ctx, &"read").unwrap(), Some(1));
    }
    assert_eq!(cache.get(&ctx, &"unread").unwrap(), None);
    time.advance(Duration::from_secs(2));
    assert_eq!(cache.get(&ctx, &"read").unwrap(), None, "reads extend the idle time, never the TTL");
}

#[tokio::test]
async fn sweeper_removes_expired_entries_and_no_others() {
    let (ctx, time) = manual();
    let evicted = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&evicted);
    let cache = seconds(5)
        .sweep_every(Duration::from_secs(2))
        .on_evict(move |key, value, why| log.lock().unwrap().push((*key, *value, why)))
        .build(&ctx)
        .unwrap();
    cache.insert(&ctx, "old", 1).unwrap();
    settle().await;
    for _ in 0..2 {
        time.advance(Duration::from_secs(2));
        settle().await;
    }
    cache.insert(&ctx, "young", 2).unwrap();
    assert_eq!(cache.len(), 2);
    time.advance(Duration::from_secs(2));
    settle().await;
    assert_eq!(cache.len(), 1);
    assert_eq!(*evicted.lock().unwrap(), [("old", 1, Eviction::Expired)]);
    time.advance(Duration::from_millis(3_500));
    assert_eq!(cache.cleanup(&ctx).unwrap(), 1);
    assert_eq!(cache.stats().expired, 2);
}

#[tokio::test]
async fn listener_gets_the_reason_of_each_eviction() {
    let (ctx, _time) = manual();
    let evicted = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&evicted);
    let cache = Cache::<u32, u32>::builder()
        .capacity(10)
        .weigher(|_, weight| *weight)
        .on_evict(move |key, _, why| log.lock().unwrap().push((*key, why)))
        .build(&ctx)
        .unwrap();
    let taken = || std::mem::take(&mut *evicted.lock().unwrap());
    cache.insert(&ctx, 1, 10).unwrap();
    assert_eq!(cache.get(&ctx, &1).unwrap(), Some(10), "as heavy as the capacity fits");
    cache.insert(&ctx, 1, 4).unwrap();
    assert_eq!(taken(), [(1, Eviction::Replaced)]);
    cache.insert(&ctx, 2, 11).unwrap();
    assert_eq!(taken(), [(2, Eviction::Capacity)], "heavier than the capacity is not kept");
    cache.insert(&ctx, 3, 8).unwrap();
    assert_eq!(taken(), [(1, Eviction::Capacity)]);
    assert!(cache.stats().weight <= 10);
    cache.remove(&ctx, &3).unwrap();
    assert_eq!(taken(), [(3, Eviction::Removed)]);
    cache.insert(&ctx, 4, 0).unwrap();
    assert_eq!(cache.stats().weight, 1, "nothing is weightless");
    cache.close();
    assert_eq!(taken(), [(4, Eviction::Removed)]);
    let stats = cache.stats();
    assert_eq!(stats.inserted, stats.evicted + stats.expired + stats.replaced + stats.removed);
}

#[tokio::test]
async fn capacity_is_never_exceeded() {
    let (ctx, _time) = manual();
    for capacity in [1, 2, 3, 31, 32, 33, 100, 1001, 5000] {
        let cache = Cache::<u64, u64>::builder().capacity(capacity).build(&ctx).unwrap();
        for key in 0..3 * capacity {
            cache.insert(&ctx, key, key).unwrap();
            assert_eq!(cache.get(&ctx, &key).unwrap(), Some(key), "what was just inserted is there");
            assert!(cache.len() as u64 <= capacity);
        }
        assert!(cache.len() as u64 + 1 > capacity * 9 / 10, "capacity {capacity} holds {}", cache.len());
    }
}

#[tokio::test]
async fn close_cancels_loads_and_refuses_their_callers() {
    let (ctx, _time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let caller = {
        let (cache, ctx) = (cache.clone(), ctx.clone());
        tokio::spawn(
            async move { cache.get_or_load(&ctx, "a", |_| std::future::pending::<Result<u32, Failed>>()).await },
        )
    };
    settle().await;
    cache.close();
    assert!(caller.await.unwrap().unwrap_err().is_closed());
    assert_eq!((cache.stats().calls.in_flight(), cache.stats().calls.canceled), (0, 1));
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_cache() {
    let (ctx, _time) = manual();
    let value = Arc::new(());
    let cache = Cache::<u32, Arc<()>>::builder().capacity(10).build(&ctx).unwrap();
    cache.insert(&ctx, 1, Arc::clone(&value)).unwrap();
    drop(cache);
    settle().await;
    assert_eq!(Arc::strong_count(&value), 1);
}

#[tokio::test]
async fn expired_value_is_not_served_on_the_system_clock() {
    let ctx = Context::background();
    let cache = Cache::<u32, ()>::builder().capacity(10).build(&ctx).unwrap();
    let ttl = Duration::from_millis(150);
    for round in 0..5 {
        cache.insert_with_ttl(&ctx, round, (), ttl).unwrap();
        // The cache has read its clock before this.
        let inserted = std::time::Instant::now();
        loop {
            let before = std::time::Instant::now();
            if cache.get(&ctx, &round).unwrap().is_none() {
                assert!(std::time::Instant::now() - before < Duration::from_secs(5));
                break;
            }
            // A millisecond is far more time than the two clocks need.
            assert!(before - inserted < ttl + Duration::from_millis(1), "served {:?} late", before - inserted - ttl);
        }
    }
}

#[tokio::test]
async fn cache_is_closed_when_its_contexts_deadline_passes() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx.with_timeout(SECOND * 10)).unwrap();
    let loading = Arc::new(Mutex::new(None::<Context>));
    let inside = Arc::clone(&loading);
    let caller = {
        let (cache, ctx) = (cache.clone(), ctx.clone());
        tokio::spawn(async move {
            let load = move |ctx: Context| {
                *inside.lock().unwrap() = Some(ctx);
                std::future::pending::<Result<u32, Failed>>()
            };
            cache.get_or_load(&ctx, "a", load).await
        })
    };
    settle().await;
    cache.insert(&ctx, "b", 2).unwrap();
    time.advance(SECOND * 10);
    // The caller's own context is live. The cache's context has ended.
    assert!(cache.is_closed());
    assert!(cache.get(&ctx, &"b").unwrap_err().is_closed());
    assert!(caller.await.unwrap().unwrap_err().is_closed());
    settle().await;
    assert!(loading.lock().unwrap().as_ref().unwrap().err().unwrap().is_deadline_exceeded());
    assert_eq!((cache.len(), cache.stats().calls.in_flight(), cache.stats().calls.canceled), (0, 0, 1));
}

#[tokio::test]
async fn remove_returns_a_stale_value_but_not_an_expired_one() {
    let (ctx, time) = manual();
    let evicted = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&evicted);
    let cache = seconds(10)
        .stale_for(SECOND * 5)
        .sweep_every(SECOND * 1000)
        .on_evict(move |_, value, why| log.lock().unwrap().push((*value, why)))
        .build(&ctx)
        .unwrap();
    cache.insert(&ctx, "a", 1).unwrap();
    time.advance(SECOND * 15 - Duration::from_nanos(1));
    assert_eq!(cache.remove(&ctx, &"a").unwrap(), Some(1));
    cache.insert(&ctx, "a", 2).unwrap();
    time.advance(SECOND * 15);
    assert_eq!(cache.remove(&ctx, &"a").unwrap(), None);
    assert_eq!(*evicted.lock().unwrap(), [(1, Eviction::Removed), (2, Eviction::Expired)]);
    assert_eq!((cache.stats().removed, cache.stats().expired, cache.len()), (1, 1, 0));
}

#[tokio::test]
async fn cleanup_stops_when_its_callers_context_ends() {
    let (ctx, time) = manual();
    let (caller, cancel) = ctx.with_cancel();
    let cache = Cache::<u32, u32>::builder()
        .capacity(2000)
        .ttl(SECOND)
        .sweep_every(SECOND * 1000)
        .on_evict(move |_, _, _| cancel.cancel())
        .build(&ctx)
        .unwrap();
    (0..1000).for_each(|key| cache.insert(&ctx, key, key).unwrap());
    time.advance(SECOND);
    // The cleanup stops before its end.
    let removed = cache.cleanup(&caller).unwrap();
    assert!((1..500).contains(&removed), "{removed}");
    assert_eq!(cache.len(), 1000 - removed);
    assert!(cache.cleanup(&caller).unwrap_err().is_canceled());
    assert_eq!(cache.cleanup(&ctx).unwrap(), 1000 - removed);
    assert_eq!((cache.len(), cache.stats().expired), (0, 1000));
}

/// A value whose clone removes its own key from the cache. The clone panics if there is no cache.
struct Meddles(Arc<Mutex<Option<Cache<u32, Meddles>>>>);

impl Clone for Meddles {
    fn clone(&self) -> Self {
        let cache = self.0.lock().unwrap().clone();
        cache.expect("no cache, so the clone panics").remove(&Context::background(), &1).unwrap();
        Meddles(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn clone_of_a_value_runs_outside_all_locks() {
    let (ctx, _time) = manual();
    let cache = Cache::builder().capacity(100).build(&ctx).unwrap();
    let slot = Arc::new(Mutex::new(None));
    let insert = || cache.insert(&ctx, 1, Meddles(Arc::clone(&slot))).unwrap();
    insert();
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cache.get(&ctx, &1).is_ok()));
    assert!(panics.is_err(), "the panic is that of its own call");
    assert_eq!(cache.len(), 1);
    *slot.lock().unwrap() = Some(cache.clone());
    assert!(cache.get(&ctx, &1).unwrap().is_some());
    assert_eq!(cache.len(), 0, "it was removed meanwhile");
    insert();
    slot.lock().unwrap().take();
    assert!(cache.remove(&ctx, &1).unwrap().is_some(), "which clones nothing");
}
