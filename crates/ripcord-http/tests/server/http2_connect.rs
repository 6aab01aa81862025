//! Tests CONNECT over HTTP/2, as a WebSocket sends it (RFC 8441): the context ends with the stream, not with the connection.

use axum::{Router, body::Body, extract::Request, response::Response, routing::any};
use bytes::Bytes;
use h2::{
    client::{ResponseFuture, SendRequest},
    ext::Protocol,
};
use http::{Method, StatusCode};
use hyper_util::{rt::TokioIo, server::conn::auto, service::TowerToHyperService};
use ripcord::{Canceler, Clock, Context, ManualTime};
use ripcord_http::server::{
    ContextLayer, Ctx, RequestOutcome,
    connection::{self, StreamExecutor},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc::UnboundedReceiver,
    task::JoinHandle,
};

use crate::{
    common::SECOND,
    handlers::settle,
    sockets::{Started, assert_disconnected, end_of, in_time},
};

/// A server with an echo, on a manual clock.
struct Echo {
    client: SendRequest<Bytes>,
    connection: JoinHandle<()>,
    layer: ContextLayer,
    started: Started,
    outcomes: UnboundedReceiver<(u16, RequestOutcome)>,
    time: ManualTime,
    server: Canceler,
}

impl Echo {
    async fn start() -> Self {
        let (clock, time) = Clock::manual();
        let (ctx, server) = Context::background().with_clock(clock).with_cancel();
        let (tell, outcomes) = tokio::sync::mpsc::unbounded_channel();
        let layer = ContextLayer::new(&ctx).timeout(5 * SECOND).on_end(move |request| {
            let _ = tell.send((request.status.as_u16(), request.outcome.clone()));
        });
        let (begin, started) = Started::channel();
        let handler = async move |Ctx(ctx): Ctx, request: Request| {
            begin.send(ctx.clone()).expect("the test listens");
            tokio::spawn(echo(ctx, request));
            Response::new(Body::empty())
        };
        let app: Router = Router::new().route("/", any(handler)).layer(layer.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move {
            let mut builder = auto::Builder::new(StreamExecutor::new());
            builder.http2().enable_connect_protocol();
            let (stream, _) = listener.accept().await.expect("a client comes");
            let (stream, watch) = connection::watch(stream);
            let service = TowerToHyperService::new(watch.service(app));
            let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
            watch.until(&ctx).serve(connection).await
        });
        let stream = TcpStream::connect(address).await.expect("it accepts");
        let (client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
        let connection = tokio::spawn(async { drop(connection.await) });
        // The server's settings arrive before the first answer.
        let mut echo = Echo { client, connection, layer, started, outcomes, time, server };
        let (answer, _) = echo.client.send_request(request(Method::GET), true).expect("it is open");
        assert_eq!(in_time(answer).await.expect("an answer").status(), StatusCode::OK);
        end_of(&echo.started.next().await).await;
        assert_eq!(echo.outcome().await, (200, RequestOutcome::Answered));
        echo
    }

    /// Opens a stream. Returns the stream and the context of its request.
    async fn connect(&mut self) -> (Stream, Context) {
        let mut request = request(Method::CONNECT);
        request.extensions_mut().insert(Protocol::from_static("websocket"));
        let (answer, send) = self.client.send_request(request, false).expect("it is open");
        let ctx = self.started.next().await;
        let stream = Stream::accepted(answer, send).await;
        (stream, ctx)
    }

    async fn outcome(&mut self) -> (u16, RequestOutcome) {
        in_time(self.outcomes.recv()).await.expect("the request ends")
    }
}

fn request(method: Method) -> http::Request<()> {
    http::Request::builder().method(method).uri("http://test/").body(()).expect("well-formed")
}

async fn echo(ctx: Context, request: Request) {
    let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
    let mut upgraded = TokioIo::new(upgraded);
    let mut byte = [0];
    while let Ok(Ok(1)) = ctx.run(upgraded.read(&mut byte)).await {
        // "." asks the handler to end.
        if byte == *b"." || upgraded.write_all(&byte).await.is_err() {
            return;
        }
    }
}

struct Stream {
    send: h2::SendStream<Bytes>,
    receive: h2::RecvStream,
}

impl Stream {
    async fn accepted(answer: ResponseFuture, send: h2::SendStream<Bytes>) -> Self {
        let answer = in_time(answer).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        Stream { send, receive: answer.into_body() }
    }

    async fn assert_echoes(&mut self) {
        self.send.send_data(Bytes::from_static(b"x"), false).expect("it is open");
        let echoed = in_time(self.receive.data()).await.expect("an echo").expect("no error");
        assert_eq!(echoed, "x");
    }
}

#[tokio::test]
async fn connect_ends_with_its_stream_while_the_connection_continues() {
    let mut echo = Echo::start().await;
    let (mut first, first_ctx) = echo.connect().await;
    let (mut second, second_ctx) = echo.connect().await;
    echo.time.advance(100 * SECOND);
    first.assert_echoes().await;
    second.assert_echoes().await;
    assert_eq!((first_ctx.deadline(), first_ctx.is_done()), (None, false));

    first.send.send_reset(h2::Reason::CANCEL);
    let error = end_of(&first_ctx).await;
    assert_eq!(error.cause().expect("a cause").to_string(), "the upgraded connection was closed");
    assert_eq!(echo.outcome().await, (200, RequestOutcome::Answered));
    second.assert_echoes().await;
    assert!(!second_ctx.is_done());

    echo.connection.abort();
    assert_disconnected(&second_ctx).await;
    assert_eq!(echo.outcome().await, (200, RequestOutcome::ClientDisconnected));
    settle(&echo.layer).await;
}

#[tokio::test]
async fn connect_ends_when_the_handler_closes_the_stream() {
    let mut echo = Echo::start().await;
    let (mut stream, ctx) = echo.connect().await;
    stream.assert_echoes().await;
    stream.send.send_data(Bytes::from_static(b"."), false).expect("it is open");
    while let Some(data) = in_time(stream.receive.data()).await {
        assert_eq!(data.expect("no error"), "", "the end of the stream");
    }
    assert!(end_of(&ctx).await.is_canceled());
    assert_eq!(echo.outcome().await, (200, RequestOutcome::Answered));
    settle(&echo.layer).await;
    assert_eq!(echo.layer.stats().held, 1, "the test holds it");
}

#[tokio::test]
async fn connection_with_an_upgraded_stream_is_not_idle() {
    let mut echo = Echo::start().await;
    let (mut stream, ctx) = echo.connect().await;
    stream.assert_echoes().await;
    for _ in 0..4 {
        echo.time.advance(100 * SECOND);
        stream.assert_echoes().await;
    }
    assert!(!ctx.is_done());
    echo.server.cancel_with("draining");
    assert_eq!(end_of(&ctx).await.cause().expect("a cause").to_string(), "draining");
    assert_eq!(echo.outcome().await, (200, RequestOutcome::Canceled));
}
