//! Places and those who wait for them, each a drop guard.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Outcome;
use crate::stats::Counters;

/// Numbers of a [`Bulkhead`](super::Bulkhead); see [`stats`](crate::stats) for the shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkheadStats {
    /// Calls admitted.
    pub started: u64,
    /// Calls that ended well.
    pub succeeded: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls given up, and permits dropped without a word.
    pub canceled: u64,
    /// Calls not admitted: refused, or given up while they waited.
    pub rejected: u64,
    /// Calls under way: a gauge.
    pub running: usize,
    /// Calls that wait: a gauge.
    pub waiting: usize,
}

/// A place in a [`Bulkhead`](super::Bulkhead). Dropping it gives the place back.
#[must_use = "dropping it gives the place back"]
pub struct BulkheadPermit {
    shared: Arc<Shared>,
    outcome: Outcome,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Count {
    Started,
    Succeeded,
    Failed,
    Canceled,
    Rejected,
}

pub(super) struct Shared {
    pub(super) places: Arc<Semaphore>,
    pub(super) limit: usize,
    queue: usize,
    waiting: AtomicUsize,
    counters: Counters<5>,
}

impl Shared {
    pub(super) fn new(limit: usize, queue: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limit)),
            limit,
            queue,
            waiting: AtomicUsize::new(0),
            counters: Counters::new(),
        }
    }

    pub(super) fn tally(&self, count: Count) {
        self.counters.bump(count as usize);
    }

    pub(super) fn stats(&self) -> BulkheadStats {
        let [started, succeeded, failed, canceled, rejected] = self.counters.read();
        let running = self.limit.saturating_sub(self.places.available_permits());
        let waiting = self.waiting.load(Ordering::Relaxed);
        BulkheadStats { started, succeeded, failed, canceled, rejected, running, waiting }
    }
}

impl BulkheadPermit {
    pub(super) fn new(shared: &Arc<Shared>, place: OwnedSemaphorePermit) -> Self {
        shared.tally(Count::Started);
        Self { shared: Arc::clone(shared), outcome: Outcome::Neutral, _place: place }
    }

    /// Gives the place back and says how the call went, for the statistics. Dropped without it, a call counts as canceled.
    pub fn complete(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for BulkheadPermit {
    fn drop(&mut self) {
        self.shared.tally(match self.outcome {
            Outcome::Success => Count::Succeeded,
            Outcome::Failure => Count::Failed,
            Outcome::Neutral => Count::Canceled,
        });
    }
}

impl fmt::Debug for BulkheadPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadPermit").finish_non_exhaustive()
    }
}

/// A place in the queue.
pub(super) struct Waiting<'a> {
    shared: &'a Arc<Shared>,
    admitted: bool,
}

impl<'a> Waiting<'a> {
    /// None when the queue is full.
    pub(super) fn begin(shared: &'a Arc<Shared>) -> Option<Self> {
        let queue = shared.queue;
        shared
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| (waiting < queue).then_some(waiting + 1))
            .ok()
            .map(|_| Self { shared, admitted: false })
    }

    pub(super) fn admitted(mut self, place: OwnedSemaphorePermit) -> BulkheadPermit {
        self.admitted = true;
        BulkheadPermit::new(self.shared, place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        if !self.admitted {
            self.shared.tally(Count::Rejected);
        }
    }
}
