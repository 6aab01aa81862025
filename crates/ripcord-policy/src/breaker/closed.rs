//! One word that says whether a breaker is closed, so that healthy calls take no lock.
//!
//! The word holds whether the breaker is closed, its generation, and, while it remembers nothing but successes in a window
//! of calls, their number. Then a success is counted by one swap, or by nothing once the window is full.

use crate::cache_padded::CachePadded;
use crate::sync::{AtomicU64, Ordering};

#[derive(Debug)]
pub(super) struct Closed {
    word: CachePadded<AtomicU64>,
    /// The number of successes that fill a window of calls; `None` for a window of time, whose successes are counted by
    /// the machine.
    full: Option<u64>,
}

/// The largest window of calls, so that its number of successes fits.
pub(super) const MAX_WINDOW: usize = 1 << 20;

/// From the lowest bits to the highest: the number of successes, the two flags, the generation.
const COUNT_BITS: u32 = 21;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const IS_HEALTHY: u64 = 1 << COUNT_BITS;
const IS_CLOSED: u64 = IS_HEALTHY << 1;
const GENERATION: u32 = COUNT_BITS + 2;

impl Closed {
    pub(super) fn new(full: Option<u64>) -> Self {
        Closed { word: CachePadded::new(AtomicU64::new(0)), full }
    }

    /// Returns the generation if the breaker is closed.
    #[inline]
    pub(super) fn generation(&self) -> Option<u64> {
        let word = self.word.load(Ordering::Acquire);
        (word & IS_CLOSED != 0).then_some(word >> GENERATION)
    }

    /// Counts a success of a call of `generation`. Returns `false` if only the machine can.
    #[inline]
    pub(super) fn count_success(&self, generation: u64) -> bool {
        let Some(full) = self.full else { return false };
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if word & IS_HEALTHY == 0 || word >> GENERATION != generation {
                return false;
            }
            if word & COUNT >= full {
                return true;
            }
            match self.word.compare_exchange_weak(word, word + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(current) => word = current,
            }
        }
    }

    /// Takes the number of successes out, so that none is counted here until [`publish`](Closed::publish). Called under the
    /// lock of the machine.
    pub(super) fn take_successes(&self) -> Option<u64> {
        if self.word.load(Ordering::Acquire) & IS_HEALTHY == 0 {
            return None;
        }
        let word = self.word.fetch_and(!(IS_HEALTHY | COUNT), Ordering::AcqRel);
        Some(word & COUNT)
    }

    /// Publishes the state of the machine: its generation if it is closed, and the number of its successes if it remembers
    /// nothing else. Called under the lock of the machine.
    pub(super) fn publish(&self, generation: Option<u64>, successes: Option<u64>) {
        let word = match (generation, successes.filter(|_| self.full.is_some())) {
            (None, _) => 0,
            (Some(generation), None) => generation << GENERATION | IS_CLOSED,
            (Some(generation), Some(successes)) => generation << GENERATION | IS_CLOSED | IS_HEALTHY | successes,
        };
        self.word.store(word, Ordering::Release);
    }
}
