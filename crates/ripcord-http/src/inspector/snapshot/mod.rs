//! A snapshot of all data of the inspector.

mod describe;
mod shape;

use std::collections::BinaryHeap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::entry::{self, Entry};
use super::finished::{BOUNDS, BUCKETS};
use super::registry::Registry;
use super::status::Reading;
use super::tasks::TasksByEntry;
use crate::server::ServerStats;
use shape::{Bucket, Summary};
pub(super) use shape::{FinishedEntry, Live, Snapshot};

/// The scope of a snapshot.
#[derive(Clone, Copy)]
pub(super) struct Scope {
    /// Maximum number of live entries. Ended entries are chosen first, then the oldest.
    pub(super) max_live: usize,
    /// Whether to include the calls of finished entries.
    pub(super) with_spans: bool,
}

impl Snapshot {
    pub(super) fn take(
        registry: &Registry,
        tasks: &TasksByEntry,
        scope: Scope,
        servers: &[ServerStats],
        statuses: Vec<Reading>,
        canceled_here: u64,
    ) -> Self {
        let totals = registry.totals();
        let mut seen = Seen::new(scope.max_live);
        registry.for_each(|entry| seen.add(entry));
        let summary = Summary {
            live: seen.live,
            not_shown: seen.live - seen.chosen.len() as u64,
            ended_but_held: seen.ended,
            oldest_ms: seen.oldest.map(describe::milliseconds),
            started: totals.started,
            finished: totals.ended.iter().sum(),
            canceled_here,
        };
        let all = |kept: Vec<Arc<entry::FinishedEntry>>| {
            kept.iter().map(|over| describe::over(over, scope.with_spans)).collect()
        };
        let bucket = |number: usize| Bucket {
            from_ms: number.checked_sub(1).map_or(0, |before| BOUNDS[before].as_millis() as u64),
            to_ms: BOUNDS.get(number).map(|bound| bound.as_millis() as u64),
            count: totals.ended[number],
            kept: all(registry.finished().bucket(number)),
        };
        Snapshot {
            version: 1,
            summary,
            statuses,
            counters: (!servers.is_empty()).then(|| describe::counters(servers)),
            live: seen.oldest_first().iter().map(|entry| describe::live(entry, tasks, None)).collect(),
            finished: (0..BUCKETS).map(bucket).collect(),
            cut_short: all(registry.finished().cut_short()),
        }
    }
}

impl Snapshot {
    /// Returns a fingerprint. If nothing was in flight between two snapshots and no status has changed, their fingerprints are equal.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.summary.started, self.summary.finished, &self.statuses).hash(&mut hasher);
        hasher.finish()
    }

    /// Returns whether nothing is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.summary.live == 0
    }
}

/// Returns one entry with all its calls, live or finished.
pub(super) fn one(registry: &Registry, tasks: &TasksByEntry, id: u64) -> Option<One> {
    // Searches the live entries first, because an entry that finishes meanwhile moves to the finished entries.
    if let Some(entry) = registry.find(id) {
        return Some(One::Live(describe::live(&entry, tasks, Some(usize::MAX))));
    }
    Some(One::FinishedEntry(describe::over(&*registry.finished().find(id)?, true)))
}

#[derive(serde::Serialize)]
#[serde(untagged)]
pub(super) enum One {
    Live(Live),
    FinishedEntry(FinishedEntry),
}

/// The visited entries. All entries are counted, and the most useful entries are chosen.
struct Seen {
    max: usize,
    /// The least useful entry is on top.
    chosen: BinaryHeap<Candidate>,
    live: u64,
    ended: u64,
    oldest: Option<Duration>,
}

impl Seen {
    fn new(max: usize) -> Self {
        Seen { max, chosen: BinaryHeap::new(), live: 0, ended: 0, oldest: None }
    }

    fn add(&mut self, entry: Entry) {
        let start = entry.started;
        let is_running = entry.ended.is_none() && entry.ctx.err().is_none();
        let age = entry.ctx.clock().now().saturating_duration_since(start);
        self.live += 1;
        self.ended += u64::from(!is_running);
        self.oldest = self.oldest.max(Some(age));
        self.chosen.push(Candidate { rank: (is_running, start, entry.id), entry });
        if self.chosen.len() > self.max {
            self.chosen.pop();
        }
    }

    fn oldest_first(self) -> Vec<Entry> {
        let mut chosen: Vec<_> =
            self.chosen.into_iter().map(|Candidate { rank: (_, start, id), entry }| (start, id, entry)).collect();
        chosen.sort_by_key(|(start, id, _)| (*start, *id));
        chosen.into_iter().map(|(_, _, entry)| entry).collect()
    }
}

struct Candidate {
    rank: (bool, Instant, u64),
    entry: Entry,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Candidate {}
