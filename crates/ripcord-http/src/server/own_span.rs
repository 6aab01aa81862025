//! The exported span of a request. Without the feature `tracing` there is no such span.

use http::{StatusCode, request::Parts};
use ripcord::{Context, Span};

#[cfg(feature = "tracing")]
use super::server_span;
use super::{RequestOutcome, settings::Settings};
use crate::trace_context::Traceparent;

/// The span of a request, if the layer starts a span for each request.
#[derive(Debug)]
pub(super) struct OwnSpan(#[cfg(feature = "tracing")] Option<ripcord::SpanGuard>);

#[cfg(not(feature = "tracing"))]
impl OwnSpan {
    pub(super) fn begin(_: &Settings, ctx: Context, _: &Parts, _: Option<Traceparent>) -> (Context, Self) {
        (ctx, OwnSpan())
    }

    pub(super) fn span(&self) -> Option<&Span> {
        None
    }

    pub(super) fn end(&mut self, _: &Context, _: Option<&RequestOutcome>, _: Option<StatusCode>) {}
}

#[cfg(feature = "tracing")]
impl OwnSpan {
    /// Starts the span of a request, as a child of the trusted client's span. Returns the request's context.
    pub(super) fn begin(
        settings: &Settings,
        ctx: Context,
        parts: &Parts,
        parent: Option<Traceparent>,
    ) -> (Context, Self) {
        if !settings.tracing {
            return (ctx, OwnSpan(None));
        }
        let name = server_span::name(parts, &ctx);
        let span = Span::builder(name).root().limit(settings.max_calls).location(settings.location);
        let (ctx, guard) = span.start(&ctx);
        (server_span::begin(&ctx, parts, parent), OwnSpan(Some(guard)))
    }

    /// Returns the span, if there is one.
    pub(super) fn span(&self) -> Option<&Span> {
        self.0.as_ref().map(ripcord::SpanGuard::span)
    }

    /// Ends the span with the request. Must be called before the request's end cancels its context.
    pub(super) fn end(&mut self, ctx: &Context, outcome: Option<&RequestOutcome>, answered: Option<StatusCode>) {
        if let Some(guard) = self.0.take() {
            server_span::end(&guard.span().tracing_span(), ctx, outcome, answered);
        }
    }
}
