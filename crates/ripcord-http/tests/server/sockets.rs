//! A server on loopback, and clients that are plain sockets.

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

/// Serves `app` on a free port, each connection watched, for as long as the test's runtime lasts.
pub(crate) async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    serve_on(listener, app, true)
}

/// As `serve`, with sockets that hold little of what nobody reads.
pub(crate) async fn serve_with_small_buffers(app: Router) -> SocketAddr {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("more than the least");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    serve_on(socket.listen(16).expect("it is bound"), app, true)
}

/// Serves one connection, by a socket that takes little of what is to be sent; what `Watch::serve` returns is whether it ended
/// in order.
pub(crate) async fn serve_one(app: Router, watched: fn(Watch) -> Watch) -> (SocketAddr, JoinHandle<bool>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    // Set, it does not grow by itself either.
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

/// As `serve`, but nobody watches: a client's going is what hyper makes of it.
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

/// A client that has sent `bytes`.
pub(crate) async fn client(address: SocketAddr, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it accepts");
    stream.write_all(bytes.as_ref()).await.expect("it reads");
    stream
}

pub(crate) const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// Closes with a RST.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket");
    drop(stream);
}

/// All that comes until the server closes.
pub(crate) async fn answers(mut stream: TcpStream) -> String {
    let mut text = String::new();
    in_time(stream.read_to_string(&mut text)).await.expect("the server closes in order");
    text
}

/// What comes until it ends with `end`.
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

/// A request over a connection of its own and its answer. Whatever the system had told the server's sockets before has been
/// seen when it returns.
pub(crate) async fn round_trip(address: SocketAddr) {
    let text = answers(client(address, "GET /ping HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await).await;
    assert!(text.ends_with("pong"), "{text}");
}

/// `router` with what `round_trip` asks for.
pub(crate) fn with_ping(router: Router) -> Router {
    router.route("/ping", axum::routing::get(|| async { "pong" }))
}

/// The end of `ctx`, which has to come.
pub(crate) async fn end_of(ctx: &Context) -> Error {
    in_time(ctx.done()).await
}

/// That `ctx` ends because its client has gone.
pub(crate) async fn assert_disconnected(ctx: &Context) {
    let error = end_of(ctx).await;
    let is_disconnected = error.cause().is_some_and(|cause| cause.downcast_ref::<ClientDisconnected>().is_some());
    assert!(error.is_canceled() && is_disconnected, "{error:#}");
}

pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    Context::background().with_timeout(PATIENCE).run(future).await.expect("it comes in time")
}

/// A request without a body, as a client of HTTP/2 sends it.
pub(crate) fn h2_request() -> http::Request<()> {
    http::Request::get("http://test/").body(()).expect("well-formed")
}

/// A body that takes everything.
pub(crate) async fn read_all(request: Request<Body>) -> Result<usize, axum::Error> {
    use http_body_util::BodyExt as _;
    request.into_body().collect().await.map(|body| body.to_bytes().len())
}
