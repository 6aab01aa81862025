//! Clients that go, in every way they can, over sockets on loopback.

use std::{
    convert::Infallible,
    future::pending,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{self, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    response::Response,
    routing::any,
};
use http_body::Frame;
use ripcord::{Clock, Context};
use ripcord_http::server::{ContextLayer, Ctx, Ended, HalfClose};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc::{UnboundedSender, unbounded_channel},
};

use crate::{
    common::{Endless, PATIENCE, SECOND},
    sockets::{
        Begun, GET, answer_until, answers, assert_disconnected, client, end_of, h2_request, in_time, read_all, reset,
        round_trip, serve, serve_unwatched, serve_with_small_buffers, with_ping,
    },
};

/// A layer whose deadlines are too far away to be what ends a request.
fn layer() -> ContextLayer {
    ContextLayer::new(&Context::background()).timeout(100 * PATIENCE)
}

/// A handler that never answers, under `layer`.
fn stuck(layer: &ContextLayer, begun: &UnboundedSender<Context>) -> Router {
    let begun = begun.clone();
    let handler = move |Ctx(ctx): Ctx, request: Request| {
        begun.send(ctx).expect("the test listens");
        async move {
            // Held, and never read.
            let _request = request;
            pending::<String>().await
        }
    };
    with_ping(Router::new().route("/", any(handler))).layer(layer.clone())
}

