//! Tests the contexts of upgraded connections. They live until the client disconnects or the server ends, and report which.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    response::Response,
    routing::any,
};
use futures::{SinkExt as _, StreamExt as _};
use ripcord::{Canceler, Clock, Context, ManualTime};
use ripcord_http::server::{ContextLayer, Ctx, RequestOutcome};
use tokio::{net::TcpStream, sync::mpsc::UnboundedReceiver};
use tokio_tungstenite::{WebSocketStream, tungstenite};

use crate::{
    common::SECOND,
    handlers::settle,
    sockets::{Started, assert_disconnected, end_of, in_time, reset, serve, serve_unwatched},
};

struct Echo {
    router: Router,
    layer: ContextLayer,
    time: ManualTime,
    server: Canceler,
    started: Started,
    outcomes: UnboundedReceiver<(u16, RequestOutcome)>,
}

impl Echo {
    /// Creates an echo under a layer with a timeout of five seconds, on a manual clock. If `reads` is false, nothing is read.
    fn new(reads: bool) -> Echo {
        let (clock, time) = Clock::manual();
        let (ctx, server) = Context::background().with_clock(clock).with_cancel();
        let (tell, outcomes) = tokio::sync::mpsc::unbounded_channel();
        let layer = ContextLayer::new(&ctx).timeout(5 * SECOND).on_end(move |request| {
            let _ = tell.send((request.status.as_u16(), request.outcome.clone()));
        });
        let (begin, started) = Started::channel();
        let handler = async move |Ctx(ctx): Ctx, upgrade: WebSocketUpgrade| -> Response {
            upgrade.on_upgrade(async move |socket| {
                begin.send(ctx.clone()).expect("the test listens");
                if reads {
                    echo(&ctx, socket).await;
                } else {
                    ctx.done().await;
                    drop(socket);
                }
            })
        };
        let router = Router::new().route("/", any(handler)).layer(layer.clone());
        Echo { router, layer, time, server, started, outcomes }
    }

    async fn outcome(&mut self) -> (u16, RequestOutcome) {
        in_time(self.outcomes.recv()).await.expect("the request ends")
    }
}

async fn echo(ctx: &Context, mut socket: WebSocket) {
    while let Ok(Some(Ok(message))) = ctx.run(socket.recv()).await {
        if matches!(message, Message::Text(_)) && socket.send(message).await.is_err() {
            return;
        }
    }
}

async fn connect(address: SocketAddr) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(address).await.expect("it accepts");
    in_time(tokio_tungstenite::client_async("ws://test/", stream)).await.expect("it upgrades").0
}

async fn assert_echoes(client: &mut WebSocketStream<TcpStream>) {
    client.send(tungstenite::Message::text("hello")).await.expect("it is open");
    let echoed = in_time(client.next()).await.expect("an echo").expect("no error");
    assert_eq!(echoed, tungstenite::Message::text("hello"));
}

#[tokio::test]
async fn websocket_outlives_the_deadline_for_the_answer() {
    let mut echo = Echo::new(true);
    let mut client = connect(serve(echo.router.clone()).await).await;
    let ctx = echo.started.next().await;
    assert_eq!(ctx.deadline(), None);
    for _ in 0..3 {
        echo.time.advance(100 * SECOND);
        assert_echoes(&mut client).await;
        assert!(!ctx.is_done(), "{:?}", ctx.err());
    }
    assert_eq!((echo.layer.stats().requests, echo.layer.stats().in_flight), (1, 1));
}

#[tokio::test]
async fn websocket_whose_client_leaves_reports_the_disconnect() {
    for (reads, resets) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut echo = Echo::new(reads);
        let client = connect(serve(echo.router.clone()).await).await;
        let ctx = echo.started.next().await;
        assert!(!ctx.is_done(), "{:?}", ctx.err());
        match resets {
            true => reset(client.into_inner()),
            false => drop(client),
        }
        assert_disconnected(&ctx).await;
        assert_eq!(echo.outcome().await, (101, RequestOutcome::ClientDisconnected), "reads: {reads}, resets: {resets}");
        settle(&echo.layer).await;
    }
}

#[tokio::test]
async fn websocket_of_a_draining_server_reports_the_drain() {
    let mut echo = Echo::new(true);
    let mut client = connect(serve(echo.router.clone()).await).await;
    let ctx = echo.started.next().await;
    assert_echoes(&mut client).await;
    echo.server.cancel_with("draining");
    assert_eq!(end_of(&ctx).await.cause().expect("a cause").to_string(), "draining");
    assert!(!matches!(in_time(client.next()).await, Some(Ok(tungstenite::Message::Text(_)))), "it is closed");
    assert_eq!(echo.outcome().await.1, RequestOutcome::Canceled);
    settle(&echo.layer).await;
}

#[tokio::test]
async fn websocket_closed_by_both_sides_counts_as_answered() {
    let mut echo = Echo::new(true);
    let mut client = connect(serve(echo.router.clone()).await).await;
    let ctx = echo.started.next().await;
    assert_echoes(&mut client).await;
    client.close(None).await.expect("it is open");
    while let Some(Ok(_)) = in_time(client.next()).await {}
    assert!(end_of(&ctx).await.is_canceled());
    assert_eq!(echo.outcome().await, (101, RequestOutcome::Answered));
    settle(&echo.layer).await;
    assert_eq!(echo.layer.stats().held, 1, "the test holds it");
}

#[tokio::test]
async fn websocket_below_two_layers_outlives_both_deadlines() {
    let mut echo = Echo::new(true);
    let outer = ContextLayer::new(&Context::background()).timeout(SECOND);
    let mut client = connect(serve(echo.router.clone().layer(outer.clone())).await).await;
    let ctx = echo.started.next().await;
    assert_eq!(ctx.deadline(), None);
    assert_echoes(&mut client).await;
    assert!(!ctx.is_done());
    drop(client);
    assert_disconnected(&ctx).await;
    settle(&outer).await;
    assert_eq!((outer.stats().requests, echo.layer.stats().requests), (1, 0));
}

#[tokio::test]
async fn unwatched_websocket_lives_as_long_as_the_server() {
    let mut echo = Echo::new(true);
    let mut client = connect(serve_unwatched(echo.router.clone()).await).await;
    let ctx = echo.started.next().await;
    echo.time.advance(100 * SECOND);
    assert_echoes(&mut client).await;
    assert!(!ctx.is_done(), "{:?}", ctx.err());
    echo.server.cancel_with("draining");
    assert_eq!(end_of(&ctx).await.cause().expect("a cause").to_string(), "draining");
}

#[tokio::test]
async fn handshake_that_is_too_slow_ends_at_the_deadline() {
    let (clock, time) = Clock::manual();
    let layer = ContextLayer::new(&Context::background().with_clock(clock)).timeout(5 * SECOND);
    let (begin, mut started) = Started::channel();
    let handler = move |Ctx(ctx): Ctx, _: WebSocketUpgrade| {
        begin.send(ctx).expect("the test listens");
        std::future::pending::<Response>()
    };
    let address = serve(Router::new().route("/", any(handler)).layer(layer.clone())).await;
    let stream = TcpStream::connect(address).await.expect("it accepts");
    let handshake = tokio::spawn(tokio_tungstenite::client_async("ws://test/", stream));
    started.next().await;
    time.advance(5 * SECOND);
    let error = in_time(handshake).await.expect("no panic").expect_err("it is refused");
    assert!(matches!(&error, tungstenite::Error::Http(response) if response.status() == 504), "{error}");
    settle(&layer).await;
    assert_eq!(layer.stats().timed_out, 1);
}
