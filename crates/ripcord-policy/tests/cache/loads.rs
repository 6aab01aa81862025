//! Shared loads: their callers, their lifetime, and their results.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use ripcord::{Context, Value};
use ripcord_policy::cache::{Cache, Source, set_load_ttl};
use ripcord_policy::{Retry, Stack};

use crate::common::{Failed, SECOND, manual, seconds, settle};

#[tokio::test]
async fn concurrent_callers_share_one_load() {
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
    assert_eq!((stats.calls.started, stats.calls.succeeded, stats.coalesced, stats.calls.in_flight()), (1, 1, 19, 0));
    assert_eq!(cache.get(&ctx, &"a").unwrap(), Some(7));
}

struct User(u32);

impl Value for User {}

#[tokio::test]
async fn run_reports_where_the_value_came_from() {
    let (ctx, time) = manual();
    let cache = seconds(10).stale_for(SECOND * 5).build(&ctx).unwrap();
    let ask = |value: u32| cache.run(&ctx, "a", move |_| async move { Ok::<_, Failed>(value) });
    let (first, second) = tokio::join!(ask(1), ask(2));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((first.value, first.source), (1, Source::Loaded));
    assert_eq!((second.value, second.source), (1, Source::Joined));
    let hit = ask(3).await.unwrap();
    assert_eq!((hit.value, hit.source), (1, Source::Hit));
    time.advance(SECOND * 12);
    let stale = ask(4).await.unwrap();
    assert_eq!((stale.value, stale.source), (1, Source::Stale));
    settle().await;
    let reloaded = ask(5).await.unwrap();
    assert_eq!((reloaded.value, reloaded.source), (4, Source::Hit));
}

#[tokio::test]
async fn loader_sets_the_ttl_of_its_value() {
    let (ctx, time) = manual();
    let cache = seconds(60).ttl_jitter(1.0).build(&ctx).unwrap();
    assert!(!set_load_ttl(&ctx, SECOND), "outside a load");
    const LONG: &[Duration] = &[Duration::from_secs(90)];
    const TWICE: &[Duration] = &[SECOND, Duration::from_secs(2)];
    let load = |ttls: &'static [Duration]| {
        cache.refresh(&ctx, "a", move |ctx| async move {
            assert!(ttls.iter().all(|ttl| set_load_ttl(&ctx.with_timeout(SECOND), *ttl)));
            Ok::<_, Failed>(1)
        })
    };
    for ttls in [LONG, TWICE] {
        assert_eq!(load(ttls).await.unwrap(), 1);
        // The last TTL counts, without jitter.
        time.advance(*ttls.last().unwrap() - Duration::from_nanos(1));
        assert_eq!(cache.get(&ctx, "a").unwrap(), Some(1));
        time.advance(Duration::from_nanos(1));
        assert_eq!(cache.get(&ctx, "a").unwrap(), None);
    }
    assert_eq!(load(&[Duration::ZERO]).await.unwrap(), 1, "the caller gets it, the cache does not serve it");
    assert_eq!(cache.get(&ctx, "a").unwrap(), None);
}

#[tokio::test]
async fn loader_sets_the_ttl_through_a_stack() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let stack: Stack<u32, std::fmt::Error, &str> =
        Stack::builder().cache(cache.clone()).retry(Retry::exponential()).attempt_timeout(SECOND).build().unwrap();
    let call = |ctx: Context| async move {
        set_load_ttl(&ctx, SECOND * 5);
        Ok(1)
    };
    assert_eq!(stack.run_keyed(&ctx, "a", call).await.unwrap(), 1);
    time.advance(SECOND * 5 - Duration::from_nanos(1));
    assert_eq!(cache.get(&ctx, "a").unwrap(), Some(1));
    time.advance(Duration::from_nanos(1));
    assert_eq!(cache.get(&ctx, "a").unwrap(), None);
}

#[tokio::test]
async fn load_outlives_the_caller_that_started_it_and_keeps_its_values() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let (leader, leave) = ctx.with_value(User(7)).with_cancel();
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
    assert_eq!(joined.await.unwrap().unwrap(), 7);
    assert_eq!(cache.stats().calls.started, 1);
}

