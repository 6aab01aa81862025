//! A schedule that is read without a lock.
//!
//! # Invariants
//!
//! 1. The words change under the lock of the bucket, between two steps of `version`, which is odd meanwhile. A reader
//!    that finds the same even version before and after it has read the words of one schedule.

use super::schedule::{Schedule, Slope};
use crate::sync::{AtomicU64, Ordering, fence};

#[derive(Debug)]
pub(super) struct Published {
    version: AtomicU64,
    words: [AtomicU64; 6],
}

/// A schedule as a reader found it.
pub(super) struct Found {
    pub(super) schedule: Schedule,
    /// The time after the schedule's anchor from which it may have reached its limit.
    pub(super) horizon: u64,
    version: u64,
}

impl Published {
    pub(super) fn new(schedule: &Schedule) -> Self {
        Published { version: AtomicU64::new(0), words: words(schedule).map(AtomicU64::new) }
    }

    /// Returns the schedule and what `read` reads, which belongs to it. Returns `None` while the schedule changes.
    #[inline]
    pub(super) fn read_with<T>(&self, read: impl FnOnce() -> T) -> Option<(Found, T)> {
        let version = self.version.load(Ordering::Acquire);
        let words = self.words.each_ref().map(|word| word.load(Ordering::Relaxed));
        let [whole, part, anchor_time, anchor_units, burst, horizon] = words;
        let schedule = Schedule { slope: Slope { whole, part }, burst, anchor_time, anchor_units };
        let (found, read) = (Found { schedule, horizon, version }, read());
        self.is_current(&found).then_some((found, read))
    }

    /// Returns whether the schedule has not changed since, so that everything read before this belongs to it.
    #[inline]
    pub(super) fn is_current(&self, found: &Found) -> bool {
        // Keeps the reads before it from moving behind the check.
        fence(Ordering::Acquire);
        found.version & 1 == 0 && self.version.load(Ordering::Relaxed) == found.version
    }

    /// Publishes the schedule that `change` returns. Called under the lock of the bucket.
    pub(super) fn write(&self, change: impl FnOnce() -> Schedule) {
        // A swap: what `change` reads, such as the clock, must not be read ahead of the step.
        self.version.swap(self.version.load(Ordering::Relaxed) + 1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        for (word, value) in self.words.iter().zip(words(&change())) {
            word.store(value, Ordering::Relaxed);
        }
        self.version.fetch_add(1, Ordering::Release);
    }
}

fn words(schedule: &Schedule) -> [u64; 6] {
    let Schedule { slope: Slope { whole, part }, burst, anchor_time, anchor_units } = *schedule;
    [whole, part, anchor_time, anchor_units, burst, schedule.horizon()]
}
