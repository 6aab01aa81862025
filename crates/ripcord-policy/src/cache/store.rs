//! The map below the cache. Nothing above this file names the crate that provides it.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use quick_cache::sync::Cache as Map;
use quick_cache::{DefaultHashBuilder, Equivalent, Lifecycle, OptionsBuilder, Weighter};

use super::entry::Entry;
use super::hashed::{Hashed, SameHash, Sought};
use crate::panics::discard;
use crate::sync::step;

/// No more shards than this, and none that holds fewer than [`SMALLEST_SHARD`] entries.
const MOST_SHARDS: u64 = 32;
const SMALLEST_SHARD: u64 = 32;

type Kept<K, V> = Map<Hashed<K>, Arc<Entry<V>>, EntryWeight, SameHash, KeepEvicted<K, V>>;

#[derive(Debug)]
pub(super) struct Store<K, V> {
    map: Kept<K, V>,
    hasher: DefaultHashBuilder,
}

impl<K: Eq + Clone, V> Store<K, V> {
    /// A store that never holds more than `capacity`. With weights there is one shard, for an entry as heavy as the
    /// whole capacity must fit.
    pub(super) fn new(capacity: u64, weighted: bool) -> Self {
        let mut shards = if weighted { 1 } else { MOST_SHARDS };
        while shards > 1 && capacity / shards < SMALLEST_SHARD {
            shards /= 2;
        }
        // Shards divide the capacity between them and round up: give them what divides evenly.
        let capacity = capacity - capacity % shards;
        let options = OptionsBuilder::new()
            .shards(usize::try_from(shards).unwrap_or(1))
            .estimated_items_capacity(usize::try_from(capacity).unwrap_or(usize::MAX))
            .weight_capacity(capacity)
            // All of it may hold what is read often, so that an entry of the full weight is admitted.
            .hot_allocation(if weighted { 1.0 } else { 0.97 })
            .build()
            .unwrap_or_else(|_| unreachable!("both capacities are set"));
        let map = Map::with_options(options, EntryWeight, SameHash::default(), KeepEvicted(PhantomData));
        Self { map, hasher: DefaultHashBuilder::default() }
    }

    /// The hash that the methods below go by, and the flights.
    #[inline]
    pub(super) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    #[inline]
    pub(super) fn get<Q>(&self, key: Sought<'_, Q>) -> Option<Arc<Entry<V>>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        step();
        self.map.get(&key)
    }

    /// Puts an entry in, and returns what had to go: its predecessor, others for room, or the entry itself when it
    /// is heavier than the whole store.
    #[must_use = "dropping what went runs user code"]
    pub(super) fn insert(&self, key: Hashed<K>, entry: Entry<V>) -> Evicted<K, V> {
        let mut evicted = Evicted::default();
        step();
        self.map.insert_with_lifecycle(key, Arc::new(entry), &mut evicted);
        evicted
    }

    pub(super) fn remove<Q>(&self, key: Sought<'_, Q>) -> Option<(K, Arc<Entry<V>>)>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        step();
        self.map.remove(&key).map(without_hash)
    }

    /// Removes the entry of `key` if `condition` holds for it, which runs under the shard's lock.
    pub(super) fn remove_if(
        &self,
        key: &Hashed<K>,
        condition: impl FnOnce(&Entry<V>) -> bool,
    ) -> Option<(K, Arc<Entry<V>>)> {
        self.map.remove_if(key, |entry| condition(entry)).map(without_hash)
    }

    /// Whether `key` has an entry of which `condition` holds. Unlike a read it clones nothing.
    pub(super) fn has(&self, key: &Hashed<K>, condition: impl FnOnce(&Entry<V>) -> bool) -> bool {
        let mut holds = false;
        step();
        let removed = self.map.remove_if(key, |entry| {
            holds = condition(entry);
            false
        });
        debug_assert!(removed.is_none());
        holds
    }

    /// Walks over the entries, holding one shard's lock for one entry at a time. Passes over those whose clone panics.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Hashed<K>, Arc<Entry<V>>)> + '_ {
        let mut entries = self.map.iter();
        std::iter::from_fn(move || {
            loop {
                // The map's iterator moves on before it clones, and its locks know no poison.
                match catch_unwind(AssertUnwindSafe(|| entries.next())) {
                    Ok(next) => return next,
                    Err(payload) => discard(payload),
                }
            }
        })
    }

    /// Takes the entries out one by one, each shard locked for one entry at a time.
    pub(super) fn drain(&self) -> impl Iterator<Item = (K, Arc<Entry<V>>)> + '_ {
        step();
        self.map.drain().map(without_hash)
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn weight(&self) -> u64 {
        self.map.weight()
    }
}

fn without_hash<K, E>((key, entry): (Hashed<K>, E)) -> (K, E) {
    (key.key, entry)
}

impl<K: Borrow<Q>, Q: Eq + ?Sized> Equivalent<Hashed<K>> for Sought<'_, Q> {
    #[inline]
    fn equivalent(&self, kept: &Hashed<K>) -> bool {
        self.is(kept)
    }
}

/// Entries that left the store during one insert. Kept in line up to two: more than that go at once only when weights
/// differ.
#[derive(Debug)]
pub(super) struct Evicted<K, V> {
    first: Option<(Hashed<K>, Arc<Entry<V>>)>,
    rest: Vec<(Hashed<K>, Arc<Entry<V>>)>,
}

impl<K, V> Default for Evicted<K, V> {
    fn default() -> Self {
        Self { first: None, rest: Vec::new() }
    }
}

impl<K, V> Evicted<K, V> {
    fn push(&mut self, key: Hashed<K>, entry: Arc<Entry<V>>) {
        if self.first.is_none() {
            self.first = Some((key, entry));
        } else {
            self.rest.push((key, entry));
        }
    }
}

impl<K, V> IntoIterator for Evicted<K, V> {
    type Item = (Hashed<K>, Arc<Entry<V>>);
    type IntoIter = std::iter::Chain<std::option::IntoIter<Self::Item>, std::vec::IntoIter<Self::Item>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.rest)
    }
}

/// The weight was worked out before the store was asked: a user's weigher never runs under its locks.
#[derive(Debug, Clone, Copy)]
struct EntryWeight;

impl<K, V> Weighter<Hashed<K>, Arc<Entry<V>>> for EntryWeight {
    #[inline]
    fn weight(&self, _: &Hashed<K>, entry: &Arc<Entry<V>>) -> u64 {
        u64::from(entry.weight)
    }
}

/// Hands evicted entries to the caller of the insert, who drops them when no lock is held.
#[derive(Debug)]
struct KeepEvicted<K, V>(PhantomData<fn(K, V)>);

impl<K, V> Clone for KeepEvicted<K, V> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<K, V> Lifecycle<Hashed<K>, Arc<Entry<V>>> for KeepEvicted<K, V> {
    type RequestState = Evicted<K, V>;

    fn on_evict(&self, evicted: &mut Evicted<K, V>, key: Hashed<K>, entry: Arc<Entry<V>>) {
        evicted.push(key, entry);
    }
}
