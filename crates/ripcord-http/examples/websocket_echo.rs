//! A WebSocket echo. The Context of a connection lives until its client leaves or the server drains, and says which.
//!
//! `cargo run --example websocket_echo` connects to itself and prints what happens. With an address, as in
//! `cargo run --example websocket_echo 127.0.0.1:8080`, it serves until Ctrl-C.
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::{
    Router,
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    response::Response,
    routing::any,
};
use futures::{SinkExt as _, StreamExt as _};
use hyper_util::{rt::TokioIo, server::conn::auto, service::TowerToHyperService};
use ripcord::Context;
use ripcord_http::server::connection::{self, StreamExecutor};
use ripcord_http::server::{ContextLayer, Ctx};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite;

/// Upgrades the connection, and sends the end of its Context to `ends`.
fn echo(ctx: Context, upgrade: WebSocketUpgrade, ends: UnboundedSender<ripcord::Error>) -> Response {
    upgrade.on_upgrade(async move |socket| {
        talk(&ctx, socket).await;
        // There may be no receiver.
        let _ = ends.send(ctx.done().await);
    })
}

/// Echoes until the client leaves, or the Context ends.
async fn talk(ctx: &Context, mut socket: WebSocket) {
    loop {
        match ctx.run(socket.recv()).await {
            Ok(Some(Ok(message @ (Message::Text(_) | Message::Binary(_))))) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            // axum answers a ping or a close.
            Ok(Some(Ok(_))) => {}
            Ok(None | Some(Err(_))) => return,
            // The server drains: tells the client.
            Err(_) => {
                let _ = socket.send(Message::Close(None)).await;
                return;
            }
        }
    }
}

/// Serves until `server` ends, then until every connection is closed.
async fn serve(listener: TcpListener, server: Context, ends: UnboundedSender<ripcord::Error>) {
    // The timeout is for the handshake. An upgraded connection has none.
    let layer = ContextLayer::new(&server).timeout(Duration::from_secs(5));
    let echo = async move |Ctx(ctx): Ctx, upgrade: WebSocketUpgrade| echo(ctx, upgrade, ends.clone());
    let app: Router = Router::new().route("/echo", any(echo)).layer(layer).with_state(());
    let mut builder = auto::Builder::new(StreamExecutor::new());
    builder.http1().half_close(true);
    let mut connections = JoinSet::new();
    while let Ok(accepted) = server.run(listener.accept()).await {
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors.
            let _ = server.sleep(Duration::from_secs(1)).await;
            continue;
        };
        let (stream, watch) = connection::watch(stream);
        let service = TowerToHyperService::new(watch.service(app.clone()));
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        connections.spawn(watch.until(&server).serve(connection));
        while connections.try_join_next().is_some() {}
    }
    connections.join_all().await;
}

/// Returns why a Context ended.
fn why(end: Option<ripcord::Error>) -> String {
    let cause = end.and_then(|end| end.cause().map(ToString::to_string));
    format!("context canceled: {}", cause.as_deref().unwrap_or("no cause"))
}

async fn connect(address: SocketAddr) -> Result<tokio_tungstenite::WebSocketStream<TcpStream>, Box<dyn Error>> {
    let stream = TcpStream::connect(address).await?;
    let (mut client, _) = tokio_tungstenite::client_async(format!("ws://{address}/echo"), stream).await?;
    client.send(tungstenite::Message::text("hello")).await?;
    let echoed = client.next().await.ok_or("closed")??;
    println!("client: {echoed}");
    Ok(client)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (server, stop) = Context::background().with_name("serve").with_cancel();
    let wanted = std::env::args().nth(1);
    let listener = TcpListener::bind(wanted.as_deref().unwrap_or("127.0.0.1:0")).await?;
    let address = listener.local_addr()?;
    println!("Serving ws://{address}/echo");
    let (sender, mut ends) = unbounded_channel();
    let serving = tokio::spawn(serve(listener, server, sender));
    if wanted.is_some() {
        tokio::signal::ctrl_c().await?;
        stop.cancel_with("Ctrl-C");
        serving.await?;
        return Ok(());
    }

    println!("\n== a client that leaves");
    let client = connect(address).await?;
    drop(client);
    println!("server: {}", why(ends.recv().await));

    println!("\n== a server that drains");
    let mut client = connect(address).await?;
    stop.cancel_with("draining");
    while let Some(Ok(message)) = client.next().await {
        println!("client: {}", if message.is_close() { "the server has said goodbye" } else { "?" });
    }
    drop(client);
    println!("server: {}", why(ends.recv().await));
    serving.await?;
    Ok(())
}
