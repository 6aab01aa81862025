//! Tests the spans that OpenTelemetry exports for a chain.
//!
//! The three services share a subscriber, because each thread has one subscriber. They get trace IDs only from headers.

use http::HeaderValue;
use opentelemetry::trace::{SpanId, SpanKind, Status, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use ripcord_http::RequestId;
use ripcord_http::trace_context::{Traceparent, with_tracing};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

/// Sets an exporter for this thread. The runtime of a test has no other thread.
pub(crate) fn exporter() -> (InMemorySpanExporter, DefaultGuard) {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let listening = set_default(tracing_subscriber::registry().with(layer));
    // `tracing` can miss a subscriber that is set while another test's thread registers the callsite of traces.
    for _ in 0..100_000 {
        drop(with_tracing(&Context::background()).start_trace("probe"));
        if !exporter.get_finished_spans().unwrap().is_empty() {
            exporter.reset();
            return (exporter, listening);
        }
        tracing::callsite::rebuild_interest_cache();
        std::thread::yield_now();
    }
    panic!("the subscriber hears of no trace");
}

fn traced(trust: TrustPolicy) -> Service {
    let service = Service::new(trust, Duration::ZERO);
    Service { layer: service.layer.clone().tracing(), ..service }
}

/// Waits until `count` spans are finished, and returns them. The runtime closes connections and their contexts at some later time.
pub(crate) async fn finished(exporter: &InMemorySpanExporter, count: usize) -> Vec<SpanData> {
    for _ in 0..100_000 {
        let spans = exporter.get_finished_spans().unwrap();
        if spans.len() >= count {
            return spans;
        }
        tokio::task::yield_now().await;
    }
    panic!("only {:#?}", exporter.get_finished_spans());
}

fn forget(services: &[Service]) {
    for service in services {
        service.seen.lock().unwrap().clear();
    }
}

fn named<'a>(spans: &'a [SpanData], name: &str, parent: SpanId) -> &'a SpanData {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name && span.parent_span_id == parent).collect();
    assert_eq!(found.len(), 1, "{name} under {parent} in {spans:#?}");
    found[0]
}

#[tokio::test]
async fn trusted_chain_is_one_trace_with_a_client_span_for_each_call() {
    let (exporter, _listening) = exporter();
    let services = [(); 3].map(|()| traced(TrustPolicy::trusted()));
    let [a, b, c] = &services;
    let url = chain([a, b, c], Duration::ZERO).await;

    let (ctx, main) = with_tracing(&Context::background()).start_trace("main");
    call(&ctx, &url).await.unwrap();
    let sent: Traceparent = c.only().header("traceparent").unwrap().parse().unwrap();
    forget(&services);
    drop((ctx, main));

    let spans = finished(&exporter, 10).await;
    assert_eq!(spans.len(), 10);
    let mut above = named(&spans, "main", SpanId::INVALID);
    for route in ["/a", "/b", "/c"] {
        let call = named(&spans, "GET", above.span_context.span_id());
        assert_eq!(call.span_kind, SpanKind::Client);
        if route == "/c" {
            assert_eq!(sent.parent_id(), call.span_context.span_id().to_bytes());
            assert!(sent.is_sampled());
        }
        let request = named(&spans, &format!("GET {route}"), call.span_context.span_id());
        assert_eq!(request.span_kind, SpanKind::Server);
        assert!(request.parent_span_is_remote);
        above = named(&spans, "work", request.span_context.span_id());
    }
    let trace = above.span_context.trace_id();
    assert!(spans.iter().all(|span| span.span_context.trace_id() == trace));
    assert_eq!(sent.trace_id(), trace.to_bytes());
}

#[tokio::test]
async fn untrusted_client_is_linked() {
    let (exporter, _listening) = exporter();
    let edge = traced(TrustPolicy::untrusted());
    let url = edge.serve("/edge", Duration::ZERO, None).await;
    let (ctx, main) = with_tracing(&Context::background()).start_trace("main");
    call(&ctx, &url).await.unwrap();
    forget(&[edge]);
    drop((ctx, main));

    let spans = finished(&exporter, 4).await;
    let main = named(&spans, "main", SpanId::INVALID);
    let call = named(&spans, "GET", main.span_context.span_id());
    let request = named(&spans, "GET /edge", SpanId::INVALID);
    assert_ne!(request.span_context.trace_id(), main.span_context.trace_id());
    let links: Vec<_> = request.links.iter().map(|link| link.span_context.clone()).collect();
    assert_eq!(links.len(), 1);
    assert_eq!(links[0].trace_id(), main.span_context.trace_id());
    assert_eq!(links[0].span_id(), call.span_context.span_id());
}

