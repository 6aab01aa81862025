//! Counters that cost about a nanosecond, for paths where an atomic addition would be a third of the whole.
//!
//! # Invariants
//!
//! 1. A thread owns at most one slot number, and no two live threads own the same one. Only its owner writes an owned
//!    slot, so a plain load and store lose nothing.
//! 2. A thread without a number writes the last slot, which is shared, by atomic addition.
//! 3. A number changes hands under the lock of [`FREE`], so the new owner sees all that the old one wrote.
//! 4. Of [`LateCounters`], the thread that owns the slot they were made under is the only one to write their own counts, and
//!    only until there are shared ones.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Threads that own a slot; all others share one more.
const OWNED: usize = 16;
/// The slot of threads that own none.
const SHARED: usize = OWNED;
/// A thread that has not asked for a slot yet.
const UNASKED: usize = usize::MAX;

/// Slot numbers nobody owns.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
/// Slot numbers handed out so far, those given back included.
static ISSUED: Mutex<usize> = Mutex::new(0);

thread_local! {
    static SLOT: Cell<usize> = const { Cell::new(UNASKED) };
    static OWNERSHIP: Cell<Option<Ownership>> = const { Cell::new(None) };
}

/// `N` counters, summed over slots when read.
pub(crate) struct Counters<const N: usize> {
    slots: [Slot<N>; SHARED + 1],
}

/// One thread's share, on cache lines of its own.
#[repr(align(64))]
struct Slot<const N: usize>([AtomicU64; N]);

impl<const N: usize> Counters<N> {
    pub(crate) fn new() -> Self {
        let slot = || Slot(std::array::from_fn(|_| AtomicU64::new(0)));
        Counters { slots: std::array::from_fn(|_| slot()) }
    }

    /// Adds one to counter `index`.
    #[inline]
    pub(crate) fn bump(&self, index: usize) {
        self.add(index, 1);
    }

    /// Adds `by` to counter `index`.
    #[inline]
    pub(crate) fn add(&self, index: usize, by: u64) {
        let slot = SLOT.get();
        // One comparison for both of the rare cases.
        if slot >= SHARED {
            return self.add_rarely(slot, index, by);
        }
        // Invariant 1: nobody else writes here.
        let counter = &self.slots[slot].0[index];
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    /// By a thread that owns no slot, or has not asked for one yet.
    #[cold]
    fn add_rarely(&self, slot: usize, index: usize, by: u64) {
        if slot == UNASKED && ask_for_slot() != SHARED {
            return self.add(index, by);
        }
        // Invariant 2: others write here too.
        self.slots[SHARED].0[index].fetch_add(by, Ordering::Relaxed);
    }

    /// All counters as they are now.
    pub(crate) fn read(&self) -> [u64; N] {
        std::array::from_fn(|index| {
            self.slots.iter().map(|slot| slot.0[index].load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
        })
    }
}

impl<const N: usize> fmt::Debug for Counters<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.read()).finish()
    }
}

/// `N` counters of what is often made for a single call, and dropped: making them allocates nothing.
///
/// The thread that made them counts the first [`OWN`] in place. Whatever else is counted, and by whomever, goes to
/// [`Counters`], which are made then, and from then on all of it does.
pub(crate) struct LateCounters<const N: usize> {
    /// The slot of the thread that made them; [`SHARED`] for none.
    maker: usize,
    own: [AtomicU64; OWN],
    shared: OnceLock<Arc<Counters<N>>>,
}

/// Counters that are counted in place: that a call began, and that it ended well.
const OWN: usize = 2;

