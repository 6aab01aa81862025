//! The activity of a connection: it reads a head, serves requests, or is idle.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The counters and flags of a connection's traffic.
#[derive(Default)]
pub(super) struct Traffic {
    // Relaxed: no other memory depends on these fields. The stream and the watch run in one task. An HTTP/2 stream runs in its
    // own task.
    /// Whether the last write had to wait.
    takes_nothing: AtomicBool,
    /// The number of successful writes.
    writes: AtomicU64,
    /// Requests whose response has not been sent, and upgraded HTTP/2 streams.
    in_flight: AtomicUsize,
    /// The number of requests started so far.
    started: AtomicU64,
    /// Whether something was read since the last request ended.
    has_read: AtomicBool,
    is_http2: AtomicBool,
    /// Whether the last response has been sent and the remaining data of the client is being dropped.
    is_lingering: AtomicBool,
    /// Whether a request's body was dropped before its end.
    has_unread_body: AtomicBool,
}

/// The number of successful writes at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Writes(u64);

/// The activity of a connection. It changes whenever a phase starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Activity {
    pub(super) phase: Phase,
    started: u64,
    writes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waiting for the head of the first request, or for the rest of a head.
    Head,
    /// A request is in flight, or there is data to send.
    Busy,
    /// Waiting for the next request.
    Idle,
}

impl Traffic {
    /// Records the start of a request.
    pub(super) fn begin_request(&self, is_http2: bool) {
        self.is_http2.store(is_http2, Ordering::Relaxed);
        self.has_read.store(false, Ordering::Relaxed);
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds a piece of work that keeps the connection busy.
    pub(super) fn busy(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes a piece of work that kept the connection busy.
    pub(super) fn done(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn is_http2(&self) -> bool {
        self.is_http2.load(Ordering::Relaxed)
    }

    pub(super) fn activity(&self) -> Activity {
        let is_busy = self.in_flight.load(Ordering::Relaxed) > 0
            || self.takes_nothing.load(Ordering::Relaxed)
            || self.is_lingering.load(Ordering::Relaxed);
        let started = self.started.load(Ordering::Relaxed);
        // An HTTP/2 client also sends frames that do not belong to requests.
        let is_head = started == 0 || (self.has_read.load(Ordering::Relaxed) && !self.is_http2());
        let phase = match (is_busy, is_head) {
            (true, _) => Phase::Busy,
            (false, true) => Phase::Head,
            (false, false) => Phase::Idle,
        };
        // On HTTP/2, a write may answer a frame that does not belong to a request. Such writes do not count.
        let writes = if phase == Phase::Idle && !self.is_http2() { self.writes.load(Ordering::Relaxed) } else { 0 };
        Activity { phase, started, writes }
    }

    pub(super) fn has_unread_body(&self) -> bool {
        self.has_unread_body.load(Ordering::Relaxed)
    }

    pub(super) fn set_unread_body(&self, is_unread: bool) {
        self.has_unread_body.store(is_unread, Ordering::Relaxed);
    }

    pub(super) fn set_lingering(&self, is_lingering: bool) {
        self.is_lingering.store(is_lingering, Ordering::Relaxed);
    }

    /// Records a successful write.
    pub(super) fn takes(&self) {
        self.takes_nothing.store(false, Ordering::Relaxed);
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// Records a write that had to wait.
    pub(super) fn takes_nothing(&self) {
        self.takes_nothing.store(true, Ordering::Relaxed);
    }

    /// Returns the number of successful writes, if the last write had to wait.
    pub(super) fn stalled(&self) -> Option<Writes> {
        let is_stalled = self.takes_nothing.load(Ordering::Relaxed);
        is_stalled.then(|| Writes(self.writes.load(Ordering::Relaxed)))
    }

    /// Records that the client has sent something.
    pub(super) fn has_read(&self) {
        if self.in_flight.load(Ordering::Relaxed) == 0 {
            self.has_read.store(true, Ordering::Relaxed);
        }
    }
}
