//! The state that all handles of a cache share, and the operations on it.

use std::borrow::Borrow;
use std::hash::Hash;
use std::panic::Location;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ripcord::{Canceler, Clock, Context};

use super::builder::Settings;
use super::entry::{Entry, Lookup};
use super::second_level::Write;
use super::stats::{COUNTS, CacheStats, Count, read};
use super::store::{Evicted, Store};
use super::table::Flights;
use super::{CacheValue, Eviction, Key};
use crate::panics::shielded;
use crate::stats::Call;
use crate::sync::{AtomicU64, Ordering, Runtime};
use crate::tally::Tally;
use crate::{Attempt, Refused, SharedError};

/// 300 years. A deadline more than 292 years away counts as no deadline.
const NEVER: Duration = Duration::from_secs(300 * 365 * 24 * 60 * 60);

pub(super) struct Shared<K, V> {
    /// The context that the cache was built with. The contexts of loads are its children.
    pub(super) owner_ctx: Context,
    /// A child of `owner_ctx`. Its end closes the cache.
    pub(super) ctx: Context,
    canceler: Canceler,
    pub(super) clock: Clock,
    pub(super) store: Store<K, V>,
    pub(super) flights: Flights<K, V>,
    pub(super) settings: Settings<K, V>,
    tally: Tally<COUNTS>,
    pub(super) runtime: Runtime,
    /// The number of invalidations of all keys. (Invariant 3 of the [second level](super::second_level).)
    pub(super) flushes: AtomicU64,
    /// The limit of callers without a deadline. It is so far away that it counts as no deadline.
    pub(super) never: Instant,
}

impl<K: Key, V: CacheValue> Shared<K, V> {
    pub(super) fn new(ctx: &Context, capacity: u64, settings: Settings<K, V>, runtime: Runtime) -> Self {
        // A retry attempt may build the cache, but the cache's loads serve other callers too.
        let owner_ctx = Attempt::clear(ctx).with_name("cache");
        let (ctx, canceler) = owner_ctx.with_cancel();
        Self {
            owner_ctx,
            never: ctx.clock().now() + NEVER,
            clock: ctx.clock(),
            ctx,
            canceler,
            store: Store::new(capacity, settings.weigher.is_some()),
            flights: Flights::new(),
            settings,
            tally: Tally::new(),
            runtime,
            flushes: AtomicU64::new(0),
        }
    }

    /// Admits an operation if neither the caller's context nor the cache's context has ended.
    pub(super) fn admit(&self, ctx: &Context) -> Result<(), Refused> {
        if ctx.is_done() || self.ctx.is_done() {
            self.count_call(Call::Rejected);
            return Err(self.end(ctx));
        }
        Ok(())
    }

    /// Returns the end of the caller's context or, if it has not ended, of the cache's context.
    pub(super) fn end(&self, ctx: &Context) -> Refused {
        match (ctx.err(), self.ctx.err()) {
            (Some(end), _) => Refused::ended(end),
            (None, end) => Refused::closed_by("cache", end),
        }
    }

    pub(super) fn count(&self, count: Count) {
        self.tally.bump(count as usize);
    }

    pub(super) fn count_call(&self, call: Call) {
        self.tally.count(call);
    }

    pub(super) fn stats(&self) -> CacheStats {
        read(&self.tally, self.store.len(), self.store.weight())
    }

