//! A vector with a free list: stable keys, insert and remove in constant time. It frees its memory when it becomes empty.

use std::marker::PhantomData;

/// A container of values of one type, each under the key that `insert` returned.
pub(crate) struct Slab<T, P = Entry<T>> {
    entries: Vec<P>,
    free: u32,
    len: u32,
    _values: PhantomData<T>,
}

/// A slot in a slab. It holds a value, or the number of the next free slot (or `NONE`).
pub(crate) trait Slot<T> {
    fn full(value: T) -> Self;
    fn free(next: u32) -> Self;
    /// Returns the next free slot, if this slot is free.
    fn next_free(&self) -> Option<u32>;
    fn into_value(self) -> Option<T>;
}

/// A slot for values of any type.
pub(crate) enum Entry<T> {
    Full(T),
    Free(u32),
}

impl<T> Slot<T> for Entry<T> {
    fn full(value: T) -> Self {
        Entry::Full(value)
    }

    fn free(next: u32) -> Self {
        Entry::Free(next)
    }

    fn next_free(&self) -> Option<u32> {
        match self {
            Entry::Full(_) => None,
            Entry::Free(next) => Some(*next),
        }
    }

    fn into_value(self) -> Option<T> {
        match self {
            Entry::Full(value) => Some(value),
            Entry::Free(_) => None,
        }
    }
}

/// The key of no slot.
pub(crate) const NONE: u32 = u32::MAX;
/// Number of entries for which an empty slab keeps its buffer, so that a parent with one child at a time does not allocate.
const KEEP: usize = 16;

/// Returns the key of the next entry, which is less than `limit`. Aborts the process if one list has four billion entries, as
/// with too many references.
pub(crate) fn key_of(len: usize, limit: u32) -> u32 {
    match u32::try_from(len) {
        Ok(key) if key < limit => key,
        _ => std::process::abort(),
    }
}

impl<T> Slab<T> {
    pub(crate) fn get(&self, key: u32) -> Option<&T> {
        match self.entries.get(key as usize) {
            Some(Entry::Full(value)) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        match self.entries.get_mut(key as usize) {
            Some(Entry::Full(value)) => Some(value),
            _ => None,
        }
    }
}

impl<T, P: Slot<T>> Slab<T, P> {
    pub(crate) const fn new() -> Self {
        Slab { entries: Vec::new(), free: NONE, len: 0, _values: PhantomData }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if self.free == NONE {
            let key = key_of(self.entries.len(), NONE);
            self.entries.push(P::full(value));
            return key;
        }
        let key = self.free;
        let entry = &mut self.entries[key as usize];
        if let Some(next) = entry.next_free() {
            self.free = next;
        }
        *entry = P::full(value);
        key
    }

    pub(crate) fn remove(&mut self, key: u32) -> Option<T> {
        let entry = self.entries.get_mut(key as usize)?;
        if entry.next_free().is_some() {
            return None;
        }
        let value = std::mem::replace(entry, P::free(self.free)).into_value();
        self.free = key;
        self.len -= 1;
        if self.len == 0 {
            self.reset();
        }
        value
    }

    /// Takes the last entry out. The keys of the other entries stay valid. Repeated calls empty the slab.
    pub(crate) fn pop(&mut self) -> Option<T> {
        while let Some(entry) = self.entries.pop() {
            if let Some(value) = entry.into_value() {
                self.len -= 1;
                // The free list may contain slots that no longer exist. Nothing is inserted into a slab that is being emptied.
                self.free = NONE;
                if self.len == 0 {
                    self.reset();
                }
                return Some(value);
            }
        }
        None
    }

    /// Returns the `back`-th slot from the end, to look ahead at the entries that `pop` returns next.
    pub(crate) fn peek_back(&self, back: usize) -> Option<&P> {
        self.entries.len().checked_sub(back + 1).map(|at| &self.entries[at])
    }

    /// Returns all slots, including the free ones.
    pub(crate) fn slots(&self) -> &[P] {
        &self.entries
    }

    fn reset(&mut self) {
        self.entries.clear();
        self.free = NONE;
        if self.entries.capacity() > KEEP {
            self.entries = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_valid_and_slots_are_reused() {
        let mut slab: Slab<_> = Slab::new();
        let (a, b, c) = (slab.insert('a'), slab.insert('b'), slab.insert('c'));
        assert_eq!(slab.remove(b), Some('b'));
        assert_eq!(slab.remove(b), None);
        assert_eq!(slab.insert('d'), b);
        assert_eq!(slab.get_mut(a), Some(&mut 'a'));
        assert_eq!((slab.pop(), slab.pop(), slab.pop(), slab.pop()), (Some('c'), Some('d'), Some('a'), None));
        assert!(slab.is_empty() && c == 2);
    }

    #[test]
    fn emptied_slab_frees_its_memory() {
        let mut slab: Slab<_> = Slab::new();
        let keys: Vec<u32> = (0..10_000).map(|n| slab.insert(n)).collect();
        for key in keys {
            slab.remove(key);
        }
        assert!(slab.is_empty() && slab.entries.capacity() <= KEEP);
    }
}
