//! Tests the idle timeout of a request.

use axum::{
    Router,
    body::{Body, Bytes},
    response::Response,
    routing::get,
};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use ripcord::{Clock, Context, ManualTime};
use ripcord_http::server::{ContextLayer, Ctx, Ended};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::common::{Frames, SECOND, request, send, text};

/// An app with an idle timeout of two seconds and a deadline of ten seconds. Its `/` streams the frames that the test sends.
struct Streaming {
    app: Router,
    time: ManualTime,
    line: u32,
    frames: UnboundedSender<Bytes>,
    ctx: UnboundedReceiver<Context>,
}

fn streaming() -> Streaming {
    let (clock, time) = Clock::manual();
    let server = Context::background().with_clock(clock);
    let layer = ContextLayer::new(&server).timeout(10 * SECOND).idle_timeout(2 * SECOND);
    let line = line!() - 1;
    let (frames, body) = unbounded_channel();
    let body = std::sync::Arc::new(std::sync::Mutex::new(Some(body)));
    let (begin, ctx) = unbounded_channel();
    let stream = move |Ctx(ctx): Ctx| {
        begin.send(ctx).expect("the test listens");
        let body = body.lock().expect("no panic").take().expect("one request");
        std::future::ready(Response::new(Body::new(Frames(body))))
    };
    let waits = |Ctx(ctx): Ctx| async move { Err::<(), _>(Ended::from(ctx.done().await)) };
    let app = Router::new().route("/", get(stream)).route("/waits", get(waits)).layer(layer);
    Streaming { app, time, line, frames, ctx }
}

#[tokio::test]
async fn stalled_stream_ends_and_one_with_progress_goes_on() {
    let Streaming { app, time, line, frames, mut ctx } = streaming();
    let mut body = send(&app, request("/")).await.into_body();
    let ctx = ctx.recv().await.expect("a request");
    for _ in 0..4 {
        time.advance(2 * SECOND - SECOND / 2);
        frames.send(Bytes::from_static(b"token")).expect("it is read");
        body.frame().await.expect("data").expect("no error");
    }
    assert!(!ctx.is_done() && !body.is_end_stream());
    time.advance(2 * SECOND);
    let error = body.frame().await.expect("an end").expect_err("it is cut");
    drop(error);
    let story = format!("{:#}", ctx.err().expect("it has ended"));
    let place = format!("idle for 2s: timeout set at {}:{line}:", file!());
    assert!(story.starts_with("context deadline exceeded") && story.contains(&place), "{story}");
}

#[tokio::test]
async fn deadline_ends_a_stream_that_makes_progress() {
    let Streaming { app, time, frames, mut ctx, .. } = streaming();
    let mut body = send(&app, request("/")).await.into_body();
    let ctx = ctx.recv().await.expect("a request");
    for _ in 0..9 {
        time.advance(SECOND);
        frames.send(Bytes::from_static(b"token")).expect("it is read");
        body.frame().await.expect("data").expect("no error");
    }
    time.advance(SECOND);
    body.frame().await.expect("an end").expect_err("it is cut");
    let story = format!("{:#}", ctx.err().expect("it has ended"));
    assert!(story.contains("timeout of 10s set at"), "{story}");
}

#[tokio::test]
async fn handler_without_progress_is_answered_as_at_its_deadline() {
    let Streaming { app, time, .. } = streaming();
    let answer = tokio::spawn(async move { send(&app, request("/waits")).await });
    time.wait_for_timers(1).await;
    time.advance(2 * SECOND);
    let answer = answer.await.expect("no panic");
    assert_eq!(answer.status(), http::StatusCode::GATEWAY_TIMEOUT);
    text(answer).await;
}

#[tokio::test]
async fn idle_timeout_of_zero_ends_each_request_and_the_longest_ends_none() {
    let (clock, time) = Clock::manual();
    let server = Context::background().with_clock(clock);
    let waits = |Ctx(ctx): Ctx| async move { Err::<(), _>(Ended::from(ctx.done().await)) };
    let layer = ContextLayer::new(&server).idle_timeout(std::time::Duration::ZERO);
    let app = Router::new().route("/", get(waits)).layer(layer);
    assert_eq!(send(&app, request("/")).await.status(), http::StatusCode::GATEWAY_TIMEOUT);

    let waits = move |Ctx(ctx): Ctx| async move {
        time.advance(3600 * SECOND);
        ctx.is_done().to_string()
    };
    let layer = ContextLayer::new(&server).idle_timeout(std::time::Duration::MAX);
    let app = Router::new().route("/", get(waits)).layer(layer);
    assert_eq!(text(send(&app, request("/")).await).await, "false");
}
