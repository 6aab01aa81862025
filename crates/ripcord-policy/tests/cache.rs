//! The cache by its specification, on a manual clock.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use ripcord::{Clock, Context, ManualTime, Value};
use ripcord_policy::cache::{Cache, CacheBuilder, Eviction, load_deadline, with_load_deadline};
use ripcord_policy::{Error, Random, Rejected};

type Failed = std::io::Error;

const SECOND: Duration = Duration::from_secs(1);

fn manual() -> (Context, ManualTime) {
    let (clock, time) = Clock::manual();
    (Context::background().with_clock(clock), time)
}

fn seconds(ttl: u64) -> CacheBuilder<&'static str, u32> {
    Cache::builder().capacity(100).ttl(Duration::from_secs(ttl))
}

/// Lets spawned tasks of this single-threaded runtime run until they wait.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn set_get_delete_clear_close() {
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
    assert!(matches!(refused, Error::Rejected(Rejected::Closed("cache"))), "{refused}");
    let stats = cache.stats();
    assert_eq!((stats.inserted, stats.removed, stats.hits, stats.misses, stats.rejected), (3, 3, 1, 1, 1));
}

#[tokio::test]
async fn every_operation_refuses_a_done_caller_and_a_done_cache() {
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
            cache.get(ctx, &"a").map(drop).unwrap_err(),
            cache.insert(ctx, "a", 1).unwrap_err(),
            cache.insert_with_ttl(ctx, "a", 1, SECOND).unwrap_err(),
            cache.remove(ctx, &"a").map(drop).unwrap_err(),
            cache.clear(ctx).unwrap_err(),
            cache.cleanup(ctx).map(drop).unwrap_err(),
            load().await.map(drop).unwrap_err(),
            cache.refresh(ctx, "a", |_| async { Ok::<_, Failed>(1) }).await.map(drop).unwrap_err(),
        ];
        for error in results {
            assert_eq!(error.is_canceled(), own, "{error}");
            assert_eq!(error.is_rejected(), !own, "{error}");
        }
    }
    settle().await;
    assert_eq!(cache.len(), 0, "the sweeper empties a cache whose context has ended");
}

#[tokio::test]
async fn an_entry_expires_at_its_time_and_reads_do_not_extend_it() {
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
    assert_eq!(cache.get(&ctx, &"b").unwrap(), None, "at its time it has expired");
    assert_eq!(cache.remove(&ctx, &"b").unwrap(), None);
    time.advance(Duration::from_secs(7));
    assert_eq!(cache.get(&ctx, &"a").unwrap(), None);
    time.advance(Duration::from_secs(1_000_000));
    assert_eq!(cache.get(&ctx, &"ever").unwrap(), Some(3));
}

#[tokio::test]
async fn idle_mode_lets_go_of_what_is_not_read() {
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
    assert_eq!(cache.get(&ctx, &"read").unwrap(), None, "reading extends idleness, never the TTL");
}

#[tokio::test]
async fn the_sweeper_removes_the_expired_and_nothing_else() {
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
async fn evictions_say_why() {
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
async fn one_load_a_key_for_all_who_ask() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let loads = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let (cache, ctx, loads) = (cache.clone(), ctx.clone(), Arc::clone(&loads));
            tokio::spawn(async move {
                cache
                    .get_or_load(&ctx, "a", |ctx| async move {
                        loads.fetch_add(1, Ordering::Relaxed);
                        ctx.sleep(SECOND).await?;
                        Ok::<_, ripcord::Error>(7)
                    })
                    .await
            })
        })
        .collect();
    settle().await;
    time.advance(SECOND);
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap(), 7);
    }
    let stats = cache.stats();
    assert_eq!(loads.load(Ordering::Relaxed), 1);
    assert_eq!((stats.started, stats.succeeded, stats.coalesced, stats.loading), (1, 1, 19, 0));
    assert_eq!(cache.get(&ctx, &"a").unwrap(), Some(7));
}

