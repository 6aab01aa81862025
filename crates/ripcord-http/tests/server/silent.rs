//! Tests clients that send nothing or an incomplete head, on a manual clock, and the size of a connection that waits for them.

use axum::{Router, routing::get};
use hyper_util::{rt::TokioIo, server::conn::auto, service::TowerToHyperService};
use ripcord::{Canceler, Clock, Context, ManualTime};
use ripcord_http::server::connection::{self, StreamExecutor};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinHandle,
};

use crate::{
    common::SECOND,
    sockets::{GET, answer_until, h2_request, in_time, round_trip, serve, with_ping},
};

/// A server that closes silent connections, on a manual clock.
struct Server {
    address: std::net::SocketAddr,
    beside: std::net::SocketAddr,
    time: ManualTime,
    stop: Canceler,
    connections: UnboundedReceiver<JoinHandle<()>>,
}

impl Server {
    async fn start() -> Server {
        let (clock, time) = Clock::manual();
        let (until, stop) = Context::background().with_clock(clock).with_cancel();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (serving, connections) = unbounded_channel();
        tokio::spawn(async move {
            let mut builder = auto::Builder::new(StreamExecutor::new());
            builder.http1().half_close(true);
            let app: Router = Router::new().route("/", get(|| async { "here" }));
            while let Ok((stream, _)) = listener.accept().await {
                let (stream, watch) = connection::watch(stream);
                let service = TowerToHyperService::new(watch.service(app.clone()));
                let io = TokioIo::new(stream);
                let connection = builder.serve_connection_with_upgrades(io, service).into_owned();
                let connection = watch.until(&until).serve(connection);
                serving.send(tokio::spawn(async { drop(connection.await) })).expect("the test listens");
            }
        });
        let beside = serve(with_ping(Router::new())).await;
        Server { address, beside, time, stop, connections }
    }

    /// Returns a client that has sent `bytes`, and the task of its connection.
    async fn client(&mut self, bytes: &[u8]) -> (TcpStream, JoinHandle<()>) {
        let mut client = TcpStream::connect(self.address).await.expect("it accepts");
        client.write_all(bytes).await.expect("it reads");
        let serving = in_time(self.connections.recv()).await.expect("it is accepted");
        self.settle().await;
        (client, serving)
    }

    /// Waits until the server has handled all events.
    async fn settle(&self) {
        for _ in 0..3 {
            round_trip(self.beside).await;
        }
    }

    /// Asserts that the connection is closed after `timeout`, and not before.
    async fn assert_closed_after(
        &self,
        (mut client, serving): (TcpStream, JoinHandle<()>),
        timeout: std::time::Duration,
    ) {
        self.time.advance(timeout - std::time::Duration::from_nanos(1));
        self.settle().await;
        assert!(!serving.is_finished(), "closed too early");
        self.time.advance(std::time::Duration::from_nanos(1));
        in_time(serving).await.expect("no panic");
        let mut received = Vec::new();
        let _ = in_time(client.read_to_end(&mut received)).await;
    }
}

#[tokio::test]
async fn silent_client_is_closed_after_the_head_timeout() {
    let mut server = Server::start().await;
    let client = server.client(b"").await;
    server.assert_closed_after(client, 30 * SECOND).await;
}

#[tokio::test]
async fn preface_of_http2_alone_is_closed_after_the_head_timeout() {
    let mut server = Server::start().await;
    for bytes in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        let client = server.client(bytes).await;
        // The server waits half a second for the acknowledgement of its GOAWAY only if it has seen a request.
        server.assert_closed_after(client, 30 * SECOND).await;
    }
}

#[tokio::test]
async fn half_a_head_is_closed_after_the_head_timeout() {
    let mut server = Server::start().await;
    for bytes in [&b"G"[..], b"GET / HTTP/1.1\r\nHost: te", b"PRI * HTTP/2.0\r\n"] {
        let client = server.client(bytes).await;
        server.assert_closed_after(client, 30 * SECOND).await;
    }
}

#[tokio::test]
async fn more_bytes_of_a_head_do_not_extend_the_head_timeout() {
    let mut server = Server::start().await;
    let (mut client, serving) = server.client(b"GET / HTTP/1.1\r\n").await;
    server.time.advance(20 * SECOND);
    client.write_all(b"Host: te").await.expect("it reads");
    server.settle().await;
    server.assert_closed_after((client, serving), 10 * SECOND).await;
}

#[tokio::test]
async fn half_of_a_second_head_is_closed_after_the_head_timeout() {
    let mut server = Server::start().await;
    let (mut client, serving) = server.client(GET.as_bytes()).await;
    answer_until(&mut client, "here").await;
    server.time.advance(20 * SECOND);
    client.write_all(b"GET / HT").await.expect("it reads");
    server.settle().await;
    server.assert_closed_after((client, serving), 30 * SECOND).await;
}

#[tokio::test]
async fn idle_connection_is_closed_after_the_idle_timeout() {
    let mut server = Server::start().await;
    let (mut client, serving) = server.client(GET.as_bytes()).await;
    answer_until(&mut client, "here").await;
    for _ in 0..3 {
        server.time.advance(70 * SECOND);
        client.write_all(GET.as_bytes()).await.expect("it is open");
        answer_until(&mut client, "here").await;
        server.settle().await;
    }
    server.assert_closed_after((client, serving), 75 * SECOND).await;
}

#[tokio::test]
async fn idle_connection_of_http2_is_closed_after_the_idle_timeout() {
    let mut server = Server::start().await;
    let stream = TcpStream::connect(server.address).await.expect("it accepts");
    let serving = in_time(server.connections.recv()).await.expect("it is accepted");
    let (mut client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    let connection = tokio::spawn(connection);
    for _ in 0..2 {
        server.time.advance(25 * SECOND);
        let (response, _) = client.send_request(h2_request(), true).expect("it is open");
        assert_eq!(in_time(response).await.expect("it answers").status(), 200);
        server.settle().await;
    }
    server.time.advance(75 * SECOND);
    // The connection ends in order, with a GOAWAY.
    in_time(connection).await.expect("no panic").expect("it ends in order");
    in_time(serving).await.expect("no panic");
}

#[tokio::test]
async fn half_a_head_does_not_delay_the_shutdown() {
    let mut server = Server::start().await;
    for bytes in [&b""[..], b"GET / HTTP/1.1\r\nHost: te", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let (_client, serving) = server.client(bytes).await;
        server.stop.cancel();
        in_time(serving).await.expect("no panic");
    }
}

#[tokio::test]
async fn watch_holds_its_connection_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (stream, _) = accepted.expect("a client");
    let (stream, watch) = connection::watch(stream);
    let app: Router = Router::new();
    let service = TowerToHyperService::new(watch.service(app));
    let builder = auto::Builder::new(StreamExecutor::new());
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    let size = size_of_val(&connection);
    let serving = watch.serve(connection);
    assert!(size_of_val(&serving) < 2 * size, "{} bytes around {size}", size_of_val(&serving));
    drop((serving, client));
}
