//! Tests a SIGTERM under load: no answer is lost, and the server ends with the last client.

use std::{convert::Infallible, time::Duration};

use axum::{
    Router,
    extract::ws::{Message, WebSocketUpgrade},
    response::sse::{Event, Sse},
    routing::{any, get},
};
use futures::{SinkExt as _, StreamExt as _, stream};
use ripcord::Context;
use ripcord_http::{Limits, server::Ctx};
use tokio_tungstenite::tungstenite;

use crate::{SECOND, Server, get_request, read_answer, read_to_end, within};

/// Sends `token` at once, and `draining` when the drain begins.
async fn events(Ctx(ctx): Ctx) -> Sse<impl futures::Stream<Item = Result<Event, Infallible>>> {
    let draining = async move {
        ctx.draining().await;
        Ok(Event::default().event("draining").data("deployment"))
    };
    Sse::new(stream::iter([Ok(Event::default().data("token"))]).chain(stream::once(draining)))
}

/// Echoes messages until the drain, then sends a goodbye message.
async fn echo(Ctx(ctx): Ctx, upgrade: WebSocketUpgrade) -> axum::response::Response {
    upgrade.on_upgrade(async move |mut socket| {
        loop {
            tokio::select! {
                () = ctx.draining() => return drop(socket.send(Message::Close(None)).await),
                message = socket.recv() => match message {
                    Some(Ok(message @ Message::Text(_))) => drop(socket.send(message).await),
                    Some(Ok(_)) => {}
                    _ => return,
                },
            }
        }
    })
}

#[tokio::test]
async fn term_under_load_loses_nothing() {
    let routes = Router::new().route("/events", get(events)).route("/echo", any(echo));
    let mut server = Server::start_with(|it| it.drain(3600 * SECOND), Limits::default(), routes).await;

    let mut requests = Vec::new();
    for _ in 0..200 {
        requests.push(server.in_flight("/waits").await.0);
    }
    let mut streams = Vec::new();
    for _ in 0..50 {
        let mut client = server.client(&get_request("/events")).await;
        read_answer(&mut client, "data: token\n\n\r\n").await;
        streams.push(client);
    }
    let stream = server.connect().await;
    let url = format!("ws://{}/echo", server.address);
    let (mut socket, _) = within(tokio_tungstenite::client_async(url, stream)).await.expect("it upgrades");
    socket.send(tungstenite::Message::text("hello")).await.expect("it is open");
    assert_eq!(within(socket.next()).await.expect("open").expect("an echo"), tungstenite::Message::text("hello"));
    let job = server.shutdown.context().with_name("job").spawn_blocking(|ctx: Context| {
        let mut rounds = 0_u64;
        while !ctx.is_draining() && !ctx.is_done() {
            std::thread::yield_now();
            rounds += 1;
        }
        rounds
    });

    // No other test of this binary listens for signals.
    server.shutdown.on_signals().expect("a handler and a thread");
    let kill = std::process::Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status();
    assert!(kill.expect("kill exists").success());

    for client in requests {
        let answer = read_to_end(client).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("drained"), "{answer:?}");
    }
    for client in streams {
        let rest = read_to_end(client).await;
        assert!(rest.ends_with("event: draining\ndata: deployment\n\n\r\n0\r\n\r\n"), "{rest:?}");
    }
    assert!(within(socket.next()).await.expect("a message").expect("no error").is_close());
    drop(socket);
    assert!(within(job).await.is_ok());
    // The clock stands still, so the drain ends because the last client has left.
    let report = server.end().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.cause().to_string(), "SIGTERM received");
    assert_eq!(report.elapsed(), Duration::ZERO);
}
