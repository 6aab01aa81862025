//! A request's own trace, whose span is exported.

use http::{StatusCode, request::Parts};
use ripcord::{Context, Trace, TraceGuard};

use super::{Outcome, layer::Settings};
use crate::trace_context::{Traceparent, server_span};

/// A request's own trace, if the layer begins one for each request.
#[derive(Debug)]
pub(super) struct OwnTrace(Option<TraceGuard>);

impl OwnTrace {
    /// Begins the trace of a request, below the trusted client's span. Returns the request's context.
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
        self.0.as_ref().map(TraceGuard::trace)
    }

    /// The request is over. Must be called before its context is canceled for that reason.
    pub(super) fn end(&mut self, ctx: &Context, outcome: Option<&Outcome>, answered: Option<StatusCode>) {
        if let Some(guard) = self.0.take() {
            server_span::end(&guard.trace().tracing_span(), ctx, outcome, answered);
        }
    }
}
