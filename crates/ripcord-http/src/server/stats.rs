//! Statistics of requests.

use std::sync::atomic::{AtomicU64, Ordering};

use super::RequestOutcome;
use crate::{
    RequestId,
    deadline::Dialect,
    trace_context::{Baggage, Traceparent, Tracestate},
};

const DIALECTS: usize = Dialect::ALL.len();

/// The headers that are read: the headers of the dialects, and four others.
const READ: [&str; DIALECTS + 4] = {
    let mut read = [""; DIALECTS + 4];
    let mut index = 0;
    while index < DIALECTS {
        read[index] = Dialect::ALL[index].name();
        index += 1;
    }
    read[DIALECTS] = RequestId::HEADER;
    read[DIALECTS + 1] = Traceparent::HEADER;
    read[DIALECTS + 2] = Tracestate::HEADER;
    read[DIALECTS + 3] = Baggage::HEADER;
    read
};

/// Counts of a layer's requests since the layer was created. Returned by [`ContextLayer::stats`](super::ContextLayer::stats).
///
/// The fields `in_flight`, `held` and `detached` are gauges: they also go down. Each number is exact, but the numbers are not read
/// at the same instant, so they may not add up while requests start and end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Requests that have arrived.
    pub requests: u64,
    /// Requests that have arrived and are not over (gauge). A request is over when its response has been sent completely, was cut
    /// short, or can no longer be sent.
    pub in_flight: u64,
    /// Requests whose context still exists (gauge).
    ///
    /// `held - in_flight` is the number of finished requests whose context is still held, by background work or by a leak.
    pub held: u64,
    /// Requests that carried a well-formed deadline header.
    pub deadlines_received: u64,
    /// Requests whose client asked, in a well-formed header, for more time than the server's own limit.
    pub deadlines_clamped: u64,
    /// Requests with no time left on arrival. The response has the
    /// [status for a deadline](super::ContextLayer::deadline_status), and the handler is not called.
    pub expired: u64,
    /// Requests that ended at their deadline or idle timeout, or because a policy of `ripcord-policy` gave up before the deadline.
    /// Includes [`expired`](ServerStats::expired) requests.
    pub timed_out: u64,
    /// Requests whose context was canceled by the server: by a shutdown, by another cancel of a parent context, or from the page
    /// of the `inspector`.
    pub canceled: u64,
    /// Requests whose client disconnected, or canceled with a cause, before the request was over.
    pub disconnected: u64,
    /// Requests whose handler or body panicked.
    pub panicked: u64,
    /// Requests whose service or body failed with its own error.
    pub failed: u64,
    /// Requests that a [`strict`](super::ContextLayer::strict) layer refused with 400 because of a malformed header.
    pub refused: u64,
    /// [`Detached`](super::Detached) guards that have not been dropped yet (gauge).
    pub detached: u64,
    malformed: [u64; READ.len()],
}

impl ServerStats {
    /// Returns an iterator over all headers that the layer reads. Each item is the name of a header, in lower case, and the number
    /// of requests in which this header was malformed.
    ///
    /// A header is malformed if it does not match its grammar, or if it occurs several times and only one value is allowed.
    /// [Baggage](crate::trace_context::Baggage) with more than 64 members or 8192 bytes counts as malformed too.
    ///
    /// ```
    /// let stats = ripcord_http::server::ServerStats::default();
    /// assert!(stats.malformed().any(|(header, count)| header == "grpc-timeout" && count == 0));
    /// ```
    pub fn malformed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        READ.into_iter().zip(self.malformed)
    }
}

/// The counters behind [`ServerStats`].
// Relaxed throughout: no number depends on another.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(super) requests: Counter,
    pub(super) in_flight: Counter,
    pub(super) held: Counter,
    pub(super) deadlines_received: Counter,
    pub(super) deadlines_clamped: Counter,
    pub(super) expired: Counter,
    pub(super) timed_out: Counter,
    pub(super) canceled: Counter,
    pub(super) disconnected: Counter,
    pub(super) panicked: Counter,
    pub(super) failed: Counter,
    pub(super) refused: Counter,
    pub(super) detached: Counter,
    malformed: [Counter; READ.len()],
}

impl Counters {
    pub(crate) fn snapshot(&self) -> ServerStats {
        ServerStats {
            requests: self.requests.get(),
            in_flight: self.in_flight.get(),
            held: self.held.get(),
            deadlines_received: self.deadlines_received.get(),
            deadlines_clamped: self.deadlines_clamped.get(),
            expired: self.expired.get(),
            timed_out: self.timed_out.get(),
            canceled: self.canceled.get(),
            disconnected: self.disconnected.get(),
            panicked: self.panicked.get(),
            failed: self.failed.get(),
            refused: self.refused.get(),
            detached: self.detached.get(),
            malformed: self.malformed.each_ref().map(Counter::get),
        }
    }

    /// Returns the counter of an outcome, or `None` for an answered request.
    pub(super) fn outcome(&self, outcome: &RequestOutcome) -> Option<&Counter> {
        match outcome {
            RequestOutcome::Answered => None,
            RequestOutcome::DeadlineExceeded => Some(&self.timed_out),
            RequestOutcome::Canceled => Some(&self.canceled),
            RequestOutcome::ClientDisconnected => Some(&self.disconnected),
            RequestOutcome::Panicked(_) => Some(&self.panicked),
            RequestOutcome::Refused(_) => Some(&self.refused),
            RequestOutcome::Failed => Some(&self.failed),
        }
    }

    /// Returns the counter of a header that is read.
    pub(super) fn malformed(&self, header: &'static str) -> &Counter {
        let index = READ.iter().position(|name| *name == header);
        &self.malformed[index.expect("only headers that are read are malformed")]
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

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
