//! The task that runs a load and stores its result.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ripcord::Context;

use super::flight::{Flight, LoadResult, Loader};
use super::second_level::{Answer, Lease, SecondLevel};
use super::shared::Shared;
use super::stats::Count;
use super::table::Flights;
use super::{CacheValue, Key};
use crate::SharedError;
use crate::panics::{catching, panicked};
use crate::stats::Call;

/// The pause of background loads of a stale value after a failed load whose error is not remembered.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);

/// A running load. It sets the flight's outcome on every path, even when the runtime drops its task.
pub(super) struct Running<K: Key, V: CacheValue> {
    // Weak, so that a load does not keep a cache without handles open.
    shared: Weak<Shared<K, V>>,
    /// The cache's context.
    cache_ctx: Context,
    second: Option<Arc<dyn SecondLevel<K, V>>>,
    flight: Arc<Flight<K, V>>,
    /// Whether the loader was called.
    has_started: AtomicBool,
}

impl<K: Key, V: CacheValue> Running<K, V> {
    pub(super) fn new(shared: &Arc<Shared<K, V>>, flight: Arc<Flight<K, V>>) -> Self {
        let second = shared.settings.second_level.clone();
        let running = Self {
            shared: Arc::downgrade(shared),
            cache_ctx: shared.ctx.clone(),
            second,
            flight,
            has_started: AtomicBool::new(false),
        };
        if running.second.is_none() {
            running.count_start();
        }
        running
    }

    pub(super) async fn run(self, loader: Loader<V>, reload: bool) {
        let outcome = self.load(loader, reload).await;
        match &outcome {
            // The value is stored already.
            LoadResult::Loaded(_) | LoadResult::Found(_) => {}
            LoadResult::Failed(error) => self.note_failure(Some(error)),
            LoadResult::Panicked(_) => self.note_failure(None),
            LoadResult::Ended(_) => self.forget(),
        }
        self.finish(outcome);
    }

    async fn load(&self, loader: Loader<V>, reload: bool) -> LoadResult<V> {
        let ctx = self.flight.ctx();
        // All user code runs inside this closure, so its panic counts as the load's panic: the loader, the weigher, the key's
        // `Eq`, the value's `Clone`.
        let work = catching(|| async {
            let mut lease = None;
            if let Some(second) = &self.second {
                match self.ask(&**second, reload).await {
                    Answer::Value { value, ttl } => {
                        return match self.flight.release_ctx() {
                            Ok(()) => {
                                self.store(&value, ttl, None);
                                LoadResult::Found(value)
                            }
                            Err(end) => LoadResult::Ended(end),
                        };
                    }
                    Answer::Load(granted) => lease = Some(granted),
                    Answer::Unavailable => {}
                }
                // The question may have ended because the callers have left.
                if let Some(end) = ctx.err() {
                    return LoadResult::Ended(end);
                }
                self.count_start();
            }
            match loader(ctx.clone()).await {
                Ok(value) => match self.flight.release_ctx() {
                    Ok(()) => {
                        self.store_loaded(&value, lease);
                        LoadResult::Loaded(value)
                    }
                    Err(end) => LoadResult::Ended(end),
                },
                // If the loader's context has ended, its error counts as the end of the context.
                Err(error) => ctx.err().map_or(LoadResult::Failed(error), LoadResult::Ended),
            }
        });
        let mut work = pin!(self.cache_ctx.run(ctx.run(ctx.scope(work))));
        let mut leaving = pin!(self.flight.follow_leaving_waiters());
        let result = poll_fn(|task| {
            let _never_ready = leaving.as_mut().poll(task);
            work.as_mut().poll(task)
        });
        match result.await {
            Ok(Ok(Ok(outcome))) => outcome,
            Ok(Ok(Err(payload))) => LoadResult::Panicked(panicked(payload)),
            Ok(Err(end)) => LoadResult::Ended(end),
            Err(end) => LoadResult::Ended(self.flight.cancel_with_cache(&end)),
        }
    }

    /// Asks the second level, until an answer is not outdated. (Invariant 1 of the [second level](super::second_level).)
    async fn ask(&self, second: &dyn SecondLevel<K, V>, reload: bool) -> Answer<V> {
        loop {
            self.in_table(|flights| flights.begin_asking(&self.flight));
            let answer = second.find(self.flight.ctx(), &self.flight.load.key, reload).await;
            if self.in_table(|flights| flights.end_asking(&self.flight)).unwrap_or(true) {
                if let Some(shared) = self.shared.upgrade() {
                    shared.count(match answer {
                        Answer::Value { .. } => Count::SecondLevelHit,
                        Answer::Load(_) => Count::SecondLevelMiss,
                        Answer::Unavailable => Count::SecondLevelUnavailable,
                    });
                }
                return answer;
            }
        }
    }

