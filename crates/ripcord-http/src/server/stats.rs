//! Counting requests.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the requests of a layer have come to, counted since it was made; `in_flight` alone also goes down.
///
/// Each figure is right by itself; taken while requests are coming and going, they need not add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Requests that have arrived.
    pub requests: u64,
    /// Requests that are not over: their body has not been sent.
    pub in_flight: u64,
    /// Requests that ended at their deadline: answered with it, or their body cut short.
    pub timed_out: u64,
    /// Requests that the server canceled.
    pub canceled: u64,
    /// Requests whose client went away before they were over.
    pub disconnected: u64,
    /// Requests whose handler or body panicked.
    pub panicked: u64,
}

/// [`ServerStats`], being counted.
// Relaxed throughout: each number is all there is to agree on.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: Counter,
    pub(super) in_flight: Counter,
    pub(super) timed_out: Counter,
    pub(super) canceled: Counter,
    pub(super) disconnected: Counter,
    pub(super) panicked: Counter,
}

impl Counters {
    pub(super) fn snapshot(&self) -> ServerStats {
        ServerStats {
            requests: self.requests.get(),
            in_flight: self.in_flight.get(),
            timed_out: self.timed_out.get(),
            canceled: self.canceled.get(),
            disconnected: self.disconnected.get(),
            panicked: self.panicked.get(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
