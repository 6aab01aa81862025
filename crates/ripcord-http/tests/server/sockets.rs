//! Helpers: a server on loopback, and clients that are plain sockets.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use ripcord::{Context, Error};
use ripcord_http::server::{
    ClientDisconnected,
    connection::{self, StreamExecutor, Watch},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
};

use crate::common::PATIENCE;

/// Serves `app` on a free port with watched connections, until the test's runtime ends.
pub(crate) async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    serve_on(listener, app, true)
}

/// Like `serve`, with small receive buffers.
pub(crate) async fn serve_with_small_buffers(app: Router) -> SocketAddr {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("more than the least");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    serve_on(socket.listen(16).expect("it is bound"), app, true)
}

/// Serves one connection, with a small send buffer. The task returns whether the connection ended in order, as `Watch::serve`
/// reports it.
pub(crate) async fn serve_one(app: Router, watched: fn(Watch) -> Watch) -> (SocketAddr, JoinHandle<bool>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    // A buffer with a set size does not grow.
    socket.set_send_buffer_size(4096).expect("more than the least");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let listener = socket.listen(16).expect("it is bound");
    let address = listener.local_addr().expect("it is bound");
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client comes");
        let (stream, watch) = connection::watch(stream);
        let mut builder = auto::Builder::new(StreamExecutor::new());
        builder.http1().half_close(true);
        let service = TowerToHyperService::new(watch.service(app));
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        watched(watch).serve(connection).await.is_some()
    });
    (address, serving)
}

/// Like `serve`, without watched connections. Only hyper detects disconnects.
pub(crate) async fn serve_unwatched(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    serve_on(listener, app, false)
}

fn serve_on(listener: TcpListener, app: Router, is_watched: bool) -> SocketAddr {
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        let mut watched_builder = auto::Builder::new(StreamExecutor::new());
        watched_builder.http1().half_close(true);
        let builder = auto::Builder::new(TokioExecutor::new());
        while let Ok((stream, _)) = listener.accept().await {
            if is_watched {
                let (stream, watch) = connection::watch(stream);
                let service = TowerToHyperService::new(watch.service(app.clone()));
                let io = TokioIo::new(stream);
                let connection = watched_builder.serve_connection_with_upgrades(io, service).into_owned();
                tokio::spawn(watch.serve(connection));
            } else {
                let service = TowerToHyperService::new(app.clone());
                tokio::spawn(builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned());
            }
        }
    });
    address
}

/// The contexts of handlers that have started.
pub(crate) struct Started(UnboundedReceiver<Context>);

impl Started {
    pub(crate) fn channel() -> (UnboundedSender<Context>, Started) {
        let (sender, receiver) = unbounded_channel();
        (sender, Started(receiver))
    }

    pub(crate) async fn next(&mut self) -> Context {
        in_time(self.0.recv()).await.expect("a handler begins")
    }
}

/// Returns a client that has sent `bytes`.
pub(crate) async fn client(address: SocketAddr, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it accepts");
    stream.write_all(bytes.as_ref()).await.expect("it reads");
    stream
}

pub(crate) const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// Closes the connection with a RST.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket");
    drop(stream);
}

/// Reads until the server closes the connection.
pub(crate) async fn answers(mut stream: TcpStream) -> String {
    let mut text = String::new();
    in_time(stream.read_to_string(&mut text)).await.expect("the server closes in order");
    text
}

/// Reads until the received text ends with `end`.
pub(crate) async fn answer_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let mut buffer = [0; 4096];
        let read = in_time(stream.read(&mut buffer)).await.expect("an answer");
        assert!(read > 0, "no {end:?} in {:?}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8(text).expect("text")
}

/// Sends a request over a new connection and reads the answer. After that, the server has handled all earlier events of its
/// sockets.
pub(crate) async fn round_trip(address: SocketAddr) {
    let text = answers(client(address, "GET /ping HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await).await;
    assert!(text.ends_with("pong"), "{text}");
}

/// Adds the route that `round_trip` requests.
pub(crate) fn with_ping(router: Router) -> Router {
    router.route("/ping", axum::routing::get(|| async { "pong" }))
}

/// Waits for the end of `ctx`.
pub(crate) async fn end_of(ctx: &Context) -> Error {
    in_time(ctx.done()).await
}

/// Asserts that `ctx` ends because its client has disconnected.
pub(crate) async fn assert_disconnected(ctx: &Context) {
    let error = end_of(ctx).await;
    let is_disconnected = error.cause().is_some_and(|cause| cause.downcast_ref::<ClientDisconnected>().is_some());
    assert!(error.is_canceled() && is_disconnected, "{error:#}");
}

pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    Context::background().with_timeout(PATIENCE).run(future).await.expect("it comes in time")
}

/// Returns an HTTP/2 request without a body.
pub(crate) fn h2_request() -> http::Request<()> {
    http::Request::get("http://test/").body(()).expect("well-formed")
}

/// Reads the whole body of a request. Returns its length.
pub(crate) async fn read_all(request: Request<Body>) -> Result<usize, axum::Error> {
    use http_body_util::BodyExt as _;
    request.into_body().collect().await.map(|body| body.to_bytes().len())
}
