//! Keys with their hashes.
//!
//! A user's `Hash` runs once an operation, before any lock is taken. The tables below go by what it said: they also hash what they
//! hold already, in order to grow, to make room and to be emptied, and one that panicked then would leave them half changed.

use std::borrow::Borrow;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A key as it is kept.
#[derive(Debug, Clone)]
pub(super) struct Hashed<K> {
    pub(super) hash: u64,
    pub(super) key: K,
}

/// A key that is looked for.
#[derive(Debug)]
pub(super) struct Sought<'a, Q: ?Sized> {
    pub(super) hash: u64,
    pub(super) key: &'a Q,
}

/// What a table hashes a [`Hashed`] with: its hash is the one it has.
pub(super) type SameHash = BuildHasherDefault<Same>;

#[derive(Debug, Default)]
pub(super) struct Same(u64);

impl<K> Hashed<K> {
    #[inline]
    pub(super) fn sought(&self) -> Sought<'_, K> {
        Sought { hash: self.hash, key: &self.key }
    }
}

impl<Q: Eq + ?Sized> Sought<'_, Q> {
    /// Whether this is the key that is looked for.
    #[inline]
    pub(super) fn is<K: Borrow<Q>>(&self, kept: &Hashed<K>) -> bool {
        self.key == kept.key.borrow()
    }
}

impl<Q: ?Sized> Clone for Sought<'_, Q> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q: ?Sized> Copy for Sought<'_, Q> {}

impl<K: Eq> PartialEq for Hashed<K> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<K: Eq> Eq for Hashed<K> {}

impl<K> Hash for Hashed<K> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<Q: ?Sized> Hash for Sought<'_, Q> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hasher for Same {
    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only hashes are hashed with this");
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
