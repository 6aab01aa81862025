//! Tests requests that pass a layer for all routes and a layer for one route.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Body, extract::Request, middleware, response::Response, routing::any};
use http_body_util::BodyExt as _;
use ripcord::Context;
use ripcord_http::{
    RequestId,
    server::{ContextLayer, Ctx, DeadlineSource, Ended, RequestOutcome, ServerStats, matched_path},
};
use tokio::sync::mpsc::unbounded_channel;

use crate::common::{Frames, SECOND, assert_answered, header, request, send, server, text};

/// The statuses and outcomes that the hook of a layer received.
type Outcomes = Arc<Mutex<Vec<(u16, RequestOutcome)>>>;

fn counted(layer: ContextLayer) -> (ContextLayer, Outcomes) {
    let outcomes = Outcomes::default();
    let noted = outcomes.clone();
    let layer = layer.on_end(move |request| {
        noted.lock().expect("no panic").push((request.status.as_u16(), request.outcome.clone()));
    });
    (layer, outcomes)
}

fn take(outcomes: &Outcomes) -> Vec<(u16, RequestOutcome)> {
    std::mem::take(&mut outcomes.lock().expect("no panic"))
}

async fn told(Ctx(ctx): Ctx) -> String {
    let id = ctx.value::<RequestId>().expect("an id");
    format!("{id} {:?} {:?}", ctx.remaining().expect("a deadline").as_secs(), DeadlineSource::from_context(&ctx))
}

async fn slow(Ctx(ctx): Ctx) -> Result<&'static str, Ended> {
    ctx.sleep(100 * SECOND).await?;
    Ok("done")
}

/// Returns an app with a timeout of five seconds for all routes, one for `/quick`, and ten for `/patient`. `/nested` has the same
/// routes.
fn app(outer: &ContextLayer, inner: &ContextLayer, handler: axum::routing::MethodRouter) -> Router {
    let routes = || {
        Router::new()
            .route("/plain", handler.clone())
            .route("/quick", handler.clone().layer(inner.clone().timeout(SECOND)))
            .route("/patient", handler.clone().layer(inner.clone().timeout(10 * SECOND)))
            .route("/unlimited", handler.clone().layer(inner.clone()))
    };
    let nested = Router::new().nest("/quick", routes().layer(inner.clone().timeout(SECOND)));
    routes().nest("/nested", routes()).merge(nested).layer(outer.clone())
}

#[tokio::test(start_paused = true)]
async fn deadline_is_the_earlier_one_and_there_is_one_id() {
    let outer = ContextLayer::new(&server()).timeout(5 * SECOND).name(matched_path);
    let inner = ContextLayer::new(&server());
    let app = app(&outer, &inner, any(told));
    for (path, seconds) in [
        ("/plain", 5),
        ("/quick", 1),
        ("/patient", 5),
        ("/unlimited", 5),
        ("/nested/plain", 5),
        ("/nested/quick", 1),
        ("/nested/unlimited", 5),
        ("/quick/plain", 1),
        ("/quick/patient", 1),
    ] {
        let response = send(&app, request(path)).await;
        let id = header(&response, "x-request-id").to_owned();
        assert_eq!(response.headers().get_all("x-request-id").iter().count(), 1);
        assert_eq!(text(response).await, format!("{id} {seconds} Local"), "{path}");
    }
    assert_eq!(outer.stats().requests, 9);
    assert_eq!(inner.stats(), ServerStats::default(), "the outermost layer counts");
}

#[tokio::test(start_paused = true)]
async fn client_asks_for_a_deadline_and_the_inner_layer_clamps_it() {
    let layer = ContextLayer::new(&server()).timeout(5 * SECOND);
    let app = app(&layer, &layer, any(told));
    for (path, asked, source) in [
        ("/plain", "3000", "3 Header(\"x-request-timeout-ms\")"),
        ("/quick", "3000", "1 Clamped(\"x-request-timeout-ms\")"),
        ("/quick", "9000", "1 Clamped(\"x-request-timeout-ms\")"),
        ("/unlimited", "3000", "3 Header(\"x-request-timeout-ms\")"),
    ] {
        let mut request = request(path);
        request.headers_mut().insert("x-request-timeout-ms", asked.parse().expect("a header's value"));
        let answer = text(send(&app, request).await).await;
        assert!(answer.ends_with(source), "{path}: {answer}");
    }
    assert_eq!(layer.stats().requests, 4);
}

