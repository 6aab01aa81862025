//! What a call tells its peer.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName};
use ripcord::Context;

use super::BaggageFilter;
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

impl Outgoing {
    /// Puts what the Context says into the headers, as the module's documentation has it.
    ///
    /// # Errors
    ///
    /// If the Context has ended, or too little is left to be said. The headers are as they were then.
    pub(super) fn write(&self, ctx: &Context, headers: &mut HeaderMap) -> Result<(), ripcord::Error> {
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

    fn write_deadline(&self, ctx: &Context, headers: &mut HeaderMap) -> Result<(), ripcord::Error> {
        let Some(left) = ctx.remaining() else { return Ok(()) };
        let left = asked_before(headers).map_or(left, |asked| asked.min(left));
        let Some(value) = self.dialect.encode(left) else {
            // Fails now what could not be answered in time, with a deadline's error.
            let late = ctx.with_timeout_cause(Duration::ZERO, "too little time left to say so, nothing was sent");
            return Err(late.err().expect("a timeout of zero has passed"));
        };
        for dialect in Dialect::ALL {
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
    let values = |dialect: Dialect| headers.get_all(dialect.header()).into_iter().map(move |value| (dialect, value));
    let deadlines = Dialect::ALL.into_iter().flat_map(values);
    deadlines.filter_map(|(dialect, value)| dialect.decode(value.as_bytes()).ok()).min()
}
