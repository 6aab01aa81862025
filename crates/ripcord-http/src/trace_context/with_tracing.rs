//! Connects traceparents with the spans of the crate `tracing` that OpenTelemetry exports.
//!
//! The propagators of `opentelemetry_sdk` accept malformed headers and rewrite flags. So this module uses only the types of that
//! crate.

use http::{HeaderValue, Method, Version};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use ripcord::{Context, Value};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{Traceparent, Tracestate};

/// Returns a child of `ctx` whose outgoing HTTP calls each have a span of kind CLIENT. If the called servers export spans too, the
/// spans of all processes belong to one trace.
///
/// Call this function where a program starts work that is not a request, such as a job. The contexts of requests from a layer with
/// [`ContextLayer::tracing`](crate::server::ContextLayer::tracing) have this setting already.
///
/// ```
/// use ripcord::Context;
/// use ripcord_http::trace_context::with_tracing;
///
/// let ctx = with_tracing(&Context::background());
/// let (ctx, _span) = ctx.start_span("nightly report"); // calls with this ctx are in the same trace
/// ```
///
/// Install a `tracing` subscriber with the layer of `tracing-opentelemetry`. Without this layer, no span is exported, and each call
/// sends a child of the context's [`Traceparent`].
///
/// The parent of a call's span is the nearest [`span`](Context::span) of the context, or the current span of the task if the
/// context has none. Each call sends the ID of its own span. Retries and hedges are separate calls.
///
/// The spans have the OpenTelemetry attributes of HTTP clients: `http.request.method`, `url.full`, `server.address`, `server.port`,
/// `http.response.status_code`, `network.protocol.version` and `error.type`. The attributes `code.*` contain the source line that
/// gave the request its context, with `with_context` or reqwest's `context`. [`Context::tracing_span`] lists the other attributes.
pub fn with_tracing(ctx: &Context) -> Context {
    ctx.with_value(Spans)
}

/// Marks a context whose calls have spans.
pub(crate) struct Spans;

impl Value for Spans {}

/// Returns whether the calls of a context have spans.
pub(crate) fn is_on(ctx: &Context) -> bool {
    ctx.value::<Spans>().is_some()
}

/// Returns the method if OpenTelemetry lists it. A client can invent other methods, and each would be one more span name.
pub(crate) fn known_method(method: &Method) -> Option<&'static str> {
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    known.into_iter().find(|name| *name == method.as_str())
}

/// Returns the value of OpenTelemetry's `network.protocol.version`.
pub(crate) fn protocol_version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        Version::HTTP_3 => Some("3"),
        _ => None,
    }
}

/// Converts a parsed traceparent to OpenTelemetry's type.
pub(crate) fn remote(parent: Traceparent, tracestate: Option<&Tracestate>) -> SpanContext {
    let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    // Falls back to an empty state: this crate's headers carry members that OpenTelemetry's type does not allow.
    let state = tracestate.and_then(|state| TraceState::from_key_value(state.members()).ok()).unwrap_or_default();
    let (trace, span) = (TraceId::from_bytes(parent.trace_id()), SpanId::from_bytes(parent.parent_id()));
    SpanContext::new(trace, span, flags, true, state)
}

/// Returns the IDs of a span, if OpenTelemetry receives it. `known` is the context's own traceparent.
pub(crate) fn ids_of(span: &Span, known: Option<&Traceparent>) -> Option<(Traceparent, Option<Tracestate>)> {
    let otel = span.context();
    let context = otel.span().span_context().clone();
    let (trace_id, span_id) = (context.trace_id().to_bytes(), context.span_id().to_bytes());
    // The SDK drops the random flag, so the flag is known only for the context's own trace.
    let is_random = known.is_some_and(|known| known.trace_id() == trace_id && known.is_random());
    let traceparent = Traceparent::from_ids(trace_id, span_id, context.is_sampled(), is_random)?;
    let state = HeaderValue::try_from(context.trace_state().header()).ok();
    let state = state.and_then(|state| Tracestate::decode([&state]).ok().flatten());
    Some((traceparent, state))
}
