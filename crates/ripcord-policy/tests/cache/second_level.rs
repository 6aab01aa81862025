//! The second level, which other processes change.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use ripcord::Context;
use ripcord_policy::Cache;
use ripcord_policy::cache::{Answer, Eviction, FirstLevel, Lease, SecondLevel, Source, Write};
use tokio::sync::Semaphore;

use super::common::{Failed, SECOND, manual, seconds, settle};

type Key = &'static str;

/// A second level in memory. A test can hold back its answers.
#[derive(Clone, Default)]
struct Fake(Arc<State>);

struct State {
    first: OnceLock<FirstLevel<Key>>,
    values: Mutex<HashMap<Key, (u32, Option<Duration>)>>,
    /// The calls, in their order.
    calls: Mutex<Vec<String>>,
    /// One permit for each answer.
    answers: Semaphore,
    is_unavailable: AtomicBool,
    leases: AtomicU32,
}

impl Default for State {
    fn default() -> Self {
        State {
            first: OnceLock::new(),
            values: Mutex::default(),
            calls: Mutex::default(),
            answers: Semaphore::new(Semaphore::MAX_PERMITS),
            is_unavailable: AtomicBool::default(),
            leases: AtomicU32::default(),
        }
    }
}

impl Fake {
    /// Returns a second level that answers only with [`answer`](Self::answer).
    fn silent() -> Fake {
        let fake = Fake::default();
        fake.0.answers.forget_permits(Semaphore::MAX_PERMITS);
        fake
    }

    fn answer(&self) {
        self.0.answers.add_permits(1);
    }

    fn first(&self) -> &FirstLevel<Key> {
        self.0.first.get().expect("the cache was built")
    }

    /// Stores a value as another process does.
    fn put(&self, key: Key, value: u32, ttl: Option<Duration>) {
        self.0.values.lock().unwrap().insert(key, (value, ttl));
    }

    fn value(&self, key: Key) -> Option<(u32, Option<Duration>)> {
        self.0.values.lock().unwrap().get(key).copied()
    }

    /// Returns the number of leases that are neither stored nor dropped.
    fn leases(&self) -> u32 {
        self.0.leases.load(Ordering::SeqCst)
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.calls.lock().unwrap())
    }

    fn call(&self, call: String) {
        self.0.calls.lock().unwrap().push(call);
    }

    fn write(&self, call: String, key: Key, value: Option<(u32, Option<Duration>)>) -> Write {
        let fake = self.clone();
        Box::new(move || {
            fake.call(call);
            let mut values = fake.0.values.lock().unwrap();
            match value {
                Some(value) => drop(values.insert(key, value)),
                None => drop(values.remove(key)),
            }
        })
    }
}

impl SecondLevel<Key, u32> for Fake {
    fn attach(&self, first: FirstLevel<Key>) {
        assert!(self.0.first.set(first).is_ok(), "attached once");
    }

    fn find<'a>(
        &'a self,
        _ctx: &'a Context,
        key: &'a Key,
        reload: bool,
    ) -> Pin<Box<dyn Future<Output = Answer<u32>> + Send + 'a>> {
        Box::pin(async move {
            self.call(format!("find {key}"));
            let read = self.value(key).filter(|_| !reload);
            self.0.answers.acquire().await.expect("an open semaphore").forget();
            if self.0.is_unavailable.load(Ordering::SeqCst) {
                return Answer::Unavailable;
            }
            match read {
                Some((value, ttl)) => Answer::Value { value, ttl },
                None => {
                    self.0.leases.fetch_add(1, Ordering::SeqCst);
                    Answer::Load(Box::new(Granted(self.clone(), key)))
                }
            }
        })
    }

    fn insert(&self, key: &Key, value: &u32, ttl: Option<Duration>) -> Write {
        self.write(format!("insert {key} {value}"), key, Some((*value, ttl)))
    }

    fn remove(&self, key: &Key) -> Write {
        self.write(format!("remove {key}"), key, None)
    }

    fn clear(&self) -> Write {
        let fake = self.clone();
        Box::new(move || {
            fake.call("clear".to_owned());
            fake.0.values.lock().unwrap().clear();
        })
    }

    fn sync(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async { self.0.answers.acquire().await.expect("an open semaphore").forget() })
    }

    fn first_level_ttl(&self, ttl: Option<Duration>) -> Option<Duration> {
        if self.0.is_unavailable.load(Ordering::SeqCst) { Some(SECOND) } else { ttl }
    }
}

