//! Tests the request ID, trace and baggage in a chain, without OpenTelemetry.

use http::HeaderValue;
use ripcord_http::RequestId;
use ripcord_http::trace_context::{Baggage, Link, Traceparent, Tracestate};

use super::*;

fn caller() -> Context {
    let header = HeaderValue::from_static;
    Context::background()
        .with_value(RequestId::decode(&header("req-17")).unwrap())
        .with_value(Traceparent::start(true))
        .with_value(Tracestate::decode([&header("congo=t61")]).unwrap().unwrap())
        .with_value(Baggage::decode([&header("tenant=7")]).unwrap().unwrap())
}

fn traceparent(ctx: &Context) -> Traceparent {
    *ctx.value::<Traceparent>().expect("a request has one")
}

#[tokio::test]
async fn trusted_chain_passes_on_everything_in_one_trace() {
    let services = [Service::trusting(), Service::trusting(), Service::trusting()];
    let [a, b, c] = &services;
    let url = chain([a, b, c], Duration::ZERO).await;
    let ctx = caller();
    call(&ctx, &url).await.unwrap();

    let mut spans = vec![traceparent(&ctx)];
    for service in &services {
        let seen = service.only();
        assert_eq!(seen.ctx.value::<RequestId>().unwrap().as_str(), "req-17");
        assert_eq!(seen.ctx.value::<Baggage>().unwrap().get("tenant").as_deref(), Some("7"));
        assert_eq!(seen.ctx.value::<Tracestate>().unwrap().get("congo"), Some("t61"));
        assert!(seen.ctx.value::<Link>().is_none());
        spans.push(seen.header("traceparent").unwrap().parse().unwrap());
        spans.push(traceparent(&seen.ctx));
    }
    assert!(spans.iter().all(|span| span.trace_id() == spans[0].trace_id() && span.is_sampled()), "{spans:?}");
    let ids: std::collections::HashSet<_> = spans.iter().map(Traceparent::parent_id).collect();
    assert_eq!(ids.len(), spans.len(), "each call and each request is a span of its own");
}

#[tokio::test]
async fn untrusted_chain_passes_on_nothing_and_links_the_trace() {
    let edge = Service::new(TrustPolicy::untrusted(), Duration::ZERO);
    let [b, c] = [Service::trusting(), Service::trusting()];
    let url = chain([&edge, &b, &c], Duration::ZERO).await;
    let ctx = caller();
    call(&ctx, &url).await.unwrap();

    let seen = edge.only();
    assert_eq!(seen.header("baggage"), Some("tenant=7"), "it was sent");
    assert!(seen.ctx.value::<Baggage>().is_none() && seen.ctx.value::<Tracestate>().is_none());
    let id = seen.ctx.value::<RequestId>().unwrap();
    assert_ne!(id.as_str(), "req-17");
    assert_ne!(traceparent(&seen.ctx).trace_id(), traceparent(&ctx).trace_id());
    assert_eq!(seen.ctx.value::<Link>().unwrap().0.trace_id(), traceparent(&ctx).trace_id());

    // All services behind the edge have the request ID and the trace of the edge.
    for service in [b, c] {
        let ctx = service.only().ctx;
        assert_eq!(ctx.value::<RequestId>(), Some(id));
        assert_eq!(traceparent(&ctx).trace_id(), traceparent(&seen.ctx).trace_id());
        assert!(ctx.value::<Baggage>().is_none());
    }
}
