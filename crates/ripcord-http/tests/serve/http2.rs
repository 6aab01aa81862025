//! Tests the drain, over HTTP/2.

use axum::Router;
use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use http::Request;
use ripcord_http::Limits;
use tokio::{io::AsyncReadExt as _, io::AsyncWriteExt as _, net::TcpStream};

use crate::{SECOND, Server, read_to_end, within};

async fn handshake(server: &Server) -> (SendRequest<Bytes>, Connection<TcpStream, Bytes>) {
    within(h2::client::handshake(server.connect().await)).await.expect("HTTP/2 is served")
}

fn request(path: &str) -> Request<()> {
    Request::get(format!("http://test{path}")).body(()).expect("a path")
}

#[tokio::test]
async fn stream_in_flight_is_answered_and_the_client_gets_goaway() {
    let mut server = Server::start().await;
    let (mut client, connection) = handshake(&server).await;
    let closed = tokio::spawn(connection);
    let (answer, _) = client.send_request(request("/waits"), true).expect("it is open");
    within(server.started.recv()).await.expect("the handler begins");
    server.shutdown.begin("deployment");
    let answer = within(answer).await.expect("it is answered");
    assert!(answer.headers().get("connection").is_none());
    let body = within(answer.into_body().data()).await.expect("a body").expect("data");
    assert_eq!(body, "drained");
    assert!(within(futures::future::poll_fn(|task| client.poll_ready(task))).await.is_err(), "GOAWAY");
    within(closed).await.expect("no panic").expect("it closes in order");
    assert!(server.end().await.is_clean());
}

#[tokio::test]
async fn idle_client_gets_goaway_at_once() {
    let server = Server::start().await;
    let (mut client, connection) = handshake(&server).await;
    let closed = tokio::spawn(connection);
    let (answer, _) = client.send_request(request("/"), true).expect("it is open");
    within(answer).await.expect("it is answered");
    server.shutdown.begin("deployment");
    within(closed).await.expect("no panic").expect("it closes in order");
    assert!(server.end().await.is_clean());
}

// During the drain delay, the listener stays open. GOAWAY asks connected clients to connect to another server.
#[tokio::test]
async fn drain_delay_sends_goaway_at_once_and_answers_the_stream_in_flight() {
    let mut server = Server::start_with(|it| it.drain_delay(5 * SECOND), Limits::default(), Router::new()).await;
    let (mut client, connection) = handshake(&server).await;
    let closed = tokio::spawn(connection);
    let (answer, _) = client.send_request(request("/never"), true).expect("it is open");
    let ctx = within(server.started.recv()).await.expect("the handler begins");
    server.shutdown.begin("deployment");
    // No request can be sent after GOAWAY.
    within(async {
        while futures::future::poll_fn(|task| client.poll_ready(task)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!ctx.is_done(), "the stream in flight goes on");

    // A new client is still served, and gets GOAWAY after its answer.
    let (mut late, connection) = handshake(&server).await;
    let late_closed = tokio::spawn(connection);
    let (health, _) = late.send_request(request("/healthz"), true).expect("it is open");
    let health = within(within(health).await.expect("it is answered").into_body().data()).await;
    assert_eq!(health.expect("a body").expect("data"), "draining");

    server.time.advance(5 * SECOND);
    within(late_closed).await.expect("no panic").expect("it closes in order");
    assert!(!ctx.is_done(), "the drain goes on");
    server.listener_closed().await;
    within(async {
        while format!("{:?}", server.shutdown).matches("connection").count() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    server.time.advance(5 * SECOND);
    assert_eq!(within(answer).await.expect("it is answered").status(), 503);
    within(closed).await.expect("no panic").expect("it closes in order");
    let report = server.end().await;
    assert_eq!(report.canceled().len(), 1, "{report}");
}

#[tokio::test]
async fn bare_preface_does_not_delay_the_end() {
    let server = Server::start().await;
    let client = server.client("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    // When this client has its answer, the server has accepted both clients.
    read_to_end(server.client("GET / HTTP/1.0\r\n\r\n").await).await;
    server.shutdown.begin("deployment");
    assert!(server.end().await.is_clean());
    drop(client);
}

#[tokio::test]
async fn client_that_answers_no_ping_delays_the_end_by_less_than_a_second() {
    let server = Server::start().await;
    let mut client = server.client("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    // The client's settings, then a request for "/": indexed fields of HPACK's static table, and ":authority: test".
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let headers = [0x82, 0x86, 0x84, 0x01, 4, b't', b'e', b's', b't'];
    let head = [0, 0, headers.len() as u8, 1, 5, 0, 0, 0, 1];
    client.write_all(&[&settings[..], &head, &headers].concat()).await.expect("it reads");
    let mut received = Vec::new();
    while !received.ends_with(b"here") {
        let read = within(client.read_buf(&mut received)).await.expect("it answers");
        assert!(read > 0, "closed after {received:?}");
    }
    server.shutdown.begin("deployment");
    // The client reads GOAWAY and sends no acknowledgement.
    let (time, done) = (server.time.clone(), server.shutdown.clone());
    let passing = async move {
        while !done.context().is_done() {
            time.advance(std::time::Duration::from_millis(10));
            tokio::task::yield_now().await;
        }
    };
    within(passing).await;
    let report = server.end().await;
    assert!(report.canceled().is_empty() && report.elapsed() < SECOND, "{report}");
}