#[tokio::test]
async fn load_is_canceled_when_its_last_caller_leaves() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let loading = Arc::new(Mutex::new(Vec::<Context>::new()));
    for (round, by) in ["deadline", "cancel", "drop", "two"].into_iter().enumerate() {
        let start = |ctx: &Context| {
            let (cache, ctx, inside) = (cache.clone(), ctx.clone(), Arc::clone(&loading));
            tokio::spawn(async move {
                let load = move |ctx: Context| {
                    inside.lock().unwrap().push(ctx);
                    std::future::pending::<Result<u32, Failed>>()
                };
                cache.get_or_load(&ctx, "a", load).await
            })
        };
        let (limited, cancel) = ctx.with_timeout(SECOND).with_cancel();
        let caller = start(&limited);
        settle().await;
        let other = (by == "two").then(|| start(&ctx));
        settle().await;
        assert_eq!(cache.stats().calls.in_flight(), 1);
        match by {
            "deadline" => time.advance(SECOND),
            "cancel" | "two" => cancel.cancel(),
            _ => caller.abort(),
        }
        if let Ok(result) = caller.await {
            assert!(result.is_err());
        }
        settle().await;
        if let Some(other) = other {
            assert_eq!(cache.stats().calls.in_flight(), 1, "a caller is left");
            other.abort();
            settle().await;
        }
        assert_eq!((cache.stats().calls.canceled, cache.stats().calls.in_flight()), (round as u64 + 1, 0), "{by}");
    }
    let causes: Vec<_> = loading.lock().unwrap().iter().map(|ctx| ctx.cause().unwrap().to_string()).collect();
    let left = "every caller has left";
    assert_eq!(causes, ["context deadline exceeded", left, left, left]);
    assert_eq!(cache.get_or_load(&ctx, "a", |_| async { Ok::<_, Failed>(9) }).await.unwrap(), 9);
}

#[tokio::test]
async fn caller_dropped_at_any_await_point_leaves_no_load() {
    let (ctx, time) = manual();
    // The caller is never polled, or polled before the load's task is, in each of the load's three waits, or after the load has
    // ended.
    for (point, (reached, started, succeeded)) in
        [(0, 0, 0), (0, 1, 0), (1, 1, 0), (2, 1, 0), (3, 1, 0), (4, 1, 1)].into_iter().enumerate()
    {
        let cache = seconds(60).build(&ctx).unwrap();
        let step = Arc::new(AtomicUsize::new(0));
        let inside = Arc::clone(&step);
        let mut caller = Box::pin(cache.get_or_load(&ctx, "a", |ctx| async move {
            for step in 1..=3 {
                inside.store(step, Ordering::Relaxed);
                ctx.sleep(SECOND).await?;
            }
            inside.store(4, Ordering::Relaxed);
            Ok::<_, ripcord::Error>(1)
        }));
        for passed in 1..=point {
            if passed > 2 {
                time.advance(SECOND);
            }
            if passed > 1 {
                settle().await;
            }
            // At the last point there is a result, which the caller does not take.
            assert!(passed == 5 || caller.as_mut().now_or_never().is_none());
        }
        assert_eq!(step.load(Ordering::Relaxed), reached, "at point {point}");
        drop(caller);
        settle().await;
        time.advance(SECOND * 5);
        settle().await;
        assert_eq!(step.load(Ordering::Relaxed), reached, "it went on after point {point}");
        let stats = cache.stats();
        assert_eq!(
            (stats.calls.started, stats.calls.succeeded, stats.calls.in_flight()),
            (started, succeeded, 0),
            "at point {point}"
        );
        assert_eq!(stats.calls.canceled, started - succeeded, "at point {point}");
        assert_eq!(cache.len() as u64, succeeded, "at point {point}");
    }
}

