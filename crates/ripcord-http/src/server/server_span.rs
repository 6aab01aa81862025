//! The span of a request, with the OpenTelemetry attributes of HTTP servers.

use std::borrow::Cow;

use http::{StatusCode, header::HOST, request::Parts, uri::Authority};
use opentelemetry::trace::{Status, TraceContextExt as _};
use ripcord::Context;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::RequestOutcome;
use crate::RequestId;
use crate::trace_context::with_tracing::{Spans, ids_of, known_method, protocol_version, remote};
use crate::trace_context::{Link, Traceparent, Tracestate};

/// Returns the span's name: the method and the route, or the context's name if the route is not known.
pub(super) fn name(parts: &Parts, ctx: &Context) -> Cow<'static, str> {
    match route(parts) {
        Some(route) => Cow::Owned(format!("{} {route}", known_method(&parts.method).unwrap_or("HTTP"))),
        None => Cow::Owned(ctx.name().unwrap_or("HTTP").to_owned()),
    }
}

/// Makes the span of `ctx` a child of `parent`, or links it to an untrusted client's span. Returns the request's context with the
/// IDs of the span. The request's calls send these IDs.
pub(super) fn begin(ctx: &Context, parts: &Parts, parent: Option<Traceparent>) -> Context {
    let ctx = ctx.with_value(Spans);
    let span = ctx.tracing_span();
    span.record("otel.kind", "server");
    if let Some(id) = ctx.value::<RequestId>() {
        span.set_attribute("ripcord.request_id", id.to_string());
    }
    if let Some(parent) = parent {
        let parent = remote(parent, ctx.value::<Tracestate>());
        // This fails without OpenTelemetry's layer. Then there is no trace to join.
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
    }
    if let Some(Link(theirs)) = ctx.value::<Link>() {
        span.add_link(remote(*theirs, None));
    }
    set_request(&span, parts);
    match ids_of(&span, ctx.value::<Traceparent>()) {
        Some((ours, tracestate)) => {
            let ctx = ctx.with_value(ours);
            tracestate.map_or(ctx.clone(), |tracestate| ctx.with_value(tracestate))
        }
        None => ctx,
    }
}

fn set_request(span: &Span, parts: &Parts) {
    match known_method(&parts.method) {
        Some(method) => span.set_attribute("http.request.method", method),
        None => {
            span.set_attribute("http.request.method", "_OTHER");
            span.set_attribute("http.request.method_original", parts.method.as_str().to_owned());
        }
    }
    if let Some(route) = route(parts) {
        span.set_attribute("http.route", route.to_owned());
    }
    span.set_attribute("url.path", parts.uri.path().to_owned());
    span.set_attribute("url.scheme", parts.uri.scheme_str().unwrap_or("http").to_owned());
    if let Some(version) = protocol_version(parts.version) {
        span.set_attribute("network.protocol.version", version);
    }
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    if let Some(authority) = host.as_ref().or(parts.uri.authority()) {
        span.set_attribute("server.address", authority.host().to_owned());
        if let Some(port) = authority.port_u16() {
            span.set_attribute("server.port", i64::from(port));
        }
    }
}

/// Records how the request ended. A cancel and a disconnect are not errors. A deadline, a panic and a status of 5xx are errors.
pub(super) fn end(span: &Span, ctx: &Context, outcome: Option<&RequestOutcome>, answered: Option<StatusCode>) {
    if let Some(status) = answered {
        span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    }
    // The trace's guard records the deadline of the request's own context.
    if ctx.err().is_some_and(|error| error.is_deadline_exceeded()) {
        return;
    }
    let status = answered.filter(StatusCode::is_server_error);
    let kind = match outcome {
        Some(RequestOutcome::DeadlineExceeded) => Some("timeout".to_owned()),
        Some(RequestOutcome::Panicked(_)) => Some("panic".to_owned()),
        Some(RequestOutcome::Failed) => Some("_OTHER".to_owned()),
        Some(RequestOutcome::Answered) => status.map(|status| status.as_str().to_owned()),
        _ => None,
    };
    if let Some(kind) = kind {
        span.set_attribute("error.type", kind);
        span.set_status(Status::error(""));
    }
}

#[cfg(feature = "axum")]
fn route(parts: &Parts) -> Option<&str> {
    Some(parts.extensions.get::<axum::extract::MatchedPath>()?.as_str())
}

#[cfg(not(feature = "axum"))]
fn route(_: &Parts) -> Option<&str> {
    None
}
