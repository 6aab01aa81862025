//! What a cache has done so far.

use crate::stats::{Call, CallStats};
use crate::tally;

/// Numbers of a [`Cache`](super::Cache).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Reads that found a fresh value.
    pub hits: u64,
    /// Reads that were served a stale value inside its window.
    pub stale_hits: u64,
    /// Calls to `get_or_load` that were given the remembered error of an earlier load.
    pub negative_hits: u64,
    /// Reads that found nothing to serve.
    pub misses: u64,
    /// Callers that waited for a load somebody else had started.
    pub coalesced: u64,
    /// Loads, and how they ended. A load is canceled when all its callers have left, or the cache is closed. `rejected` counts
    /// operations refused because a context had ended.
    pub calls: CallStats,
    /// Of those that failed, loads that panicked.
    pub panicked: u64,
    /// Values put in, by loads too.
    pub inserted: u64,
    /// Values that made room for others, or were too heavy to be kept.
    pub evicted: u64,
    /// Values that were removed because their time was over.
    pub expired: u64,
    /// Values that another took the place of.
    pub replaced: u64,
    /// Values taken out by `remove`, `clear` or the cache's end.
    pub removed: u64,
    /// Loads under way: a gauge.
    pub loading: u64,
    /// Entries held: a gauge. The expired that await their sweep are among them, and remembered errors too.
    pub entries: u64,
    /// The weight of those entries: a gauge.
    pub weight: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Count {
    Hit,
    StaleHit,
    NegativeHit,
    Miss,
    Coalesced,
    Panicked,
    Inserted,
    Evicted,
    Expired,
    Replaced,
    Removed,
}

const COUNTS: usize = Count::Removed as usize + 1;

#[derive(Debug)]
pub(super) struct Tally(tally::Tally<COUNTS>);

impl Tally {
    pub(super) fn new() -> Self {
        Self(tally::Tally::new())
    }

    #[inline]
    pub(super) fn add(&self, count: Count) {
        self.0.bump(count as usize);
    }

    pub(super) fn count(&self, call: Call) {
        self.0.count(call);
    }

    pub(super) fn stats(&self, entries: usize, weight: u64) -> CacheStats {
        let counts = self.0.read();
        let of = |count: Count| counts[count as usize];
        let calls = self.0.calls();
        CacheStats {
            hits: of(Count::Hit),
            stale_hits: of(Count::StaleHit),
            negative_hits: of(Count::NegativeHit),
            misses: of(Count::Miss),
            coalesced: of(Count::Coalesced),
            calls,
            panicked: of(Count::Panicked),
            inserted: of(Count::Inserted),
            evicted: of(Count::Evicted),
            expired: of(Count::Expired),
            replaced: of(Count::Replaced),
            removed: of(Count::Removed),
            loading: calls.in_flight(),
            entries: entries as u64,
            weight,
        }
    }
}
