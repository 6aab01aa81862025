//! Tests the progress of uploads, and the answers to clients that are still sending.

use std::{future::IntoFuture as _, net::SocketAddr};

use axum::{Router, extract::Request, http::StatusCode, routing::post};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use ripcord::{Clock, Context, ManualTime, Shutdown};
use ripcord_http::server::{ContextLayer, Ctx, Ended};
use tokio::{io::AsyncWriteExt as _, sync::mpsc, task::JoinHandle};

use crate::{SECOND, posts::assert_no_answer_is_lost, within};

/// A server. Its `/` reports the context, reads the request's body, and reports each chunk.
struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    time: ManualTime,
    started: mpsc::UnboundedReceiver<Context>,
    chunks: mpsc::UnboundedReceiver<Bytes>,
    serving: JoinHandle<()>,
}

impl Server {
    /// Starts a server with the layers that `layers` adds to the app.
    async fn start(layers: impl FnOnce(Router, &Context) -> Router) -> Server {
        let (clock, time) = Clock::manual();
        let shutdown = Shutdown::builder().context(&Context::background().with_clock(clock)).build();
        let (begin, started) = mpsc::unbounded_channel();
        let (chunk, chunks) = mpsc::unbounded_channel();
        let read = async move |Ctx(ctx): Ctx, request: Request| -> Result<&'static str, Ended> {
            begin.send(ctx.clone()).expect("the test listens");
            let mut body = request.into_body();
            while let Some(frame) = ctx.run(body.frame()).await? {
                let data = frame.expect("the client is there").into_data().expect("no trailers");
                chunk.send(data).expect("the test listens");
            }
            Ok("read")
        };
        let refuse = || async { (StatusCode::PAYLOAD_TOO_LARGE, "too large") };
        let app = layers(Router::new().route("/", post(read)).route("/refuses", post(refuse)), shutdown.context());
        let listener = ripcord_http::listen("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let serving = tokio::spawn(ripcord_http::serve(listener, app).shutdown(&shutdown).into_future());
        Server { address, shutdown, time, started, chunks, serving }
    }

    async fn connect(&self) -> tokio::net::TcpStream {
        tokio::net::TcpStream::connect(self.address).await.expect("it accepts")
    }

    /// Waits until the handler has read a chunk, and checks that the idle timeout starts again.
    async fn assert_progress(&mut self, ctx: &Context) {
        within(self.chunks.recv()).await.expect("a chunk is read");
        self.time.advance(3 * SECOND / 2);
        assert!(!ctx.is_done(), "{:?}", ctx.err());
    }

    /// Checks that a stalled upload ends with the idle timeout as the reason.
    async fn assert_idle(&self, ctx: &Context, line: u32) {
        self.time.advance(SECOND / 2);
        let story = format!("{:#}", within(ctx.done()).await);
        let expected = format!("context deadline exceeded (idle for 2s: timeout set at {}:{line}:", file!());
        assert!(story.starts_with(&expected), "{story}");
    }

    async fn end(self) {
        self.shutdown.begin("the end of the test");
        within(self.serving).await.expect("no panic");
    }
}

/// Adds layers to an app.
type Layers<'a> = &'a dyn Fn(Router, &Context) -> Router;

/// Returns a layer with an idle timeout of two seconds, and the line that sets the timeout.
fn idle(ctx: &Context) -> (ContextLayer, u32) {
    (ContextLayer::new(ctx).idle_timeout(2 * SECOND), line!())
}

#[tokio::test]
async fn slow_upload_continues_and_stalled_upload_ends_in_each_layer_with_an_idle_timeout() {
    let layer = |ctx: &Context| idle(ctx).0;
    let longer = |ctx: &Context| ContextLayer::new(ctx).idle_timeout(100 * SECOND);
    let apps: [Layers<'_>; 4] = [
        &|app, ctx| app.layer(layer(ctx)),
        &|app, ctx| app.layer(layer(ctx)).layer(ContextLayer::new(ctx)),
        &|app, ctx| app.layer(layer(ctx)).layer(longer(ctx)),
        &|app, ctx| app.layer(longer(ctx)).layer(layer(ctx)),
    ];
    for app in apps {
        let mut server = Server::start(app).await;
        let mut client = server.connect().await;
        client.write_all(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n").await.expect("it reads");
        let ctx = within(server.started.recv()).await.expect("it begins");
        for _ in 0..5 {
            client.write_all(b"x").await.expect("it reads");
            server.assert_progress(&ctx).await;
        }
        server.assert_idle(&ctx, idle(&ctx).1).await;
        let answer = crate::read_to_end(client).await;
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
        server.end().await;
    }
}

#[tokio::test]
async fn upload_over_http2_has_progress_of_its_own() {
    let mut server = Server::start(|app, ctx| app.layer(idle(ctx).0)).await;
    let (mut client, connection) = within(h2::client::handshake(server.connect().await)).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let mut post = || {
        let request = http::Request::post("http://test/").body(()).expect("well-formed");
        client.send_request(request, false).expect("it is open")
    };
    let (stalls, _stalls) = post();
    let stalled = within(server.started.recv()).await.expect("it begins");
    let (trickles, mut upload) = post();
    let ctx = within(server.started.recv()).await.expect("it begins");
    for _ in 0..5 {
        upload.send_data(Bytes::from_static(b"x"), false).expect("it is open");
        server.assert_progress(&ctx).await;
    }
    assert!(stalled.is_done(), "the progress of another stream is none of its own");
    assert_eq!(within(stalls).await.expect("an answer").status(), StatusCode::GATEWAY_TIMEOUT);
    upload.send_data(Bytes::new(), true).expect("it is open");
    assert_eq!(within(trickles).await.expect("an answer").status(), StatusCode::OK);
    connection.abort();
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn all_300_unread_uploads_of_a_megabyte_receive_their_response() {
    let server = Server::start(|app, ctx| app.layer(ContextLayer::new(ctx))).await;
    assert_no_answer_is_lost(server.address).await;
    server.end().await;
}
