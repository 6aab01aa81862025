//! Tests clients that close their half of the connection.

use axum::{Router, body::Body, extract::Request, response::Response, routing::any};
use hyper_util::rt::TokioIo;
use ripcord::{Clock, Context};
use ripcord_http::server::{ContextLayer, Ctx, Ended, HalfClose};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc::unbounded_channel,
};

use crate::{
    common::{PATIENCE, SECOND},
    handlers::{layer, settle, streaming, stuck},
    sockets::{
        GET, Started, answer_until, answers, assert_disconnected, client, end_of, in_time, reset, round_trip, serve,
        with_ping,
    },
};

#[tokio::test]
async fn half_close_cancels_and_an_answer_is_still_sent() {
    let layer = layer();
    let (begin, mut started) = Started::channel();
    let handler = move |Ctx(ctx): Ctx| {
        begin.send(ctx.clone()).expect("the test listens");
        async move { format!("all the same: {}", ctx.done().await.cause().expect("it says why")) }
    };
    let address = serve(Router::new().route("/", any(handler)).layer(layer.clone())).await;
    let mut client = client(address, GET).await;
    let ctx = started.next().await;

    client.shutdown().await.expect("it is open");
    assert_disconnected(&ctx).await;
    let answer = answers(client).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with("all the same: client disconnected"), "{answer}");
    assert_eq!(layer.stats().disconnected, 1);
}

#[tokio::test]
async fn half_close_of_a_handler_that_ignores_its_context_is_answered() {
    let (go, going) = tokio::sync::watch::channel(false);
    let (begin, mut started) = Started::channel();
    let handler = move |Ctx(ctx): Ctx| {
        begin.send(ctx).expect("the test listens");
        let mut going = going.clone();
        async move {
            going.wait_for(|go| *go).await.expect("the test goes on");
            "here"
        }
    };
    let mut client = client(serve(Router::new().route("/", any(handler)).layer(layer())).await, GET).await;
    let ctx = started.next().await;

    client.shutdown().await.expect("it is open");
    assert_disconnected(&ctx).await;
    go.send_replace(true);
    let answer = answers(client).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("here"), "{answer}");
}

#[tokio::test]
async fn half_close_of_a_handler_that_gives_up_is_503_and_499_in_logs() {
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
    let (begin, mut started) = Started::channel();
    let mut client = client(serve(stuck(&layer, &begin)).await, GET).await;
    let ctx = started.next().await;

    client.shutdown().await.expect("it is open");
    assert_disconnected(&ctx).await;
    time.advance(5 * SECOND);
    let answer = answers(client).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert_eq!(layer.stats().disconnected, 1, "that came first");
}

#[tokio::test]
async fn half_close_in_the_packet_of_the_request_cancels() {
    let layer = layer();
    let (begin, mut started) = Started::channel();
    let address = serve(stuck(&layer, &begin)).await;
    let stream = std::net::TcpStream::connect(address).expect("it accepts");
    std::io::Write::write_all(&mut &stream, GET.as_bytes()).expect("it reads");
    stream.shutdown(std::net::Shutdown::Write).expect("it is open");
    assert_disconnected(&started.next().await).await;
}

#[tokio::test]
async fn allowed_half_close_changes_nothing() {
    let layer = layer().half_close(HalfClose::Allow);
    let (go, going) = tokio::sync::watch::channel(false);
    let (begin, mut started) = Started::channel();
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
    let ctx = started.next().await;

    client.shutdown().await.expect("it is open");
    round_trip(address).await;
    assert!(!ctx.is_done(), "the FIN has been seen, and is nothing");
    go.send_replace(true);
    let answer = answers(client).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("here"), "{answer}");
    assert_eq!(layer.stats().disconnected, 0);
}

#[tokio::test]
async fn reset_after_an_allowed_half_close_cancels() {
    let layer = layer().half_close(HalfClose::Allow);
    let (begin, mut started) = Started::channel();
    let address = serve(stuck(&layer, &begin)).await;
    let mut client = client(address, GET).await;
    let ctx = started.next().await;

    client.shutdown().await.expect("it is open");
    round_trip(address).await;
    assert!(!ctx.is_done());
    reset(client);
    assert_disconnected(&ctx).await;
    settle(&layer).await;
}

#[tokio::test]
async fn failed_write_cancels_after_an_allowed_half_close() {
    let layer = layer().half_close(HalfClose::Allow);
    let (begin, mut started) = Started::channel();
    let address = serve(streaming(&layer, &begin)).await;
    let mut client = client(address, GET).await;
    let ctx = started.next().await;
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
    let (begin, mut started) = Started::channel();
    let address = serve(stuck(&layer, &begin)).await;
    let client = client(address, GET).await;
    let ctx = started.next().await;

    drop(client);
    round_trip(address).await;
    assert!(!ctx.is_done());
    time.advance(5 * SECOND);
    assert!(end_of(&ctx).await.is_deadline_exceeded());
}

// If a client has closed, hyper shuts down the stream and drops it. An upgraded stream belongs to the handler, which may keep it.
#[tokio::test]
async fn shutdown_of_an_upgraded_stream_after_the_clients_fin_closes_it_even_if_the_handler_keeps_it() {
    let (keep, mut kept) = unbounded_channel();
    let handler = async move |request: Request| {
        let keep = keep.clone();
        tokio::spawn(async move {
            let mut upgraded = TokioIo::new(hyper::upgrade::on(request).await.expect("it is accepted"));
            let mut received = String::new();
            upgraded.read_to_string(&mut received).await.expect("the client's FIN");
            upgraded.write_all(format!("heard {received}").as_bytes()).await.expect("it is open");
            upgraded.shutdown().await.expect("it is open");
            keep.send(upgraded).expect("the test listens");
        });
        let answer = Response::builder().status(101).header("upgrade", "raw").header("connection", "upgrade");
        answer.body(Body::empty()).expect("well-formed")
    };
    let address = serve(Router::new().route("/", any(handler)).layer(layer().half_close(HalfClose::Allow))).await;
    let head = "GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n";
    let mut client = client(address, head).await;
    let head = answer_until(&mut client, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client.write_all(b"this").await.expect("it is open");
    client.shutdown().await.expect("it is open");
    assert_eq!(answers(client).await, "heard this");
    in_time(kept.recv()).await.expect("the handler still has it");
}
