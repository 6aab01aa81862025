//! Tests cancels with a cause from the client.

use std::pin::pin;

use axum::{Router, body::Body, extract::Request, routing::get};
use http::{HeaderValue, StatusCode};
use ripcord_http::{
    TrustPolicy,
    server::{ClientCanceled, ContextLayer},
};

use crate::common::{only, poll_once, request, send, server, text, watched_by};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn stuck() -> Router {
    Router::new().route("/", get(async || std::future::pending::<()>().await))
}

fn traced() -> Request {
    let mut request = request("/");
    request.headers_mut().insert("traceparent", HeaderValue::from_static(TRACEPARENT));
    request
}

fn cancel(traceparent: &str) -> Request {
    Request::options("/")
        .header("ripcord-cancel", traceparent)
        .header("ripcord-cause", "GET /a: client disconnected")
        .body(Body::empty())
        .expect("a request")
}

#[tokio::test]
async fn trusted_client_ends_its_request_with_a_cause() {
    let layer = ContextLayer::new(&server()).trust(TrustPolicy::trusted()).remote_cancel(true);
    let (app, seen) = watched_by(stuck(), layer.clone());
    let mut stuck = Box::pin(send(&app, traced()));
    assert!(poll_once(stuck.as_mut()).await.is_pending());
    let answer = send(&app, cancel(TRACEPARENT)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(text(answer).await, "Request canceled");

    let error = only(&seen).err().expect("it was canceled");
    let cause = error.cause().and_then(|cause| cause.downcast_ref::<ClientCanceled>()).expect("its client said why");
    assert_eq!(cause.to_string(), "client canceled: GET /a: client disconnected");
    assert_eq!(cause.remote_cause().to_string(), "peer: GET /a: client disconnected");

    assert!(poll_once(stuck.as_mut()).await.is_pending(), "as after any disconnect, a handler may still answer");
    drop(stuck);
    let stats = layer.stats();
    assert_eq!((stats.requests, stats.disconnected), (1, 1), "the cancel itself is not counted");
    assert_eq!(send(&app, cancel(TRACEPARENT)).await.status(), StatusCode::NOT_FOUND, "it is over");
}

#[tokio::test]
async fn other_cancels_end_nothing() {
    let trusting = ContextLayer::new(&server()).trust(TrustPolicy::trusted());
    let unknown = TRACEPARENT.replace("b7ad", "b7ae");
    let cases = [
        ("untrusted", ContextLayer::new(&server()).remote_cancel(true), TRACEPARENT, StatusCode::METHOD_NOT_ALLOWED),
        ("not accepted", trusting.clone(), TRACEPARENT, StatusCode::METHOD_NOT_ALLOWED),
        ("unknown", trusting.clone().remote_cancel(true), &unknown, StatusCode::NOT_FOUND),
        ("malformed", trusting.clone().remote_cancel(true), "00-42-b7-01", StatusCode::NOT_FOUND),
    ];
    for (case, layer, traceparent, status) in cases {
        let (app, seen) = watched_by(stuck(), layer);
        let mut stuck = pin!(send(&app, traced()));
        assert!(poll_once(stuck.as_mut()).await.is_pending());
        assert_eq!(send(&app, cancel(traceparent)).await.status(), status, "{case}");
        assert!(!seen.lock().expect("no test panics here")[0].is_done(), "{case}");
    }
}

#[tokio::test]
async fn cancel_without_a_well_formed_cause_ends_nothing() {
    let layer = ContextLayer::new(&server()).trust(TrustPolicy::trusted()).remote_cancel(true);
    let (app, seen) = watched_by(stuck(), layer);
    let mut stuck = pin!(send(&app, traced()));
    assert!(poll_once(stuck.as_mut()).await.is_pending());
    let mut malformed = cancel(TRACEPARENT);
    malformed.headers_mut().insert("ripcord-cause", HeaderValue::from_static("%"));
    assert_eq!(send(&app, malformed).await.status(), StatusCode::NOT_FOUND);
    assert!(!only(&seen).is_done());
}

#[tokio::test]
async fn detached_work_survives_the_cancel() {
    let layer = ContextLayer::new(&server()).trust(TrustPolicy::trusted()).remote_cancel(true);
    let (app, seen) = watched_by(stuck(), layer);
    let mut stuck = Box::pin(send(&app, traced()));
    assert!(poll_once(stuck.as_mut()).await.is_pending());
    let ctx = only(&seen);
    let detached = ripcord_http::server::detach(&ctx);
    assert_eq!(send(&app, cancel(TRACEPARENT)).await.status(), StatusCode::OK);
    assert!(!ctx.is_done());
    drop(detached);
    assert!(ctx.is_done());
}

#[tokio::test]
async fn second_request_with_the_same_traceparent_is_the_one_that_is_canceled() {
    let layer = ContextLayer::new(&server()).trust(TrustPolicy::trusted()).remote_cancel(true);
    let (app, seen) = watched_by(stuck(), layer);
    let mut first = Box::pin(send(&app, traced()));
    let mut second = Box::pin(send(&app, traced()));
    assert!(poll_once(first.as_mut()).await.is_pending() && poll_once(second.as_mut()).await.is_pending());
    drop(first);
    assert_eq!(
        send(&app, cancel(TRACEPARENT)).await.status(),
        StatusCode::OK,
        "the first one's end has not removed it"
    );
    let seen = seen.lock().expect("no test panics here");
    assert!(seen[1].err().expect("canceled").cause().expect("a cause").downcast_ref::<ClientCanceled>().is_some());
}
