//! The drain, over HTTP/2.

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use http::Request;
use tokio::{io::AsyncReadExt as _, io::AsyncWriteExt as _, net::TcpStream};

use crate::{Server, read_to_end, within};

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

#[tokio::test]
async fn bare_preface_does_not_delay_the_end() {
    let server = Server::start().await;
    let client = server.client("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    // Both are accepted now.
    read_to_end(server.client("GET / HTTP/1.0\r\n\r\n").await).await;
    server.shutdown.begin("deployment");
    assert!(server.end().await.is_clean());
    drop(client);
}

#[tokio::test]
async fn client_that_answers_no_ping_delays_the_end_by_less_than_a_second() {
    let server = Server::start().await;
    let mut client = server.client("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    // Its settings, then a request for "/": indexed fields of HPACK's static table, and ":authority: test".
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
    // Reads GOAWAY, and answers nothing.
    let (time, done) = (server.time.clone(), server.shutdown.clone());
    let passing = async move {
        while !done.context().is_done() {
            time.advance(std::time::Duration::from_millis(10));
            tokio::task::yield_now().await;
        }
    };
    within(passing).await;
    let report = server.end().await;
    assert!(report.canceled().is_empty() && report.elapsed() < crate::SECOND, "{report}");
}
