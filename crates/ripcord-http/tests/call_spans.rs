//! The spans of calls, as OpenTelemetry exports them.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use opentelemetry::trace::{SpanKind, Status, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use ripcord::{Clock, Context};
use ripcord_http::RequestId;
use ripcord_http::client::{Client, ClientLayer, RequestExt};
use ripcord_http::deadline::Dialect;
use ripcord_http::trace_context::{Traceparent, with_tracing};
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceExt, service_fn};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing_subscriber::layer::SubscriberExt as _;

type Body = Empty<bytes::Bytes>;
type Inner = BoxCloneService<Request<()>, Response<Body>, std::io::Error>;

fn exporter() -> (InMemorySpanExporter, DefaultGuard) {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    (exporter, set_default(tracing_subscriber::registry().with(layer)))
}

/// Blocks on tokio's executor. The exporter blocks on the executor of the crate `futures`, which cannot run inside itself.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Returns a client whose server answers every request with this status.
fn answering(status: StatusCode) -> Client<Inner> {
    let inner = service_fn(move |_: Request<()>| async move {
        let mut response = Response::new(Body::new());
        *response.status_mut() = status;
        Ok(response)
    });
    ClientLayer::new().layer(inner.boxed_clone())
}

/// Returns a client that fails with an error of this kind.
fn failing(kind: std::io::ErrorKind) -> Client<Inner> {
    let inner = service_fn(move |_: Request<()>| async move { Err(std::io::Error::from(kind)) });
    ClientLayer::new().layer(inner.boxed_clone())
}

/// Returns a client whose server never answers.
fn silent() -> Client<Inner> {
    ClientLayer::new().layer(service_fn(|_: Request<()>| std::future::pending()).boxed_clone())
}

/// Makes one call under `ctx` and reads its body. Returns the span.
fn span_of(client: &mut Client<Inner>, ctx: &Context) -> SpanData {
    let (exporter, _listening) = exporter();
    let request = Request::get("http://user:secret@peer:8080/items?page=2").body(()).unwrap();
    let call = client.call(request.with_context(&with_tracing(ctx)));
    if let Ok(response) = block_on(call) {
        block_on(response.into_body().collect()).unwrap();
    }
    let spans = exporter.get_finished_spans().unwrap();
    assert_eq!(spans.len(), 1, "{spans:#?}");
    spans.into_iter().next().unwrap()
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let values: Vec<_> = span.attributes.iter().filter(|pair| pair.key.as_str() == key).collect();
    assert!(values.len() <= 1, "{key} is set {} times: {span:#?}", values.len());
    values.first().map(|pair| pair.value.to_string())
}

/// Asserts that the span has no field that exporters read as a status, and no line of the libraries.
fn assert_well_formed(span: &SpanData) {
    for pair in &span.attributes {
        assert_ne!(pair.key.as_str(), "error", "{span:#?}");
        let value = pair.value.to_string();
        assert!(!value.contains("ripcord/src/") && !value.contains("ripcord-http/src/"), "{pair:?}");
    }
    assert_eq!(attribute(span, "code.file.path").as_deref(), Some(file!()));
}