struct Granted(Fake, Key);

impl Lease<u32> for Granted {
    fn store(self: Box<Self>, value: &u32, ttl: Option<Duration>) -> Write {
        let write = self.0.write(format!("store {} {value}", self.1), self.1, Some((*value, ttl)));
        Box::new(move || {
            write();
            drop(self);
        })
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        self.0.0.leases.fetch_sub(1, Ordering::SeqCst);
    }
}

fn build(fake: &Fake) -> (Context, Cache<Key, u32>) {
    let (ctx, _time) = manual();
    let cache = seconds(60).second_level(fake.clone()).build(&ctx).unwrap();
    (ctx, cache)
}

async fn load(cache: &Cache<Key, u32>, ctx: &Context, value: u32) -> u32 {
    cache.get_or_load(ctx, "a", async move |_| Ok::<_, Failed>(value)).await.unwrap()
}

#[tokio::test]
async fn value_of_the_second_level_is_kept_for_the_time_that_is_left() {
    let fake = Fake::default();
    let (ctx, time) = manual();
    let cache = seconds(60).second_level(fake.clone()).build(&ctx).unwrap();
    fake.put("a", 1, Some(SECOND * 2));
    let found = cache.run(&ctx, "a", async |_| Ok::<_, Failed>(0)).await.unwrap();
    assert_eq!((found.value, found.source), (1, Source::SecondLevel));
    time.advance(SECOND);
    assert_eq!(cache.get(&ctx, "a").unwrap(), Some(1));
    time.advance(SECOND);
    assert_eq!(cache.get(&ctx, "a").unwrap(), None);
    let stats = cache.stats();
    assert_eq!((stats.calls.started, stats.second_level_hits, stats.second_level_misses), (0, 1, 0));
}

#[tokio::test]
async fn loaded_value_is_stored_in_both_levels() {
    let fake = Fake::default();
    let (ctx, cache) = build(&fake);
    assert_eq!(load(&cache, &ctx, 1).await, 1);
    assert_eq!(cache.get(&ctx, "a").unwrap(), Some(1));
    assert_eq!((fake.value("a"), fake.leases()), (Some((1, Some(SECOND * 60))), 0));
    let stats = cache.stats();
    assert_eq!((stats.calls.succeeded, stats.second_level_hits, stats.second_level_misses), (1, 0, 1));
}

#[tokio::test]
async fn get_does_not_ask_the_second_level() {
    let fake = Fake::default();
    let (ctx, cache) = build(&fake);
    fake.put("a", 1, None);
    assert_eq!(cache.get(&ctx, "a").unwrap(), None);
    assert!(fake.calls().is_empty());
}

#[tokio::test]
async fn changes_reach_the_second_level_in_their_order() {
    let fake = Fake::default();
    let (ctx, cache) = build(&fake);
    cache.insert(&ctx, "a", 1).unwrap();
    cache.insert_with_ttl(&ctx, "b", 2, SECOND).unwrap();
    assert_eq!((fake.value("a"), fake.value("b")), (Some((1, Some(SECOND * 60))), Some((2, Some(SECOND)))));
    assert_eq!(cache.remove(&ctx, &"a").unwrap(), Some(1));
    assert_eq!(cache.remove(&ctx, &"c").unwrap(), None);
    cache.clear(&ctx).unwrap();
    assert_eq!(fake.calls(), ["insert a 1", "insert b 2", "remove a", "remove c", "clear"]);
    assert_eq!((fake.value("b"), cache.len()), (None, 0));
    cache.insert(&ctx, "a", 3).unwrap();
    cache.close();
    assert_eq!(fake.value("a"), Some((3, Some(SECOND * 60))), "a closed cache leaves the second level as it is");
}

