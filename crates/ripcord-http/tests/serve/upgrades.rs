//! Tests the contexts of upgraded connections, and of HTTP/2 streams upgraded by a CONNECT. They report whether the server drains.

use axum::{
    Router,
    extract::{
        Request,
        ws::{Message, WebSocketUpgrade},
    },
    routing::any,
};
use futures::{SinkExt as _, StreamExt as _};
use http::Method;
use hyper_util::rt::TokioIo;
use ripcord::Context;
use ripcord_http::{Limits, server::Ctx};
use tokio::{io::AsyncWriteExt as _, sync::mpsc};
use tokio_tungstenite::tungstenite;

use crate::{SECOND, Server, within};

const DRAINING: &str = "server draining: the upgraded connection was closed";
const CLOSED: &str = "the upgraded connection was closed";

/// Starts a server. `/websocket` and `/connect` report their contexts, and close after the first message or when the drain begins.
async fn start() -> (Server, mpsc::UnboundedReceiver<Context>) {
    let (begin, started) = mpsc::unbounded_channel();
    let begins = begin.clone();
    let websocket = async move |Ctx(ctx): Ctx, upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async move |mut socket| {
            begins.send(ctx.clone()).expect("the test listens");
            tokio::select! {
                () = ctx.draining() => {}
                _ = socket.recv() => {}
            }
            let _ = socket.send(Message::Close(None)).await;
        })
    };
    let connect = async move |Ctx(ctx): Ctx, request: Request| {
        tokio::spawn(async move {
            let upgraded = hyper::upgrade::on(request).await.expect("it is accepted");
            begin.send(ctx.clone()).expect("the test listens");
            ctx.draining().await;
            let _ = TokioIo::new(upgraded).shutdown().await;
        });
    };
    let routes = Router::new().route("/websocket", any(websocket)).route("/connect", any(connect));
    let server = Server::start_with(|it| it.drain(3600 * SECOND), Limits::default(), routes).await;
    (server, started)
}

async fn cause(ctx: &Context) -> String {
    within(ctx.done()).await.cause().expect("a cause").to_string()
}

#[tokio::test]
async fn websocket_closed_by_the_drain_reports_the_drain() {
    for is_draining in [true, false] {
        let (server, mut started) = start().await;
        let url = format!("ws://{}/websocket", server.address);
        let upgrading = tokio_tungstenite::client_async(url, server.connect().await);
        let (mut client, _) = within(upgrading).await.expect("it upgrades");
        let ctx = within(started.recv()).await.expect("it is served");
        match is_draining {
            true => server.shutdown.begin("deployment"),
            false => client.send(tungstenite::Message::text("close, please")).await.expect("it is open"),
        }
        assert!(within(client.next()).await.expect("a message").expect("no error").is_close());
        assert_eq!(cause(&ctx).await, if is_draining { DRAINING } else { CLOSED });
    }
}

#[tokio::test]
async fn connect_stream_closed_by_the_drain_reports_the_drain() {
    let (server, mut started) = start().await;
    let (mut client, connection) =
        within(h2::client::handshake(server.connect().await)).await.expect("HTTP/2 is served");
    let connection = tokio::spawn(connection);
    // The server's settings allow the CONNECT. They arrive before the first answer.
    let first = http::Request::get("http://test/").body(()).expect("well-formed");
    within(client.send_request(first, true).expect("it is open").0).await.expect("it is answered");
    let mut request =
        http::Request::builder().method(Method::CONNECT).uri("http://test/connect").body(()).expect("well-formed");
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let (answer, send) = client.send_request(request, false).expect("it is open");
    let ctx = within(started.recv()).await.expect("it is served");
    let mut body = within(answer).await.expect("it is accepted").into_body();

    server.shutdown.begin("deployment");
    while let Some(data) = within(body.data()).await {
        assert_eq!(data.expect("no error"), "", "the end of the stream");
    }
    assert_eq!(cause(&ctx).await, DRAINING);
    drop((client, send, body));
    assert!(server.end().await.is_clean());
    connection.abort();
}