/// Waits until nothing is on its way any more.
async fn settle(layer: &ContextLayer) {
    // What a client's going has set off ends by itself, but nobody tells when.
    in_time(async {
        while layer.stats().in_flight > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

// ===== Close =====

#[tokio::test]
async fn get_and_close() {
    let layer = layer();
    let (begin, mut begun) = Begun::channel();
    let client = client(serve(stuck(&layer, &begin)).await, GET).await;
    let ctx = begun.next().await;
    assert!(!ctx.is_done());

    drop(client);
    assert_disconnected(&ctx).await;
}

#[tokio::test]
async fn get_and_close_where_nobody_watches() {
    let layer = layer();
    let (begin, mut begun) = Begun::channel();
    let client = client(serve_unwatched(stuck(&layer, &begin)).await, GET).await;
    let ctx = begun.next().await;

    drop(client);
    assert_disconnected(&ctx).await;
    settle(&layer).await;
    assert_eq!(layer.stats().disconnected, 1);
}

#[tokio::test]
async fn get_and_reset() {
    let layer = layer();
    let (begin, mut begun) = Begun::channel();
    let client = client(serve(stuck(&layer, &begin)).await, GET).await;
    let ctx = begun.next().await;

    reset(client);
    assert_disconnected(&ctx).await;
    // The handler is dropped, though it would wait for ever.
    settle(&layer).await;
    assert_eq!(layer.stats().disconnected, 1);
}

#[tokio::test]
async fn post_with_a_small_body_unread_and_close() {
    let (begin, mut begun) = Begun::channel();
    let request = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";
    let client = client(serve(stuck(&layer(), &begin)).await, request).await;
    let ctx = begun.next().await;

    drop(client);
    assert_disconnected(&ctx).await;
}

#[tokio::test]
async fn post_with_a_body_partly_sent_and_close() {
    let (begin, mut begun) = Begun::channel();
    let request = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhe";
    let client = client(serve(stuck(&layer(), &begin)).await, request).await;
    let ctx = begun.next().await;

    drop(client);
    assert_disconnected(&ctx).await;
}

#[tokio::test]
async fn post_with_a_body_partly_sent_to_a_handler_that_reads() {
    let layer = layer();
    let (begin, mut begun) = Begun::channel();
    let handler = move |Ctx(ctx): Ctx, request: Request| {
        begin.send(ctx).expect("the test listens");
        async move { format!("{:?}", read_all(request).await.is_ok()) }
    };
    let address = serve(Router::new().route("/", any(handler)).layer(layer.clone())).await;
    let client = client(address, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhe").await;
    let ctx = begun.next().await;

    drop(client);
    assert_disconnected(&ctx).await;
    settle(&layer).await;
    assert_eq!(layer.stats().disconnected, 1);
}

/// A client that has sent as much of 2 MB as anybody takes: more than the server's buffers hold.
async fn two_megabytes_unread(begun: &mut Begun, app: Router) -> (TcpStream, Context) {
    let address = serve_with_small_buffers(app).await;
    let head = format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", 2 << 20);
    let client = client(address, head).await;
    let ctx = begun.next().await;
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
async fn post_with_2_mb_unread_and_close_ends_at_the_deadline() {
    let (clock, time) = Clock::manual();
    let layer = ContextLayer::new(&Context::background().with_clock(clock)).timeout(5 * SECOND);
    let (begin, mut begun) = Begun::channel();
    let (client, ctx) = two_megabytes_unread(&mut begun, stuck(&layer, &begin)).await;

    // The FIN comes after the body, which nobody takes: there is nothing to be seen.
    drop(client);
    time.advance(5 * SECOND);
    let error = end_of(&ctx).await;
    assert!(error.is_deadline_exceeded(), "{error:#}");
    settle(&layer).await;
    assert_eq!((layer.stats().timed_out, layer.stats().disconnected), (1, 0));
}

#[tokio::test]
async fn post_with_2_mb_unread_and_reset() {
    let (begin, mut begun) = Begun::channel();
    let (client, ctx) = two_megabytes_unread(&mut begun, stuck(&layer(), &begin)).await;

    reset(client);
    assert_disconnected(&ctx).await;
}

#[tokio::test]
async fn pipelined_request_and_close() {
    let layer = layer();
    let (begin, mut begun) = Begun::channel();
    let client = client(serve(stuck(&layer, &begin)).await, GET.repeat(2)).await;
    let ctx = begun.next().await;

    drop(client);
    assert_disconnected(&ctx).await;
    assert_eq!(layer.stats().requests, 1, "the second has not begun");
}

#[tokio::test]
async fn close_while_idle_disconnects_nobody() {
    let layer = layer();
    let (begin, _begun) = Begun::channel();
    let address = serve(stuck(&layer, &begin)).await;
    let mut client = client(address, "GET /ping HTTP/1.1\r\nHost: test\r\n\r\n").await;
    answer_until(&mut client, "pong").await;

    drop(client);
    round_trip(address).await;
    let stats = layer.stats();
    assert_eq!((stats.requests, stats.in_flight, stats.disconnected), (2, 0, 0));
}

// ===== Half-close =====

#[tokio::test]
async fn half_close_cancels_and_an_answer_is_still_sent() {
    let layer = layer();
    let (begin, mut begun) = Begun::channel();
    let handler = move |Ctx(ctx): Ctx| {
        begin.send(ctx.clone()).expect("the test listens");
        async move { format!("all the same: {}", ctx.done().await.cause().expect("it says why")) }
    };
    let address = serve(Router::new().route("/", any(handler)).layer(layer.clone())).await;
    let mut client = client(address, GET).await;
    let ctx = begun.next().await;

    client.shutdown().await.expect("it is open");
    assert_disconnected(&ctx).await;
    let answer = answers(client).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with("all the same: client disconnected"), "{answer}");
    assert_eq!(layer.stats().disconnected, 1);
}

#[tokio::test]
async fn half_close_and_a_handler_that_does_not_look() {
    let (go, going) = tokio::sync::watch::channel(false);
    let (begin, mut begun) = Begun::channel();
    let handler = move |Ctx(ctx): Ctx| {
        begin.send(ctx).expect("the test listens");
        let mut going = going.clone();
        async move {
            going.wait_for(|go| *go).await.expect("the test goes on");
            "here"
        }
    };
    let mut client = client(serve(Router::new().route("/", any(handler)).layer(layer())).await, GET).await;
    let ctx = begun.next().await;

    client.shutdown().await.expect("it is open");
    assert_disconnected(&ctx).await;
    go.send_replace(true);
    let answer = answers(client).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("here"), "{answer}");
}

#[tokio::test]
async fn half_close_and_a_handler_that_gives_up() {
    async fn handler(Ctx(ctx): Ctx) -> Result<&'static str, Ended> {
        ctx.sleep(100 * PATIENCE).await?;
        Ok("done")
    }
    let (tell, mut told) = unbounded_channel();
    let layer = layer().on_end(move |request| {
        tell.send((request.status.as_u16(), request.answered.map(|status| status.as_u16()))).expect("the test listens");
    });
    let mut client = client(serve(Router::new().route("/", any(handler)).layer(layer)).await, GET).await;
    client.shutdown().await.expect("it is open");
    let answer = answers(client).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "499 is none of a client's business: {answer}");
    assert_eq!(in_time(told.recv()).await, Some((499, Some(503))));
}

#[tokio::test]
async fn half_close_leaves_a_handler_its_deadline() {
    let (clock, time) = Clock::manual();
    let layer = ContextLayer::new(&Context::background().with_clock(clock)).timeout(5 * SECOND);
    let (begin, mut begun) = Begun::channel();
    let mut client = client(serve(stuck(&layer, &begin)).await, GET).await;
    let ctx = begun.next().await;

    client.shutdown().await.expect("it is open");
    assert_disconnected(&ctx).await;
    time.advance(5 * SECOND);
    let answer = answers(client).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert_eq!(layer.stats().disconnected, 1, "that came first");
}

#[tokio::test]
async fn half_close_in_the_packet_of_the_request() {
    let layer = layer();
    let (begin, mut begun) = Begun::channel();
    let address = serve(stuck(&layer, &begin)).await;
    let stream = std::net::TcpStream::connect(address).expect("it accepts");
    std::io::Write::write_all(&mut &stream, GET.as_bytes()).expect("it reads");
    stream.shutdown(std::net::Shutdown::Write).expect("it is open");
    assert_disconnected(&begun.next().await).await;
}

#[tokio::test]
async fn half_close_where_it_is_allowed() {
    let layer = layer().half_close(HalfClose::Allow);
    let (go, going) = tokio::sync::watch::channel(false);
    let (begin, mut begun) = Begun::channel();
    let handler = move |Ctx(ctx): Ctx| {
        begin.send(ctx.clone()).expect("the test listens");
        let mut going = going.clone();
        async move {
            going.wait_for(|go| *go).await.expect("the test goes on");
            ctx.check()?;
            Ok::<_, Ended>("here")
        }
    };
    let address = serve(with_ping(Router::new().route("/", any(handler))).layer(layer.clone())).await;
    let mut client = client(address, GET).await;
    let ctx = begun.next().await;

    client.shutdown().await.expect("it is open");
    round_trip(address).await;
    assert!(!ctx.is_done(), "the FIN has been seen, and is nothing");
    go.send_replace(true);
    let answer = answers(client).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("here"), "{answer}");
    assert_eq!(layer.stats().disconnected, 0);
}