#[tokio::test]
async fn sync_waits_for_the_second_level_until_the_context_ends() {
    let fake = Fake::silent();
    let (ctx, cache) = build(&fake);
    let (limited, canceler) = ctx.with_cancel();
    canceler.cancel();
    assert!(cache.sync(&limited).await.unwrap_err().context_error().is_some());
    let (late, sync) = tokio::join!(async { fake.answer() }, cache.sync(&ctx));
    assert_eq!((late, sync.is_ok()), ((), true));
    let alone: Cache<Key, u32> = seconds(1).build(&ctx).unwrap();
    alone.sync(&ctx).await.unwrap();
}

#[tokio::test]
async fn invalidation_while_the_second_level_is_asked_discards_the_answer() {
    for all in [false, true] {
        let fake = Fake::silent();
        let (ctx, cache) = build(&fake);
        fake.put("a", 1, None);
        let call = tokio::spawn({
            let (cache, ctx) = (cache.clone(), ctx.clone());
            async move { load(&cache, &ctx, 0).await }
        });
        settle().await;
        fake.put("a", 2, None);
        if all {
            fake.first().invalidate_all()
        } else {
            fake.first().invalidate(&"a")
        }
        fake.answer();
        settle().await;
        fake.answer();
        assert_eq!(call.await.unwrap(), 2, "the old value was read before the invalidation");
        assert_eq!(cache.get(&ctx, "a").unwrap(), Some(2));
        assert_eq!(fake.calls(), ["find a", "find a"]);
    }
}

