//! A request's own trace, whose span is exported. Without the feature `tracing` there is none.

use http::{StatusCode, request::Parts};
use ripcord::{Context, Trace};

use super::{Outcome, layer::Settings};
use crate::trace_context::Traceparent;
#[cfg(feature = "tracing")]
use crate::trace_context::server_span;

/// A request's own trace, if the layer starts one for each request.
#[derive(Debug)]
pub(super) struct OwnTrace(#[cfg(feature = "tracing")] Option<ripcord::TraceGuard>);

#[cfg(not(feature = "tracing"))]
impl OwnTrace {
    pub(super) fn begin(_: &Settings, ctx: Context, _: &Parts, _: Option<Traceparent>) -> (Context, Self) {
        (ctx, OwnTrace())
    }

    pub(super) fn trace(&self) -> Option<&Trace> {
        None
    }

    pub(super) fn end(&mut self, _: &Context, _: Option<&Outcome>, _: Option<StatusCode>) {}
}

#[cfg(feature = "tracing")]
impl OwnTrace {
    /// Starts the trace of a request, below the trusted client's span. Returns the request's context.
    pub(super) fn begin(
        settings: &Settings,
        ctx: Context,
        parts: &Parts,
        parent: Option<Traceparent>,
    ) -> (Context, Self) {
        if !settings.tracing {
            return (ctx, OwnTrace(None));
        }
        let name = server_span::name(parts, &ctx);
        let (ctx, trace) = ctx.start_root_trace_at(name, settings.max_calls, ctx.clock().now(), settings.location);
        (server_span::begin(&ctx, parts, parent), OwnTrace(Some(trace)))
    }

    /// Returns the trace, if there is one.
    pub(super) fn trace(&self) -> Option<&Trace> {
        self.0.as_ref().map(ripcord::TraceGuard::trace)
    }

    /// Ends the trace with the request. Must be called before the request's end cancels its context.
    pub(super) fn end(&mut self, ctx: &Context, outcome: Option<&Outcome>, answered: Option<StatusCode>) {
        if let Some(guard) = self.0.take() {
            server_span::end(&guard.trace().tracing_span(), ctx, outcome, answered);
        }
    }
}