#[tokio::test]
async fn hundreds_of_canceled_loads_leave_nothing_behind() {
    let (ctx, _time) = manual();
    let cache = Cache::<Arc<str>, Arc<()>>::builder().capacity(10).build(&ctx).unwrap();
    // Any part of a load that stays alive keeps its key or the value that its loader holds.
    let (key, held) = (Arc::<str>::from("a"), Arc::new(()));
    for round in 1..=500 {
        let load = || {
            let held = Arc::clone(&held);
            cache.get_or_load(&ctx, Arc::clone(&key), |_| async move {
                let _held = held;
                std::future::pending::<Result<Arc<()>, Failed>>().await
            })
        };
        let mut callers = [Box::pin(load()), Box::pin(load())];
        for caller in &mut callers {
            assert!(caller.as_mut().now_or_never().is_none());
        }
        // Every other load is canceled before its task has started.
        if round % 2 == 0 {
            settle().await;
        }
        drop(callers);
        settle().await;
        let stats = cache.stats();
        assert_eq!((stats.calls.started, stats.calls.canceled, stats.calls.in_flight()), (round, round, 0));
        assert_eq!((stats.entries, stats.weight, stats.coalesced), (0, 0, round));
        assert_eq!((Arc::strong_count(&key), Arc::strong_count(&held)), (1, 1), "in round {round}");
    }
    let loaded = cache.get_or_load(&ctx, Arc::clone(&key), |_| async { Ok::<_, Failed>(Arc::default()) });
    assert!(loaded.await.is_ok());
    assert_eq!((cache.stats().calls.started, cache.stats().calls.succeeded), (501, 1));
}

#[tokio::test]
async fn caller_after_a_remove_starts_a_new_load_and_only_that_one_is_stored() {
    let (ctx, time) = manual();
    for (old_takes, new_takes) in [(1, 3), (3, 1)] {
        let cache = seconds(60).build(&ctx).unwrap();
        let start = |value: u32, takes: u32| {
            let (cache, ctx) = (cache.clone(), ctx.clone());
            tokio::spawn(async move {
                let load = move |ctx: Context| async move {
                    ctx.sleep(SECOND * takes).await?;
                    Ok::<_, ripcord::Error>(value)
                };
                cache.get_or_load(&ctx, "a", load).await
            })
        };
        let old = start(1, old_takes);
        settle().await;
        assert_eq!(cache.remove(&ctx, &"a").unwrap(), None);
        let new = start(2, new_takes);
        settle().await;
        assert_eq!((cache.stats().calls.in_flight(), cache.stats().coalesced), (2, 0));
        time.advance(SECOND);
        settle().await;
        assert_eq!(
            cache.get(&ctx, &"a").unwrap(),
            (new_takes == 1).then_some(2),
            "the result of the removed load is not stored"
        );
        time.advance(SECOND * 2);
        assert_eq!((old.await.unwrap().unwrap(), new.await.unwrap().unwrap()), (1, 2));
        assert_eq!(cache.get(&ctx, &"a").unwrap(), Some(2));
        assert_eq!((cache.stats().inserted, cache.stats().calls.in_flight()), (1, 0));
    }
}

#[tokio::test]
async fn remove_clear_or_insert_during_a_load_discards_its_result() {
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
        assert_eq!(caller.await.unwrap().unwrap(), 1, "{name}: the caller gets it");
        assert_eq!(cache.get(&ctx, &"a").unwrap(), left, "{name}: the cache does not");
    }
}

#[test]
fn caller_whose_runtime_is_dropped_gets_an_error() {
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
async fn retry_inside_a_load_makes_one_attempt_inside_an_outer_retry() {
    let (ctx, _time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let outer = Retry::exponential().max_attempts(1).build().unwrap();
    let result = outer.run(&ctx, |ctx| {
        let (cache, calls) = (&cache, Arc::clone(&calls));
        async move {
            let load = move |ctx: Context| async move {
                let inner = Retry::<Failed>::exponential().build().unwrap();
                let run = inner.run(&ctx, |_| async {
                    calls.fetch_add(1, Ordering::Relaxed);
                    Err::<u32, _>(Failed::other("down"))
                });
                run.await.map_err(|error| Failed::other(error.to_string()))
            };
            cache.get_or_load(&ctx, "a", load).await
        }
    });
    // Time does not advance, so a second attempt inside would wait forever.
    let mut result = std::pin::pin!(result);
    assert!((&mut result).now_or_never().is_none(), "the load runs in a task of its own");
    settle().await;
    assert!(result.now_or_never().expect("the load has given up").is_err());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}