#[tokio::test]
async fn invalidation_at_any_point_of_a_load_leaves_no_older_value() {
    for (all, point) in (0..40).flat_map(|point| [(false, point), (true, point)]) {
        let (fake, source) = (Fake::default(), Arc::new(AtomicU32::new(1)));
        let (ctx, cache) = build(&fake);
        let call = tokio::spawn({
            let (cache, ctx, source) = (cache.clone(), ctx.clone(), Arc::clone(&source));
            async move {
                let load = async move |_| {
                    tokio::task::yield_now().await;
                    let read = source.load(Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    Ok::<_, Failed>(read)
                };
                cache.get_or_load(&ctx, "a", load).await.unwrap()
            }
        });
        for _ in 0..point {
            tokio::task::yield_now().await;
        }
        source.store(2, Ordering::SeqCst);
        fake.0.values.lock().unwrap().remove("a");
        if all {
            fake.first().invalidate_all()
        } else {
            fake.first().invalidate(&"a")
        }
        let got = call.await.unwrap();
        let kept = cache.get(&ctx, "a").unwrap();
        assert!(kept.is_none_or(|value| value == 2), "invalidated at point {point}: got {got}, kept {kept:?}");
        assert!(fake.value("a").is_none_or(|(value, _)| value == 2), "point {point}");
        assert_eq!(fake.leases(), 0, "point {point}");
        let stats = cache.stats();
        assert_eq!((stats.invalidated, stats.flushes), if all { (0, 1) } else { (1, 0) });
    }
}

#[tokio::test]
async fn lease_is_dropped_when_its_load_fails_panics_or_is_canceled() {
    let fake = Fake::default();
    let (ctx, cache) = build(&fake);
    let failed = cache.get_or_load(&ctx, "a", async |_| Err::<u32, _>(Failed::other("down"))).await;
    assert!(failed.unwrap_err().last().is_some());
    assert_eq!(fake.leases(), 0);
    let panicked = cache.get_or_load(&ctx, "a", async |_| -> Result<u32, Failed> { panic!("a bug") }).await;
    assert!(panicked.unwrap_err().is_panicked());
    assert_eq!(fake.leases(), 0);
    let call = tokio::spawn({
        let (cache, ctx) = (cache.clone(), ctx.clone());
        async move { cache.get_or_load(&ctx, "a", async |_| pending::<Result<u32, Failed>>().await).await }
    });
    settle().await;
    assert_eq!(fake.leases(), 1);
    call.abort();
    settle().await;
    assert_eq!((fake.leases(), fake.value("a")), (0, None));
    assert_eq!(cache.stats().calls.canceled, 1);
}

#[tokio::test]
async fn caller_leaves_at_its_deadline_while_the_second_level_is_silent() {
    let fake = Fake::silent();
    let (ctx, time) = manual();
    let cache = seconds(60).second_level(fake.clone()).build(&ctx).unwrap();
    let limited = ctx.with_timeout(SECOND);
    let mut call = std::pin::pin!(cache.get_or_load(&limited, "a", async |_| Ok::<_, Failed>(1)));
    tokio::select! {
        biased;
        _ = &mut call => panic!("nothing has answered"),
        () = settle() => {}
    }
    time.advance(SECOND);
    assert!(call.await.unwrap_err().is_deadline_exceeded());
    settle().await;
    let stats = cache.stats();
    assert_eq!((stats.calls.started, stats.calls.canceled), (0, 0), "no load has run");
    // The silent question does not keep the next caller from asking.
    fake.answer();
    assert_eq!(load(&cache, &ctx, 2).await, 2);
}

#[tokio::test]
async fn load_without_the_second_level_stores_nothing_there_and_is_kept_briefly() {
    let fake = Fake::default();
    let (ctx, time) = manual();
    let cache = seconds(60).second_level(fake.clone()).build(&ctx).unwrap();
    fake.0.is_unavailable.store(true, Ordering::SeqCst);
    assert_eq!(load(&cache, &ctx, 1).await, 1);
    assert_eq!((cache.get(&ctx, "a").unwrap(), fake.value("a")), (Some(1), None));
    time.advance(SECOND);
    assert_eq!(cache.get(&ctx, "a").unwrap(), None);
    assert_eq!(cache.stats().second_level_unavailable, 1);
}

#[tokio::test]
async fn refresh_does_not_return_a_value_that_was_there_before() {
    let fake = Fake::silent();
    let (ctx, cache) = build(&fake);
    fake.put("a", 1, None);
    // A load that will find the old value is in flight. The refresh joins it, and loads afterwards.
    let call = tokio::spawn({
        let (cache, ctx) = (cache.clone(), ctx.clone());
        async move { load(&cache, &ctx, 0).await }
    });
    settle().await;
    fake.answer();
    fake.answer();
    assert_eq!(cache.refresh(&ctx, "a", async |_| Ok::<_, Failed>(2)).await.unwrap(), 2);
    assert_eq!(call.await.unwrap(), 1);
    assert_eq!((cache.get(&ctx, "a").unwrap(), fake.value("a").map(|(value, _)| value)), (Some(2), Some(2)));
}

#[tokio::test]
async fn invalidated_values_are_reported_in_a_task_of_the_cache() {
    let (fake, seen) = (Fake::default(), Arc::new(Mutex::new(Vec::new())));
    let (ctx, _time) = manual();
    let reported = Arc::clone(&seen);
    let listener = move |key: &Key, value: &u32, reason| reported.lock().unwrap().push((*key, *value, reason));
    let cache = seconds(60).second_level(fake.clone()).on_evict(listener).build(&ctx).unwrap();
    cache.insert(&ctx, "a", 1).unwrap();
    cache.insert(&ctx, "b", 2).unwrap();
    fake.first().invalidate(&"a");
    fake.first().invalidate_all();
    assert_eq!((cache.len(), seen.lock().unwrap().len()), (0, 0), "the values are gone before anyone hears of it");
    settle().await;
    assert_eq!(*seen.lock().unwrap(), [("a", 1, Eviction::Invalidated), ("b", 2, Eviction::Invalidated)]);
    drop(cache);
    fake.first().invalidate(&"a");
    fake.first().invalidate_all();
}
