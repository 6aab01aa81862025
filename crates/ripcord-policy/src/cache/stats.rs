//! The figures of a cache.

use crate::stats::CallStats;
use crate::tally::Tally;

/// The figures of a [`Cache`](super::Cache).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// The loads. `rejected` counts operations that were refused because a context had ended.
    pub calls: CallStats,
    /// Reads that found a fresh value.
    pub hits: u64,
    /// Reads that found a stale value inside its window.
    pub stale_hits: u64,
    /// Reads that found the remembered error of an earlier load.
    pub negative_hits: u64,
    /// Reads that found nothing to serve.
    pub misses: u64,
    /// Callers that joined a load that another caller had started.
    pub coalesced: u64,
    /// Loads that panicked; `calls.failed` includes them.
    pub panicked: u64,
    /// Values inserted, including those of loads.
    pub inserted: u64,
    /// Values that made room for others, or were too heavy to be kept.
    pub evicted: u64,
    /// Values removed because they had expired.
    pub expired: u64,
    /// Values replaced by another value of the same key.
    pub replaced: u64,
    /// Values removed by `remove`, `clear` or the end of the cache.
    pub removed: u64,
    /// Gauge: entries held, including remembered errors and expired entries that await their sweep.
    pub entries: u64,
    /// Gauge: total weight of those entries.
    pub weight: u64,
}

/// The counters of [`CacheStats`] beside the calls, in its order.
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

pub(super) const COUNTS: usize = Count::Removed as usize + 1;

/// What the counters and the store say now.
pub(super) fn read(tally: &Tally<COUNTS>, entries: usize, weight: u64) -> CacheStats {
    let [hits, stale_hits, negative_hits, misses, coalesced, panicked, inserted, evicted, expired, replaced, removed] =
        tally.read();
    CacheStats {
        calls: tally.calls(),
        hits,
        stale_hits,
        negative_hits,
        misses,
        coalesced,
        panicked,
        inserted,
        evicted,
        expired,
        replaced,
        removed,
        entries: entries as u64,
        weight,
    }
}
