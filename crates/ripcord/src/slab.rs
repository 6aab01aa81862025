//! A vector with a free list: stable keys, constant-time insert and remove, memory given back when it empties.

/// Entries of one kind, each under the key that `insert` returned.
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: u32,
    len: u32,
}

enum Entry<T> {
    Full(T),
    /// The next free place, or `NONE`.
    Free(u32),
}

/// No place in a slab.
pub(crate) const NONE: u32 = u32::MAX;
/// An emptied slab keeps a buffer of this many entries, so that a parent with one child at a time does not allocate.
const KEEP: usize = 16;

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Slab { entries: Vec::new(), free: NONE, len: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if self.free == NONE {
            let key = self.entries.len() as u32;
            self.entries.push(Entry::Full(value));
            return key;
        }
        let key = self.free;
        let entry = &mut self.entries[key as usize];
        if let Entry::Free(next) = *entry {
            self.free = next;
        }
        *entry = Entry::Full(value);
        key
    }

    pub(crate) fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        match self.entries.get_mut(key as usize) {
            Some(Entry::Full(value)) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, key: u32) -> Option<T> {
        let entry = self.entries.get_mut(key as usize)?;
        if matches!(entry, Entry::Free(_)) {
            return None;
        }
        let Entry::Full(value) = std::mem::replace(entry, Entry::Free(self.free)) else {
            return None;
        };
        self.free = key;
        self.len -= 1;
        if self.len == 0 {
            self.reset();
        }
        Some(value)
    }

    /// Takes the entry at the end; keys of the others stay valid. Repeated, it empties the slab.
    pub(crate) fn pop(&mut self) -> Option<T> {
        while let Some(entry) = self.entries.pop() {
            if let Entry::Full(value) = entry {
                self.len -= 1;
                // The free list may name places that are gone now; nothing is inserted into a slab that is being emptied.
                self.free = NONE;
                if self.len == 0 {
                    self.reset();
                }
                return Some(value);
            }
        }
        None
    }

    /// The `back`-th entry from the end, when it is full: a look ahead at what `pop` gives next.
    pub(crate) fn peek_back(&self, back: usize) -> Option<&T> {
        match self.entries.len().checked_sub(back + 1).map(|at| &self.entries[at]) {
            Some(Entry::Full(value)) => Some(value),
            _ => None,
        }
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
    fn keys_stay_valid_and_places_are_used_again() {
        let mut slab = Slab::new();
        let (a, b, c) = (slab.insert('a'), slab.insert('b'), slab.insert('c'));
        assert_eq!(slab.remove(b), Some('b'));
        assert_eq!(slab.remove(b), None);
        assert_eq!(slab.insert('d'), b);
        assert_eq!(slab.get_mut(a), Some(&mut 'a'));
        assert_eq!((slab.pop(), slab.pop(), slab.pop(), slab.pop()), (Some('c'), Some('d'), Some('a'), None));
        assert!(slab.is_empty() && c == 2);
    }

    #[test]
    fn a_slab_that_empties_gives_its_memory_back() {
        let mut slab = Slab::new();
        let keys: Vec<u32> = (0..10_000).map(|n| slab.insert(n)).collect();
        for key in keys {
            slab.remove(key);
        }
        assert!(slab.is_empty() && slab.entries.capacity() <= KEEP);
    }
}