#[tokio::test]
async fn half_close_that_is_allowed_and_then_a_reset() {
    let layer = layer().half_close(HalfClose::Allow);
    let (begin, mut begun) = Begun::channel();
    let address = serve(stuck(&layer, &begin)).await;
    let mut client = client(address, GET).await;
    let ctx = begun.next().await;

    client.shutdown().await.expect("it is open");
    round_trip(address).await;
    assert!(!ctx.is_done());
    reset(client);
    assert_disconnected(&ctx).await;
    settle(&layer).await;
}

#[tokio::test]
async fn close_where_half_close_is_allowed_is_seen_by_a_failed_write() {
    let layer = layer().half_close(HalfClose::Allow);
    let (begin, mut begun) = Begun::channel();
    let address = serve(streaming(&layer, &begin)).await;
    let mut client = client(address, GET).await;
    let ctx = begun.next().await;
    answer_until(&mut client, "more\r\n").await;

    drop(client);
    assert_disconnected(&ctx).await;
    settle(&layer).await;
}

#[tokio::test]
async fn close_where_half_close_is_allowed_ends_at_the_deadline() {
    let (clock, time) = Clock::manual();
    let layer = ContextLayer::new(&Context::background().with_clock(clock)).timeout(5 * SECOND);
    let layer = layer.half_close(HalfClose::Allow);
    let (begin, mut begun) = Begun::channel();
    let address = serve(stuck(&layer, &begin)).await;
    let client = client(address, GET).await;
    let ctx = begun.next().await;

    drop(client);
    round_trip(address).await;
    assert!(!ctx.is_done());
    time.advance(5 * SECOND);
    assert!(end_of(&ctx).await.is_deadline_exceeded());
}

// ===== Streaming =====

/// A body without an end, which is always ready.
fn streaming(layer: &ContextLayer, begun: &UnboundedSender<Context>) -> Router {
    let begun = begun.clone();
    let handler = move |Ctx(ctx): Ctx| {
        begun.send(ctx).expect("the test listens");
        async { Response::new(Body::new(Endless)) }
    };
    with_ping(Router::new().route("/", any(handler))).layer(layer.clone())
}

#[tokio::test]
async fn streaming_response_and_close() {
    for is_watched in [true, false] {
        let layer = layer();
        let (begin, mut begun) = Begun::channel();
        let app = streaming(&layer, &begin);
        let address = if is_watched { serve(app).await } else { serve_unwatched(app).await };
        let mut client = client(address, GET).await;
        let ctx = begun.next().await;
        answer_until(&mut client, "more\r\n").await;
        assert!(!ctx.is_done());

        drop(client);
        assert_disconnected(&ctx).await;
        // The body, too, is dropped, as soon as a write fails.
        settle(&layer).await;
        assert_eq!(layer.stats().disconnected, 1);
    }
}

#[tokio::test]
async fn streaming_response_that_waits_and_close() {
    let layer = layer();
    let (begin, mut begun) = Begun::channel();
    let (frames, body) = unbounded_channel::<Bytes>();
    let body = Arc::new(Mutex::new(Some(body)));
    let handler = move |Ctx(ctx): Ctx| {
        begin.send(ctx).expect("the test listens");
        let body = body.lock().expect("no panic").take().expect("one request");
        std::future::ready(Response::new(Body::new(crate::common::Frames(body))))
    };
    let mut client = client(serve(Router::new().route("/", any(handler)).layer(layer.clone())).await, GET).await;
    let ctx = begun.next().await;
    frames.send(Bytes::from_static(b"first")).expect("it is read");
    answer_until(&mut client, "first\r\n").await;

    drop(client);
    assert_disconnected(&ctx).await;
}

