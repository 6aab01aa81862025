//! A request's own trace, whose span is exported.

use ripcord::{Context, Trace, TraceGuard};

use super::layer::Settings;
use crate::trace_context::{Traceparent, with_tracing};

/// A request's own trace, if the layer makes each request one.
#[derive(Debug)]
pub(super) struct OwnTrace(Option<TraceGuard>);

impl OwnTrace {
    /// Gives the request of `ctx` a trace, and that trace its place in the client's; with the Context that the request is to have.
    pub(super) fn begin(settings: &Settings, ctx: Context, parent: Option<Traceparent>) -> (Context, Self) {
        if !settings.tracing {
            return (ctx, OwnTrace(None));
        }
        let name = ctx.name().unwrap_or("request").to_owned();
        let (ctx, trace) = ctx.start_root_trace(name, settings.most_calls);
        (with_tracing::begin(&ctx, parent), OwnTrace(Some(trace)))
    }

    /// To be read, if there is one.
    pub(super) fn trace(&self) -> Option<&Trace> {
        self.0.as_ref().map(TraceGuard::trace)
    }

    /// The request is over. To be told before its Context is canceled for that.
    pub(super) fn end(&mut self) {
        drop(self.0.take());
    }
}
