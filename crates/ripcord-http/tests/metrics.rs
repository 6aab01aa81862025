//! Tests the metrics of the feature `metrics` with an exporter.

#[path = "common/exporter.rs"]
mod exporter;

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use exporter::{assert_described, assert_has};
use futures::FutureExt as _;
use http::{Request, Response};
use ripcord::{Clock, Context};
use ripcord_http::client::{ClientLayer, RequestExt as _};
use ripcord_http::server::ContextLayer;
use tower::{Layer as _, Service as _, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// Returns what an exporter shows after `record`.
fn rendered(record: impl FnOnce()) -> String {
    exporter::rendered(|| {
        ripcord_http::describe_metrics();
        record();
    })
}

#[test]
fn labels_are_the_method_of_the_request_and_the_route_of_each_kind_of_name() {
    let text = rendered(|| {
        for name in ["GET /users/{id}", "/users/{id}", "GET", "GETTING"] {
            let layer = ContextLayer::new(&Context::background())
                .name(move |_| name.into())
                .on_end(|request| request.record_metrics());
            let answers = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
            let response =
                layer.layer(answers).call(Request::new(Body::empty())).now_or_never().expect("ready").unwrap();
            drop(response);
        }
    });
    assert_has(
        &text,
        &[
            r#"ripcord_http_requests_total{method="GET",route="/users/{id}",status="200"} 2"#,
            r#"ripcord_http_requests_total{method="GET",route="unmatched",status="200"} 1"#,
            r#"ripcord_http_requests_total{method="GET",route="GETTING",status="200"} 1"#,
        ],
    );
}

#[test]
fn request_records_its_end_the_time_left_and_the_overrun() {
    let (clock, time) = Clock::manual();
    let server = Context::background().with_clock(clock);
    let layer = ContextLayer::new(&server)
        .timeout(3 * SECOND)
        .name(|_| "GET /slow".into())
        .on_end(|request| request.record_metrics());
    let stuck = service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let text = rendered(|| {
        let mut request = Box::pin(layer.layer(stuck).call(Request::new(Body::empty())));
        assert!(request.as_mut().now_or_never().is_none());
        time.advance(5 * SECOND);
        layer.record_metrics();
        drop(request.as_mut().now_or_never().expect("the deadline has passed"));
        layer.record_metrics();
    });
    assert_has(
        &text,
        &[
            r#"ripcord_http_requests_total{method="GET",route="/slow",status="504"} 1"#,
            r#"ripcord_http_request_duration_seconds_sum{route="/slow"} 5"#,
            r#"ripcord_http_request_time_left_seconds_sum{route="/slow"} 3"#,
            r#"ripcord_http_request_overrun_seconds_sum{route="/slow"} 2"#,
            "ripcord_http_requests_started_total 1",
            "ripcord_http_requests_timed_out_total 1",
            "ripcord_http_requests_in_flight 0",
            "ripcord_http_requests_refused_total 0",
            r#"ripcord_http_malformed_headers_total{header="grpc-timeout"} 0"#,
        ],
    );
    assert_described(&text, "ripcord_http_", 16);
}

#[test]
fn request_that_outlives_its_idle_timeout_records_the_overrun() {
    let (clock, time) = Clock::manual();
    let layer = ContextLayer::new(&Context::background().with_clock(clock))
        .timeout(60 * SECOND)
        .idle_timeout(SECOND)
        .name(|_| "GET /stream".into())
        .on_end(|request| request.record_metrics());
    let stuck = service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let answers = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
    let text = rendered(|| {
        let mut request = Box::pin(layer.layer(stuck).call(Request::new(Body::empty())));
        assert!(request.as_mut().now_or_never().is_none());
        time.advance(5 * SECOND);
        drop(request.as_mut().now_or_never().expect("the idle timeout has run out"));
        drop(layer.layer(answers).call(Request::new(Body::empty())).now_or_never().expect("it answers at once"));
    });
    assert_has(
        &text,
        &[
            r#"ripcord_http_request_overrun_seconds_sum{route="/stream"} 4"#,
            r#"ripcord_http_request_overrun_seconds_count{route="/stream"} 1"#,
        ],
    );
}

#[test]
fn call_records_the_time_left_and_its_host() {
    let (clock, _time) = Clock::manual();
    let ctx = Context::background().with_clock(clock).with_timeout(3 * SECOND);
    let peer = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
    let mut client = ClientLayer::new().layer(peer);
    let text = rendered(|| {
        for ctx in [ctx.clone(), Context::background()] {
            let request = Request::get("http://inventory:8080/items").body(Body::empty()).expect("a valid request");
            assert!(client.call(request.with_context(&ctx)).now_or_never().expect("it is ready").is_ok());
        }
    });
    assert_has(
        &text,
        &[
            r#"ripcord_http_client_time_left_seconds_sum{host="inventory"} 3"#,
            r#"ripcord_http_client_time_left_seconds_count{host="inventory"} 1"#,
        ],
    );
}
