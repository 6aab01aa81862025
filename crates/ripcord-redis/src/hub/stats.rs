//! The statistics of a hub.

use std::sync::atomic::{AtomicU64, Ordering};

use super::registry::Registry;

/// Statistics of a [`Hub`](crate::Hub) and its clones. Returned by [`Hub::stats`](crate::Hub::stats). Counters only go up. Gauges
/// are marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubStats {
    /// Bound contexts that have not ended: a gauge.
    pub contexts: usize,
    /// Different IDs of the bound contexts that have not ended: a gauge.
    pub ids: usize,
    /// Bound IDs that the hub must still look up in Redis: a gauge. The hub looks up an ID after `bind`, and all IDs again whenever
    /// it has connected. It is possible that some of these IDs are already canceled.
    pub unread: usize,
    /// Bound contexts that a cancel has ended.
    pub canceled: u64,
    /// Calls of [`Hub::cancel`](crate::Hub::cancel) with a valid ID, including calls that failed.
    pub sent: u64,
    /// Calls that returned `true`: the first cancels of their IDs.
    pub won: u64,
    /// Calls that returned `false`: another cancel of the ID came first.
    pub lost: u64,
    /// Messages about cancels that Redis sent to this process, including messages about its own cancels. In a cluster, each master
    /// sends a message about each cancel, so a cancel counts once per master.
    pub received: u64,
    /// Calls of [`bind`](crate::ContextExt::bind) with an ID that is empty or longer than 256 bytes.
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