    pub(super) fn look_up<Q>(&self, key: &Q) -> Lookup<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        match self.store.get(key) {
            Some(entry) => entry.found(&self.clock),
            None => Lookup::Absent,
        }
    }

    pub(super) fn insert(&self, key: K, value: V, ttl: Option<Duration>) {
        let second = self.settings.second_level.as_ref();
        // Invariant 3 of the second level.
        let prepared =
            second.map(|second| (second.insert(&key, &value, ttl), self.flushes.load(Ordering::SeqCst), key.clone()));
        let entry = self.entry(&key, value, ttl);
        let (hash, inserted) = (self.flights.hash(&key), Arc::as_ptr(&entry));
        let mut loads = self.flights.lock(&key);
        // A load in flight no longer stores its result.
        loads.remove(&key);
        let evicted = self.store.insert(key, entry);
        let prepared = prepared.map(|(write, flushes, key)| {
            // Invariant 2 of the second level.
            write();
            (flushes, key)
        });
        drop(loads);
        self.count(Count::Inserted);
        self.release_evicted(evicted, hash, inserted);
        if let Some((_, key)) = prepared.filter(|(flushes, _)| *flushes != self.flushes.load(Ordering::SeqCst)) {
            let removed = self.store.remove(&key);
            removed.into_iter().for_each(|(key, entry)| self.release(key, entry, Eviction::Invalidated));
        }
        self.clear_if_closed();
    }

    /// Removes `key`, and calls the `write` of the second level. (Invariant 2 of the [second level](super::second_level).)
    pub(super) fn remove<Q>(&self, key: &Q, write: Option<Write>) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut loads = self.flights.lock(key);
        loads.remove(key);
        let removed = self.store.remove(key);
        if let Some(write) = write {
            write();
        }
        drop(loads);
        let (key, entry) = removed?;
        if !entry.is_servable(&self.clock) {
            self.release(key, entry, Eviction::Expired);
            return None;
        }
        self.release(key, Arc::clone(&entry), Eviction::Removed);
        Entry::into_value(entry)
    }

    /// Removes all entries and detaches the loads. The loads come first: a load that ends after the store was emptied must not
    /// fill it again.
    pub(super) fn clear(&self) {
        self.flights.detach_all();
        // The store is drained completely before the eviction listener runs, because the listener may insert values again.
        let drained: Vec<_> = self.store.drain().collect();
        for (key, entry) in drained {
            self.release(key, entry, Eviction::Removed);
        }
    }

    pub(super) fn close(&self, why: &'static str, location: &'static Location<'static>) {
        self.canceler.cancel_at(why, location);
        self.clear();
    }

    /// Clears the store if the cache is closed, so that an operation admitted just before the close leaves no entry behind.
    fn clear_if_closed(&self) {
        if self.ctx.is_done() {
            self.clear();
        }
    }

    /// Creates the entry of a value. Runs the weigher.
    pub(super) fn entry(&self, key: &K, value: V, ttl: Option<Duration>) -> Arc<Entry<V>> {
        let weight = self.settings.weigher.as_ref().map_or(1, |weigh| weigh(key, &value).max(1));
        let ttl = self.settings.second_level.as_ref().map_or(ttl, |second| second.first_level_ttl(ttl));
        let now = self.clock.now();
        let fresh_until = ttl.and_then(|ttl| now.checked_add(ttl));
        let stale_for = self.settings.stale_for.map_or(Duration::ZERO, |(window, _)| window);
        Arc::new(Entry {
            result: Ok(value),
            fresh_until,
            gone_at: fresh_until.and_then(|instant| instant.checked_add(stale_for)),
            weight,
            no_reload_until: Mutex::default(),
            idle: self.settings.idle.map(|limit| (limit, Mutex::new(now))),
        })
    }

    /// Creates the entry of a failed load. It exists until `gone_at`.
    pub(super) fn failure(error: SharedError, gone_at: Option<Instant>) -> Arc<Entry<V>> {
        Arc::new(Entry {
            result: Err(error),
            fresh_until: gone_at,
            gone_at,
            weight: 1,
            no_reload_until: Mutex::default(),
            idle: None,
        })
    }

    /// Returns the TTL of a value without its own TTL.
    pub(super) fn default_ttl(&self) -> Option<Duration> {
        let ttl = self.settings.ttl?;
        let max_cut = ttl.mul_f64(self.settings.ttl_jitter);
        if max_cut.is_zero() {
            return Some(ttl);
        }
        Some(ttl.saturating_sub(self.settings.random.duration_between(Duration::ZERO, max_cut)))
    }

    /// Releases the entries that an insert pushed out. The inserted entry is `inserted`, and the hash of its key is `hash`.
    pub(super) fn release_evicted(&self, evicted: Evicted<K, V>, hash: u64, inserted: *const Entry<V>) {
        for (key, entry) in evicted {
            let reason = if Arc::as_ptr(&entry) != inserted && self.flights.hash(&key) == hash {
                Eviction::Replaced
            } else if entry.is_gone(&self.clock) {
                Eviction::Expired
            } else {
                Eviction::Capacity
            };
            self.release(key, entry, reason);
        }
    }

    /// Counts an entry that has left the store, reports it to the eviction listener and drops it. A panic of the listener or of a
    /// value's drop does not prevent the release of other entries.
    pub(super) fn release(&self, key: K, entry: Arc<Entry<V>>, reason: Eviction) {
        // A remembered error does not count as an inserted value.
        if let Ok(value) = &entry.result {
            self.count(match reason {
                Eviction::Capacity => Count::Evicted,
                Eviction::Expired => Count::Expired,
                Eviction::Replaced => Count::Replaced,
                Eviction::Removed | Eviction::Invalidated => Count::Removed,
            });
            if let Some(listener) = &self.settings.on_evict {
                shielded(|| listener(&key, value, reason));
            }
        }
        shielded(|| drop((key, entry)));
    }
}
