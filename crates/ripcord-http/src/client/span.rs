//! The span of a call. The call's traceparent has the ID of this span.

#[cfg(feature = "tracing")]
use std::panic::Location;

#[cfg(feature = "tracing")]
use http::Method;
use http::{StatusCode, Version};
#[cfg(feature = "tracing")]
use opentelemetry::trace::Status;
#[cfg(feature = "tracing")]
use ripcord::{Context, Span, SpanGuard};
#[cfg(feature = "tracing")]
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::Error;
#[cfg(feature = "tracing")]
use super::call::{Call, Url};
#[cfg(feature = "tracing")]
use crate::RequestId;
#[cfg(feature = "tracing")]
use crate::trace_context::{Traceparent, Tracestate, with_tracing};

/// The span of one call, a child of the context's span. The span ends when the response's body has been read, at an error, or when
/// this value is dropped.
///
/// A call has no span without the feature `tracing`, or if its context does not come from
/// [`with_tracing`](crate::trace_context::with_tracing) or from a traced request.
#[derive(Default)]
pub(super) struct CallSpan {
    #[cfg(feature = "tracing")]
    open: Option<Open>,
}

#[cfg(feature = "tracing")]
struct Open {
    guard: SpanGuard,
    span: tracing::Span,
    ctx: Context,
}

#[cfg(feature = "tracing")]
impl CallSpan {
    pub(super) fn begin(ctx: &Context, call: &Call, location: &'static Location<'static>) -> Self {
        if !with_tracing::is_on(ctx) {
            return CallSpan::default();
        }
        let method = with_tracing::known_method(&call.method);
        let (traced, guard) = Span::builder(method.unwrap_or("HTTP")).location(location).start(ctx);
        let span = guard.span().tracing_span();
        span.record("otel.kind", "client");
        set_request(&span, &call.method, &call.url);
        if let Some(id) = ctx.value::<RequestId>() {
            span.set_attribute("ripcord.request_id", id.to_string());
        }
        drop(traced);
        CallSpan { open: Some(Open { guard, span, ctx: ctx.clone() }) }
    }

    /// Returns the IDs to send, if OpenTelemetry receives the span.
    pub(super) fn ids(&self) -> Option<(Traceparent, Option<Tracestate>)> {
        let open = self.open.as_ref()?;
        with_tracing::ids_of(&open.span, open.ctx.value::<Traceparent>())
    }
}

impl CallSpan {
    /// Records the head of the response.
    pub(super) fn answered(&self, status: StatusCode, version: Version) {
        #[cfg(feature = "tracing")]
        if let Some(Open { span, .. }) = &self.open {
            span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
            if let Some(version) = with_tracing::protocol_version(version) {
                span.set_attribute("network.protocol.version", version);
            }
            if status.is_client_error() || status.is_server_error() {
                span.set_attribute("error.type", status.as_str().to_owned());
                span.set_status(Status::error(""));
            }
        }
        #[cfg(not(feature = "tracing"))]
        let _ = (status, version);
    }

    /// Ends the span of a call that failed.
    pub(super) fn failed(&mut self, error: &Error) {
        #[cfg(feature = "tracing")]
        if let Some(Open { guard, span, ctx }) = self.open.take() {
            // If the context has ended, the guard records the reason. A cancel is not an error of the span.
            if ctx.err().is_none() && !error.is_canceled() {
                let kind = match () {
                    () if error.is_timeout() => "timeout",
                    () if error.is_connect() => "connect",
                    () => "_OTHER",
                };
                span.set_attribute("error.type", kind);
                span.set_status(Status::error(error.to_string()));
            }
            drop(guard);
        }
        #[cfg(not(feature = "tracing"))]
        let _ = error;
    }

    /// Ends the span when the response's body has been read.
    pub(super) fn end(&mut self) {
        #[cfg(feature = "tracing")]
        drop(self.open.take());
    }
}

/// Sets the attributes that OpenTelemetry requires for the span of an HTTP client.
#[cfg(feature = "tracing")]
fn set_request(span: &tracing::Span, method: &Method, url: &Url) {
    match with_tracing::known_method(method) {
        Some(method) => span.set_attribute("http.request.method", method),
        None => {
            span.set_attribute("http.request.method", "_OTHER");
            span.set_attribute("http.request.method_original", method.as_str().to_owned());
        }
    }
    let text = url.to_string();
    if let Ok(uri) = text.parse::<http::Uri>() {
        if let Some(host) = uri.host() {
            span.set_attribute("server.address", host.to_owned());
        }
        let default = match uri.scheme_str() {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        };
        if let Some(port) = uri.port_u16().or(default) {
            span.set_attribute("server.port", i64::from(port));
        }
    }
    span.set_attribute("url.full", text);
}