#[test]
fn call_has_the_attributes_of_an_http_client_span() {
    let id = RequestId::decode(&http::HeaderValue::from_static("req-17")).unwrap();
    let (exporter, _listening) = exporter();
    let ctx = with_tracing(&Context::background().with_value(id));
    let request = Request::get("http://user:secret@peer:8080/items?page=2").body(()).unwrap();
    let line = line!() + 1;
    let request = request.with_context(&ctx);
    let response = block_on(answering(StatusCode::OK).call(request)).unwrap();
    block_on(response.into_body().collect()).unwrap();

    let spans = exporter.get_finished_spans().unwrap();
    let [span] = &spans[..] else { panic!("one span, not {spans:#?}") };
    assert_eq!((&*span.name, &span.span_kind, &span.status), ("GET", &SpanKind::Client, &Status::Unset));
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.full", "http://user:***@peer:8080/items?page=2"),
        ("server.address", "peer"),
        ("server.port", "8080"),
        ("http.response.status_code", "200"),
        ("network.protocol.version", "1.1"),
        ("code.line.number", &line.to_string()),
        ("ripcord.request_id", "req-17"),
    ] {
        assert_eq!(attribute(span, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(attribute(span, "error.type"), None);
    assert_well_formed(span);
}

#[test]
fn port_is_the_schemes_default_unless_the_url_has_one() {
    for (url, port) in [("http://peer/", Some("80")), ("https://peer/", Some("443")), ("/path", None)] {
        let (exporter, _listening) = exporter();
        let request = Request::get(url).body(()).unwrap().with_context(&with_tracing(&Context::background()));
        block_on(answering(StatusCode::OK).call(request)).map(drop).unwrap();
        let spans = exporter.get_finished_spans().unwrap();
        assert_eq!(attribute(&spans[0], "server.port").as_deref(), port, "{url}");
    }
}

#[test]
fn unknown_method_is_named_other() {
    let (exporter, _listening) = exporter();
    let request = Request::builder().method("BREW").uri("http://peer/").body(()).unwrap();
    let call = answering(StatusCode::OK).call(request.with_context(&with_tracing(&Context::background())));
    block_on(call).map(drop).unwrap();
    let spans = exporter.get_finished_spans().unwrap();
    assert_eq!(spans[0].name, "HTTP");
    assert_eq!(attribute(&spans[0], "http.request.method").as_deref(), Some("_OTHER"));
    assert_eq!(attribute(&spans[0], "http.request.method_original").as_deref(), Some("BREW"));
}

#[test]
fn each_call_sends_the_id_of_its_own_span() {
    let (exporter, _listening) = exporter();
    let (ctx, work) = with_tracing(&Context::background()).start_trace("work");
    let sent = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let record = std::sync::Arc::clone(&sent);
    let inner = service_fn(move |request: Request<()>| {
        let parent: Traceparent = request.headers()["traceparent"].to_str().unwrap().parse().unwrap();
        record.lock().unwrap().push(parent);
        async { Ok::<_, Infallible>(Response::new(Body::new())) }
    });
    let mut client = ClientLayer::new().dialect(Dialect::GrpcTimeout).layer(inner);
    let request = Request::get("http://peer/").body(()).unwrap();
    // Two concurrent calls, like those of a hedge, then a later call, like that of a retry.
    let both = [client.call(request.clone().with_context(&ctx)), client.call(request.clone().with_context(&ctx))];
    for call in both {
        block_on(call).map(drop).unwrap();
    }
    block_on(client.call(request.with_context(&ctx))).map(drop).unwrap();
    drop((ctx, work));

    let sent = sent.lock().unwrap();
    let spans = exporter.get_finished_spans().unwrap();
    let work = spans.iter().find(|span| span.name == "work").unwrap();
    let exported: Vec<_> = spans.iter().filter(|span| span.span_kind == SpanKind::Client).collect();
    assert!(exported.iter().all(|span| span.parent_span_id == work.span_context.span_id()));
    let exported: HashSet<_> = exported.iter().map(|span| span.span_context.span_id().to_bytes()).collect();
    assert_eq!(sent.iter().map(|parent| parent.parent_id()).collect::<HashSet<_>>(), exported);
    assert_eq!((sent.len(), exported.len()), (3, 3));
}

#[test]
fn each_call_without_a_subscriber_sends_its_own_id() {
    let parent = Traceparent::start(true);
    let ctx = with_tracing(&Context::background().with_value(parent));
    let mut ids = HashSet::from([parent.parent_id()]);
    for _ in 0..3 {
        let inner = service_fn(|request: Request<()>| async move {
            let mut response = Response::new(Body::new());
            *response.headers_mut() = request.headers().clone();
            Ok::<_, Infallible>(response)
        });
        let request = Request::get("http://peer/").body(()).unwrap().with_context(&ctx);
        let response = block_on(ClientLayer::new().layer(inner).call(request)).unwrap();
        let sent: Traceparent = response.headers()["traceparent"].to_str().unwrap().parse().unwrap();
        assert_eq!(sent.trace_id(), parent.trace_id());
        assert!(ids.insert(sent.parent_id()));
    }
}

#[test]
fn status_of_400_or_more_is_an_error_of_that_type() {
    for (status, kind) in [(200, None), (302, None), (404, Some("404")), (503, Some("503"))] {
        let span = span_of(&mut answering(StatusCode::from_u16(status).unwrap()), &Context::background());
        assert_eq!(attribute(&span, "error.type").as_deref(), kind);
        assert_eq!(matches!(span.status, Status::Error { .. }), kind.is_some(), "{status}");
        assert_well_formed(&span);
    }
}

#[test]
fn failed_call_is_an_error_with_the_kind_as_its_type() {
    use std::io::ErrorKind::{ConnectionRefused, ConnectionReset, TimedOut};
    for (kind, text) in [(ConnectionRefused, "connect"), (TimedOut, "timeout"), (ConnectionReset, "_OTHER")] {
        let span = span_of(&mut failing(kind), &Context::background());
        assert_eq!(attribute(&span, "error.type").as_deref(), Some(text));
        assert!(matches!(span.status, Status::Error { .. }));
        assert_well_formed(&span);
    }
}

#[test]
fn canceled_call_is_no_error() {
    let (ctx, cancel) = Context::background().with_cancel();
    let (exporter, _listening) = exporter();
    let request = Request::get("http://peer/").body(()).unwrap().with_context(&with_tracing(&ctx));
    let call = silent().call(request);
    cancel.cancel_with("another attempt won");
    assert!(block_on(call).is_err());
    let spans = exporter.get_finished_spans().unwrap();
    assert_eq!((attribute(&spans[0], "error.type"), &spans[0].status), (None, &Status::Unset));
    assert_eq!(attribute(&spans[0], "ripcord.end").as_deref(), Some("canceled"));
    assert_eq!(attribute(&spans[0], "ripcord.end.cause").as_deref(), Some("another attempt won"));
    assert_well_formed(&spans[0]);
}

#[test]
fn dropped_call_is_no_error() {
    let (exporter, _listening) = exporter();
    let request = Request::get("http://peer/").body(()).unwrap().with_context(&with_tracing(&Context::background()));
    drop(silent().call(request));
    let spans = exporter.get_finished_spans().unwrap();
    assert_eq!((attribute(&spans[0], "error.type"), &spans[0].status), (None, &Status::Unset));
}

#[test]
fn deadline_is_an_error_of_type_timeout() {
    let (clock, time) = Clock::manual();
    let root = Context::background().with_clock(clock);
    let ctx = root.with_timeout(Duration::from_secs(1));
    let (exporter, _listening) = exporter();
    let request = Request::get("http://peer/").body(()).unwrap().with_context(&with_tracing(&ctx));
    let call = silent().call(request);
    time.advance(Duration::from_secs(1));
    assert!(block_on(call).unwrap_err().is_deadline_exceeded());
    let spans = exporter.get_finished_spans().unwrap();
    assert_eq!(attribute(&spans[0], "error.type").as_deref(), Some("timeout"));
    assert_eq!(attribute(&spans[0], "ripcord.time_left_ms").as_deref(), Some("1000"));
    assert!(matches!(spans[0].status, Status::Error { .. }));
    assert_well_formed(&spans[0]);

    // The time left is too short to be sent, but the context has not ended yet.
    let ctx = root.with_timeout(Duration::from_micros(10));
    let span = span_of(&mut silent(), &ctx);
    assert_eq!(attribute(&span, "error.type").as_deref(), Some("timeout"));
    assert!(matches!(span.status, Status::Error { .. }));
    assert_well_formed(&span);
}
