//! A request's own trace, whose span is exported.

use ripcord::{Context, Trace, TraceGuard};

use super::layer::Settings;
use crate::trace_context::{Traceparent, with_tracing};

/// A request's own trace, if the layer makes each request one.
#[derive(Debug)]
pub(super) struct OwnTrace(Option<TraceGuard>);

impl OwnTrace {
    /// Gives the request of `ctx` a trace, unless it has one of its own, and that trace its place in the client's; with the Context
    /// that the request is to have.
    pub(super) fn begin(settings: &Settings, ctx: Context, parent: Option<Traceparent>) -> (Context, Self) {
        if !settings.tracing {
            return (ctx, OwnTrace(None));
        }
        let (ours, servers) = (ctx.value::<Trace>(), settings.server.value::<Trace>());
        let (ctx, trace) = if ours.map(std::ptr::from_ref) == servers.map(std::ptr::from_ref) {
            let name = ctx.name().unwrap_or("request").to_owned();
            let (ctx, trace) = ctx.start_root_trace(name, Trace::LIMIT);
            (ctx, Some(trace))
        } else {
            (ctx, None)
        };
        (with_tracing::begin(&ctx, parent), OwnTrace(trace))
    }

    /// The request is over. To be told before its Context is canceled for that.
    pub(super) fn end(&mut self) {
        drop(self.0.take());
    }
}