struct User(u32);
impl Value for User {}

#[tokio::test]
async fn a_load_outlives_its_leader_with_its_values_and_the_latest_deadline() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let (leader, leave) = ctx.with_value(User(7)).with_timeout(Duration::from_secs(2)).with_cancel();
    let loader = |ctx: Context| async move {
        ctx.sleep(Duration::from_secs(5)).await?;
        Ok::<_, ripcord::Error>(ctx.value::<User>().map_or(0, |user| user.0))
    };
    let (first, second) = (cache.clone(), cache.clone());
    let leading = tokio::spawn(async move { first.get_or_load(&leader, "a", loader).await });
    settle().await;
    let patient = ctx.with_timeout(Duration::from_secs(10));
    let joined = tokio::spawn(async move { second.get_or_load(&patient, "a", loader).await });
    settle().await;
    leave.cancel_with("the leader left");
    assert!(leading.await.unwrap().unwrap_err().is_canceled());
    time.advance(Duration::from_secs(5));
    assert_eq!(joined.await.unwrap().unwrap(), 7, "the leader's end and deadline are not the load's");
    assert_eq!(cache.stats().started, 1);
}

#[tokio::test]
async fn a_load_ends_with_its_last_caller_and_a_newcomer_starts_afresh() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let causes = Arc::new(Mutex::new(Vec::new()));
    for round in 1..=3 {
        let log = Arc::clone(&causes);
        let caller = {
            let (cache, ctx) = (cache.clone(), ctx.with_timeout(SECOND));
            tokio::spawn(async move {
                let load = |ctx: Context| async move {
                    let watch = ctx.clone();
                    let _watch = ctx.after_func(move || log.lock().unwrap().push(watch.cause().unwrap().to_string()));
                    std::future::pending::<Result<u32, Failed>>().await
                };
                cache.get_or_load(&ctx, "a", load).await
            })
        };
        settle().await;
        assert_eq!(cache.stats().loading, 1);
        time.advance(SECOND);
        assert!(caller.await.unwrap().unwrap_err().is_deadline_exceeded());
        settle().await;
        assert_eq!(cache.stats().canceled, round);
        assert_eq!(cache.stats().loading, 0);
    }
    assert_eq!(cache.get_or_load(&ctx, "a", |_| async { Ok::<_, Failed>(9) }).await.unwrap(), 9);
}

#[tokio::test]
async fn the_latest_deadline_ends_a_load_whose_callers_are_not_polled() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let limited = ctx.with_timeout(SECOND);
    let mut caller = Box::pin(cache.get_or_load(&limited, "a", |_| std::future::pending::<Result<u32, Failed>>()));
    assert!(futures::future::FutureExt::now_or_never(caller.as_mut()).is_none());
    settle().await;
    time.advance(SECOND);
    settle().await;
    assert_eq!((cache.stats().canceled, cache.stats().loading), (1, 0));
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
    assert_eq!(cache.stats().started, 1);
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
    assert_eq!((outer.stats().started, inner.stats().started), (1, 1));
}

#[tokio::test]
async fn policies_in_a_load_begin_no_wait_that_its_callers_will_not_see_the_end_of() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let retry = ripcord_policy::Retry::<Failed>::constant(SECOND * 8);
    let limiter = ripcord_policy::RateLimiter::new(ripcord_policy::Rate::every(SECOND * 8), 1).unwrap();
    let limiter = limiter.with_clock(ctx.clock());
    assert!(limiter.allow());

    // The wait of eight seconds does not fit the only caller's five: it fails at once, with the last real error.
    let again = retry.clone();
    let load =
        |ctx: Context| async move { again.run(&ctx, |_, _| async { Err::<u32, _>(Failed::other("down")) }).await };
    let limited = ctx.with_timeout(SECOND * 5);
    let error = cache.get_or_load(&limited, "a", load).await.unwrap_err();
    assert!(error.to_string().contains("last error: down"), "{error}");
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

