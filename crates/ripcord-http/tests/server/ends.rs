//! Tests the outcome and status that hooks and counters get when a request has ended.

use std::{future::pending, pin::pin, sync::mpsc};

use axum::{Router, http::StatusCode, response::IntoResponse as _, routing::get};
use ripcord::{Canceler, Clock, Context};
use ripcord_http::{
    RemoteCause, RequestId, TrustPolicy,
    server::{ContextLayer, Ctx, CtxValue, Ended, Finished, RequestOutcome, matched_path},
};

use crate::common::{SECOND, header, poll_once, request, send, server, text};

/// The data that the hook received.
#[derive(Debug)]
struct Told {
    outcome: RequestOutcome,
    answered: Option<u16>,
    status: u16,
    error: Option<String>,
    line: String,
    id: String,
    is_ended: bool,
}

fn telling(layer: ContextLayer) -> (ContextLayer, mpsc::Receiver<Told>) {
    let (tell, told) = mpsc::channel();
    let hook = move |request: &Finished<'_>| {
        let told = Told {
            outcome: request.outcome.clone(),
            answered: request.answered.map(|status| status.as_u16()),
            status: request.status.as_u16(),
            error: request.error.as_ref().map(ToString::to_string),
            line: request.to_string(),
            id: request.ctx.value::<RequestId>().expect("an id").to_string(),
            is_ended: request.ctx.is_done(),
        };
        tell.send(told).expect("the test listens");
    };
    (layer.on_end(hook), told)
}

fn app() -> (Router, mpsc::Receiver<Told>, Canceler) {
    async fn panics() -> String {
        panic!("out of cheese")
    }
    async fn gives_up(Ctx(ctx): Ctx) -> Result<String, Ended> {
        ctx.sleep(60 * SECOND).await?;
        Ok("done".to_owned())
    }
    let (server, cancel) = server().with_cancel();
    let (layer, told) = telling(ContextLayer::new(&server).timeout(5 * SECOND).name(matched_path));
    let router = Router::new()
        .route("/", get(|| async { "fine" }))
        .route("/panic", get(panics))
        .route("/stuck", get(pending::<String>))
        .route("/slow", get(gives_up));
    (router.layer(layer), told, cancel)
}

#[tokio::test(start_paused = true)]
async fn hook_sees_an_answer_when_the_body_has_been_sent() {
    let (app, told, _server) = app();
    let response = send(&app, request("/")).await;
    let id = header(&response, "x-request-id").to_owned();
    assert!(told.try_recv().is_err(), "the body has not been sent");
    text(response).await;

    let told = told.try_recv().expect("it is over");
    assert_eq!((told.outcome, told.answered, told.status), (RequestOutcome::Answered, Some(200), 200));
    assert_eq!((told.id, told.error, told.is_ended), (id, None, true));
    assert_eq!(told.line, "200 after 0ns: answered");
}

#[tokio::test(start_paused = true)]
async fn hook_sees_the_same_deadline_whether_handler_or_layer_answers() {
    for path in ["/stuck", "/slow"] {
        let (app, told, _server) = app();
        text(send(&app, request(path)).await).await;
        let told = told.try_recv().expect("it is over");
        assert_eq!((told.outcome, told.answered, told.status), (RequestOutcome::DeadlineExceeded, Some(504), 504));
        assert_eq!(told.error.as_deref(), Some("context deadline exceeded"));
        assert_eq!(told.line, "504 after 5s: context deadline exceeded");
    }
}

