//! Tests clients that are still sending a body when they are answered.

use axum::{Router, extract::Request, http::StatusCode, routing::post};
use ripcord_http::server::Ctx;

use crate::{
    common::SECOND,
    handlers::layer,
    posts::{LENGTH, assert_no_answer_is_lost, post_all},
    sockets::{answer_until, client, read_all, serve, with_ping},
};

#[tokio::test]
async fn response_to_a_large_unread_upload_arrives() {
    let refuse = || async { (StatusCode::PAYLOAD_TOO_LARGE, "too large") };
    assert_no_answer_is_lost(serve(Router::new().route("/refuses", post(refuse)).layer(layer())).await).await;
}

#[tokio::test]
async fn response_of_the_layer_to_an_unread_upload_arrives() {
    let stuck = |_: Ctx, _held: Request| std::future::pending::<()>();
    let layer = layer().timeout(SECOND / 20);
    let address = serve(Router::new().route("/refuses", post(stuck)).layer(layer)).await;
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
