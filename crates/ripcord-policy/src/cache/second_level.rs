//! The second level of a cache: a store outside of the process that several caches share.
//!
//! # Invariants
//!
//! 1. A flight is in the table while it asks the second level, and until its value goes into the first level. An invalidation
//!    takes the flight out of the table, so a value that was read before an invalidation is not stored after it. There is one
//!    exception: an invalidation during the question only marks the flight, because the answer may be newer. A marked flight
//!    discards the answer and asks again. Marks and ends of questions happen under the lock of the table's shard.
//! 2. A write takes its place in the second level's order of writes under the lock of the table's shard, together with the change
//!    of the first level. So both levels see the writes of a key in the same order.
//! 3. An invalidation of all keys first raises the number of flushes, then takes out the flights, then empties the store. An
//!    insert compares this number afterwards. So an insert that was prepared before such an invalidation leaves nothing behind.
//! 4. Lock order: a shard of the table, then the locks of the second level. A second level holds no lock when it calls its
//!    [`FirstLevel`].
//! 5. The listener and the drops of invalidated values are user code. They run in a task of the cache's runtime, so that they
//!    cannot block the second level.

use std::fmt::{self, Debug};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ripcord::Context;

use super::shared::Shared;
use super::stats::Count;
use super::{CacheValue, Eviction, Key};

/// A prepared write of a [`SecondLevel`]: a function that puts the write into the second level's queue of writes.
///
/// The cache calls the function under a lock, at the moment at which the first level changes. So both levels see the writes of a
/// key in the same order. The function must not wait and must not use the cache. If the cache drops the function instead, the
/// write must not happen.
pub type Write = Box<dyn FnOnce() + Send>;

/// A store that the caches of several processes share, such as Redis. Set it with
/// [`CacheBuilder::second_level`](super::CacheBuilder::second_level). The [`Cache`](super::Cache) in the memory of each process is
/// then the *first level*. The crate `ripcord-redis` has an implementation, `CacheLevel`.
///
/// A second level reports no errors to the callers of the cache. If it does not work, [`find`](SecondLevel::find) returns
/// [`Answer::Unavailable`], and writes are sent later or counted with [`FirstLevel::count_failed_write`].
pub trait SecondLevel<K, V>: Send + Sync + 'static {
    /// Receives the handle with which the second level removes values from the first level. The cache calls this method once,
    /// before all other methods.
    fn attach(&self, first: FirstLevel<K>);

    /// Finds the value of `key`, or gets the permission to load it. If another process loads the key, the future waits for the end
    /// of that load. `ctx` is the context of the load in this process. The cache drops the future when this context ends.
    ///
    /// If `reload` is `true`, the future must not return a value that was stored before the call. The value must not be
    /// older than the last [`Write`] of this cache for the key.
    fn find<'a>(
        &'a self,
        ctx: &'a Context,
        key: &'a K,
        reload: bool,
    ) -> Pin<Box<dyn Future<Output = Answer<V>> + Send + 'a>>;

    /// Prepares to store `value`. After the write, a load of the key that is in flight in another process must not store its
    /// result. `ttl` is the time until the value expires; `None` means never. If `ttl` is zero, no process may find the value.
    fn insert(&self, key: &K, value: &V, ttl: Option<Duration>) -> Write;

    /// Prepares to remove the value of `key`. After the write, a load of the key that is in flight in another process must not
    /// store its result.
    fn remove(&self, key: &K) -> Write;

    /// Prepares to remove the values of all keys. After the write, loads that are in flight in other processes must not store their
    /// results.
    fn clear(&self) -> Write;

    /// Waits until the store has received all writes that were made before the call.
    fn sync(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Returns how long the first level may keep a value whose TTL is `ttl`. The cache calls this method after it has received the
    /// value. A second level returns a shorter time while changes by other processes do not reach it. Default: `ttl`.
    fn first_level_ttl(&self, ttl: Option<Duration>) -> Option<Duration> {
        ttl
    }
}

/// The answer of [`SecondLevel::find`].
#[non_exhaustive]
pub enum Answer<V> {
    /// The second level has a value.
    Value {
        /// The value.
        value: V,
        /// The time until the value expires. `None` means never.
        ttl: Option<Duration>,
    },
    /// The second level has no value, and no other process loads it. This process must load it.
    Load(Box<dyn Lease<V>>),
    /// The second level does not answer. The cache loads the value without a lease, and does not store it in the second level.
    Unavailable,
}

