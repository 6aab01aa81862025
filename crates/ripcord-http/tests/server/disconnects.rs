//! Tests clients that close or reset their connection.

use axum::{Router, extract::Request, routing::any};
use ripcord::{Clock, Context};
use ripcord_http::server::{ContextLayer, Ctx};
use tokio::net::TcpStream;

use crate::{
    common::SECOND,
    handlers::{layer, settle, stuck},
    sockets::{
        GET, Started, answer_until, assert_disconnected, client, end_of, read_all, reset, round_trip, serve,
        serve_unwatched, serve_with_small_buffers,
    },
};

#[tokio::test]
async fn close_cancels_a_get() {
    let layer = layer();
    let (begin, mut started) = Started::channel();
    let client = client(serve(stuck(&layer, &begin)).await, GET).await;
    let ctx = started.next().await;
    assert!(!ctx.is_done());

    drop(client);
    assert_disconnected(&ctx).await;
}

#[tokio::test]
async fn close_on_an_unwatched_connection_cancels_a_get() {
    let layer = layer();
    let (begin, mut started) = Started::channel();
    let client = client(serve_unwatched(stuck(&layer, &begin)).await, GET).await;
    let ctx = started.next().await;

    drop(client);
    assert_disconnected(&ctx).await;
    settle(&layer).await;
    assert_eq!(layer.stats().disconnected, 1);
}

#[tokio::test]
async fn reset_cancels_a_get() {
    let layer = layer();
    let (begin, mut started) = Started::channel();
    let client = client(serve(stuck(&layer, &begin)).await, GET).await;
    let ctx = started.next().await;

    reset(client);
    assert_disconnected(&ctx).await;
    // The server drops the handler, which would never finish.
    settle(&layer).await;
    assert_eq!(layer.stats().disconnected, 1);
}

#[tokio::test]
async fn close_cancels_a_post_with_a_small_body_unread() {
    let (begin, mut started) = Started::channel();
    let request = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";
    let client = client(serve(stuck(&layer(), &begin)).await, request).await;
    let ctx = started.next().await;

    drop(client);
    assert_disconnected(&ctx).await;
}

#[tokio::test]
async fn close_cancels_a_post_with_a_body_partly_sent() {
    let (begin, mut started) = Started::channel();
    let request = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhe";
    let client = client(serve(stuck(&layer(), &begin)).await, request).await;
    let ctx = started.next().await;

    drop(client);
    assert_disconnected(&ctx).await;
}

#[tokio::test]
async fn close_cancels_a_post_that_the_handler_reads() {
    let layer = layer();
    let (begin, mut started) = Started::channel();
    let handler = move |Ctx(ctx): Ctx, request: Request| {
        begin.send(ctx).expect("the test listens");
        async move { format!("{:?}", read_all(request).await.is_ok()) }
    };
    let address = serve(Router::new().route("/", any(handler)).layer(layer.clone())).await;
    let client = client(address, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhe").await;
    let ctx = started.next().await;

    drop(client);
    assert_disconnected(&ctx).await;
    settle(&layer).await;
    assert_eq!(layer.stats().disconnected, 1);
}

/// Returns a client that has filled all buffers with a body of 2 MB. The handler does not read the body.
async fn two_megabytes_unread(started: &mut Started, app: Router) -> (TcpStream, Context) {
    let address = serve_with_small_buffers(app).await;
    let head = format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", 2 << 20);
    let client = client(address, head).await;
    let ctx = started.next().await;
    let (mut sent, body) = (0, vec![0; 2 << 20]);
    while sent < body.len() {
        match client.try_write(&body[sent..]) {
            Ok(more) => sent += more,
            Err(_) => break,
        }
    }
    assert!(sent > 32 << 10, "it is on its way: {sent}");
    round_trip(address).await;
    (client, ctx)
}

#[tokio::test]
async fn close_with_2_mb_unread_is_invisible_until_the_deadline() {
    let (clock, time) = Clock::manual();
    let layer = ContextLayer::new(&Context::background().with_clock(clock)).timeout(5 * SECOND);
    let (begin, mut started) = Started::channel();
    let (client, ctx) = two_megabytes_unread(&mut started, stuck(&layer, &begin)).await;

    // The FIN is behind the unread body, so the server cannot detect it.
    drop(client);
    time.advance(5 * SECOND);
    let error = end_of(&ctx).await;
    assert!(error.is_deadline_exceeded(), "{error:#}");
    settle(&layer).await;
    assert_eq!((layer.stats().timed_out, layer.stats().disconnected), (1, 0));
}

#[tokio::test]
async fn reset_cancels_a_post_with_2_mb_unread() {
    let (begin, mut started) = Started::channel();
    let (client, ctx) = two_megabytes_unread(&mut started, stuck(&layer(), &begin)).await;

    reset(client);
    assert_disconnected(&ctx).await;
}

#[tokio::test]
async fn close_cancels_a_request_with_another_pipelined() {
    let layer = layer();
    let (begin, mut started) = Started::channel();
    let client = client(serve(stuck(&layer, &begin)).await, GET.repeat(2)).await;
    let ctx = started.next().await;

    drop(client);
    assert_disconnected(&ctx).await;
    assert_eq!(layer.stats().requests, 1, "the second has not started");
}

#[tokio::test]
async fn close_of_an_idle_connection_is_not_a_disconnect() {
    let layer = layer();
    let (begin, _begun) = Started::channel();
    let address = serve(stuck(&layer, &begin)).await;
    let mut client = client(address, "GET /ping HTTP/1.1\r\nHost: test\r\n\r\n").await;
    answer_until(&mut client, "pong").await;

    drop(client);
    round_trip(address).await;
    let stats = layer.stats();
    assert_eq!((stats.requests, stats.in_flight, stats.disconnected), (2, 0, 0));
}
