//! The statistics of a cache.

use crate::stats::CallStats;
use crate::tally::Tally;

/// Statistics of a [`Cache`](super::Cache). The module [`stats`](crate::stats) describes counters and gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// The loads by result. `rejected` counts operations that failed because the caller's context had ended or the cache was
    /// closed.
    pub calls: CallStats,
    /// Reads that found a value that has not expired.
    pub hits: u64,
    /// Reads that found a stale value: an expired value that the cache still returns
    /// ([`stale_for`](super::CacheBuilder::stale_for)).
    pub stale_hits: u64,
    /// Reads that returned the remembered error of an earlier load ([`negative_ttl`](super::CacheBuilder::negative_ttl)).
    pub negative_hits: u64,
    /// Reads that found no value, or only an expired value that the cache no longer returns. Reads by
    /// [`get`](super::Cache::get) that found the remembered error of a load count here too.
    pub misses: u64,
    /// Callers that joined a load that another caller had started. Except for callers of [`refresh`](super::Cache::refresh),
    /// they also count in `misses`.
    pub coalesced: u64,
    /// Loads that panicked. These loads also count in `calls.failed`.
    pub panicked: u64,
    /// Values stored in memory: inserted, loaded, or received from the second level.
    pub inserted: u64,
    /// Values that were removed to make room for other values, or whose weight was above the capacity of the cache.
    pub evicted: u64,
    /// Values removed because they had expired.
    pub expired: u64,
    /// Values replaced by another value of the same key.
    pub replaced: u64,
    /// Values removed by [`remove`](super::Cache::remove), by [`clear`](super::Cache::clear), by the second level, or when
    /// the cache was closed.
    pub removed: u64,
    /// Values that came from the [second level](super::CacheBuilder::second_level) instead of a load.
    pub second_level_hits: u64,
    /// Reads of the second level that found no value. A load followed.
    pub second_level_misses: u64,
    /// Reads that the second level did not answer, for example during an outage. A load followed.
    pub second_level_unavailable: u64,
    /// Loads that waited for the load of another process.
    pub waited: u64,
    /// Writes that the second level has given up, for example because its server refused them.
    pub failed_writes: u64,
    /// Changes of single keys that the second level has reported. If this cache had a value of the key, the value was removed. Most
    /// are changes by other processes. A removal by this process may be reported too.
    pub invalidated: u64,
    /// Times that the second level removed all keys from this cache, for example because it had lost its connection.
    pub flushes: u64,
    /// Entries in memory: a gauge. Remembered errors and expired entries that are not removed yet count too.
    pub entries: usize,
    /// Total [weight](super::CacheBuilder::weigher) of the entries in memory: a gauge. Without a weigher, every entry has the
    /// weight 1.
    pub weight: u64,
}

/// The counters of [`CacheStats`] besides the calls, in the order of its fields.
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
    SecondLevelHit,
    SecondLevelMiss,
    SecondLevelUnavailable,
    Waited,
    FailedWrite,
    Invalidated,
    Flushed,
}

pub(super) const COUNTS: usize = Count::Flushed as usize + 1;

/// Returns the present statistics.
pub(super) fn read(tally: &Tally<COUNTS>, entries: usize, weight: u64) -> CacheStats {
    let counts = tally.read();
    let of = |count: Count| counts[count as usize];
    CacheStats {
        calls: tally.calls(),
        hits: of(Count::Hit),
        stale_hits: of(Count::StaleHit),
        negative_hits: of(Count::NegativeHit),
        misses: of(Count::Miss),
        coalesced: of(Count::Coalesced),
        panicked: of(Count::Panicked),
        inserted: of(Count::Inserted),
        evicted: of(Count::Evicted),
        expired: of(Count::Expired),
        replaced: of(Count::Replaced),
        removed: of(Count::Removed),
        second_level_hits: of(Count::SecondLevelHit),
        second_level_misses: of(Count::SecondLevelMiss),
        second_level_unavailable: of(Count::SecondLevelUnavailable),
        waited: of(Count::Waited),
        failed_writes: of(Count::FailedWrite),
        invalidated: of(Count::Invalidated),
        flushes: of(Count::Flushed),
        entries,
        weight,
    }
}
