//! Tests a request that the inspector shows and OpenTelemetry exports.
//!
//! This test runs in its own process. `tracing` caches whether a callsite is enabled. A test on another thread without a subscriber
//! could disable the spans of this test.

#[path = "common/inspected.rs"]
mod inspected;

use futures::FutureExt as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use ripcord_http::server::ContextLayer;
use tracing::subscriber::set_default;
use tracing_subscriber::layer::SubscriberExt as _;

use inspected::{SECOND, Server, read, request};

#[tokio::test]
async fn request_with_tracing_has_one_trace_that_is_exported_whole() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _listening = set_default(tracing_subscriber::registry().with(layer));

    let server = Server::new(ContextLayer::tracing);
    let mut answer = Box::pin(server.ask(request()));
    assert!((&mut answer).now_or_never().is_none());
    let live = server.shown().await["live"][0].clone();
    assert_eq!(live["spans"].as_array().unwrap().len(), 2, "the request and its query: {live:#}");
    server.time.advance(SECOND);
    assert_eq!(read(answer.await).await, "done");

    let mut spans = exporter.get_finished_spans().unwrap();
    spans.sort_by_key(|span| span.start_time);
    let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
    assert_eq!(names, ["GET /report/{day}", "query"]);
    assert_eq!(spans[1].parent_span_id, spans[0].span_context.span_id());
    assert_eq!(spans[0].span_context.trace_id().to_string(), live["trace_id"].as_str().unwrap());
}
