//! The state that the handles of a bulkhead share, and its permits and waiters. Permits and waiters are drop guards.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::controller::{Controller, Started};
use crate::Outcome;
use crate::semaphore::{Permit, Semaphore};
use crate::stats::{Call, CallStats};
use crate::tally::Tally;

/// Statistics of a [`Bulkhead`](super::Bulkhead). The module [`stats`](crate::stats) describes counters and gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkheadStats {
    /// Admitted calls by result, and refused calls. A permit that was dropped without a recorded outcome counts as a canceled
    /// call. A call that left the queue without a permit counts in `rejected`.
    pub calls: CallStats,
    /// Calls in the queue: a gauge.
    pub waiting: usize,
    /// The current maximum number of calls in flight: a gauge. This number changes if the limit is
    /// [adaptive](super::AdaptiveLimit).
    pub limit: usize,
    /// The latency of calls while the service has little load, as an [adaptive limit](super::AdaptiveLimit) measured it: a
    /// gauge. `None` if the limit is fixed, or if nothing is measured yet.
    pub unloaded_latency: Option<Duration>,
}

/// Permission to make one call through a [`Bulkhead`](super::Bulkhead). Returned by [`acquire`](super::Bulkhead::acquire) and
/// [`try_acquire`](super::Bulkhead::try_acquire).
///
/// Report the result of the call with [`record`](BulkheadPermit::record), which also releases the permit. Dropping the permit
/// releases it too, and counts the call as canceled.
#[must_use = "dropping the permit returns it"]
pub struct BulkheadPermit {
    shared: Arc<Shared>,
    outcome: Outcome,
    /// The start of the call. `None` for a fixed limit.
    started: Option<Started>,
}

pub(super) struct Shared {
    pub(super) permits: Semaphore,
    limit: Limit,
    queue: usize,
    waiting: AtomicUsize,
    /// The line that created the bulkhead's builder.
    pub(super) built_at: &'static Location<'static>,
    pub(super) tally: Tally<0>,
}

/// The number of permits.
pub(super) enum Limit {
    Fixed(usize),
    Adaptive(Controller),
}

impl Limit {
    fn now(&self) -> usize {
        match self {
            Limit::Fixed(limit) => *limit,
            Limit::Adaptive(controller) => controller.limit(),
        }
    }
}

impl Shared {
    pub(super) fn new(limit: Limit, queue: usize, built_at: &'static Location<'static>) -> Self {
        let (permits, waiting) = (Semaphore::new(limit.now()), AtomicUsize::new(0));
        Self { permits, limit, queue, waiting, built_at, tally: Tally::new() }
    }

    /// Returns the limit in force.
    pub(super) fn limit(&self) -> usize {
        self.limit.now()
    }

    pub(super) fn stats(&self) -> BulkheadStats {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let unloaded_latency = match &self.limit {
            Limit::Fixed(_) => None,
            Limit::Adaptive(controller) => controller.unloaded_latency(),
        };
        let limit = self.limit();
        BulkheadStats { calls: self.tally.calls(), waiting, limit, unloaded_latency }
    }
}

impl BulkheadPermit {
    pub(super) fn new(shared: &Arc<Shared>, permit: Permit<'_>) -> Self {
        shared.tally.count(Call::Started);
        let started = match &shared.limit {
            Limit::Fixed(_) => None,
            Limit::Adaptive(controller) => Some(controller.begin()),
        };
        permit.forget();
        Self { shared: Arc::clone(shared), outcome: Outcome::Neutral, started }
    }

    /// Records the outcome of the call, and releases the permit. The outcome counts in the
    /// [`stats`](super::Bulkhead::stats). An [adaptive limit](super::AdaptiveLimit) uses the outcome too.
    pub fn record(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for BulkheadPermit {
    fn drop(&mut self) {
        let Self { shared, outcome, started } = self;
        shared.tally.count((*outcome).into());
        if let (Limit::Adaptive(controller), Some(started)) = (&shared.limit, *started)
            && let Some(change) = controller.end(started, *outcome)
        {
            shared.permits.resize(change.old, change.new);
        }
        // The permit is released after the change, so that a permit above the new limit is not given to another call.
        shared.permits.release();
    }
}

impl fmt::Debug for BulkheadPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadPermit").finish_non_exhaustive()
    }
}

/// A call in the queue.
pub(super) struct Waiter<'a> {
    shared: &'a Arc<Shared>,
    admitted: bool,
}

impl<'a> Waiter<'a> {
    /// Enters the queue. Returns `None` if the queue is full.
    pub(super) fn enter(shared: &'a Arc<Shared>) -> Option<Self> {
        let queue = shared.queue;
        shared
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| (waiting < queue).then_some(waiting + 1))
            .ok()
            .map(|_| Self { shared, admitted: false })
    }

    pub(super) fn admitted(mut self, permit: Permit<'_>) -> BulkheadPermit {
        self.admitted = true;
        BulkheadPermit::new(self.shared, permit)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        if !self.admitted {
            self.shared.tally.count(Call::Rejected);
        }
    }
}
