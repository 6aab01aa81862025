//! What is shown of requests, to the inspector.
//!
//! The server knows this trait, and the inspector implements it: so the inspector depends on the server, and not the other way
//! round.

#![cfg_attr(not(feature = "inspector"), expect(dead_code, reason = "the inspector is the only observer"))]

use std::{
    panic::Location,
    sync::Arc,
    time::{Duration, Instant},
};

use http::StatusCode;
use ripcord::{CancelHandle, Context, Error, Trace};

use super::{DeadlineSource, stats::Counters};

/// Sees requests begin and end.
pub(crate) trait Observer: Send + Sync {
    /// Returns the context to derive requests from, instead of `server`. `location` is the line that put the layer under it.
    fn server(&self, server: &Context, location: &'static Location<'static>) -> Context;

    /// Adds the counts of a layer whose requests it sees.
    fn count(&self, counters: &Arc<Counters>);

    /// Returns how many calls of one request are recorded.
    #[cfg(feature = "tracing")]
    fn max_calls(&self) -> usize;

    /// A request has begun.
    fn begin(&self, request: Begun<'_>) -> Place;

    /// The head of the response is known.
    fn answered(&self, place: Place, status: StatusCode);

    /// The request is over. Called before its Context is canceled for that.
    fn end(&self, place: Place, latency: Duration, error: Option<Error>, is_panicked: bool);

    /// The last Context of the request is being dropped.
    fn leave(&self, place: Place);
}

/// A request that has begun.
pub(crate) struct Begun<'a> {
    /// Has all that is to be shown of the request, and is above the value that calls [`leave`](Observer::leave).
    pub(crate) ctx: &'a Context,
    pub(crate) cancel: CancelHandle,
    pub(crate) at: Instant,
    pub(crate) deadline: DeadlineSource,
    /// The request's own trace, if it has one by now.
    pub(crate) trace: Option<&'a Trace>,
}

/// A request's entry with its observer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// No other entry of the observer has had it.
    pub(crate) id: u64,
    pub(crate) key: usize,
}
