//! One atomic word that says whether a breaker is closed, so that healthy calls take no lock.
//!
//! The word holds a flag for a closed breaker, a flag for a healthy one, the breaker's generation, and a number of successes. A
//! healthy breaker is closed and remembers only successes. While the breaker is healthy, its successes are counted in the word:
//! one compare-and-swap counts a success. When a window of calls is full, a success changes nothing. For a window of time, the
//! word counts only the successes of the current part.

use std::time::Instant;

use ripcord::Clock;

use super::window::{Length, nanos};
use crate::cache_padded::CachePadded;
use crate::sync::{AtomicU64, Ordering};

#[derive(Debug)]
pub(super) struct Closed {
    word: CachePadded<AtomicU64>,
    /// The maximum number of successes in the word: the size of a window of calls.
    full: u64,
    /// The current part of a window of time. `None` for a window of calls.
    part: Option<Part>,
}

/// The part of a window of time that is counted now.
#[derive(Debug)]
struct Part {
    origin: Instant,
    /// The end of the part, in nanoseconds since the origin. It only moves later, so no success is counted in a part that has
    /// ended.
    ends: AtomicU64,
}

/// The maximum size of a window of calls. A number of successes up to this size fits into the word.
pub(super) const MAX_WINDOW: usize = 1 << 20;

/// The layout of the word, from the lowest bits: the number of successes, the two flags, the generation.
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

    /// Counts a success of a call of `generation`. Returns `false` if only the machine can count the success.
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

    /// Takes the number of successes out of the word. No success is counted here again until [`publish`](Closed::publish). Called
    /// under the machine's lock.
    pub(super) fn take_successes(&self) -> Option<u64> {
        if self.word.load(Ordering::Acquire) & IS_HEALTHY == 0 {
            return None;
        }
        let word = self.word.fetch_and(!(IS_HEALTHY | COUNT), Ordering::AcqRel);
        Some(word & COUNT)
    }

    /// Publishes the state of the machine. `generation` is the generation of a closed breaker. `successes` is the number of
    /// successes of a healthy breaker. `part_ends` is the end of the current part of a window of time. Called under the machine's
    /// lock.
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
