//! What a call tells its peer.

use std::time::{Duration, SystemTime};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use ripcord::Context;

use super::BaggageFilter;
use super::error::{Call, Error, Phase};
use crate::RequestId;
use crate::deadline::Dialect;
use crate::trace_context::{Baggage, Traceparent, Tracestate};

const REQUEST_ID: HeaderName = HeaderName::from_static(RequestId::HEADER);
const TRACEPARENT: HeaderName = HeaderName::from_static(Traceparent::HEADER);
const TRACESTATE: HeaderName = HeaderName::from_static(Tracestate::HEADER);
const BAGGAGE: HeaderName = HeaderName::from_static(Baggage::HEADER);

/// What was set of what is sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Outgoing {
    pub(super) dialect: Dialect,
    pub(super) baggage: BaggageFilter,
}

/// Why a call was not sent.
#[derive(Debug)]
pub(super) enum NotSent {
    Ended(ripcord::Error),
    ReadOnlyDialect(Dialect),
}

impl NotSent {
    pub(super) fn into_error(self, call: Call) -> Error {
        match self {
            NotSent::Ended(error) => Error::context(error, Phase::Send, Some(call)),
            NotSent::ReadOnlyDialect(dialect) => {
                let reason = format!("the dialect of {} can only be read, choose a relative one", dialect.name());
                Error::client(reason.into(), Phase::Send, Some(call))
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
    /// Writes what the context says into the headers, as the module's documentation describes.
    ///
    /// # Errors
    ///
    /// Returns an error if the context has ended, if the dialect cannot express the time left, or if the dialect is only read. The
    /// headers are then unchanged.
    pub(super) fn write(&self, ctx: &Context, headers: &mut HeaderMap) -> Result<(), NotSent> {
        ctx.check()?;
        self.write_deadline(ctx, headers)?;
        if let Some(id) = ctx.value::<RequestId>() {
            headers.insert(REQUEST_ID, id.to_header());
        }
        if let Some((traceparent, tracestate)) = span(ctx) {
            headers.insert(TRACEPARENT, traceparent.into());
            // One that is there belongs to another traceparent.
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
        let left = asked_before(headers).map_or(left, |asked| asked.min(left));
        let Some(value) = self.dialect.encode(left) else {
            // Fails now what could not be answered in time, with a deadline's error.
            let late = ctx.with_timeout_cause(Duration::ZERO, "too little time left to say so, nothing was sent");
            return Err(NotSent::Ended(late.err().expect("a timeout of zero has passed")));
        };
        for dialect in Dialect::ALL.iter().filter(|dialect| !dialect.is_absolute()) {
            headers.remove(dialect.header());
        }
        headers.insert(self.dialect.header(), value.into());
        Ok(())
    }
}

/// The span that the peer's lies under, and a tracestate that goes with it if the context's does not.
fn span(ctx: &Context) -> Option<(Traceparent, Option<Tracestate>)> {
    #[cfg(feature = "tracing")]
    if let Some(said) = crate::trace_context::with_tracing::outgoing(ctx) {
        return Some(said);
    }
    ctx.value::<Traceparent>().map(|traceparent| (traceparent.child(), None))
}

/// The shortest deadline that the headers say.
fn asked_before(headers: &HeaderMap) -> Option<Duration> {
    let relative = Dialect::ALL.iter().filter(|dialect| !dialect.is_absolute());
    let values =
        |dialect: &'static Dialect| headers.get_all(dialect.header()).into_iter().map(move |value| (dialect, value));
    let decode =
        |(dialect, value): (&Dialect, &HeaderValue)| dialect.decode(value.as_bytes(), SystemTime::now).ok().flatten();
    relative.flat_map(values).filter_map(decode).min()
}