    fn in_table<R>(&self, work: impl FnOnce(&Flights<K, V>) -> R) -> Option<R> {
        self.shared.upgrade().map(|shared| work(&shared.flights))
    }

    fn store_loaded(&self, value: &V, lease: Option<Box<dyn Lease<V>>>) {
        if let Some(shared) = self.shared.upgrade() {
            let ttl = self.flight.load.ttl().or_else(|| shared.default_ttl());
            self.store(value, ttl, lease);
        }
    }

    /// Stores the value, unless the key was removed, inserted, cleared or invalidated since the load started.
    fn store(&self, value: &V, ttl: Option<Duration>, lease: Option<Box<dyn Lease<V>>>) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let load = &self.flight.load;
        let entry = shared.entry(&load.key, value.clone(), ttl);
        let write = lease.map(|lease| lease.store(value, ttl));
        let inserted = Arc::as_ptr(&entry);
        let evicted = shared.flights.end(&self.flight, |key| {
            // Invariant 2 of the second level.
            if let Some(write) = write {
                write();
            }
            shared.store.insert(key, entry)
        });
        if let Some(evicted) = evicted {
            shared.count(Count::Inserted);
            shared.release_evicted(evicted, shared.flights.hash(&load.key), inserted);
        }
    }

    /// Records that the load failed, or that it panicked if `error` is `None`. If the cache has a value that can still be served,
    /// the value stays, and its next background load is delayed. Otherwise the error is stored, if errors are remembered and this
    /// error says something about the key.
    fn note_failure(&self, error: Option<&SharedError>) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let now = shared.clock.now();
        // After its first limit, the load may have failed because it lacked the time that a later caller has.
        let is_about_key = |error: &&SharedError| !error.is_neutral() && !self.flight.is_past_first_limit();
        let remembered = error.filter(is_about_key).zip(shared.settings.negative_ttl);
        let pause = remembered.map_or(RELOAD_PAUSE, |(_, ttl)| ttl);
        let failure = remembered.map(|(error, ttl)| Shared::<K, V>::failure(error.clone(), now.checked_add(ttl)));
        let inserted = failure.as_ref().map_or(std::ptr::null(), Arc::as_ptr);
        let evicted = shared.flights.end(&self.flight, |key| {
            let is_served = shared.store.has(&key, |entry| {
                entry.pause_reload(now.checked_add(pause));
                entry.is_servable(&shared.clock)
            });
            failure.filter(|_| !is_served).map(|failure| shared.store.insert(key, failure))
        });
        if let Some(Some(evicted)) = evicted {
            shared.release_evicted(evicted, shared.flights.hash(&self.flight.load.key), inserted);
        }
    }

    /// Removes the flight from the table without storing anything.
    fn forget(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.flights.end(&self.flight, drop);
        }
    }

    fn count_start(&self) {
        self.has_started.store(true, Ordering::Relaxed);
        if let Some(shared) = self.shared.upgrade() {
            shared.count_call(Call::Started);
        }
    }

    fn finish(&self, outcome: LoadResult<V>) {
        if let Some(shared) = self.shared.upgrade()
            && self.has_started.load(Ordering::Relaxed)
        {
            shared.count_call(match outcome {
                LoadResult::Loaded(_) | LoadResult::Found(_) => Call::Succeeded,
                LoadResult::Failed(_) | LoadResult::Panicked(_) => Call::Failed,
                LoadResult::Ended(_) => Call::Canceled,
            });
            if matches!(outcome, LoadResult::Panicked(_)) {
                shared.count(Count::Panicked);
            }
        }
        if !matches!(outcome, LoadResult::Loaded(_) | LoadResult::Found(_)) {
            self.flight.cancel("the load failed");
        }
        self.flight.finish(outcome);
    }
}

impl<K: Key, V: CacheValue> Drop for Running<K, V> {
    fn drop(&mut self) {
        if !self.flight.is_finished() {
            self.forget();
            let end = self.flight.cancel("the load was dropped by its runtime");
            self.finish(LoadResult::Ended(end));
        }
    }
}
