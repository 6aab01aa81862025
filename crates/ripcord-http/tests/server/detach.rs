//! Tests work that continues after the response or a disconnect.

use std::{future::pending, pin::pin};

use axum::{Router, routing::get};
use ripcord::{Canceler, Clock, Context, ManualTime};
use ripcord_http::server::{ClientDisconnected, ContextLayer, Ctx, Detached, detach};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::common::{SECOND, assert_answered, poll_once, request, send, text};

/// Returns a layer with a timeout of five seconds, its manual time, and the canceler of its server.
fn layer() -> (ContextLayer, ManualTime, Canceler) {
    let (clock, time) = Clock::manual();
    let (server, cancel) = Context::background().with_clock(clock).with_cancel();
    (ContextLayer::new(&server).timeout(5 * SECOND), time, cancel)
}

/// Sends a request whose handler detaches `times` times and then waits. The server then drops the request, as at a disconnect.
async fn given_up(layer: &ContextLayer, times: usize) -> (Context, Vec<Detached>) {
    let (begin, mut started) = unbounded_channel();
    let handler = move |Ctx(ctx): Ctx| {
        let detached: Vec<_> = (0..times).map(|_| detach(&ctx)).collect();
        begin.send((ctx, detached)).expect("the test listens");
        pending::<String>()
    };
    let app = Router::new().route("/", get(handler)).layer(layer.clone());
    {
        let mut response = pin!(send(&app, request("/")));
        assert!(poll_once(response.as_mut()).await.is_pending());
    }
    next(&mut started).await
}

async fn next<T>(receiver: &mut UnboundedReceiver<T>) -> T {
    receiver.recv().await.expect("the handler began")
}

fn is_disconnected(ctx: &Context) -> bool {
    ctx.cause().is_some_and(|cause| cause.downcast_ref::<ClientDisconnected>().is_some())
}

#[tokio::test]
async fn disconnect_ends_the_context_when_the_last_detached_is_dropped() {
    let (layer, _time, _server) = layer();
    let (ctx, mut detached) = given_up(&layer, 2).await;
    let stats = layer.stats();
    assert_eq!((stats.detached, stats.disconnected, stats.in_flight), (2, 1, 0));
    assert!(!ctx.is_done());

    detached.pop();
    assert!(!ctx.is_done() && layer.stats().detached == 1);
    detached.pop();
    assert!(is_disconnected(&ctx) && layer.stats().detached == 0);
}

#[tokio::test]
async fn deadline_ends_detached_work() {
    let (layer, time, _server) = layer();
    let (ctx, detached) = given_up(&layer, 1).await;
    time.advance(5 * SECOND);
    assert!(ctx.err().is_some_and(|error| error.is_deadline_exceeded()));
    drop(detached);
    assert!(ctx.err().is_some_and(|error| error.is_deadline_exceeded()));
}

#[tokio::test]
async fn server_cancel_ends_detached_work() {
    let (layer, _time, server) = layer();
    let (ctx, _detached) = given_up(&layer, 1).await;
    server.cancel_with("its grace is over");
    assert_eq!(ctx.cause().expect("it is done").to_string(), "its grace is over");
}

#[tokio::test]
async fn answered_request_stays_open_for_detached_work() {
    let (layer, _time, _server) = layer();
    let (begin, mut started) = unbounded_channel();
    let handler = move |Ctx(ctx): Ctx| {
        let detached = detach(&ctx);
        begin.send((ctx, detached)).expect("the test listens");
        async { "accepted" }
    };
    let app = Router::new().route("/", get(handler)).layer(layer.clone());
    assert_eq!(text(send(&app, request("/")).await).await, "accepted");

    let (ctx, detached) = next(&mut started).await;
    assert_eq!((layer.stats().in_flight, layer.stats().detached), (0, 1));
    assert!(!ctx.is_done());
    drop(detached);
    let error = ctx.err().expect("it is over now");
    assert_answered(&error);
}

#[tokio::test]
async fn detached_task_finishes_after_its_handler_is_dropped() {
    let (layer, _time, _server) = layer();
    let (go, going) = tokio::sync::oneshot::channel::<()>();
    let (report, mut reported) = unbounded_channel();
    let going = std::sync::Arc::new(std::sync::Mutex::new(Some(going)));
    let handler = move |Ctx(ctx): Ctx| {
        let going = going.lock().expect("no panic").take().expect("one request");
        let report = report.clone();
        let work = detach(&ctx).run(async move {
            going.await.expect("the test goes on");
            report.send(ctx.check()).expect("the test listens");
            "receipt"
        });
        async move { tokio::spawn(work).await.expect("it does not panic") }
    };
    let app = Router::new().route("/", get(handler)).layer(layer.clone());
    {
        let mut response = pin!(send(&app, request("/")));
        assert!(poll_once(response.as_mut()).await.is_pending());
    }
    assert_eq!(layer.stats().disconnected, 1);

    go.send(()).expect("it is still there");
    assert!(next(&mut reported).await.is_ok(), "its Context has not ended");
    while layer.stats().detached > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn detaching_after_the_end_leaves_the_context_ended() {
    let (layer, _time, _server) = layer();
    let (ctx, _) = given_up(&layer, 0).await;
    assert!(is_disconnected(&ctx));
    let _detached = detach(&ctx);
    assert!(is_disconnected(&ctx));
}

#[test]
fn context_without_a_request_is_unchanged() {
    let (ctx, cancel) = Context::background().with_cancel();
    let _detached = detach(&ctx);
    cancel.cancel();
    assert!(ctx.is_done());
}
