//! Tests the spans of requests that OpenTelemetry exports.

use std::convert::Infallible;
use std::time::Duration;

use axum::{Router, body::Body, routing::get};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use opentelemetry::trace::{SpanKind, Status, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use ripcord::{Clock, Context};
use ripcord_http::server::{ContextLayer, Ctx, Ended};
use tower::{Layer, Service, ServiceExt, service_fn};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing_subscriber::layer::SubscriberExt as _;

fn exporter() -> (InMemorySpanExporter, DefaultGuard) {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    (exporter, set_default(tracing_subscriber::registry().with(layer)))
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let values: Vec<_> = span.attributes.iter().filter(|pair| pair.key.as_str() == key).collect();
    assert!(values.len() <= 1, "{key} is set {} times: {span:#?}", values.len());
    values.first().map(|pair| pair.value.to_string())
}

fn only(exporter: &InMemorySpanExporter) -> SpanData {
    let spans = exporter.get_finished_spans().unwrap();
    let [span] = &spans[..] else { panic!("one span, not {spans:#?}") };
    for pair in &span.attributes {
        assert_ne!(pair.key.as_str(), "error", "{span:#?}");
        let value = pair.value.to_string();
        assert!(!value.contains("ripcord/src/") && !value.contains("ripcord-http/src/"), "{pair:?}");
    }
    assert_eq!(attribute(span, "code.file.path").as_deref(), Some(file!()));
    span.clone()
}

/// Sends a request to a handler that answers with this status. Returns the request's span.
async fn answered(status: u16) -> SpanData {
    let (exporter, _listening) = exporter();
    let handler = get(move || async move { StatusCode::from_u16(status).unwrap() });
    let layer = ContextLayer::new(&Context::background()).tracing();
    let app: Router = Router::new().route("/items/{id}", handler).layer(layer);
    let request = Request::get("/items/7?token=secret").header("host", "shop.example:8443");
    let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    response.into_body().collect().await.unwrap();
    only(&exporter)
}

#[tokio::test]
async fn request_has_the_attributes_of_an_http_server_span() {
    let (exporter, _listening) = exporter();
    let line = line!() + 1;
    let layer = ContextLayer::new(&Context::background()).tracing();
    let app: Router = Router::new().route("/items/{id}", get(|| async { "an item" })).layer(layer);
    let request = Request::get("/items/7?token=secret").header("host", "shop.example:8443");
    let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    response.into_body().collect().await.unwrap();

    let span = only(&exporter);
    assert_eq!((&*span.name, &span.span_kind, &span.status), ("GET /items/{id}", &SpanKind::Server, &Status::Unset));
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/items/{id}"),
        ("url.path", "/items/7"),
        ("url.scheme", "http"),
        ("server.address", "shop.example"),
        ("server.port", "8443"),
        ("http.response.status_code", "200"),
        ("network.protocol.version", "1.1"),
        ("code.line.number", &line.to_string()),
        ("ripcord.request_id", &id),
    ] {
        assert_eq!(attribute(&span, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(attribute(&span, "error.type"), None);
}

#[tokio::test]
async fn only_a_status_of_500_or_more_is_an_error() {
    for (status, kind) in [(200, None), (404, None), (500, Some("500")), (503, Some("503"))] {
        let span = answered(status).await;
        assert_eq!(attribute(&span, "error.type").as_deref(), kind, "{status}");
        assert_eq!(matches!(span.status, Status::Error { .. }), kind.is_some(), "{status}");
    }
}

#[tokio::test]
async fn deadline_is_an_error_of_type_timeout() {
    let (exporter, _listening) = exporter();
    let (clock, time) = Clock::manual();
    let server = Context::background().with_clock(clock);
    let layer = ContextLayer::new(&server).timeout(Duration::from_secs(1)).tracing();
    let handler = move |Ctx(ctx): Ctx| async move {
        time.advance(Duration::from_secs(1));
        ctx.sleep(Duration::from_secs(1)).await?;
        Ok::<_, Ended>("late")
    };
    let app: Router = Router::new().route("/", get(handler)).layer(layer);
    let response = app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    response.into_body().collect().await.unwrap();
    let span = only(&exporter);
    assert_eq!(attribute(&span, "error.type").as_deref(), Some("timeout"));
    assert_eq!(attribute(&span, "ripcord.end").as_deref(), Some("deadline exceeded"));
    assert!(matches!(span.status, Status::Error { .. }));
}

#[tokio::test]
async fn disconnected_client_and_canceled_server_are_no_errors() {
    let pending = || service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let (exporter, listening) = exporter();
    let layer = ContextLayer::new(&Context::background()).tracing();
    drop(layer.layer(pending()).call(Request::new(Body::empty())));
    let span = only(&exporter);
    assert_eq!((attribute(&span, "error.type"), &span.status), (None, &Status::Unset));
    drop(listening);

    let (exporter, _listening) = self::exporter();
    let (server, cancel) = Context::background().with_cancel();
    let layer = ContextLayer::new(&server).tracing();
    let call = layer.layer(pending()).call(Request::new(Body::empty()));
    cancel.cancel_with("the server stops");
    let response = call.await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    response.into_body().collect().await.unwrap();
    let span = only(&exporter);
    assert_eq!((attribute(&span, "error.type"), &span.status), (None, &Status::Unset));
    assert_eq!(attribute(&span, "ripcord.end.cause").as_deref(), Some("the server stops"));
}

#[tokio::test]
async fn panic_is_an_error_of_type_panic() {
    let (exporter, _listening) = exporter();
    let panics = service_fn(|_: Request<Body>| async { panic!("on purpose") });
    let panics = panics.map_response(|never: Response<Body>| never).map_err(|never: Infallible| never);
    let layer = ContextLayer::new(&Context::background()).tracing();
    let response = layer.layer(panics).call(Request::new(Body::empty())).await.unwrap();
    response.into_body().collect().await.unwrap();
    let span = only(&exporter);
    assert_eq!(attribute(&span, "error.type").as_deref(), Some("panic"));
    assert!(matches!(span.status, Status::Error { .. }));
}
