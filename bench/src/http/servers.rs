//! The servers in Rust. Go's are in `go/serve.go`.

use std::env;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use ripcord::Context;
use ripcord_http::RequestId;
use ripcord_http::inspector::Inspector;
use ripcord_http::server::{ContextLayer, Ctx, connection};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::task::JoinSet;
use tower::ServiceBuilder;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::timeout::TimeoutLayer;

use super::{grpc, raise_open_files, waiting};

/// The timeout of a request in H1 to H3 and G1.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The timeout of a request in H4 and H5, which must not expire.
const LONG_TIMEOUT: Duration = Duration::from_secs(60);

/// A server that this program can run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    /// The quick handler of H1 under ripcord's layer, which gives each request a context with a deadline and an ID.
    Ours,
    /// The same server with an inspector and its page.
    Inspected,
    /// The quick handler under tower-http's layers for a timeout and a request ID.
    TowerHttp,
    /// The quick handler without layers: the floor.
    Bare,
    /// The chapter's middleware and a quick handler that prints the request's ID, for H2.
    Chapter,
    /// The handlers of H4 and H5 under ripcord's layer, on watched connections.
    WaitingOurs,
    /// The handlers of H4 and H5 under tower-http's layers.
    WaitingTowerHttp,
    /// The handlers of H4 and H5 without layers: the floor.
    WaitingBare,
    /// The gRPC service of G1 under ripcord's layers, on `ripcord_http::serve`.
    GrpcOurs,
    /// The service of G1 on tonic's own server with its timeout.
    GrpcTonic,
}

impl Side {
    const ALL: [Side; 10] = [
        Side::Ours,
        Side::Inspected,
        Side::TowerHttp,
        Side::Bare,
        Side::Chapter,
        Side::WaitingOurs,
        Side::WaitingTowerHttp,
        Side::WaitingBare,
        Side::GrpcOurs,
        Side::GrpcTonic,
    ];

    /// Returns the name of this server on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Side::Ours => "ours",
            Side::Inspected => "inspected",
            Side::TowerHttp => "tower-http",
            Side::Bare => "bare",
            Side::Chapter => "chapter",
            Side::WaitingOurs => "waiting-ours",
            Side::WaitingTowerHttp => "waiting-tower-http",
            Side::WaitingBare => "waiting-bare",
            Side::GrpcOurs => "grpc-ours",
            Side::GrpcTonic => "grpc-tonic",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Side::ALL.into_iter().find(|side| side.name() == name)
    }

    /// Returns the command that runs this program as this server.
    pub(crate) fn command(self) -> Command {
        Side::command_of(&[self])
    }

    /// Returns the command that runs this program as these servers.
    pub(crate) fn command_of(sides: &[Side]) -> Command {
        let mut command = Command::new(env::current_exe().expect("a running program has a path"));
        let names: Vec<_> = sides.iter().map(|side| side.name()).collect();
        command.args(["--serve", &names.join(",")]);
        command
    }

    async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let app = match self {
            Side::Ours => quick().layer(context_layer(TIMEOUT)),
            Side::Inspected => {
                let inspector = Inspector::new();
                let app = quick().layer(context_layer(TIMEOUT).inspector(&inspector));
                app.nest("/debug/contexts", inspector.router())
            }
            Side::TowerHttp => with_tower_http(quick(), TIMEOUT),
            Side::Bare => quick(),
            Side::Chapter => Router::new().route("/", get(processed)).layer(context_layer(TIMEOUT)),
            Side::WaitingOurs => {
                let app = waiting::under_a_context().layer(context_layer(LONG_TIMEOUT));
                return serve_watched(listener, app).await;
            }
            Side::WaitingTowerHttp => with_tower_http(waiting::without_contexts(), LONG_TIMEOUT),
            Side::WaitingBare => waiting::without_contexts(),
            Side::GrpcOurs => return grpc::serve_ours(listener, context_layer(TIMEOUT)).await,
            Side::GrpcTonic => return grpc::serve_tonic(listener, TIMEOUT).await,
        };
        // The inspector's page needs the client's address.
        axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
    }
}

/// Serves until the standard input ends. First prints the port of each side on one line. Blocks the thread.
pub(crate) fn serve(sides: &[Side]) -> io::Result<()> {
    raise_open_files();
    // A server has one core. More threads would only take turns on this core.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    thread::spawn(|| {
        // No data is ever written to the input. Its end, or an error, ends this process.
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    runtime.block_on(async {
        let mut servers = JoinSet::new();
        let mut ports = Vec::new();
        for &side in sides {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            ports.push(listener.local_addr()?.port().to_string());
            servers.spawn(side.serve(listener));
        }
        writeln!(io::stdout(), "{}", ports.join(" "))?;
        io::stdout().flush()?;
        servers.join_all().await.into_iter().collect()
    })
}

/// Serves connections that notice when their client disconnects.
async fn serve_watched(listener: TcpListener, app: Router) -> io::Result<()> {
    let app = app.with_state(());
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().half_close(true);
    loop {
        let (stream, _) = listener.accept().await?;
        let (stream, watch) = connection::watch(stream);
        let service = TowerToHyperService::new(watch.service(app.clone()));
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        tokio::spawn(watch.serve(connection));
    }
}

fn context_layer(timeout: Duration) -> ContextLayer {
    // The server's context can end, like the context of a server with a shutdown.
    let (server, cancel) = Context::background().with_cancel();
    cancel.detach();
    ContextLayer::new(&server).timeout(timeout)
}

fn with_tower_http(app: Router, timeout: Duration) -> Router {
    app.layer(
        ServiceBuilder::new()
            .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
            .layer(PropagateRequestIdLayer::x_request_id())
            .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, timeout)),
    )
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
