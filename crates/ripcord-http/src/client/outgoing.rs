//! Writes the headers that a call sends.

use std::panic::Location;
use std::time::{Duration, SystemTime};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use ripcord::Context;

use super::BaggageFilter;
use super::call::Call;
use super::error::{Error, Phase, TooLate};
use super::span::CallSpan;
use crate::RequestId;
use crate::deadline::Dialect;
use crate::trace_context::{Baggage, Traceparent, Tracestate};

const REQUEST_ID: HeaderName = HeaderName::from_static(RequestId::HEADER);
const TRACEPARENT: HeaderName = HeaderName::from_static(Traceparent::HEADER);
const TRACESTATE: HeaderName = HeaderName::from_static(Tracestate::HEADER);
const BAGGAGE: HeaderName = HeaderName::from_static(Baggage::HEADER);

/// The settings for the headers of a call.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) dialect: Dialect,
    pub(super) baggage: BaggageFilter,
    /// The idle timeout of each call, and the line that set it.
    pub(super) idle: Option<(Duration, &'static Location<'static>)>,
    /// The line that created the settings.
    #[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "only the feature `tracing` has spans"))]
    pub(super) location: &'static Location<'static>,
}

impl Default for Outgoing {
    #[track_caller]
    fn default() -> Self {
        Outgoing {
            dialect: Dialect::default(),
            baggage: BaggageFilter::default(),
            idle: None,
            location: Location::caller(),
        }
    }
}

/// The reason why a call was not sent.
#[derive(Debug)]
pub(super) enum NotSent {
    Ended(ripcord::Error),
    TooLate(TooLate),
    ReadOnlyDialect(Dialect),
}

impl NotSent {
    pub(super) fn into_error(self, call: Call) -> Error {
        match self {
            NotSent::Ended(error) => Error::context(error, Phase::Prepare, Some(call)),
            NotSent::TooLate(reason) => Error::too_late(reason, call),
            NotSent::ReadOnlyDialect(dialect) => {
                let reason = format!("the dialect of {} can only be read, choose a relative one", dialect.name());
                Error::client(reason.into(), Phase::Prepare, Some(call))
            }
        }
    }
}

impl From<ripcord::Error> for NotSent {
    fn from(error: ripcord::Error) -> Self {
        NotSent::Ended(error)
    }
}

impl Outgoing {
    /// Derives the context of one call.
    pub(super) fn call_context(&self, ctx: &Context) -> Context {
        match self.idle {
            Some((timeout, location)) => ctx.with_idle_timeout_at(timeout, location).0,
            None => ctx.clone(),
        }
    }

    /// Writes the context into the headers, as the module `client` documents.
    ///
    /// # Errors
    ///
    /// Returns an error if the context has ended, if the dialect cannot express the time left, or if the dialect is only read. The
    /// headers are then unchanged.
    pub(super) fn write(&self, ctx: &Context, span: &CallSpan, headers: &mut HeaderMap) -> Result<(), NotSent> {
        ctx.check()?;
        self.write_deadline(ctx, headers)?;
        if let Some(id) = ctx.value::<RequestId>() {
            headers.insert(REQUEST_ID, id.to_header());
        }
        if let Some((traceparent, tracestate)) = ids(ctx, span) {
            headers.insert(TRACEPARENT, traceparent.into());
            // The request's own tracestate belongs to another traceparent.
            match tracestate.as_ref().or_else(|| ctx.value::<Tracestate>()) {
                Some(tracestate) => headers.insert(TRACESTATE, tracestate.to_header()),
                None => headers.remove(TRACESTATE),
            };
        }
        if let Some(baggage) = ctx.value::<Baggage>().and_then(|baggage| self.baggage.filter(baggage)) {
            headers.insert(BAGGAGE, baggage.to_header());
        }
        Ok(())
    }

    fn write_deadline(&self, ctx: &Context, headers: &mut HeaderMap) -> Result<(), NotSent> {
        if self.dialect.is_absolute() {
            return Err(NotSent::ReadOnlyDialect(self.dialect));
        }
        let Some(left) = ctx.remaining() else { return Ok(()) };
        let in_header = shortest_in(headers).filter(|in_header| *in_header < left);
        let left = in_header.unwrap_or(left);
        let Some(value) = self.dialect.encode(left) else {
            let origin = ctx.deadline_origin().filter(|_| in_header.is_none());
            return Err(NotSent::TooLate(TooLate { left, origin }));
        };
        for dialect in Dialect::ALL.iter().filter(|dialect| !dialect.is_absolute()) {
            headers.remove(dialect.header());
        }
        headers.insert(self.dialect.header(), value.into());
        Ok(())
    }
}

/// Returns the traceparent to send. Returns also its tracestate, unless this is the context's tracestate.
#[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "only the feature `tracing` has spans"))]
fn ids(ctx: &Context, span: &CallSpan) -> Option<(Traceparent, Option<Tracestate>)> {
    #[cfg(feature = "tracing")]
    if let Some(ids) = span.ids() {
        return Some(ids);
    }
    ctx.value::<Traceparent>().map(|traceparent| (traceparent.child(), None))
}

/// Returns the shortest deadline in the request's own headers.
fn shortest_in(headers: &HeaderMap) -> Option<Duration> {
    let relative = Dialect::ALL.iter().filter(|dialect| !dialect.is_absolute());
    let values =
        |dialect: &'static Dialect| headers.get_all(dialect.header()).into_iter().map(move |value| (dialect, value));
    let decode =
        |(dialect, value): (&Dialect, &HeaderValue)| dialect.decode(value.as_bytes(), SystemTime::now).ok().flatten();
    relative.flat_map(values).filter_map(decode).min()
}
