//! The statistics of shared breakers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Statistics of a [`SharedBreaker`](crate::SharedBreaker). Returned by
/// [`SharedBreaker::stats`](crate::SharedBreaker::stats). Counters only go up. Gauges are marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedBreakerStats {
    /// Breakers that were built with the [`SharedBreaker`](crate::SharedBreaker) or its clones and still exist: a gauge.
    pub breakers: usize,
    /// Changes of these breakers that were sent to the other processes. A change is the opening or closing of a breaker.
    pub published: u64,
    /// Attempts to send a change that failed, because Redis was unavailable or answered with an error.
    pub failed: u64,
    /// Messages about changes that Redis sent to this process, including messages about its own changes. In a cluster, each
    /// master sends a message about each change, so a change counts once per master.
    pub received: u64,
    /// How often another process opened a breaker of this process, or kept it open for longer.
    pub opened: u64,
    /// How often another process closed a breaker of this process.
    pub closed: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) published: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) opened: AtomicU64,
    pub(super) closed: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self, breakers: usize) -> SharedBreakerStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SharedBreakerStats {
            breakers,
            published: read(&self.published),
            failed: read(&self.failed),
            received: read(&self.received),
            opened: read(&self.opened),
            closed: read(&self.closed),
        }
    }
}
