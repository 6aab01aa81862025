//! The interface through which the inspector sees requests.
//!
//! The server calls this trait and the inspector implements it, so the server does not depend on the inspector.

#![cfg_attr(not(feature = "inspector"), expect(dead_code, reason = "the inspector is the only observer"))]

use std::{
    panic::Location,
    sync::Arc,
    time::{Duration, Instant},
};

use http::StatusCode;
use ripcord::{CancelHandle, Context, Error, Span};

use super::{DeadlineSource, stats::Counters};

/// Is notified when requests start and end.
pub(crate) trait Observer: Send + Sync {
    /// Returns the parent for the contexts of requests, in place of `server`. `location` is the line that passed the observer to
    /// the layer.
    fn server(&self, server: &Context, location: &'static Location<'static>) -> Context;

    /// Adds the counters of a layer whose requests the observer sees.
    fn count(&self, counters: &Arc<Counters>);

    /// Returns the maximum number of calls recorded per request.
    #[cfg(feature = "tracing")]
    fn max_calls(&self) -> usize;

    /// Is called when a request has started. Returns the key of its entry.
    fn begin(&self, request: StartedRequest<'_>) -> EntryKey;

    /// Is called when the head of the response is known.
    fn answered(&self, key: EntryKey, status: StatusCode);

    /// Is called when the request has ended, before its context is canceled.
    fn end(&self, key: EntryKey, latency: Duration, error: Option<Error>, is_panicked: bool);

    /// Is called when the last context of the request is being dropped.
    fn leave(&self, key: EntryKey);
}

/// A request that has started.
pub(crate) struct StartedRequest<'a> {
    /// The request's context. It has all values of the request, except the value that calls [`leave`](Observer::leave).
    pub(crate) ctx: &'a Context,
    pub(crate) cancel: CancelHandle,
    pub(crate) at: Instant,
    pub(crate) deadline: DeadlineSource,
    /// The request's own span, if it already has one.
    pub(crate) span: Option<&'a Span>,
}

/// The key of a request's entry in its observer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryKey {
    /// Unique among all entries of the observer.
    pub(crate) id: u64,
    pub(crate) key: usize,
}
