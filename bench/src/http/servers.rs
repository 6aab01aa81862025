//! The servers in Rust. Go's is in `go/serve.go`.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use ripcord::Context;
use ripcord_http::RequestId;
use ripcord_http::inspector::Inspector;
use ripcord_http::server::{ContextLayer, Ctx};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::task::JoinSet;
use tower::ServiceBuilder;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::timeout::TimeoutLayer;

/// What a request may take, in all of them.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A server that this program can be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    /// The handler of H1 behind ripcord's layer: a Context with deadline and id for each request.
    Ours,
    /// The same with an inspector that shows each request. Its page is there too.
    Inspected,
    /// The same handler behind tower-http's layers for a timeout and a request's id.
    TowerHttp,
    /// The chapter's middleware and a quick handler that prints the request's id, for H2.
    Chapter,
}

impl Side {
    const ALL: [Side; 4] = [Side::Ours, Side::Inspected, Side::TowerHttp, Side::Chapter];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Side::Ours => "ours",
            Side::Inspected => "inspected",
            Side::TowerHttp => "tower-http",
            Side::Chapter => "chapter",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Side::ALL.into_iter().find(|side| side.name() == name)
    }

    fn router(self) -> Router {
        match self {
            Side::Ours => quick().layer(context_layer()),
            Side::Inspected => {
                let inspector = Inspector::new();
                let app = quick().layer(context_layer().inspector(&inspector));
                app.nest("/debug/contexts", inspector.router())
            }
            Side::TowerHttp => quick().layer(
                ServiceBuilder::new()
                    .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
                    .layer(PropagateRequestIdLayer::x_request_id())
                    .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, TIMEOUT)),
            ),
            Side::Chapter => Router::new().route("/", get(processed)).layer(context_layer()),
        }
    }
}

/// Serves until the standard input ends, each side on a port of its own, which are the first line printed. Blocks the thread.
pub(crate) fn serve(sides: &[Side]) -> io::Result<()> {
    // One core, one thread: more would only be scheduled on it in turns.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    thread::spawn(|| {
        // Nothing is ever written to it; its end, also by an error, is the end of this process.
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    runtime.block_on(async {
        let mut servers = JoinSet::new();
        let mut ports = Vec::new();
        for side in sides {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            ports.push(listener.local_addr()?.port().to_string());
            // The inspector's page asks who looks; without it the address is told to nobody.
            let service = side.router().into_make_service_with_connect_info::<SocketAddr>();
            servers.spawn(async { axum::serve(listener, service).await });
        }
        writeln!(io::stdout(), "{}", ports.join(" "))?;
        io::stdout().flush()?;
        servers.join_all().await.into_iter().collect()
    })
}

fn context_layer() -> ContextLayer {
    // One that could end, as a server's own does at its shutdown.
    let (server, cancel) = Context::background().with_cancel();
    cancel.detach();
    ContextLayer::new(&server).timeout(TIMEOUT)
}

// ===== handlers =====

fn quick() -> Router {
    Router::new().route("/", get(async || "Hello, world!"))
}

/// The chapter's `/` without its two seconds of work.
async fn processed(Ctx(ctx): Ctx) -> String {
    let id = ctx.value::<RequestId>().map_or("unknown", RequestId::as_str);
    format!("Request processed successfully. Request ID: {id}")
}