#[tokio::test]
async fn dropping_a_caller_at_every_await_point_leaves_no_load() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    for polls in 0..6 {
        let mut caller = Box::pin(cache.get_or_load(&ctx, "a", |ctx| async move {
            for _ in 0..3 {
                ctx.sleep(SECOND).await?;
            }
            Ok::<_, ripcord::Error>(1)
        }));
        for _ in 0..polls {
            assert!(futures::future::FutureExt::now_or_never(caller.as_mut()).is_none() || polls > 3);
            settle().await;
            if polls < 4 {
                time.advance(SECOND / 2);
            }
        }
        drop(caller);
        settle().await;
        let stats = cache.stats();
        assert_eq!(stats.loading, 0, "after {polls} polls");
        assert_eq!(stats.started, stats.succeeded + stats.failed + stats.canceled);
    }
    assert_eq!(cache.len(), 0);
}

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

#[tokio::test]
async fn a_hook_may_use_the_cache() {
    let (ctx, _time) = manual();
    let slot: Arc<Mutex<Option<Cache<u32, u32>>>> = Arc::default();
    let (inside, hook_ctx) = (Arc::clone(&slot), ctx.clone());
    let cache = Cache::<u32, u32>::builder()
        .capacity(100)
        .on_evict(move |key, value, why| {
            let cache = inside.lock().unwrap().clone();
            if let (Some(cache), Eviction::Removed) = (cache, why) {
                cache.insert(&hook_ctx, *key, *value + 1).unwrap();
            }
        })
        .build(&ctx)
        .unwrap();
    *slot.lock().unwrap() = Some(cache.clone());
    for key in 0..50 {
        cache.insert(&ctx, key, 0).unwrap();
    }
    cache.clear(&ctx).unwrap();
    assert_eq!((cache.len(), cache.get(&ctx, &7).unwrap()), (50, Some(1)));
    *slot.lock().unwrap() = None;
}

#[tokio::test]
async fn a_stale_value_is_served_inside_its_window_while_the_next_is_loaded() {
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
    assert_eq!((cache.stats().started, cache.stats().stale_hits), (1, 3));
    time.advance(Duration::from_secs(15));
    assert_eq!(cache.get(&ctx, &"a").unwrap(), None, "past its window it is gone");
}

