//! Tests disconnects and deadlines in the middle of a body.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    Router,
    body::{Body, Bytes},
    response::Response,
    routing::any,
};
use ripcord::{Clock, Context};
use ripcord_http::server::{ContextLayer, Ctx};
use tokio::{io::AsyncReadExt as _, sync::mpsc::unbounded_channel};

use crate::{
    common::SECOND,
    handlers::{Counted, layer, settle, streaming},
    sockets::{
        GET, Started, answer_until, assert_disconnected, client, end_of, in_time, round_trip, serve, serve_unwatched,
        with_ping,
    },
};

#[tokio::test]
async fn close_ends_a_streaming_response() {
    for is_watched in [true, false] {
        let layer = layer();
        let (begin, mut started) = Started::channel();
        let app = streaming(&layer, &begin);
        let address = if is_watched { serve(app).await } else { serve_unwatched(app).await };
        let mut client = client(address, GET).await;
        let ctx = started.next().await;
        answer_until(&mut client, "more\r\n").await;
        assert!(!ctx.is_done());

        drop(client);
        assert_disconnected(&ctx).await;
        // The body is also dropped, as soon as a write fails.
        settle(&layer).await;
        assert_eq!(layer.stats().disconnected, 1);
    }
}

#[tokio::test]
async fn close_ends_a_streaming_response_that_waits() {
    let layer = layer();
    let (begin, mut started) = Started::channel();
    let (frames, body) = unbounded_channel::<Bytes>();
    let body = Arc::new(Mutex::new(Some(body)));
    let handler = move |Ctx(ctx): Ctx| {
        begin.send(ctx).expect("the test listens");
        let body = body.lock().expect("no panic").take().expect("one request");
        std::future::ready(Response::new(Body::new(crate::common::Frames(body))))
    };
    let mut client = client(serve(Router::new().route("/", any(handler)).layer(layer.clone())).await, GET).await;
    let ctx = started.next().await;
    frames.send(Bytes::from_static(b"first")).expect("it is read");
    answer_until(&mut client, "first\r\n").await;

    drop(client);
    assert_disconnected(&ctx).await;
}

#[tokio::test]
async fn connected_client_that_reads_nothing_is_dropped_at_the_deadline() {
    let (clock, time) = Clock::manual();
    let layer = ContextLayer::new(&Context::background().with_clock(clock)).timeout(5 * SECOND);
    let (frames, handed_over) = (Arc::new(AtomicU64::new(0)), |frames: &AtomicU64| frames.load(Ordering::Relaxed));
    let handler = any({
        let frames = Arc::clone(&frames);
        move || std::future::ready(Response::new(Body::new(Counted(Arc::clone(&frames)))))
    });
    let address = serve(with_ping(Router::new().route("/", handler)).layer(layer.clone())).await;
    let mut client = client(address, GET).await;

    // Waits until every buffer is full and the body is no longer polled.
    let mut before = 0;
    while before == 0 || handed_over(&frames) > before {
        before = handed_over(&frames);
        round_trip(address).await;
    }
    assert_eq!(layer.stats().in_flight, 1);
    time.advance(5 * SECOND);
    settle(&layer).await;
    assert_eq!((layer.stats().timed_out, layer.stats().disconnected), (1, 0));

    let mut received = Vec::new();
    let _ = in_time(client.read_to_end(&mut received)).await;
    assert!(!received.ends_with(b"0\r\n\r\n"), "it is not to be taken for whole");
}

#[tokio::test]
async fn deadline_cuts_a_stream_short() {
    let (clock, time) = Clock::manual();
    let layer = ContextLayer::new(&Context::background().with_clock(clock)).timeout(5 * SECOND);
    let (begin, mut started) = Started::channel();
    let mut client = client(serve(streaming(&layer, &begin)).await, GET).await;
    let ctx = started.next().await;
    answer_until(&mut client, "more\r\n").await;

    time.advance(5 * SECOND);
    assert!(end_of(&ctx).await.is_deadline_exceeded());
    let mut received = Vec::new();
    let _ = in_time(client.read_to_end(&mut received)).await;
    assert!(!received.ends_with(b"0\r\n\r\n"), "it is not to be taken for whole");
    settle(&layer).await;
    assert_eq!(layer.stats().timed_out, 1);
}
