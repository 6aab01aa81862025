//! Tests the metrics of the feature `metrics` with an exporter.

use std::convert::Infallible;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use ripcord::Context;
use ripcord_grpc::tonic::{RequestExt as _, ResultExt as _};
use ripcord_grpc::{ClientLayer, ServerLayer};
use tonic::body::Body;
use tower::{Layer as _, ServiceExt as _};

use crate::common::{SECOND, UNARY, client, delayed, echo, echo_server, http_layer, manual, request, send};
use crate::exporter::{self, assert_described, assert_has};
use crate::generated::EchoRequest;

/// Runs `run` and returns the exporter's text. The futures of `run` are ready at once or are polled by hand.
fn rendered(run: impl FnOnce()) -> String {
    exporter::rendered(|| {
        ripcord_grpc::describe_metrics();
        run();
    })
}

#[test]
fn call_of_a_server_records_its_code_the_time_left_and_the_overrun() {
    let text = rendered(|| {
        let (server, time) = manual();
        let layer = ServerLayer::new(http_layer(&server).timeout(3 * SECOND)).on_end(|call| call.record_metrics());
        let handler = async |ctx: Context| ctx.sleep(60 * SECOND).await.or_status();
        let mut slow = Box::pin(send(&layer, handler, request(UNARY)));
        assert!((&mut slow).now_or_never().is_none());
        time.advance(5 * SECOND);
        drop(slow.now_or_never().expect("the deadline has passed"));
        let quick = async |_: Context| Ok(());
        drop(send(&layer, quick, request(UNARY)).now_or_never().expect("it answers at once"));

        // A request that is not a gRPC request is not in the metrics of this crate.
        let page =
            tower::service_fn(async |_: Request<_>| Ok::<Response<Body>, Infallible>(Response::new(Body::empty())));
        let other = Request::get("/index.html").body(Body::empty()).expect("a request");
        drop(layer.layer(page).oneshot(other).now_or_never().expect("it answers at once"));
    });
    let method = r#"method="/ripcord.test.v1.Echo/Unary""#;
    assert_has(
        &text,
        &[
            &format!(r#"ripcord_grpc_calls_total{{code="DEADLINE_EXCEEDED",{method}}} 1"#),
            &format!(r#"ripcord_grpc_calls_total{{code="OK",{method}}} 1"#),
            &format!("ripcord_grpc_call_duration_seconds_sum{{{method}}} 5"),
            &format!("ripcord_grpc_call_time_left_seconds_sum{{{method}}} 6"),
            &format!("ripcord_grpc_call_overrun_seconds_sum{{{method}}} 2"),
            &format!("ripcord_grpc_call_overrun_seconds_count{{{method}}} 1"),
        ],
    );
    assert_eq!(text.matches("ripcord_grpc_calls_total{").count(), 2, "{text}");
}

/// Makes a call to a server that answers only with this HTTP status.
fn call_answered_by_a_proxy(status: StatusCode) {
    let proxy = tower::service_fn(move |_: Request<Body>| {
        let body = StreamBody::new(futures::stream::empty::<Result<Frame<Bytes>, Infallible>>());
        let mut response = Response::new(Body::new(body));
        *response.status_mut() = status;
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let mut client = client(ClientLayer::new(), proxy);
    client.unary(echo("a")).now_or_never().expect("it answers at once").expect_err("it is no answer of gRPC");
}

#[test]
fn each_call_of_a_client_is_counted_once_by_its_code() {
    let text = rendered(|| {
        let (server, time) = manual();
        let layer = ServerLayer::new(http_layer(&server));
        let mut client = client(ClientLayer::new(), layer.layer(echo_server()));
        client.unary(echo("a")).now_or_never().expect("it answers at once").expect("it succeeds");

        let ctx = server.with_timeout(SECOND);
        let late = |request: EchoRequest| tonic::Request::new(request).with_context(&ctx);
        let mut call = Box::pin(client.unary(late(delayed("a", 60 * SECOND))));
        assert!((&mut call).now_or_never().is_none());
        time.advance(SECOND);
        call.now_or_never().expect("the deadline has passed").expect_err("it is late");
        client.unary(late(echo("a"))).now_or_never().expect("it is not sent").expect_err("there is no time left");

        let mut dropped = Box::pin(client.unary(delayed("a", 60 * SECOND)));
        assert!((&mut dropped).now_or_never().is_none());
        drop(dropped);

        call_answered_by_a_proxy(StatusCode::SERVICE_UNAVAILABLE);
        call_answered_by_a_proxy(StatusCode::OK);
    });
    let method = r#"method="/ripcord.test.v1.Echo/Unary""#;
    let count = |code, count| format!(r#"ripcord_grpc_client_calls_total{{code="{code}",{method}}} {count}"#);
    assert_has(
        &text,
        &[
            &count("OK", 1),
            &count("DEADLINE_EXCEEDED", 2),
            &count("CANCELLED", 1),
            &count("UNAVAILABLE", 1),
            &count("UNKNOWN", 1),
        ],
    );
}

#[test]
fn every_metric_has_a_help_text() {
    let text = rendered(|| {
        let (server, time) = manual();
        let layer = ServerLayer::new(http_layer(&server).timeout(SECOND)).on_end(|call| call.record_metrics());
        let mut client = client(ClientLayer::new(), layer.layer(echo_server()));
        let mut call = Box::pin(client.unary(delayed("a", 60 * SECOND)));
        assert!((&mut call).now_or_never().is_none());
        time.advance(SECOND);
        call.now_or_never().expect("the deadline has passed").expect_err("it is late");
    });
    assert_described(&text, "ripcord_grpc_", 5);
}
