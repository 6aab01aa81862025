//! The statistics of shared breakers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Statistics of a [`SharedBreaker`](crate::SharedBreaker). Returned by
/// [`SharedBreaker::stats`](crate::SharedBreaker::stats). Counters only go up. Gauges are marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedBreakerStats {
    /// Breakers of this process that are shared: a gauge.
    pub breakers: usize,
    /// Changes of breakers of this process that were sent to the other processes.
    pub published: u64,
    /// Changes that could not be sent, because Redis was not available.
    pub failed: u64,
    /// Messages about changes that Redis sent to this process, including messages about its own changes. In a cluster, each master
    /// sends a message.
    pub received: u64,
    /// Breakers of this process that another process opened, or kept open for longer.
    pub opened: u64,
    /// Breakers of this process that another process closed.
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
