//! A schedule that can be read without a lock.
//!
//! # Invariants
//!
//! 1. The words change only under the bucket's lock, between two increments of `version`. `version` is odd while the words
//!    change. A reader that finds the same even version before and after its reads has read the words of one schedule.

use super::schedule::{Schedule, Slope};
use crate::sync::{AtomicU64, Ordering, fence};

#[derive(Debug)]
pub(super) struct Published {
    version: AtomicU64,
    words: [AtomicU64; 6],
}

/// A schedule as it was read, and its version.
pub(super) struct Reading {
    pub(super) schedule: Schedule,
    /// The duration after the schedule's anchor from which the schedule may have reached its limit.
    pub(super) horizon: u64,
    version: u64,
}

impl Published {
    pub(super) fn new(schedule: &Schedule) -> Self {
        Published { version: AtomicU64::new(0), words: words(schedule).map(AtomicU64::new) }
    }

    /// Returns the schedule and the result of `read`, which belongs to the same schedule. Returns `None` while the schedule
    /// changes.
    #[inline]
    pub(super) fn read_with<T>(&self, read: impl FnOnce() -> T) -> Option<(Reading, T)> {
        let version = self.version.load(Ordering::Acquire);
        let words = self.words.each_ref().map(|word| word.load(Ordering::Relaxed));
        let [whole, part, anchor_time, anchor_units, burst, horizon] = words;
        let schedule = Schedule { slope: Slope { whole, part }, burst, anchor_time, anchor_units };
        let (reading, read) = (Reading { schedule, horizon, version }, read());
        self.is_current(&reading).then_some((reading, read))
    }

    /// Returns whether the schedule has not changed since `reading`. Then every earlier read belongs to the same schedule.
    #[inline]
    pub(super) fn is_current(&self, reading: &Reading) -> bool {
        // This fence keeps earlier reads from moving behind the check.
        fence(Ordering::Acquire);
        reading.version & 1 == 0 && self.version.load(Ordering::Relaxed) == reading.version
    }

    /// Publishes the schedule that `change` returns. Called under the lock of the bucket.
    pub(super) fn write(&self, change: impl FnOnce() -> Schedule) {
        // A swap, because the reads in `change`, such as a reading of the clock, must not move before this increment.
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
