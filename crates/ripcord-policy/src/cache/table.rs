//! The flights of a cache, by key. The invariants are those of [`flight`](super::flight).

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, PoisonError};

use super::flight::Flight;
use super::store::KeyHasher;
use crate::sync::{Mutex, MutexGuard};

const SHARDS: usize = 16;

/// What came of an attempt to start a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Started,
    /// Another flight of the key is in the table.
    Occupied,
    /// The store holds what would be loaded.
    NotNeeded,
}

/// The flights of a cache, by key.
pub(super) struct Flights<K, V> {
    hasher: KeyHasher,
    shards: [Mutex<Shard<K, V>>; SHARDS],
}

type Shard<K, V> = HashMap<K, Arc<Flight<V>>, KeyHasher>;

impl<K: Hash + Eq + Clone, V> Flights<K, V> {
    pub(super) fn new() -> Self {
        let hasher = KeyHasher::default();
        let shards = std::array::from_fn(|_| Mutex::new(HashMap::with_hasher(hasher.clone())));
        Self { hasher, shards }
    }

    pub(super) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Returns the key's flight.
    pub(super) fn get(&self, key: &K) -> Option<Arc<Flight<V>>> {
        self.lock(key).get(key).cloned()
    }

    /// Puts `new` into the table in place of `closed`, unless another flight is there or no load is needed. `is_needed` runs
    /// under the lock of the shard. (Invariants 1 and 5.)
    pub(super) fn start(
        &self,
        key: &K,
        closed: Option<&Arc<Flight<V>>>,
        new: &Arc<Flight<V>>,
        is_needed: impl FnOnce() -> bool,
    ) -> Start {
        if let Some(closed) = closed {
            // Invariant 2: the waiter that closed it may not have canceled it yet.
            closed.cancel_if_closed();
        }
        // Invariant 4: cloned before the lock is taken, and dropped after it.
        let key = key.clone();
        let mut shard = self.lock(&key);
        let current = shard.get_mut(&key);
        if !same(current.as_deref(), closed) && current.is_some() {
            return Start::Occupied;
        }
        if !is_needed() {
            return Start::NotNeeded;
        }
        let replaced = match current {
            Some(current) => Some(std::mem::replace(current, Arc::clone(new))),
            None => shard.insert(key, Arc::clone(new)),
        };
        drop(shard);
        drop(replaced);
        Start::Started
    }

    /// Takes `flight` out of the table and, if it was still there, runs `store` before another flight of the key can start.
    /// `store` is given the table's key and runs under the lock of the shard. (Invariants 1, 4 and 5.)
    pub(super) fn end<R>(&self, key: &K, flight: &Arc<Flight<V>>, store: impl FnOnce(K) -> R) -> Option<R> {
        let mut shard = self.lock(key);
        if !shard.get(key).is_some_and(|current| Arc::ptr_eq(current, flight)) {
            return None;
        }
        let (key, current) = shard.remove_entry(key)?;
        let stored = store(key);
        drop(shard);
        drop(current);
        Some(stored)
    }

    /// Takes the key's flight out of the table, if there is one, and runs `change` before a load of the key can end or start.
    pub(super) fn detach<B, Q, R>(&self, key: B, change: impl FnOnce(B) -> R) -> R
    where
        B: Borrow<Q>,
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut shard = self.lock(key.borrow());
        let detached = shard.remove_entry(key.borrow());
        let changed = change(key);
        drop(shard);
        drop(detached);
        changed
    }

    /// Takes all flights out of the table.
    pub(super) fn detach_all(&self) {
        for shard in &self.shards {
            let detached = std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
            drop(detached);
        }
    }

    #[cfg(all(test, ripcord_shuttle))]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    fn lock<Q: Hash + ?Sized>(&self, key: &Q) -> MutexGuard<'_, Shard<K, V>> {
        // The maps use the lowest and the highest bits of the hash.
        let index = (self.hash(key) >> 32) as usize % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn same<V>(a: Option<&Arc<Flight<V>>>, b: Option<&Arc<Flight<V>>>) -> bool {
    a.zip(b).is_some_and(|(a, b)| Arc::ptr_eq(a, b))
}

impl<K, V> fmt::Debug for Flights<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").finish_non_exhaustive()
    }
}
