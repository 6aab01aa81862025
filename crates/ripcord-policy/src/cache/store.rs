//! The map that holds the entries of a cache. No other file names the crate that provides the map.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

use quick_cache::sync::Cache as Map;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use super::entry::Entry;
use crate::sync::step;

/// Maximum number of shards. No shard holds fewer than [`MIN_SHARD_CAPACITY`] entries.
const MAX_SHARDS: u64 = 32;
const MIN_SHARD_CAPACITY: u64 = 32;

/// The hasher of keys, for the store and for the loads.
pub(super) type KeyHasher = DefaultHashBuilder;

/// The entries that one insert pushed out. Dropping them runs user code.
pub(super) type Evicted<K, V> = Vec<(K, Arc<Entry<V>>)>;

#[derive(Debug)]
pub(super) struct Store<K, V> {
    map: Map<K, Arc<Entry<V>>, EntryWeight, KeyHasher, CollectEvicted>,
}

impl<K: Hash + Eq + Clone, V> Store<K, V> {
    /// Creates a store that never holds more than `capacity`. A store with weights has one shard, so that an entry as heavy as
    /// the whole capacity fits.
    pub(super) fn new(capacity: u64, weighted: bool) -> Self {
        let mut shards = if weighted { 1 } else { MAX_SHARDS };
        while shards > 1 && capacity / shards < MIN_SHARD_CAPACITY {
            shards /= 2;
        }
        // The shards divide the capacity between them and round up, so the capacity must be divisible by the number of shards.
        let capacity = capacity - capacity % shards;
        let options = OptionsBuilder::new()
            .shards(usize::try_from(shards).unwrap_or(1))
            .estimated_items_capacity(usize::try_from(capacity).unwrap_or(usize::MAX))
            .weight_capacity(capacity)
            // With weights, often read entries may fill the whole store, so that an entry of the full weight is admitted.
            .hot_allocation(if weighted { 1.0 } else { 0.97 })
            .build()
            .unwrap_or_else(|_| unreachable!("both capacities are set"));
        Self { map: Map::with_options(options, EntryWeight, KeyHasher::default(), CollectEvicted) }
    }

    pub(super) fn get<Q>(&self, key: &Q) -> Option<Arc<Entry<V>>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        step();
        self.map.get(key)
    }

    /// Inserts an entry and returns the entries that it pushed out: its predecessor, entries that made room, or the inserted
    /// entry itself if it is heavier than the whole store.
    pub(super) fn insert(&self, key: K, entry: Arc<Entry<V>>) -> Evicted<K, V> {
        let mut evicted = Evicted::new();
        step();
        self.map.insert_with_lifecycle(key, entry, &mut evicted);
        evicted
    }

    pub(super) fn remove<Q>(&self, key: &Q) -> Option<(K, Arc<Entry<V>>)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        step();
        self.map.remove(key)
    }

    /// Removes the entry of `key` if `condition` returns true for it. The condition runs under the shard's lock.
    pub(super) fn remove_if(&self, key: &K, condition: impl FnOnce(&Entry<V>) -> bool) -> Option<(K, Arc<Entry<V>>)> {
        self.map.remove_if(key, |entry| condition(entry))
    }

    /// Returns whether `key` has an entry for which `condition` returns true. The condition runs under the shard's lock.
    pub(super) fn has(&self, key: &K, condition: impl FnOnce(&Entry<V>) -> bool) -> bool {
        let mut holds = false;
        step();
        self.map.remove_if(key, |entry| {
            holds = condition(entry);
            false
        });
        holds
    }

    /// Iterates over the entries. Locks one shard for one entry at a time.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, Arc<Entry<V>>)> + '_ {
        self.map.iter()
    }

    /// Removes all entries, one at a time. Locks one shard for one entry at a time.
    pub(super) fn drain(&self) -> impl Iterator<Item = (K, Arc<Entry<V>>)> + '_ {
        step();
        self.map.drain()
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn weight(&self) -> u64 {
        self.map.weight()
    }
}

/// Reads the weight from the entry. So the user's weigher never runs under the store's locks.
#[derive(Debug, Clone, Copy)]
struct EntryWeight;

impl<K, V> Weighter<K, Arc<Entry<V>>> for EntryWeight {
    fn weight(&self, _: &K, entry: &Arc<Entry<V>>) -> u64 {
        u64::from(entry.weight)
    }
}

/// Passes evicted entries to the caller of the insert, which drops them after the lock is released.
#[derive(Debug, Clone, Copy)]
struct CollectEvicted;

impl<K, V> Lifecycle<K, Arc<Entry<V>>> for CollectEvicted {
    type RequestState = Evicted<K, V>;

    fn on_evict(&self, evicted: &mut Evicted<K, V>, key: K, entry: Arc<Entry<V>>) {
        evicted.push((key, entry));
    }
}
