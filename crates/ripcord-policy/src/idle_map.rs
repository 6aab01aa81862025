//! A map that forgets its idle entries, for the policies with state per key.

use std::collections::HashMap;
use std::collections::hash_map::Values;
use std::hash::Hash;

/// The minimum number of entries for a search for idle entries.
const MIN_SWEEP: usize = 64;

/// A map from keys to the state of each key. An entry is idle if it is like a new entry and nobody uses it.
pub(crate) struct IdleMap<K, V> {
    entries: HashMap<K, V>,
    /// The number of entries at which an insertion searches for idle entries. This is twice the number that the last search left,
    /// so each insertion pays for a constant share of the searches.
    sweep_at: usize,
}

impl<K: Hash + Eq, V> IdleMap<K, V> {
    pub(crate) fn new() -> Self {
        IdleMap { entries: HashMap::new(), sweep_at: MIN_SWEEP }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    /// Inserts an entry. Returns idle entries that were removed. The caller drops them without any lock.
    #[must_use]
    pub(crate) fn insert(&mut self, key: K, value: V, is_idle: impl Fn(&V) -> bool) -> Vec<(K, V)> {
        let idle = if self.entries.len() < self.sweep_at { Vec::new() } else { self.take_idle(is_idle) };
        self.entries.insert(key, value);
        idle
    }

    /// Removes all idle entries and returns them. The caller drops them without any lock.
    #[must_use]
    pub(crate) fn take_idle(&mut self, is_idle: impl Fn(&V) -> bool) -> Vec<(K, V)> {
        let idle = self.entries.extract_if(|_, value| is_idle(value)).collect();
        self.sweep_at = (self.entries.len() * 2).max(MIN_SWEEP);
        self.entries.shrink_to(self.sweep_at);
        idle
    }

    pub(crate) fn values(&self) -> Values<'_, K, V> {
        self.entries.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{IdleMap, MIN_SWEEP};

    #[test]
    fn insertion_removes_idle_entries_when_the_map_has_doubled() {
        let mut map = IdleMap::new();
        let is_idle = |busy: &bool| !busy;
        for key in 0..MIN_SWEEP {
            assert!(map.insert(key, key % 4 == 0, is_idle).is_empty());
        }
        assert_eq!(map.insert(MIN_SWEEP, true, is_idle).len(), MIN_SWEEP * 3 / 4);
        assert_eq!(map.len(), MIN_SWEEP / 4 + 1);
        assert!(map.values().all(|busy| *busy) && map.get(&1).is_none());
    }
}