#[tokio::test]
async fn a_failed_background_load_leaves_the_stale_value() {
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
async fn a_background_load_is_called_off_at_the_end_of_the_window() {
    let (ctx, time) = manual();
    let cache = seconds(10).stale_for(Duration::from_secs(5)).build(&ctx).unwrap();
    cache.insert(&ctx, "a", 1).unwrap();
    time.advance(Duration::from_secs(12));
    let load = cache.get_or_load(&ctx, "a", |_| std::future::pending::<Result<u32, Failed>>());
    assert_eq!(load.await.unwrap(), 1);
    settle().await;
    assert_eq!(cache.stats().loading, 1);
    time.advance(Duration::from_secs(5));
    settle().await;
    assert_eq!((cache.stats().loading, cache.stats().canceled), (0, 1));
}

#[tokio::test]
async fn what_happens_to_a_key_during_its_load_discards_the_result() {
    let (ctx, time) = manual();
    type Change = fn(&Cache<&'static str, u32>, &Context);
    let changes: [(&str, Change, Option<u32>); 3] = [
        ("remove", |cache, ctx| drop(cache.remove(ctx, &"a")), None),
        ("clear", |cache, ctx| cache.clear(ctx).unwrap(), None),
        ("insert", |cache, ctx| cache.insert(ctx, "a", 5).unwrap(), Some(5)),
    ];
    for (name, change, left) in changes {
        let cache = seconds(60).build(&ctx).unwrap();
        let caller = {
            let (cache, ctx) = (cache.clone(), ctx.clone());
            tokio::spawn(async move {
                let load = |ctx: Context| async move {
                    ctx.sleep(SECOND).await?;
                    Ok::<_, ripcord::Error>(1)
                };
                cache.get_or_load(&ctx, "a", load).await
            })
        };
        settle().await;
        change(&cache, &ctx);
        time.advance(SECOND);
        assert_eq!(caller.await.unwrap().unwrap(), 1, "{name}: who waited gets it");
        assert_eq!(cache.get(&ctx, &"a").unwrap(), left, "{name}: the cache does not");
    }
}

#[tokio::test]
async fn refresh_loads_although_there_is_a_value() {
    let (ctx, _time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    cache.insert(&ctx, "a", 1).unwrap();
    assert_eq!(cache.refresh(&ctx, "a", |_| async { Ok::<_, Failed>(2) }).await.unwrap(), 2);
    assert_eq!(cache.get(&ctx, &"a").unwrap(), Some(2));
    let failed = cache.refresh(&ctx, "a", |_| async { Err::<u32, _>(Failed::other("down")) }).await;
    assert_eq!(failed.unwrap_err().to_string(), "down");
    assert_eq!(cache.get(&ctx, &"a").unwrap(), Some(2), "the old value stays");
}

/// A key whose hash, asked for the `at`th time from when it is set, runs `then`.
#[derive(Clone)]
struct Hooked(Arc<Mutex<Option<(u32, Box<dyn FnOnce() + Send>)>>>);

impl PartialEq for Hooked {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Hooked {}

impl std::hash::Hash for Hooked {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
        let mut hook = self.0.lock().unwrap();
        let due = hook.as_mut().is_some_and(|(left, _)| {
            *left -= 1;
            *left == 0
        });
        let due = if due { hook.take() } else { None };
        drop(hook);
        if let Some((_, then)) = due {
            then();
        }
    }
}

#[tokio::test]
async fn refresh_loads_although_it_joins_a_load_that_has_found_a_value() {
    let (ctx, _time) = manual();
    let cache = Cache::<Hooked, u32>::builder().capacity(100).build(&ctx).unwrap();
    let key = Hooked(Arc::default());
    // A value comes in between the look that finds none and the start of the load, which then does without one.
    let insert = {
        let (cache, ctx, key) = (cache.clone(), ctx.clone(), key.clone());
        Box::new(move || cache.insert(&ctx, key, 1).unwrap())
    };
    *key.0.lock().unwrap() = Some((2, insert));
    let first = cache.get_or_load(&ctx, key.clone(), |_| async { Ok::<_, Failed>(2) });
    let mut first = Box::pin(first);
    assert!((&mut first).now_or_never().is_none());
    assert!(key.0.lock().unwrap().is_none(), "the value came in meanwhile");
    let refreshed = cache.refresh(&ctx, key.clone(), |_| async { Ok::<_, Failed>(20) }).await.unwrap();
    assert_eq!(refreshed, 2, "loaded, not found");
    assert_eq!(cache.get(&ctx, &key).unwrap(), Some(refreshed));
    assert_eq!(cache.stats().started, 1);
}

#[tokio::test]
async fn closing_ends_loads_and_their_callers() {
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
    assert!(matches!(caller.await.unwrap().unwrap_err(), Error::Rejected(Rejected::Closed("cache"))));
    assert_eq!((cache.stats().loading, cache.stats().canceled), (0, 1));
}

#[tokio::test]
async fn the_last_handle_closes_the_cache() {
    let (ctx, _time) = manual();
    let value = Arc::new(());
    let cache = Cache::<u32, Arc<()>>::builder().capacity(10).build(&ctx).unwrap();
    cache.insert(&ctx, 1, Arc::clone(&value)).unwrap();
    drop(cache);
    settle().await;
    assert_eq!(Arc::strong_count(&value), 1);
}

#[tokio::test]
async fn jitter_shortens_and_never_lengthens() {
    let (ctx, time) = manual();
    let cache = Cache::<u32, u32>::builder()
        .capacity(1000)
        .ttl(Duration::from_secs(100))
        .ttl_jitter(0.1)
        .random(Arc::new(Random::seeded(7)))
        .build(&ctx)
        .unwrap();
    for key in 0..500 {
        cache.insert(&ctx, key, key).unwrap();
    }
    let alive = || (0..500).filter(|key| cache.get(&ctx, key).unwrap().is_some()).count();
    time.advance(Duration::from_millis(89_999));
    assert_eq!(alive(), 500);
    time.advance(Duration::from_secs(5));
    assert!((150..350).contains(&alive()));
    time.advance(Duration::from_millis(5_001));
    assert_eq!(alive(), 0);
}

#[test]
fn bad_settings_are_named() {
    let (ctx, _time) = manual();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let cases = [
        (seconds(1).capacity(0), "capacity must be at least 1, got 0"),
        (seconds(1).capacity(u64::MAX), "capacity must be at most 2^62 - 1, got 18446744073709551615"),
        (Cache::builder(), "capacity must be at least 1, got nothing"),
        (seconds(0), "ttl must be longer than zero, got 0ns"),
        (seconds(1).idle(Duration::ZERO), "idle must be longer than zero, got 0ns"),
        (seconds(1).stale_for(Duration::ZERO), "stale_for must be longer than zero, got 0ns"),
        (seconds(1).negative_ttl(Duration::ZERO), "negative_ttl must be longer than zero, got 0ns"),
        (seconds(1).sweep_every(Duration::ZERO), "sweep_every must be longer than zero, got 0ns"),
        (seconds(1).ttl_jitter(1.5), "ttl_jitter must be between 0 and 1, got 1.5"),
        (seconds(1).ttl_jitter(-0.1), "ttl_jitter must be between 0 and 1, got -0.1"),
        (seconds(1).ttl_jitter(f64::NAN), "ttl_jitter must be between 0 and 1, got NaN"),
    ];
    let guard = runtime.enter();
    for (builder, message) in cases {
        assert_eq!(builder.build(&ctx).unwrap_err().to_string(), message);
    }
    drop(guard);
    assert!(seconds(1).build(&ctx).unwrap_err().to_string().contains("tokio runtime"));
}

#[test]
fn a_runtime_that_goes_away_strands_nobody() {
    let (ctx, _time) = manual();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let guard = runtime.enter();
    let cache = seconds(60).build(&ctx).unwrap();
    drop(guard);
    let (waiting, looked) = (cache.clone(), ctx.clone());
    let waiter = std::thread::spawn(move || {
        futures::executor::block_on(
            waiting.get_or_load(&looked, "a", |_| std::future::pending::<Result<u32, Failed>>()),
        )
    });
    while cache.stats().misses == 0 {
        std::thread::yield_now();
    }
    drop(runtime);
    assert!(waiter.join().unwrap().unwrap_err().is_canceled());
}

#[tokio::test]
async fn nothing_expired_is_served_on_the_system_clock() {
    let ctx = Context::background();
    let cache = Cache::<u32, std::time::Instant>::builder().capacity(10).build(&ctx).unwrap();
    let ttl = Duration::from_millis(150);
    for round in 0..5 {
        cache.insert_with_ttl(&ctx, round, std::time::Instant::now(), ttl).unwrap();
        loop {
            let before = std::time::Instant::now();
            let Some(inserted) = cache.get(&ctx, &round).unwrap() else {
                assert!(std::time::Instant::now() - before < Duration::from_secs(5));
                break;
            };
            // The insert read its clock after `inserted`; a microsecond is far more than the two need between them.
            assert!(before - inserted < ttl + Duration::from_millis(1), "served {:?} late", before - inserted - ttl);
        }
    }
}