#[tokio::test]
async fn client_that_stays_and_reads_nothing_is_dropped_at_the_deadline() {
    let (clock, time) = Clock::manual();
    let layer = ContextLayer::new(&Context::background().with_clock(clock)).timeout(5 * SECOND);
    let (frames, handed_over) = (Arc::new(AtomicU64::new(0)), |frames: &AtomicU64| frames.load(Ordering::Relaxed));
    let handler = any({
        let frames = Arc::clone(&frames);
        move || std::future::ready(Response::new(Body::new(Counted(Arc::clone(&frames)))))
    });
    let address = serve(with_ping(Router::new().route("/", handler)).layer(layer.clone())).await;
    let mut client = client(address, GET).await;

    // Until every buffer on the way is full, and the body is asked for no more.
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

/// A body without an end, in large frames that are counted.
struct Counted(Arc<AtomicU64>);

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 64 << 10])))))
    }
}

#[tokio::test]
async fn deadline_cuts_a_stream_short() {
    let (clock, time) = Clock::manual();
    let layer = ContextLayer::new(&Context::background().with_clock(clock)).timeout(5 * SECOND);
    let (begin, mut begun) = Begun::channel();
    let mut client = client(serve(streaming(&layer, &begin)).await, GET).await;
    let ctx = begun.next().await;
    answer_until(&mut client, "more\r\n").await;

    time.advance(5 * SECOND);
    assert!(end_of(&ctx).await.is_deadline_exceeded());
    let mut received = Vec::new();
    let _ = in_time(client.read_to_end(&mut received)).await;
    assert!(!received.ends_with(b"0\r\n\r\n"), "it is not to be taken for whole");
    settle(&layer).await;
    assert_eq!(layer.stats().timed_out, 1);
}

// ===== HTTP/2 =====

#[tokio::test]
async fn http2_reset_ends_one_stream() {
    for is_watched in [true, false] {
        let layer = layer();
        let (begin, mut begun) = Begun::channel();
        let app = stuck(&layer, &begin);
        let address = if is_watched { serve(app).await } else { serve_unwatched(app).await };
        let stream = TcpStream::connect(address).await.expect("it accepts");
        let (mut client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
        tokio::spawn(connection);

        let (_first, mut first_stream) = client.send_request(h2_request(), true).expect("it is open");
        let first = begun.next().await;
        let (_second, _second_stream) = client.send_request(h2_request(), true).expect("it is open");
        let second = begun.next().await;

        first_stream.send_reset(h2::Reason::CANCEL);
        assert_disconnected(&first).await;
        assert!(!second.is_done(), "it is on the same connection, and still wanted");
    }
}

#[tokio::test]
async fn http2_close_ends_all_streams() {
    let layer = layer();
    let (begin, mut begun) = Begun::channel();
    let stream = TcpStream::connect(serve(stuck(&layer, &begin)).await).await.expect("it accepts");
    let (mut client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    let connection = tokio::spawn(connection);
    let _first = client.send_request(h2_request(), true).expect("it is open");
    let _second = client.send_request(h2_request(), true).expect("it is open");
    let contexts = [begun.next().await, begun.next().await];

    connection.abort();
    for ctx in contexts {
        assert_disconnected(&ctx).await;
    }
    settle(&layer).await;
    assert_eq!(layer.stats().disconnected, 2);
}

// An end of the stream would make it whole.
#[tokio::test]
async fn http2_stream_that_the_deadline_cuts_is_reset() {
    let (clock, time) = Clock::manual();
    let layer = ContextLayer::new(&Context::background().with_clock(clock)).timeout(5 * SECOND);
    let handler = any(|| std::future::ready(Response::new(Body::new(Counted(Arc::default())))));
    let address = serve(Router::new().route("/", handler).layer(layer.clone())).await;
    let stream = TcpStream::connect(address).await.expect("it accepts");
    let (mut client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    let (response, _stream) = client.send_request(h2_request(), true).expect("it is open");
    let response = in_time(response).await.expect("a head");
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    in_time(body.data()).await.expect("there is some").expect("it is whole so far");

    time.advance(5 * SECOND);
    let error = in_time(async {
        loop {
            match body.data().await.expect("it does not end in order") {
                Ok(data) => body.flow_control().release_capacity(data.len()).expect("it was received"),
                Err(error) => return error,
            }
        }
    })
    .await;
    assert!(error.is_reset(), "{error}");
    settle(&layer).await;
    assert_eq!(layer.stats().timed_out, 1);
}
