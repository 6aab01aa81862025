//! Tests the context that the layer gives a request, and how the context ends.

use std::{future::pending, pin::pin, sync::mpsc, thread, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Method, StatusCode},
    response::Response,
    routing::{any, get},
};
use http_body_util::BodyExt as _;
use ripcord_http::{
    RequestId,
    server::{ClientDisconnected, ContextLayer, Ctx, method_and_path},
};
use tokio::time::Instant;

use crate::common::{
    Endless, PATIENCE, SECOND, assert_answered, header, only, poll_once, request, send, server, text, watched,
};

#[tokio::test(start_paused = true)]
async fn every_request_has_a_context() {
    let (app, seen) = watched(Router::new().route("/users/{id}", get(|| async { "here" })));
    let response = send(&app, request("/users/7")).await;

    let ctx = only(&seen);
    assert_eq!(ctx.name(), Some("/users/{id}"), "the route, not the path");
    assert_eq!(ctx.value::<RequestId>().expect("an id").as_str(), header(&response, "x-request-id"));
    assert_eq!(ctx.deadline(), Some((Instant::now() + 5 * SECOND).into_std()));
    assert!(!ctx.is_done(), "the response has not been sent");

    drop(text(response).await);
    let error = ctx.err().expect("the request is over");
    assert_answered(&error);
}

#[tokio::test(start_paused = true)]
async fn names_contain_no_text_of_the_client() {
    let name = |Ctx(ctx): Ctx| async move { ctx.name().expect("a name").to_owned() };
    let router = Router::new().route("/users/{id}", any(name)).fallback(name);
    let brew = |path| {
        let mut request = request(path);
        *request.method_mut() = Method::from_bytes(b"BREW").expect("a token");
        request
    };
    let app = router.clone().layer(ContextLayer::new(&server()).name(method_and_path));
    assert_eq!(text(send(&app, request("/users/7")).await).await, "GET /users/{id}");
    assert_eq!(text(send(&app, request("/nosuch")).await).await, "GET unmatched");
    assert_eq!(text(send(&app, brew("/users/7")).await).await, "OTHER /users/{id}");
    let app = router.layer(ContextLayer::new(&server()));
    assert_eq!(text(send(&app, request("/users/7")).await).await, "GET");
    assert_eq!(text(send(&app, brew("/users/7")).await).await, "OTHER");
}

#[tokio::test(start_paused = true)]
async fn servers_deadline_wins_if_it_is_earlier() {
    let server = server().with_timeout(2 * SECOND);
    let app = Router::new().route("/", get(pending::<String>)).layer(ContextLayer::new(&server).timeout(5 * SECOND));
    let started = Instant::now();

    assert_eq!(send(&app, request("/")).await.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!(started.elapsed() < 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn handler_that_ignores_its_context_gets_a_504() {
    let (app, seen) = watched(Router::new().route("/", get(pending::<String>)));
    let response = send(&app, request("/")).await;

    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(text(response).await, "Request timed out");
    assert!(only(&seen).err().is_some_and(|error| error.is_deadline_exceeded()));
}

#[tokio::test(start_paused = true)]
async fn result_that_is_ready_at_the_deadline_wins() {
    let last_word = |Ctx(ctx): Ctx| async move {
        let error = ctx.done().await;
        format!("partial result ({error})")
    };
    let (app, _) = watched(Router::new().route("/", get(last_word)));
    let response = send(&app, request("/")).await;

    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, "partial result (context deadline exceeded)");
}

#[tokio::test(start_paused = true)]
async fn expired_request_does_not_reach_the_handler() {
    async fn handler() -> String {
        unreachable!("there is no time for it")
    }
    let app = Router::new().route("/", get(handler)).layer(ContextLayer::new(&server()).timeout(Duration::ZERO));

    assert_eq!(send(&app, request("/")).await.status(), StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn panic_in_a_handler_fails_one_request() {
    async fn panics(Ctx(ctx): Ctx) -> String {
        ctx.sleep(SECOND).await.expect("there is time");
        panic!("out of cheese")
    }
    let (app, seen) = watched(Router::new().route("/panic", get(panics)).route("/", get(|| async { "fine" })));
    let response = send(&app, request("/panic")).await;

    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(header(&response, "x-request-id").len(), 32);
    assert_eq!(text(response).await, "Internal server error");
    let cause = only(&seen).cause().expect("it is done");
    assert_eq!(cause.to_string(), "handler panicked: out of cheese", "what it spawned is told");

    assert_eq!(text(send(&app, request("/")).await).await, "fine");
}

#[tokio::test(start_paused = true)]
async fn dropped_request_cancels_its_tasks() {
    let (report, reported) = mpsc::channel();
    let spawns = move |Ctx(ctx): Ctx| {
        let report = report.clone();
        // This runs on its own thread, like blocking work. The drop of the handler does not stop the thread.
        thread::spawn(move || report.send(ctx.wait()));
        pending::<String>()
    };
    let (app, seen) = watched(Router::new().route("/", get(spawns)));

    {
        let mut response = pin!(send(&app, request("/")));
        assert!(poll_once(response.as_mut()).await.is_pending(), "the handler hangs");
        assert!(!only(&seen).is_done());
    }
    let error = reported.recv_timeout(PATIENCE).expect("the thread was told");
    assert!(error.is_canceled());
    let cause = error.cause().expect("it says why");
    assert_eq!(cause.to_string(), "client disconnected");
    assert!(cause.downcast_ref::<ClientDisconnected>().is_some());
}

#[tokio::test(start_paused = true)]
async fn context_lives_as_long_as_the_body() {
    let endless = || async { Response::new(Body::new(Endless)) };
    let (app, seen) = watched(Router::new().route("/", get(endless)));
    let mut body = send(&app, request("/")).await.into_body();
    body.frame().await.expect("there is one").expect("it is good");
    let ctx = only(&seen);
    assert!(!ctx.is_done(), "there is more to come");

    drop(body);
    assert!(ctx.cause().is_some_and(|cause| cause.downcast_ref::<ClientDisconnected>().is_some()));
}

#[tokio::test(start_paused = true)]
async fn response_without_a_body_is_not_a_disconnect() {
    let (app, seen) = watched(Router::new().route("/", get(|| async { "not sent" })));
    let mut head = request("/");
    *head.method_mut() = Method::HEAD;
    drop(send(&app, head).await);

    let error = only(&seen).err().expect("the request is over");
    assert_answered(&error);
}