impl<const N: usize> LateCounters<N> {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        let mut maker = SLOT.get();
        if maker == UNASKED {
            maker = ask_for_slot();
        }
        LateCounters { maker, own: [const { AtomicU64::new(0) }; OWN], shared: OnceLock::new() }
    }

    /// Adds one to counter `index`.
    #[inline]
    pub(crate) fn bump(&self, index: usize) {
        match self.shared.get() {
            Some(shared) => shared.bump(index),
            None if index < OWN && self.is_mine() => {
                // Invariant 4: nobody else writes here.
                let own = &self.own[index];
                own.store(own.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            }
            None => self.shared().bump(index),
        }
    }

    /// Counters that go on together with these. Made by another thread than the one that made these, they lack what that
    /// one has counted before.
    pub(crate) fn share(&self) -> Self {
        let shared = OnceLock::from(Arc::clone(self.shared()));
        LateCounters { maker: SHARED, own: [const { AtomicU64::new(0) }; OWN], shared }
    }

    /// All counters as they are now.
    pub(crate) fn read(&self) -> [u64; N] {
        let mut counts = self.shared.get().map_or([0; N], |shared| shared.read());
        for (count, own) in counts.iter_mut().zip(&self.own) {
            *count = count.wrapping_add(own.load(Ordering::Relaxed));
        }
        counts
    }

    #[inline]
    fn is_mine(&self) -> bool {
        self.maker == SLOT.get() && self.maker != SHARED
    }

    #[cold]
    fn shared(&self) -> &Arc<Counters<N>> {
        let shared = self.shared.get_or_init(|| Arc::new(Counters::new()));
        if self.is_mine() {
            // Invariant 4: this thread is the one that would write them, and is busy here.
            for (index, own) in self.own.iter().enumerate() {
                shared.add(index, own.swap(0, Ordering::Relaxed));
            }
        }
        shared
    }
}

/// Gives its number back when the thread ends.
struct Ownership(usize);

impl Drop for Ownership {
    fn drop(&mut self) {
        // Destructors of other thread-locals may still count; from here on they share.
        SLOT.set(SHARED);
        // Invariant 3: after the last write by this owner.
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(self.0);
    }
}

#[cold]
fn ask_for_slot() -> usize {
    // Invariant 3: before the first write by the new owner.
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let slot = free.pop().unwrap_or_else(|| {
        let mut issued = ISSUED.lock().unwrap_or_else(PoisonError::into_inner);
        let next = (*issued).min(SHARED);
        *issued = next + 1;
        next
    });
    drop(free);
    SLOT.set(slot);
    if slot != SHARED {
        // A thread that is already tearing down cannot promise to give its number back: it shares instead.
        if OWNERSHIP.try_with(|ownership| ownership.set(Some(Ownership(slot)))).is_err() {
            SLOT.set(SHARED);
            FREE.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
            return SHARED;
        }
    }
    slot
}

#[cfg(test)]
mod tests {
    use super::{Counters, LateCounters};

    #[test]
    fn late_counters_share_nothing_until_they_have_to() {
        let counters = LateCounters::<3>::new();
        counters.bump(0);
        counters.bump(1);
        assert!(counters.shared.get().is_none());
        assert_eq!(counters.read(), [1, 1, 0]);
        counters.bump(2);
        assert!(counters.shared.get().is_some());
        counters.bump(0);
        assert_eq!(counters.read(), [2, 1, 1]);
        let other = counters.share();
        other.bump(1);
        assert_eq!((counters.read(), other.read()), ([2, 2, 1], [2, 2, 1]));
    }

    #[test]
    fn late_counters_lose_nothing_between_threads() {
        let counters = LateCounters::<3>::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..1000).for_each(|_| counters.bump(0));
                    counters.share().bump(1);
                });
            }
            (0..1000).for_each(|_| counters.bump(0));
        });
        assert_eq!(counters.read(), [5000, 4, 0]);
    }

    #[test]
    fn nothing_is_lost_between_more_threads_than_slots() {
        let counters = Counters::<2>::new();
        for _ in 0..3 {
            std::thread::scope(|scope| {
                for _ in 0..40 {
                    scope.spawn(|| (0..1000).for_each(|_| counters.bump(1)));
                }
            });
        }
        assert_eq!(counters.read(), [0, 120_000]);
    }
}
