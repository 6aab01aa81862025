//! Clients that are still sending a body when they are answered.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use axum::{Router, extract::Request, http::StatusCode, routing::post};
use ripcord_http::server::Ctx;

use crate::{
    common::SECOND,
    handlers::layer,
    sockets::{answer_until, client, read_all, serve, with_ping},
};

const LENGTH: usize = 1 << 20;

/// Posts a megabyte as a blocking client does: it reads when it has sent everything.
fn post_all(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(60 * SECOND))?;
    write!(stream, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {LENGTH}\r\n\r\n")?;
    stream.write_all(&vec![b'x'; LENGTH])?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[tokio::test]
async fn no_answer_is_lost_when_a_large_body_is_not_read() {
    let refuse = || async { (StatusCode::PAYLOAD_TOO_LARGE, "too large") };
    let address = serve(Router::new().route("/", post(refuse)).layer(layer())).await;
    let clients: Vec<_> = (0..6)
        .map(|_| tokio::task::spawn_blocking(move || (0..50).map(|_| post_all(address)).collect::<Vec<_>>()))
        .collect();
    for client in clients {
        for answer in client.await.expect("no panic") {
            let answer = answer.expect("no answer is lost");
            assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("too large"), "{answer}");
            assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
        }
    }
}

#[tokio::test]
async fn answer_of_the_layer_is_not_lost_either() {
    let stuck = |_: Ctx, _held: Request| std::future::pending::<()>();
    let layer = layer().timeout(SECOND / 20);
    let address = serve(Router::new().route("/", post(stuck)).layer(layer)).await;
    let answer = tokio::task::spawn_blocking(move || post_all(address)).await.expect("no panic");
    let answer = answer.expect("no answer is lost");
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn connection_stays_open_after_a_body_that_was_read_or_is_small() {
    let app = Router::new()
        .route("/read", post(async |request: Request| read_all(request).await.expect("a body").to_string()));
    let app = app.route("/unread", post(|| async { "unread" }));
    let address = serve(with_ping(app).layer(layer())).await;
    let head = |path, length| format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n");
    for (path, length, answer) in [("/read", LENGTH, "1048576"), ("/unread", 5, "unread")] {
        let mut client = client(address, head(path, length) + &"x".repeat(length)).await;
        let first = answer_until(&mut client, answer).await;
        assert!(!first.to_ascii_lowercase().contains("connection: close"), "{first}");
        tokio::io::AsyncWriteExt::write_all(&mut client, b"GET /ping HTTP/1.1\r\nHost: test\r\n\r\n")
            .await
            .expect("open");
        answer_until(&mut client, "pong").await;
    }
}
