//! A WebSocket echo server. A connection's context ends when the client disconnects or the server drains. Its cause is the reason.
//!
//! `cargo run --example websocket_echo` connects to itself and prints what happens. With an address, as in
//! `cargo run --example websocket_echo 127.0.0.1:8080`, it serves until Ctrl-C.
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::error::Error;
use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::time::Duration;

use axum::{
    Router,
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    response::Response,
    routing::any,
};
use futures::{SinkExt as _, StreamExt as _};
use ripcord::{Context, Shutdown};
use ripcord_http::server::{ContextLayer, Ctx};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite;

/// Upgrades the connection, and sends the end of its context to `ends`.
fn echo(ctx: Context, upgrade: WebSocketUpgrade, ends: UnboundedSender<ripcord::Error>) -> Response {
    upgrade.on_upgrade(async move |socket| {
        talk(&ctx, socket).await;
        // There may be no receiver.
        let _ = ends.send(ctx.done().await);
    })
}

/// Echoes until the client disconnects or the server drains.
async fn talk(ctx: &Context, mut socket: WebSocket) {
    loop {
        let received = tokio::select! {
            received = socket.recv() => received,
            () = ctx.draining() => {
                let _ = socket.send(Message::Close(None)).await;
                return;
            }
        };
        match received {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            // axum answers a ping or a close.
            Some(Ok(_)) => {}
            None | Some(Err(_)) => return,
        }
    }
}

fn app(server: &Context, ends: UnboundedSender<ripcord::Error>) -> Router {
    // The timeout applies to the handshake. An upgraded connection has no timeout.
    let layer = ContextLayer::new(server).timeout(Duration::from_secs(5));
    let echo = async move |Ctx(ctx): Ctx, upgrade: WebSocketUpgrade| echo(ctx, upgrade, ends.clone());
    Router::new().route("/echo", any(echo)).layer(layer)
}

/// Returns the error and the cause of a context as text.
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
    let shutdown = Shutdown::builder().context(&Context::background().with_name("serve")).build();
    let wanted = std::env::args().nth(1);
    let listener = ripcord_http::listen(wanted.as_deref().unwrap_or("127.0.0.1:0")).await?;
    let address = listener.local_addr()?;
    println!("Serving ws://{address}/echo");
    let (sender, mut ends) = unbounded_channel();
    let app = app(shutdown.context(), sender);
    let serving = tokio::spawn(ripcord_http::serve(listener, app).shutdown(&shutdown).into_future());
    if wanted.is_some() {
        shutdown.on_signals()?;
        serving.await?;
        return Ok(());
    }

    println!("\n== a client that leaves");
    let client = connect(address).await?;
    drop(client);
    println!("server: {}", why(ends.recv().await));

    println!("\n== a server that drains");
    let mut client = connect(address).await?;
    shutdown.begin("deployment");
    while let Some(Ok(message)) = client.next().await {
        println!("client: {}", if message.is_close() { "the server has said goodbye" } else { "?" });
    }
    drop(client);
    println!("server: {}", why(ends.recv().await));
    serving.await?;
    println!("{} work canceled", shutdown.run().await.canceled().len());
    Ok(())
}
