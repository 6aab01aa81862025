//! Tests the answers to gRPC requests: status 200, a code in trailers, no body.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::Request,
    response::Response,
    routing::any,
};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use ripcord::Context;
use ripcord_http::TrustPolicy;
use ripcord_http::server::{ContextLayer, Ctx, Ended, RequestOutcome};
use tokio::sync::mpsc::unbounded_channel;

use crate::common::{Frames, SECOND, header, request, send, server};

fn grpc(content_type: &str) -> Request {
    let mut request = request("/");
    request.headers_mut().insert("content-type", content_type.parse().expect("a header's value"));
    request
}

#[track_caller]
fn assert_trailers_only(response: &Response, code: &str) {
    assert_eq!(response.status(), 200);
    assert_eq!(header(response, "content-type"), "application/grpc");
    assert_eq!(header(response, "grpc-status"), code);
    assert!(response.headers().contains_key("grpc-message"));
    assert!(response.body().is_end_stream(), "there is no body");
}

async fn ended(Ctx(ctx): Ctx) -> Result<&'static str, Ended> {
    ctx.sleep(100 * SECOND).await?;
    Ok("done")
}

#[tokio::test(start_paused = true)]
async fn deadline_is_code_4_whether_the_handler_or_the_layer_answers() {
    let stuck = || async { std::future::pending::<()>().await };
    for handler in [any(ended), any(stuck)] {
        let (tell, mut told) = unbounded_channel();
        let layer = ContextLayer::new(&server()).timeout(SECOND).on_end(move |request| {
            tell.send((request.status.as_u16(), request.outcome.clone())).expect("the test listens");
        });
        let app = Router::new().route("/", handler).layer(layer);
        for content_type in ["application/grpc", "application/grpc+proto"] {
            let response = send(&app, grpc(content_type)).await;
            assert_trailers_only(&response, "4");
            drop(response);
            let expected = (504, RequestOutcome::DeadlineExceeded);
            assert_eq!(told.recv().await, Some(expected), "logs and metrics have HTTP's status");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn expired_grpc_request_is_answered_with_deadline_exceeded() {
    let app = Router::new().route("/", any(ended)).layer(ContextLayer::new(&server()));
    let mut request = grpc("application/grpc");
    request.headers_mut().insert("grpc-timeout", "0n".parse().expect("a header's value"));
    assert_trailers_only(&send(&app, request).await, "4");
}

#[tokio::test(start_paused = true)]
async fn canceled_grpc_request_is_answered_with_cancelled() {
    let (server, cancel) = server().with_cancel();
    let app = Router::new().route("/", any(ended)).layer(ContextLayer::new(&server));
    let (response, ()) = tokio::join!(send(&app, grpc("application/grpc")), async { cancel.cancel() });
    assert_trailers_only(&response, "1");
}

#[tokio::test(start_paused = true)]
async fn grpc_panic_is_internal_and_malformed_header_is_invalid_argument() {
    let panics = || async {
        if true {
            panic!("out of cheese")
        }
    };
    let app = Router::new().route("/", any(panics)).layer(ContextLayer::new(&server()).strict(true));
    assert_trailers_only(&send(&app, grpc("application/grpc")).await, "13");
    let mut request = grpc("application/grpc");
    request.headers_mut().insert("grpc-timeout", "+5S".parse().expect("a header's value"));
    assert_trailers_only(&send(&app, request).await, "3");
}

#[tokio::test(start_paused = true)]
async fn body_cut_at_the_deadline_ends_with_trailers() {
    let (frames, receiver) = unbounded_channel();
    let body = Arc::new(Mutex::new(Some(Body::new(Frames(receiver)))));
    let handler = move || {
        let body = body.lock().expect("no panic").take().expect("one request");
        async { Response::new(body) }
    };
    let app = Router::new().route("/", any(handler));
    let app = app.layer(ContextLayer::new(&server()).timeout(SECOND).trust(TrustPolicy::trusted()));
    let mut response = send(&app, grpc("application/grpc")).await;
    frames.send("a message".into()).expect("it is polled");
    let data = response.body_mut().frame().await.expect("a frame").expect("no error");
    assert_eq!(data.into_data().expect("data"), "a message");
    let trailers = response.body_mut().frame().await.expect("a frame").expect("no error");
    let trailers = trailers.into_trailers().expect("trailers");
    assert_eq!(trailers["grpc-status"], "4");
    assert_eq!(trailers["ripcord-cause"], "GET: context deadline exceeded: the server's limit");
    assert!(response.body_mut().frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn other_content_types_get_a_504() {
    let app = Router::new().route("/", any(ended)).layer(ContextLayer::new(&server()).timeout(SECOND));
    for content_type in ["application/json", "application/grpc-web+proto", "application/connect+proto"] {
        assert_eq!(send(&app, grpc(content_type)).await.status(), 504, "{content_type}");
    }
}

#[tokio::test(start_paused = true)]
async fn answer_of_the_handler_is_unchanged() {
    let answer = || async { ([("grpc-status", "0"), ("content-type", "application/grpc")], "a message") };
    let app = Router::new().route("/", any(answer)).layer(ContextLayer::new(&Context::background()));
    let response = send(&app, grpc("application/grpc")).await;
    assert_eq!((response.status().as_u16(), header(&response, "grpc-status")), (200, "0"));
}

#[tokio::test(start_paused = true)]
async fn handler_status_for_the_end_of_its_context_counts_as_that_end() {
    for is_in_trailers in [false, true] {
        let handler = move |Ctx(ctx): Ctx| async move {
            ctx.sleep(100 * SECOND).await.expect_err("the deadline is earlier");
            let status = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "4".parse().unwrap())]);
            let mut response = Response::new(Body::empty());
            if is_in_trailers {
                *response.body_mut() =
                    Body::new(http_body_util::Empty::new().with_trailers(async { Some(Ok(status)) }));
            } else {
                response.headers_mut().extend(status);
            }
            response
        };
        let layer = ContextLayer::new(&server()).timeout(SECOND).trust(TrustPolicy::trusted());
        let app = Router::new().route("/", any(handler)).layer(layer.clone());
        let (head, body) = send(&app, grpc("application/grpc")).await.into_parts();
        let trailers = body.collect().await.expect("a whole body").trailers().cloned().unwrap_or_default();
        let cause = if is_in_trailers { trailers.get("ripcord-cause") } else { head.headers.get("ripcord-cause") };
        assert_eq!(cause.expect("the client is trusted"), "GET: context deadline exceeded: the server's limit");
        assert_eq!((layer.stats().timed_out, layer.stats().in_flight), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn handler_status_for_another_reason_counts_as_answered() {
    let handler = || async {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert("grpc-status", "4".parse().unwrap());
        response
    };
    let layer = ContextLayer::new(&server()).timeout(SECOND).trust(TrustPolicy::trusted());
    let app = Router::new().route("/", any(handler)).layer(layer.clone());
    let response = send(&app, grpc("application/grpc")).await;
    assert!(!response.headers().contains_key("ripcord-cause"));
    drop(response);
    assert_eq!(layer.stats().timed_out, 0);
}