/// The permission to load a key, which at most one process has at a time. Dropping the lease without [`store`](Lease::store) allows
/// another process to load the key.
pub trait Lease<V>: Send {
    /// Prepares to store the loaded value, which expires after `ttl`; `None` means never. The value must not be stored if another
    /// process has inserted or removed the key since the lease began.
    fn store(self: Box<Self>, value: &V, ttl: Option<Duration>) -> Write;
}

/// The handle with which a [`SecondLevel`] removes values from the cache in this process, because they have changed in
/// another process. Passed to [`SecondLevel::attach`]. The handle does not keep the cache open. After the cache has been
/// dropped, the methods of the handle have no effect.
pub struct FirstLevel<K> {
    cache: Weak<dyn Invalidate<K>>,
    stale_for: Duration,
}

impl<K: Key> FirstLevel<K> {
    pub(super) fn new<V: CacheValue>(shared: &Arc<Shared<K, V>>) -> Self {
        let stale_for = shared.settings.stale_for.map_or(Duration::ZERO, |(window, _)| window);
        let cache = Arc::downgrade(shared);
        Self { cache, stale_for }
    }

    /// Removes `key` from the first level. A load of the key that has already read a value does not store this value.
    pub fn invalidate(&self, key: &K) {
        if let Some(cache) = self.cache.upgrade() {
            cache.invalidate(key);
        }
    }

    /// Removes all keys from the first level, for example because the second level may have missed changes. A load that has
    /// already read a value does not store this value.
    pub fn invalidate_all(&self) {
        if let Some(cache) = self.cache.upgrade() {
            cache.invalidate_all();
        }
    }

    /// Adds 1 to [`CacheStats::waited`](super::CacheStats::waited): a load waits for the load of another process.
    pub fn count_wait(&self) {
        if let Some(cache) = self.cache.upgrade() {
            cache.count(Count::Waited);
        }
    }

    /// Adds 1 to [`CacheStats::failed_writes`](super::CacheStats::failed_writes): the second level has given up a write.
    pub fn count_failed_write(&self) {
        if let Some(cache) = self.cache.upgrade() {
            cache.count(Count::FailedWrite);
        }
    }

    /// Returns the setting [`CacheBuilder::stale_for`](super::CacheBuilder::stale_for): the time for which the first level still
    /// returns an expired value. It is zero if `stale_for` is not set.
    pub fn stale_for(&self) -> Duration {
        self.stale_for
    }
}

/// The part of a cache that its second level uses, without the type of the values.
trait Invalidate<K>: Send + Sync {
    fn invalidate(self: Arc<Self>, key: &K);
    fn invalidate_all(self: Arc<Self>);
    fn count(&self, count: Count);
}

impl<K: Key, V: CacheValue> Invalidate<K> for Shared<K, V> {
    fn invalidate(self: Arc<Self>, key: &K) {
        let mut loads = self.flights.lock(key);
        // Invariant 1.
        if loads.get(key).is_some_and(|flight| !flight.mark_if_asking()) {
            loads.remove(key);
        }
        let removed = self.store.remove(key);
        drop(loads);
        self.count(Count::Invalidated);
        self.release_later(removed.into_iter().collect());
    }

    fn invalidate_all(self: Arc<Self>) {
        // Invariant 3.
        self.flushes.fetch_add(1, Ordering::SeqCst);
        self.flights.invalidate_all();
        let drained = self.store.drain().collect();
        self.count(Count::Flushed);
        self.release_later(drained);
    }

    fn count(&self, count: Count) {
        Shared::count(self, count);
    }
}

impl<K: Key, V: CacheValue> Shared<K, V> {
    /// Releases entries in a task. (Invariant 5.)
    fn release_later(self: Arc<Self>, entries: super::store::Evicted<K, V>) {
        if entries.is_empty() {
            return;
        }
        let shared = Arc::clone(&self);
        self.runtime.spawn(async move {
            for (key, entry) in entries {
                shared.release(key, entry, Eviction::Invalidated);
            }
        });
    }
}

impl<K> Clone for FirstLevel<K> {
    fn clone(&self) -> Self {
        Self { cache: Weak::clone(&self.cache), stale_for: self.stale_for }
    }
}

impl<K> Debug for FirstLevel<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirstLevel").field("is_open", &(self.cache.strong_count() > 0)).finish_non_exhaustive()
    }
}

impl<V> Debug for Answer<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Answer::Value { .. } => "Value",
            Answer::Load(_) => "Load",
            Answer::Unavailable => "Unavailable",
        })
    }
}
