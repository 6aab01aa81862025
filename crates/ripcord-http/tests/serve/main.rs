//! Tests `serve`, a server for any tower service, on loopback sockets. The tests use a manual clock. Real time matters only if a
//! test hangs.

mod drain;
mod http2;
#[cfg(unix)]
mod load;
#[path = "../common/posts.rs"]
mod posts;
mod requests;
mod upgrades;
mod uploads;

use std::{future::IntoFuture as _, net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use ripcord::{Clock, Context, ManualTime, Report, Shutdown, ShutdownBuilder};
use ripcord_http::{
    Limits,
    server::{ContextLayer, Ctx, Ended},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
};

/// The maximum time to wait for events in real time.
const PATIENCE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// A running server. `/` answers at once, `/waits` when its context drains or the test releases it, `/never` at its context's end.
struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    time: ManualTime,
    /// The contexts of started requests for `/waits` and `/never`.
    started: mpsc::UnboundedReceiver<Context>,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start() -> Server {
        Server::start_with(|shutdown| shutdown.drain(10 * SECOND), Limits::default(), Router::new()).await
    }

    async fn start_with(
        settings: impl FnOnce(ShutdownBuilder) -> ShutdownBuilder,
        limits: Limits,
        routes: Router,
    ) -> Server {
        let (clock, time) = Clock::manual();
        let root = Context::background().with_clock(clock).with_name("server");
        let shutdown = settings(Shutdown::builder().context(&root)).build();
        let (begin, started) = mpsc::unbounded_channel();
        let begins = begin.clone();
        let waits = async move |Ctx(ctx): Ctx| {
            begins.send(ctx.clone()).expect("the test listens");
            ctx.draining().await;
            "drained"
        };
        let never = async move |Ctx(ctx): Ctx| -> Result<(), Ended> {
            begin.send(ctx.clone()).expect("the test listens");
            Err(ctx.done().await.into())
        };
        let health = |Ctx(ctx): Ctx| async move { if ctx.is_draining() { "draining" } else { "ready" } };
        let app = Router::new()
            .route("/", get(|| async { "here" }))
            .route("/waits", get(waits))
            .route("/never", get(never))
            .route("/healthz", get(health))
            .merge(routes)
            .layer(ContextLayer::new(shutdown.context()));
        let listener = ripcord_http::listen("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let serve = ripcord_http::serve(listener, app).limits(limits).shutdown(&shutdown);
        let serving = tokio::spawn(serve.into_future());
        Server { address, shutdown, time, started, serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it accepts")
    }

    /// Returns a client that has sent `bytes`.
    async fn client(&self, bytes: &str) -> TcpStream {
        let mut client = self.connect().await;
        client.write_all(bytes.as_bytes()).await.expect("it reads");
        client
    }

    /// Returns a client whose request is in a handler, and the request's context.
    async fn in_flight(&mut self, path: &str) -> (TcpStream, Context) {
        let client = self.client(&get_request(path)).await;
        let ctx = within(self.started.recv()).await.expect("the handler begins");
        (client, ctx)
    }

    /// Waits until the server has closed its listener. Between two jumps of the clock, the server runs only while the test waits.
    async fn listener_closed(&self) {
        within(async {
            while format!("{:?}", self.shutdown).contains("listener") {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Waits for the end of the server and of its shutdown.
    async fn end(self) -> Report {
        within(self.serving).await.expect("no panic");
        within(self.shutdown.run()).await
    }
}

fn get_request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it does not hang")
}

/// Reads until the server closes or resets the connection.
async fn read_to_end(mut client: TcpStream) -> String {
    let mut received = Vec::new();
    let _ = within(client.read_to_end(&mut received)).await;
    String::from_utf8(received).expect("text")
}

/// Reads one answer, which ends with `body`.
async fn read_answer(client: &mut TcpStream, body: &str) -> String {
    let mut received = String::new();
    while !received.ends_with(body) {
        let mut buffer = [0; 1024];
        let read = within(client.read(&mut buffer)).await.expect("it answers");
        assert!(read > 0, "closed after {received:?}");
        received.push_str(str::from_utf8(&buffer[..read]).expect("text"));
    }
    received
}
