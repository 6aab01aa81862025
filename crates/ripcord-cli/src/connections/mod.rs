//! Accepting connections until told to stop.
//!
//! | file | holds |
//! |---|---|
//! | `listen.rs` | where they come from |
//! | `explained.rs` | an answer to what is no request |
//! | `refusals.rs` | how often there was one |

mod explained;
mod listen;
mod refusals;

use std::{io, time::Duration};

use axum::{Router, extract::ConnectInfo, http::Request};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use ripcord::{CancelHandle, Context};
use ripcord_http::server::connection;
use tokio::net::TcpListener;
use tower::ServiceExt as _;

use self::explained::Explained;
pub use self::{listen::listen, refusals::Refusals};

/// How long to leave `accept` alone when the process is out of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves an app on the connections that come to a listener.
#[derive(Clone, Debug)]
pub struct Acceptor {
    app: Router,
    refusals: Refusals,
}

/// The connections that were open when the accepting stopped.
#[must_use = "they are closed in order by `finished`"]
#[derive(Debug)]
pub struct Connections {
    open: GracefulShutdown,
    close: CancelHandle,
}

impl Acceptor {
    /// Requests of every connection go to `app`.
    pub fn new(app: Router) -> Acceptor {
        Acceptor { app, refusals: Refusals::default() }
    }

    /// Counts here what is refused without `app`.
    #[must_use]
    pub fn counting(self, refusals: Refusals) -> Acceptor {
        Acceptor { refusals, ..self }
    }

    /// Serves on every connection to `listener`, until `stop` is done.
    ///
    /// Call it inside a tokio runtime: connections are tasks on it. Dropping the future stops the accepting too, and leaves
    /// open connections as they are.
    pub async fn accept(&self, listener: &TcpListener, stop: &Context) -> Connections {
        let open = GracefulShutdown::new();
        let (closed, close) = Context::background().with_name("connections").with_cancel();
        let connections = Connections { open, close: close.handle() };
        // Dropping this future is not to close what is open.
        close.detach();
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // The timer bounds the wait for a request's head (30 s) and for nothing else.
        // Go writes header names as `X-Request-Id`; HTTP does not care, people compare.
        // A FIN is the layer's business, so hyper is to go on.
        builder.http1().timer(TokioTimer::new()).title_case_headers(true).half_close(true);
        builder.http2().timer(TokioTimer::new());

        // A done `stop` is looked at first, so a flood of connections cannot keep the server from stopping.
        while let Ok(accepted) = stop.run(listener.accept()).await {
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                // The client has given up in the queue.
                Err(error) if is_clients_fault(&error) => continue,
                Err(error) => {
                    tracing::warn!("cannot accept: {error}");
                    // Done meanwhile? The loop's condition sees it.
                    let _ = stop.sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Latency over packets; a socket that refuses has been closed, and says so when it is read.
            let _ = stream.set_nodelay(true);
            let (stream, watch) = connection::watch(stream);
            // Who it is that asks decides what of a request is believed, and what the inspector shows.
            let app = self.app.clone().map_request(move |mut request: Request<_>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                request
            });
            let service = TowerToHyperService::new(watch.service(app));
            let connection =
                builder.serve_connection(TokioIo::new(Explained::new(stream, self.refusals.clone())), service);
            // A connection fails when its client goes away or does not speak HTTP. The first is told to the request's Context by
            // the layer, the second to the client by hyper.
            let serving = watch.serve(connections.open.watch(connection.into_owned()));
            let closed = closed.clone();
            tokio::spawn(async move { closed.run(serving).await });
        }
        connections
    }
}

impl Connections {
    /// Closes each connection when the request on it, if there is one, has been answered; resolves when all are closed.
    ///
    /// Dropping the future closes nothing: connections stay open as long as the runtime.
    pub async fn finished(self) {
        self.open.shutdown().await;
    }

    /// Drops the connections as they are, whatever is on its way on them; also those that are being
    /// [`finished`](Connections::finished).
    pub fn close(&self) -> CancelHandle {
        self.close.clone()
    }
}

fn is_clients_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
