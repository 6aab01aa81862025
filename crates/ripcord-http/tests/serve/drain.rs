//! Tests the drain, over HTTP/1.

use axum::Router;
use ripcord::DrainEnded;
use ripcord_http::Limits;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{SECOND, Server, get_request, read_answer, read_to_end, within};

#[tokio::test]
async fn server_without_connections_ends_at_once() {
    let server = Server::start().await;
    let address = server.address;
    server.shutdown.begin("deployment");
    let report = server.end().await;
    assert!(report.is_clean(), "{report}");
    assert!(TcpStream::connect(address).await.is_err(), "the listener is closed");
}

#[tokio::test]
async fn request_in_flight_is_answered_and_its_connection_closed() {
    let mut server = Server::start().await;
    let (client, ctx) = server.in_flight("/waits").await;
    server.shutdown.begin("deployment");
    let answer = read_to_end(client).await;
    assert!(answer.contains("\r\nConnection: close\r\n") && answer.ends_with("drained"), "{answer}");
    assert!(server.end().await.is_clean());
    assert!(ctx.is_draining());
}

#[tokio::test]
async fn idle_connection_is_closed_as_soon_as_the_drain_begins() {
    let server = Server::start_with(|it| it.drain_delay(5 * SECOND), Limits::default(), Router::new()).await;
    let mut client = server.client(&get_request("/")).await;
    read_answer(&mut client, "here").await;
    server.shutdown.begin("deployment");
    assert_eq!(read_to_end(client).await, "");
    server.time.advance(5 * SECOND);
    assert!(server.end().await.is_clean());
}

#[tokio::test]
async fn listener_stays_open_for_the_drain_delay_and_readiness_turns_false_first() {
    let mut server = Server::start_with(|it| it.drain_delay(5 * SECOND), Limits::default(), Router::new()).await;
    let address = server.address;
    server.shutdown.begin("deployment");
    let health = read_to_end(server.client(&get_request("/healthz")).await).await;
    assert!(health.contains("\r\nConnection: close\r\n") && health.ends_with("draining"), "{health}");
    let slow = server.client(&get_request("/never")).await;
    let ctx = within(server.started.recv()).await.expect("it is served");
    // None of these clients delays the end.
    let silent = server.connect().await;
    let half = server.client("GET / HTTP/1.1\r\nHo").await;
    assert!(read_to_end(server.client(&get_request("/healthz")).await).await.ends_with("draining"));

    server.time.advance(5 * SECOND);
    assert_eq!(read_to_end(silent).await, "");
    assert_eq!(read_to_end(half).await, "");
    assert!(!ctx.is_done(), "the drain goes on");
    drop(slow);
    assert!(server.end().await.is_clean());
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn request_in_the_listeners_queue_is_answered() {
    let server = Server::start().await;
    // There is no await here, so that the server accepts neither connection before the drain begins.
    let silent = std::net::TcpStream::connect(server.address).expect("it listens");
    let mut queued = std::net::TcpStream::connect(server.address).expect("it listens");
    std::io::Write::write_all(&mut queued, get_request("/").as_bytes()).expect("it is open");
    server.shutdown.begin("deployment");

    let into_tokio = |stream: std::net::TcpStream| {
        stream.set_nonblocking(true).expect("a socket");
        TcpStream::from_std(stream).expect("a runtime")
    };
    let answer = read_to_end(into_tokio(queued)).await;
    assert!(answer.contains("\r\nConnection: close\r\n") && answer.ends_with("here"), "{answer:?}");
    assert_eq!(read_to_end(into_tokio(silent)).await, "");
    assert!(server.end().await.is_clean());
}

#[tokio::test]
async fn request_that_has_been_sent_before_the_drain_is_answered() {
    for _ in 0..100 {
        let server = Server::start().await;
        let mut client = server.client(&get_request("/")).await;
        read_answer(&mut client, "here").await;
        // The server has not read this request when the drain begins.
        client.write_all(get_request("/").as_bytes()).await.expect("it is open");
        server.shutdown.begin("deployment");
        let answer = read_to_end(client).await;
        assert!(answer.contains("\r\nConnection: close\r\n") && answer.ends_with("here"), "{answer:?}");
        assert!(server.end().await.is_clean());
    }
}

#[tokio::test]
async fn half_a_request_and_a_bare_preface_do_not_delay_the_end() {
    let server = Server::start().await;
    let clients =
        [server.client("").await, server.client("GET / HTTP/1.1\r\nHo").await, server.client("PRI * HT").await];
    read_to_end(server.client("GET / HTTP/1.0\r\n\r\n").await).await;
    server.shutdown.begin("deployment");
    assert!(server.end().await.is_clean());
    for client in clients {
        assert_eq!(read_to_end(client).await, "");
    }
}

#[tokio::test]
async fn drain_time_over_cancels_requests_which_still_answer() {
    let mut server = Server::start().await;
    let (client, ctx) = server.in_flight("/never").await;
    server.shutdown.begin("deployment");
    server.listener_closed().await;
    server.time.advance(10 * SECOND);
    let answer = read_to_end(client).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let cause = ctx.cause().expect("it has ended");
    assert!(cause.downcast_ref::<DrainEnded>().is_some_and(DrainEnded::is_time_over), "{cause}");
    let report = server.end().await;
    assert_eq!(report.canceled().len(), 1);
    assert_eq!(report.canceled()[0].name(), Some("connection"));
    assert!(report.canceled()[0].location().file().ends_with("tests/serve/main.rs"));
    assert!(report.left().is_empty(), "{report}");
}

#[tokio::test]
async fn connection_that_does_not_close_is_dropped_after_the_last_answers() {
    let routes = Router::new();
    let mut server = Server::start_with(|it| it.drain(SECOND), Limits::default(), routes).await;
    let stuck = axum::routing::get(std::future::pending::<()>);
    // There is no layer that ends the request.
    let listener = ripcord_http::listen("127.0.0.1:0").await.expect("a free port");
    server.address = listener.local_addr().expect("it is bound");
    let serve = ripcord_http::serve(listener, Router::new().route("/", stuck)).shutdown(&server.shutdown);
    let serving = tokio::spawn(std::future::IntoFuture::into_future(serve));
    let client = server.client(&get_request("/")).await;
    while format!("{:?}", server.shutdown).matches("connection").count() == 0 {
        tokio::task::yield_now().await;
    }
    server.shutdown.begin("deployment");
    server.listener_closed().await;
    server.time.advance(SECOND);
    server.time.advance(SECOND);
    within(serving).await.expect("no panic");
    assert_eq!(read_to_end(client).await, "");
    assert_eq!(server.end().await.canceled().len(), 1);
}