#[tokio::test(start_paused = true)]
async fn hook_sees_the_servers_cancel() {
    let (app, told, server) = app();
    {
        let mut response = pin!(send(&app, request("/slow")));
        assert!(poll_once(response.as_mut()).await.is_pending());
        server.cancel_with("shutting down");
        assert_eq!(response.await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    let told = told.try_recv().expect("it is over");
    assert_eq!((told.outcome, told.answered, told.status), (RequestOutcome::Canceled, Some(503), 503));
}

#[tokio::test(start_paused = true)]
async fn only_a_trusted_client_receives_the_cause_of_an_ended_request() {
    for path in ["/slow", "/stuck"] {
        for (trust, cause) in [
            (TrustPolicy::trusted(), Some("GET /search: 100%25 full%0Ashutting down")),
            (TrustPolicy::untrusted(), None),
        ] {
            let (server, cancel) = server().with_name("GET /search").with_cancel();
            let layer = ContextLayer::new(&server).trust(trust).name(|_| "request".into());
            let gives_up = |Ctx(ctx): Ctx| async move { Ok::<_, Ended>(ctx.sleep(60 * SECOND).await?) };
            let router = Router::new().route("/slow", get(gives_up)).route("/stuck", get(pending::<String>));
            let app = router.layer(layer);
            let mut response = pin!(send(&app, request(path)));
            assert!(poll_once(response.as_mut()).await.is_pending());
            cancel.cancel_with("100% full\nshutting down");
            let response = response.await;
            let sent = response.headers().get(RemoteCause::HEADER).map(|value| value.to_str().expect("ASCII"));
            assert_eq!(sent, cause, "{path}");
        }
    }
    let app = Router::new().route("/", get(|| async { "fine" }));
    let app = app.layer(ContextLayer::new(&server()).trust(TrustPolicy::trusted()));
    assert!(send(&app, request("/")).await.headers().get(RemoteCause::HEADER).is_none(), "nothing has ended");
}

#[tokio::test(start_paused = true)]
async fn hook_sees_a_disconnect_as_499() {
    let (app, told, _server) = app();
    {
        let mut response = pin!(send(&app, request("/stuck")));
        assert!(poll_once(response.as_mut()).await.is_pending());
    }
    let told = told.try_recv().expect("it is over");
    assert_eq!((told.outcome, told.answered, told.status), (RequestOutcome::ClientDisconnected, None, 499));
    assert_eq!(told.error.as_deref(), Some("context canceled"));
}

#[tokio::test(start_paused = true)]
async fn hook_sees_a_panic_with_its_message() {
    let (app, told, _server) = app();
    text(send(&app, request("/panic")).await).await;
    let told = told.try_recv().expect("it is over");
    assert_eq!((told.outcome, told.status), (RequestOutcome::Panicked("out of cheese".to_owned()), 500));
    assert_eq!(told.line, "500 after 0ns: handler panicked: out of cheese");
}

#[tokio::test(start_paused = true)]
async fn hook_sees_a_refusal_with_its_reason() {
    let (layer, told) = telling(ContextLayer::new(&server()).strict(true));
    let app = Router::new().route("/", get(|| async { "fine" })).layer(layer);
    let mut request = request("/");
    request.headers_mut().insert("grpc-timeout", "soon".parse().expect("a value"));
    text(send(&app, request).await).await;

    let told = told.try_recv().expect("it is over");
    assert!(matches!(told.outcome, RequestOutcome::Refused(malformed) if malformed.header() == "grpc-timeout"));
    assert_eq!((told.answered, told.status), (Some(400), 400));
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_hook_is_dropped() {
    let layer = ContextLayer::new(&server()).on_end(|_| panic!("out of disk"));
    let app = Router::new().route("/", get(|| async { "fine" })).layer(layer.clone());
    for _ in 0..2 {
        assert_eq!(text(send(&app, request("/")).await).await, "fine");
    }
    assert_eq!((layer.stats().requests, layer.stats().in_flight), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn statuses_can_be_set() {
    let (server, cancel) = Context::background().with_clock(Clock::tokio()).with_cancel();
    let layer = ContextLayer::new(&server)
        .timeout(SECOND)
        .deadline_status(StatusCode::REQUEST_TIMEOUT)
        .canceled_status(StatusCode::BAD_GATEWAY)
        .disconnected_status(StatusCode::IM_A_TEAPOT);
    let (layer, told) = telling(layer);
    let app = Router::new().route("/", get(pending::<String>)).layer(layer);

    assert_eq!(send(&app, request("/")).await.status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(told.try_recv().expect("it is over").status, 408);
    {
        let mut response = pin!(send(&app, request("/")));
        assert!(poll_once(response.as_mut()).await.is_pending());
    }
    assert_eq!(told.try_recv().expect("it is over").status, 418);
    cancel.cancel();
    assert_eq!(send(&app, request("/")).await.status(), StatusCode::BAD_GATEWAY);
}

#[tokio::test(start_paused = true)]
async fn clones_share_stats_but_not_timeouts() {
    let layer = ContextLayer::new(&server()).timeout(SECOND);
    let remaining = || get(|Ctx(ctx): Ctx| async move { format!("{:?}", ctx.remaining()) });
    let app = Router::new()
        .route("/long", remaining().layer(layer.clone().timeout(9 * SECOND)))
        .route("/short", remaining().layer(layer.clone()));
    assert_eq!(text(send(&app, request("/long")).await).await, "Some(9s)");
    assert_eq!(text(send(&app, request("/short")).await).await, "Some(1s)");
    assert_eq!(layer.stats().requests, 2);
}

// ===== axum =====

#[tokio::test(start_paused = true)]
async fn values_are_extracted_by_their_type() {
    async fn id(CtxValue(id): CtxValue<RequestId>) -> String {
        id.to_string()
    }
    let app = Router::new().route("/", get(id)).layer(ContextLayer::new(&server()));
    let response = send(&app, request("/")).await;
    let id = header(&response, "x-request-id").to_owned();
    assert_eq!(text(response).await, id);
}

#[tokio::test(start_paused = true)]
async fn extractor_without_a_layer_is_500_with_the_reason() {
    async fn needs(Ctx(_): Ctx) -> &'static str {
        "called"
    }
    async fn needs_value(CtxValue(_): CtxValue<RequestId>) -> &'static str {
        "called"
    }
    async fn may_have(id: Option<CtxValue<RequestId>>) -> &'static str {
        if id.is_some() { "with" } else { "without" }
    }
    let app = Router::new().route("/", get(needs)).route("/value", get(needs_value)).route("/may", get(may_have));
    for (path, what) in [("/", "ripcord::context::Context"), ("/value", "RequestId")] {
        let response = send(&app, request(path)).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let said = text(response).await;
        assert!(said.contains(what) && said.contains("ContextLayer"), "{said}");
    }
    assert_eq!(text(send(&app, request("/may")).await).await, "without");
}

#[test]
fn ended_without_a_layer_has_default_statuses() {
    let (ctx, cancel) = Context::background().with_cancel();
    cancel.cancel();
    let ended = Ended::from(ctx.err().expect("it is done"));
    assert_eq!(ended.clone().into_response().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ended.to_string(), "context canceled");
}
