//! One word that says whether a breaker is closed, so that healthy calls take no lock.
//!
//! The word holds whether the breaker is closed, its generation, and, while it remembers nothing but successes, the number of
//! successes that are to be counted here. Then a success is counted by one swap, or by nothing once a window of calls is full.
//! For a window of time, only those of its current part are counted here.

use std::time::Instant;

use ripcord::Clock;

use super::window::nanos;
use crate::cache_padded::CachePadded;
use crate::sync::{AtomicU64, Ordering};

#[derive(Debug)]
pub(super) struct Closed {
    word: CachePadded<AtomicU64>,
    /// The largest number of successes: those that fill a window of calls.
    full: u64,
    /// For a window of time.
    part: Option<Part>,
}

/// The part of a window of time that is counted now.
#[derive(Debug)]
struct Part {
    origin: Instant,
    /// When the part ends, in nanoseconds since the origin. It only ever becomes later, so no success is counted in a part
    /// that is over.
    ends: AtomicU64,
}

/// What the successes in the word are counted for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    /// A window of this many calls.
    Calls(u64),
    /// A window of time, whose parts are numbered from here.
    Time(Instant),
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
    pub(super) fn new(length: Length) -> Self {
        let (full, part) = match length {
            Length::Calls(calls) => (calls, None),
            Length::Time(origin) => (COUNT, Some(Part { origin, ends: AtomicU64::new(0) })),
        };
        Closed { word: CachePadded::new(AtomicU64::new(0)), full, part }
    }

    /// Returns the generation if the breaker is closed.
    #[inline]
    pub(super) fn generation(&self) -> Option<u64> {
        let word = self.word.load(Ordering::Acquire);
        (word & IS_CLOSED != 0).then_some(word >> GENERATION)
    }

    /// Counts a success of a call of `generation`. Returns `false` if only the machine can.
    #[inline]
    pub(super) fn count_success(&self, generation: u64, clock: &Clock) -> bool {
        let mut word = self.word.load(Ordering::Acquire);
        if word & IS_HEALTHY != 0 && self.part.as_ref().is_some_and(|part| part.is_over(clock)) {
            return false;
        }
        loop {
            if word & IS_HEALTHY == 0 || word >> GENERATION != generation {
                return false;
            }
            if word & COUNT >= self.full {
                return self.part.is_none();
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

    /// Publishes the state of the machine: its generation if it is closed, the number of successes to go on counting from if
    /// it remembers nothing else, and when the current part of a window of time ends. Called under the lock of the machine.
    pub(super) fn publish(&self, generation: Option<u64>, successes: Option<u64>, part_ends: u64) {
        let word = match (generation, successes) {
            (None, _) => 0,
            (Some(generation), None) => generation << GENERATION | IS_CLOSED,
            (Some(generation), Some(successes)) => generation << GENERATION | IS_CLOSED | IS_HEALTHY | successes,
        };
        if let Some(part) = &self.part {
            part.ends.store(part_ends, Ordering::Relaxed);
        }
        self.word.store(word, Ordering::Release);
    }
}

impl Part {
    #[inline]
    fn is_over(&self, clock: &Clock) -> bool {
        nanos(clock.now().saturating_duration_since(self.origin)) >= self.ends.load(Ordering::Relaxed)
    }
}
