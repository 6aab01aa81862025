//! The values of a context that are stored with a job: the trace, the baggage and the request ID.

use http::HeaderValue;
use ripcord::Context;
use ripcord_http::RequestId;
use ripcord_http::trace_context::{Baggage, Traceparent, Tracestate};
use serde::{Deserialize, Serialize};

/// The values, each in the format of the HTTP header with its name.
#[derive(Default, Serialize, Deserialize)]
struct Headers {
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    baggage: Option<String>,
    #[serde(rename = "x-request-id", skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

/// Returns the values of `ctx` as JSON, or an empty text if it has none of them.
pub(super) fn encode(ctx: &Context) -> String {
    let text = |header: HeaderValue| header.to_str().ok().map(str::to_owned);
    let headers = Headers {
        traceparent: ctx.value::<Traceparent>().map(|traceparent| traceparent.child().to_string()),
        tracestate: ctx.value::<Tracestate>().and_then(|tracestate| text(tracestate.to_header())),
        baggage: ctx.value::<Baggage>().and_then(|baggage| text(baggage.to_header())),
        request_id: ctx.value::<RequestId>().map(|id| id.as_str().to_owned()),
    };
    if headers.traceparent.is_none() && headers.baggage.is_none() && headers.request_id.is_none() {
        return String::new();
    }
    serde_json::to_string(&headers).unwrap_or_default()
}

/// Adds the values to `ctx`. The job's span is a child of the span that submitted the job. A malformed value is left out.
pub(super) fn decode(text: &str, mut ctx: Context) -> Context {
    let Ok(headers) = serde_json::from_str::<Headers>(text) else { return ctx };
    let header = |text: Option<String>| text.and_then(|text| HeaderValue::try_from(text).ok());
    if let Some(traceparent) = headers.traceparent.and_then(|text| Traceparent::decode(text.as_bytes()).ok()) {
        ctx = ctx.with_value(traceparent);
        if let Some(Ok(Some(tracestate))) = header(headers.tracestate).map(|value| Tracestate::decode([&value])) {
            ctx = ctx.with_value(tracestate);
        }
    }
    if let Some(Ok(Some(baggage))) = header(headers.baggage).map(|value| Baggage::decode([&value])) {
        ctx = ctx.with_value(baggage);
    }
    if let Some(Ok(id)) = header(headers.request_id).map(|value| RequestId::decode(&value)) {
        ctx = ctx.with_value(id);
    }
    ctx
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_without_a_trace_sends_nothing() {
        assert_eq!(encode(&Context::background()), "");
        let ctx = decode("", Context::background());
        assert!(ctx.value::<Traceparent>().is_none());
    }

    #[test]
    fn values_arrive_and_the_span_is_a_child() {
        let theirs = Traceparent::start(true);
        let id = RequestId::generate();
        let baggage = HeaderValue::from_static("tenant=7");
        let baggage = Baggage::decode([&baggage]).expect("valid").expect("one member");
        let sent = Context::background().with_value(theirs).with_value(id.clone()).with_value(baggage);
        let received = decode(&encode(&sent), Context::background());
        let ours = received.value::<Traceparent>().expect("a traceparent");
        assert_eq!(ours.trace_id(), theirs.trace_id());
        assert_ne!(ours.parent_id(), theirs.parent_id());
        assert_eq!(received.value::<RequestId>(), Some(&id));
        assert_eq!(received.value::<Baggage>().expect("baggage").get("tenant").as_deref(), Some("7"));
    }

    #[test]
    fn malformed_values_are_left_out() {
        let ctx = decode(r#"{"traceparent":"00-1","x-request-id":"a b"}"#, Context::background());
        assert!(ctx.value::<Traceparent>().is_none() && ctx.value::<RequestId>().is_none());
    }
}
