//! Spans of the crate `tracing`, which OpenTelemetry exports, as what a traceparent names.
//!
//! `opentelemetry_sdk`'s own propagators read what they should not and rewrite flags; only its types are used here.

use http::HeaderValue;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use ripcord::{Context, Value};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{Link, Traceparent, Tracestate};
use crate::RequestId;

/// A context whose outgoing calls name the span that they are made in, so that what OpenTelemetry exports is one trace across
/// processes: the span of the nearest [`trace`](Context::trace), else the one that the task is in.
///
/// It needs a subscriber with the layer of `tracing-opentelemetry`. Without one, or without a span, calls say what they
/// would say anyhow. A request's Context from [`ContextLayer::tracing`](crate::server::ContextLayer::tracing) is one already;
/// this is for where a program's work begins.
///
/// ```
/// use ripcord::Context;
/// use ripcord_http::trace_context::with_tracing;
///
/// let ctx = with_tracing(&Context::background());
/// let (ctx, _trace) = ctx.start_trace("nightly report"); // what is called under this ctx is part of that trace
/// ```
pub fn with_tracing(ctx: &Context) -> Context {
    ctx.with_value(Spans)
}

/// That calls under a context name spans.
struct Spans;

impl Value for Spans {}

/// What an outgoing call of such a context says.
pub(crate) fn outgoing(ctx: &Context) -> Option<(Traceparent, Option<Tracestate>)> {
    ctx.value::<Spans>()?;
    let span = ctx.tracing_span();
    let span = if span.is_disabled() { Span::current() } else { span };
    said_of(&span, ctx.value::<Traceparent>())
}

/// Makes the span of a request's own trace, which is in `ctx`, a part of `parent`'s, or only linked to a stranger's; and gives the
/// request that span's ids, which is what it tells others.
pub(crate) fn begin(ctx: &Context, parent: Option<Traceparent>) -> Context {
    let ctx = ctx.with_value(Spans);
    let span = ctx.tracing_span();
    span.record("otel.kind", "server");
    if let Some(id) = ctx.value::<RequestId>() {
        // As logs have it, so that the one is found by the other.
        span.set_attribute("request_id", id.to_string());
    }
    if let Some(parent) = parent {
        let parent = remote(parent, ctx.value::<Tracestate>());
        // Fails where OpenTelemetry does not listen, and then there is no trace to be a part of.
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
    }
    if let Some(Link(theirs)) = ctx.value::<Link>() {
        span.add_link(remote(*theirs, None));
    }
    match said_of(&span, ctx.value::<Traceparent>()) {
        Some((ours, tracestate)) => {
            let ctx = ctx.with_value(ours);
            tracestate.map_or(ctx.clone(), |tracestate| ctx.with_value(tracestate))
        }
        None => ctx,
    }
}

/// What was strictly read, in OpenTelemetry's types.
fn remote(parent: Traceparent, tracestate: Option<&Tracestate>) -> SpanContext {
    let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    // What its grammar has no room for is handed on by us all the same.
    let state = tracestate.and_then(|state| TraceState::from_key_value(state.members()).ok()).unwrap_or_default();
    let (trace, span) = (TraceId::from_bytes(parent.trace_id()), SpanId::from_bytes(parent.parent_id()));
    SpanContext::new(trace, span, flags, true, state)
}

/// What names a span, if OpenTelemetry listens to it. `known` is the traceparent that the context has.
fn said_of(span: &Span, known: Option<&Traceparent>) -> Option<(Traceparent, Option<Tracestate>)> {
    let otel = span.context();
    let said = otel.span().span_context().clone();
    // The SDK forgets whether the id is random; for one of its own it makes no promise.
    let is_random = known.is_some_and(|known| known.trace_id() == said.trace_id().to_bytes() && known.is_random());
    let ids = (said.trace_id().to_bytes(), said.span_id().to_bytes());
    let traceparent = Traceparent::of_ids(ids.0, ids.1, said.is_sampled(), is_random)?;
    let state = HeaderValue::try_from(said.trace_state().header()).ok();
    let state = state.and_then(|state| Tracestate::decode([&state]).ok().flatten());
    Some((traceparent, state))
}