#[tokio::test(start_paused = true)]
async fn inner_deadline_is_the_reason_and_counted_once() {
    let (layer, outcomes) = counted(ContextLayer::new(&server()).timeout(5 * SECOND));
    let stuck = any(std::future::pending::<String>);
    for handler in [any(slow), stuck] {
        let app = app(&layer, &layer, handler);
        let before = layer.stats().timed_out;
        let response = send(&app, request("/nested/quick")).await;
        assert_eq!(response.status(), 504);
        assert_eq!(text(response).await, "Request timed out");
        assert_eq!(take(&outcomes), [(504, RequestOutcome::DeadlineExceeded)]);
        let stats = layer.stats();
        assert_eq!((stats.timed_out, stats.in_flight, stats.held), (before + 1, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn inner_deadline_cuts_the_body_and_is_the_reason() {
    let (layer, outcomes) = counted(ContextLayer::new(&server()).timeout(5 * SECOND));
    let (_frames, receiver) = unbounded_channel();
    let body = Arc::new(Mutex::new(Some(Body::new(Frames(receiver)))));
    let handler = move || {
        let body = body.lock().expect("no panic").take().expect("one request");
        async { Response::new(body) }
    };
    let response = send(&app(&layer, &layer, any(handler)), request("/quick")).await;
    assert_eq!(response.status(), 200);
    let error = response.into_body().collect().await.expect_err("it is cut short");
    assert!(error.to_string().contains("deadline exceeded"), "{error}");
    assert_eq!(take(&outcomes), [(200, RequestOutcome::DeadlineExceeded)]);
    assert_eq!((layer.stats().timed_out, layer.stats().failed), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn panic_below_the_inner_layer_is_counted_as_one() {
    let (layer, outcomes) = counted(ContextLayer::new(&server()).timeout(5 * SECOND));
    let app = app(
        &layer,
        &layer,
        any(|| async {
            if true {
                panic!("out of cheese")
            }
        }),
    );
    let response = send(&app, request("/quick")).await;
    assert_eq!(response.status(), 500);
    drop(text(response).await);
    assert_eq!(take(&outcomes), [(500, RequestOutcome::Panicked("out of cheese".to_owned()))]);
    assert_eq!(layer.stats().panicked, 1);
}

#[tokio::test(start_paused = true)]
async fn context_ends_when_the_outer_response_has_been_sent() {
    let (begin, mut started) = unbounded_channel();
    let layer = ContextLayer::new(&server()).timeout(5 * SECOND);
    let handler = any(move |Ctx(ctx): Ctx| {
        begin.send(ctx).expect("the test listens");
        async { "here" }
    });
    let response = send(&app(&layer, &layer, handler), request("/quick")).await;
    let ctx = started.recv().await.expect("the handler was called");
    assert!(!ctx.is_done(), "the response has not been sent");
    drop(text(response).await);
    assert_answered(&ctx.err().expect("it is over"));
}

#[tokio::test(start_paused = true)]
async fn dropped_request_is_one_disconnect() {
    let (layer, outcomes) = counted(ContextLayer::new(&server()).timeout(5 * SECOND));
    let app = app(&layer, &layer, any(slow));
    {
        let mut response = std::pin::pin!(send(&app, request("/quick")));
        assert!(crate::common::poll_once(response.as_mut()).await.is_pending());
    }
    assert_eq!(take(&outcomes), [(499, RequestOutcome::ClientDisconnected)]);
    assert_eq!(layer.stats().disconnected, 1);
}

#[tokio::test]
async fn values_added_between_two_layers_are_kept() {
    struct User(&'static str);
    impl ripcord::Value for User {}

    let named = |mut request: Request| {
        let ctx =
            request.extensions().get::<Context>().expect("the outer layer inserted one").with_value(User("alice"));
        request.extensions_mut().insert(ctx);
        std::future::ready(request)
    };
    let layer = ContextLayer::new(&Context::background());
    let handler = |Ctx(ctx): Ctx| async move { ctx.value::<User>().expect("it is kept").0 };
    let inner = layer.clone().timeout(SECOND);
    let app = Router::new().route("/", any(handler)).layer(inner).layer(middleware::map_request(named)).layer(layer);
    assert_eq!(text(send(&app, request("/")).await).await, "alice");
}

#[tokio::test]
async fn answered_request_is_not_an_outer_request() {
    let layer = ContextLayer::new(&Context::background());
    let (begin, mut started) = unbounded_channel();
    let handler = any(move |request: Request| {
        begin.send(request.extensions().get::<Context>().expect("a Context").clone()).expect("the test listens");
        async { "here" }
    });
    let app = Router::new().route("/", handler).layer(layer.clone());
    drop(text(send(&app, request("/")).await).await);
    let over = started.recv().await.expect("the handler was called");

    let mut again = request("/");
    again.extensions_mut().insert(over);
    assert_eq!(text(send(&app, again).await).await, "here");
    assert_eq!(layer.stats().requests, 2);
}
