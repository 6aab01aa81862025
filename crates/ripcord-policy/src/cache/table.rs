//! The flights of a cache, by key. The module [`flight`](super::flight) lists the invariants.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, PoisonError};

use super::flight::Flight;
use super::store::KeyHasher;
use crate::sync::{Mutex, MutexGuard};

const SHARDS: usize = 16;

/// The outcome of an attempt to start a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Started,
    /// Another flight of the key is in the table.
    Occupied,
    /// The store already holds the value that the flight would load.
    NotNeeded,
}

/// The flights of a cache, by key.
pub(super) struct Flights<K, V> {
    hasher: KeyHasher,
    shards: [Mutex<Shard<K, V>>; SHARDS],
}

pub(super) type Shard<K, V> = HashMap<K, Arc<Flight<K, V>>, KeyHasher>;

impl<K: Hash + Eq + Clone, V> Flights<K, V> {
    pub(super) fn new() -> Self {
        let hasher = KeyHasher::default();
        let shards = std::array::from_fn(|_| Mutex::new(HashMap::with_hasher(hasher.clone())));
        Self { hasher, shards }
    }

    pub(super) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Locks the shard of `key`. While the shard is locked, no load of the key can start or store its result.
    pub(super) fn lock<Q: Hash + ?Sized>(&self, key: &Q) -> MutexGuard<'_, Shard<K, V>> {
        // The maps use the lowest and the highest bits of the hash, so the shard is selected by other bits.
        let index = (self.hash(key) >> 32) as usize % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &K) -> Option<Arc<Flight<K, V>>> {
        self.lock(key).get(key).cloned()
    }

    /// Puts `new` into the table in place of `closed`, unless the table has another flight or no load is needed. `is_needed` runs
    /// under the lock of the shard. (Invariants 1 and 5.)
    pub(super) fn start(
        &self,
        closed: Option<&Arc<Flight<K, V>>>,
        new: &Arc<Flight<K, V>>,
        is_needed: impl FnOnce() -> bool,
    ) -> Start {
        if let Some(closed) = closed {
            // Invariant 2: the waiter that closed the flight may not have canceled it yet.
            closed.cancel_if_closed();
        }
        let key = &new.load.key;
        let mut shard = self.lock(key);
        if shard.get(key).is_some_and(|current| !closed.is_some_and(|closed| Arc::ptr_eq(current, closed))) {
            return Start::Occupied;
        }
        if !is_needed() {
            return Start::NotNeeded;
        }
        shard.insert(key.clone(), Arc::clone(new));
        Start::Started
    }

    /// Removes `flight` from the table. If the flight was still there, runs `store` before another flight of the key can start.
    /// `store` gets the table's key and runs under the lock of the shard. (Invariants 1, 4 and 5.)
    pub(super) fn end<R>(&self, flight: &Arc<Flight<K, V>>, store: impl FnOnce(K) -> R) -> Option<R> {
        let mut shard = self.lock(&flight.load.key);
        let (key, current) = shard.remove_entry(&flight.load.key)?;
        if !Arc::ptr_eq(&current, flight) {
            shard.insert(key, current);
            return None;
        }
        Some(store(key))
    }

    /// Begins a question to the second level. (Invariant 1 of the [second level](super::second_level).)
    pub(super) fn begin_asking(&self, flight: &Flight<K, V>) {
        let _shard = self.lock(&flight.load.key);
        flight.begin_asking();
    }

    /// Ends a question to the second level. Returns `false` if the answer is outdated and the flight must ask again.
    pub(super) fn end_asking(&self, flight: &Flight<K, V>) -> bool {
        let _shard = self.lock(&flight.load.key);
        flight.end_asking()
    }

    /// Takes out the flights of all keys, except for the flights that still ask the second level.
    pub(super) fn invalidate_all(&self) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, flight| flight.mark_if_asking());
        }
    }

    pub(super) fn detach_all(&self) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    #[cfg(all(test, ripcord_shuttle))]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}
