//! What a connection is doing: reading a head, serving requests, or nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// What has come and gone on a connection.
#[derive(Default)]
pub(super) struct Traffic {
    // Relaxed: no other memory depends on these. The stream and the watch are in one task. A stream of HTTP/2 is in its own.
    /// Whether the last write had to wait.
    takes_nothing: AtomicBool,
    /// The number of successful writes.
    writes: AtomicU64,
    /// Requests whose response has not been sent, and upgraded streams of HTTP/2.
    in_flight: AtomicUsize,
    /// The number of requests so far.
    started: AtomicU64,
    /// Whether something was read since the last request ended.
    has_read: AtomicBool,
    is_http2: AtomicBool,
    /// Whether the last answer has been sent, and what the client still sends is being dropped.
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
    /// A request is in flight, or data is left to send.
    Busy,
    /// Waiting for the next request.
    Idle,
}

impl Traffic {
    /// A request has come.
    pub(super) fn begin_request(&self, is_http2: bool) {
        self.is_http2.store(is_http2, Ordering::Relaxed);
        self.has_read.store(false, Ordering::Relaxed);
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    /// The connection is busy with one thing more.
    pub(super) fn busy(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// One of the things is over.
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
        // A client of HTTP/2 sends other things than requests.
        let is_head = started == 0 || (self.has_read.load(Ordering::Relaxed) && !self.is_http2());
        let phase = match (is_busy, is_head) {
            (true, _) => Phase::Busy,
            (false, true) => Phase::Head,
            (false, false) => Phase::Idle,
        };
        // Writes that answer other frames than requests do not count.
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

    /// A write has found room.
    pub(super) fn takes(&self) {
        self.takes_nothing.store(false, Ordering::Relaxed);
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// A write has found no room.
    pub(super) fn takes_nothing(&self) {
        self.takes_nothing.store(true, Ordering::Relaxed);
    }

    /// Returns how many writes have found room, if the last one did not.
    pub(super) fn stalled(&self) -> Option<Writes> {
        let is_stalled = self.takes_nothing.load(Ordering::Relaxed);
        is_stalled.then(|| Writes(self.writes.load(Ordering::Relaxed)))
    }

    /// The client has sent something.
    pub(super) fn has_read(&self) {
        if self.in_flight.load(Ordering::Relaxed) == 0 {
            self.has_read.store(true, Ordering::Relaxed);
        }
    }
}
