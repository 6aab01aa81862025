//! The statistics of a hub.

use std::sync::atomic::{AtomicU64, Ordering};

use super::registry::Registry;

/// Statistics of a [`Hub`](crate::Hub). Returned by [`Hub::stats`](crate::Hub::stats). Counters only go up. Gauges are marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubStats {
    /// Bound contexts that have not ended: a gauge.
    pub contexts: usize,
    /// IDs of these contexts: a gauge.
    pub ids: usize,
    /// IDs for which it is not known yet whether they were canceled before, because Redis has not answered since they were bound
    /// or since the connection was established again: a gauge.
    pub unread: usize,
    /// Bound contexts that a cancel ended.
    pub canceled: u64,
    /// Cancels sent to Redis by this hub.
    pub sent: u64,
    /// Sent cancels that were the first of their ID.
    pub won: u64,
    /// Sent cancels that came after another cancel of their ID.
    pub lost: u64,
    /// Messages about cancels that Redis sent to this process, including messages about its own cancels. In a cluster, each master
    /// sends a message.
    pub received: u64,
    /// Contexts that were bound to an ID that is empty or too long.
    pub invalid_ids: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) canceled: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) won: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) invalid_ids: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self, registry: &Registry) -> HubStats {
        let (contexts, ids, unread) = registry.counts();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HubStats {
            contexts,
            ids,
            unread,
            canceled: read(&self.canceled),
            sent: read(&self.sent),
            won: read(&self.won),
            lost: read(&self.lost),
            received: read(&self.received),
            invalid_ids: read(&self.invalid_ids),
        }
    }
}
