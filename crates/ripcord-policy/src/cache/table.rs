//! Which key is being loaded, and by which flight. The invariants are those of [`flight`](super::flight).

use std::borrow::Borrow;
use std::fmt;
use std::sync::{Arc, PoisonError};

use hashbrown::HashTable;

use super::flight::{Flight, Seat};
use super::hashed::{Hashed, Sought};
use crate::sync::{Mutex, MutexGuard};

const SHARDS: usize = 16;

/// The flights that are current.
pub(super) struct Flights<K, V> {
    shards: [Mutex<Shard<K, V>>; SHARDS],
}

/// Users' `Hash` runs outside of it, and their `Eq` only to find what is there, before anything is changed.
struct Shard<K, V>(HashTable<(Hashed<K>, Arc<Flight<V>>)>);

/// What boarding came to.
pub(super) enum Boarding<J, V> {
    /// There is a flight under way, and this came of it.
    UnderWay(J),
    /// There was none: the caller has to start this one.
    Started(Seat<V>),
}

impl<K: Eq + Clone, V> Flights<K, V> {
    pub(super) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::new(Shard(HashTable::new()))) }
    }

    /// Does `join` with the key's flight or, if there is none or it has ended, of which `join` makes nothing, takes the first
    /// seat on a new one made by `start`.
    pub(super) fn board<J>(
        &self,
        key: &Hashed<K>,
        join: impl Fn(&Arc<Flight<V>>) -> Option<J>,
        start: impl Fn() -> Flight<V>,
    ) -> Boarding<J, V> {
        let mut current = self.current(key);
        let mut new = None;
        loop {
            if let Some(flight) = &current {
                if let Some(joined) = join(flight) {
                    return Boarding::UnderWay(joined);
                }
                // Invariant 2: whoever ended it may not have come to that yet.
                flight.cancel_if_ended();
            }
            // Invariant 4: made before the lock is taken.
            let new = new.get_or_insert_with(|| Arc::new(start()));
            match self.replace(key, current.as_ref(), new) {
                None => return Boarding::Started(Seat::first(Arc::clone(new))),
                other => current = other,
            }
        }
    }

    fn current(&self, key: &Hashed<K>) -> Option<Arc<Flight<V>>> {
        self.lock(key.hash).get(key.sought()).cloned()
    }

    /// Makes `new` the key's flight, if there is none or the one that has `ended`. Returns any other. (Invariant 1.)
    fn replace(&self, key: &Hashed<K>, ended: Option<&Arc<Flight<V>>>, new: &Arc<Flight<V>>) -> Option<Arc<Flight<V>>> {
        let key = key.clone();
        let mut shard = self.lock(key.hash);
        if let Some(current) = shard.get(key.sought())
            && !ended.is_some_and(|ended| Arc::ptr_eq(ended, current))
        {
            return Some(Arc::clone(current));
        }
        let replaced = ended.and_then(|ended| shard.take(key.hash, ended));
        shard.insert(key, Arc::clone(new));
        // Invariant 4: dropping a flight or a key may run a user's code.
        drop(shard);
        drop(replaced);
        None
    }

    /// Takes the flight out of the table and, if it was still current, does `store` before anybody else may detach it
    /// or start another. `store` is given the table's key, and must not run user code beyond its `Eq`: what it does not put in it
    /// hands out, to be dropped without the locks.
    pub(super) fn land<R>(&self, hash: u64, flight: &Arc<Flight<V>>, store: impl FnOnce(Hashed<K>) -> R) -> Option<R> {
        let landed;
        let mut shard = self.lock(hash);
        // Invariant 1: what is not current is not stored.
        let (key, current) = shard.take(hash, flight)?;
        // Invariant 4: dropped after the lock, should the `Eq` panic.
        landed = current;
        // Invariant 4: the store's lock comes after the shard's.
        let stored = store(key);
        drop(shard);
        drop(landed);
        Some(stored)
    }

    /// Detaches the key's flight, if there is one, and does `change` with the key before a load can land.
    pub(super) fn detach<B, Q, R>(&self, hash: u64, key: B, change: impl FnOnce(B) -> R) -> R
    where
        B: Borrow<Q>,
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let detached;
        let mut shard = self.lock(hash);
        // Invariant 4: dropped after the lock, should the `Eq` panic.
        detached = shard.remove(Sought { hash, key: key.borrow() });
        let changed = change(key);
        drop(shard);
        drop(detached);
        changed
    }

    /// Detaches every flight.
    pub(super) fn detach_all(&self) {
        for shard in &self.shards {
            let detached = std::mem::take(&mut shard.lock().unwrap_or_else(PoisonError::into_inner).0);
            drop(detached);
        }
    }

    #[cfg(all(test, ripcord_shuttle))]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).0.len()).sum()
    }

    fn lock(&self, hash: u64) -> MutexGuard<'_, Shard<K, V>> {
        // The table goes by the lowest bits and the highest.
        let index = (hash >> 32) as usize % SHARDS;
        // A key whose Eq panics under this lock leaves the table whole: nothing was moved yet.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq, V> Shard<K, V> {
    fn get<Q>(&self, key: Sought<'_, Q>) -> Option<&Arc<Flight<V>>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.0.find(key.hash, |(kept, _)| key.is(kept)).map(|(_, flight)| flight)
    }

    fn insert(&mut self, key: Hashed<K>, flight: Arc<Flight<V>>) {
        self.0.insert_unique(key.hash, (key, flight), |(key, _)| key.hash);
    }

    fn remove<Q>(&mut self, key: Sought<'_, Q>) -> Option<(Hashed<K>, Arc<Flight<V>>)>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let found = self.0.find_entry(key.hash, |(kept, _)| key.is(kept));
        found.ok().map(|found| found.remove().0)
    }

    /// Takes this one out, if it is there.
    fn take(&mut self, hash: u64, flight: &Arc<Flight<V>>) -> Option<(Hashed<K>, Arc<Flight<V>>)> {
        let found = self.0.find_entry(hash, |(_, current)| Arc::ptr_eq(current, flight));
        found.ok().map(|found| found.remove().0)
    }
}

impl<K, V> fmt::Debug for Flights<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").finish_non_exhaustive()
    }
}