#[tokio::test]
async fn malformed_traceparent_is_no_parent() {
    let (exporter, _listening) = exporter();
    let service = traced(TrustPolicy::trusted());
    let url = service.serve("/a", Duration::ZERO, None).await;
    // The SDK's propagator would accept this and pad the IDs.
    reqwest::Client::new().get(&url).header("traceparent", "00-42-b7-01").send().await.unwrap();
    forget(&[service]);
    let spans = finished(&exporter, 2).await;
    assert!(named(&spans, "GET /a", SpanId::INVALID).links.is_empty());
}

#[tokio::test]
async fn flags_and_tracestate_are_forwarded() {
    let (exporter, _listening) = exporter();
    let services = [(); 2].map(|()| traced(TrustPolicy::trusted()));
    let url = services[1].serve("/b", Duration::ZERO, None).await;
    let url = services[0].serve("/a", Duration::ZERO, Some(url)).await;
    let request = reqwest::Client::new()
        .get(&url)
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03");
    request.header("tracestate", "congo=t61,rojo=1").header("tracestate", "last=2").send().await.unwrap();

    let seen = services[1].only();
    let told: Traceparent = seen.header("traceparent").unwrap().parse().unwrap();
    assert!(told.is_sampled() && told.is_random(), "{told}");
    assert!(told.to_string().starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
    assert_eq!(seen.header("tracestate"), Some("congo=t61,rojo=1,last=2"));
    drop(seen);
    forget(&services);
    let spans = finished(&exporter, 4).await;
    let theirs = SpanId::from_hex("b7ad6b7169203331").unwrap();
    assert_eq!(named(&spans, "GET /a", theirs).span_context.trace_state().header(), "congo=t61,rojo=1,last=2");
}

#[tokio::test]
async fn request_id_is_in_the_traces_of_all_services() {
    let (exporter, _listening) = exporter();
    let services = [(); 3].map(|()| traced(TrustPolicy::trusted()));
    let [a, b, c] = &services;
    let url = chain([a, b, c], Duration::ZERO).await;
    let ctx = Context::background().with_value(RequestId::decode(&HeaderValue::from_static("req-17")).unwrap());
    call(&with_tracing(&ctx), &url).await.unwrap();
    forget(&services);
    let spans = finished(&exporter, 9).await;
    for route in ["/a", "/b", "/c"] {
        let request = spans.iter().find(|span| span.name == format!("GET {route}")).expect("it is exported");
        let id = request.attributes.iter().find(|pair| pair.key.as_str() == "ripcord.request_id").expect("it is there");
        assert_eq!(id.value.to_string(), "req-17");
    }
}

#[tokio::test]
async fn deadline_is_an_error_of_type_timeout_in_each_span() {
    let (exporter, _listening) = exporter();
    let service = traced(TrustPolicy::trusted());
    let url = service.serve("/late", Duration::from_secs(2), Some("http://127.0.0.1:9/".to_owned())).await;
    let (clock, _time) = Clock::manual();
    let ctx = Context::background().with_clock(clock).with_timeout(Duration::from_secs(1));
    assert!(call(&ctx, &url).await.is_err());
    forget(&[service]);
    let spans = finished(&exporter, 3).await;
    for span in &spans {
        assert!(matches!(span.status, Status::Error { .. }), "{span:#?}");
        let types: Vec<_> = span.attributes.iter().filter(|pair| pair.key.as_str() == "error.type").collect();
        assert_eq!(types.len(), 1, "{span:#?}");
        assert_eq!(types[0].value.to_string(), "timeout");
    }
}

#[tokio::test]
async fn chain_without_a_subscriber_keeps_the_trace_id() {
    let services = [(); 3].map(|()| traced(TrustPolicy::trusted()));
    let [a, b, c] = &services;
    let url = chain([a, b, c], Duration::ZERO).await;
    let parent = Traceparent::start(true);
    let ctx = with_tracing(&Context::background()).with_value(parent);
    call(&ctx, &url).await.unwrap();
    for service in &services {
        let told: Traceparent = service.only().header("traceparent").unwrap().parse().unwrap();
        assert_eq!(told.trace_id(), parent.trace_id());
    }
}
