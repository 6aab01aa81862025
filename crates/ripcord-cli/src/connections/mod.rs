//! Accepts connections until a context ends.
//!
//! | file | holds |
//! |---|---|
//! | `listen.rs` | the listener |
//! | `limits.rs` | limits on connections |
//! | `explained.rs` | the answer to malformed requests |
//! | `refusals.rs` | the count of those answers |

mod explained;
mod limits;
mod listen;
mod refusals;

use std::{io, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo, http::Request};
use hyper_util::{rt::TokioIo, server::conn::auto, service::TowerToHyperService};
use ripcord::{CancelHandle, Context};
use ripcord_http::server::connection::{self, StreamExecutor};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower::ServiceExt as _;

use self::explained::Explained;
pub use self::{limits::Limits, listen::listen, refusals::Refusals};

/// Pause before the next `accept` if the process is out of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves an app on the connections that come to a listener.
#[derive(Clone, Debug)]
pub struct Acceptor {
    app: Router,
    refusals: Refusals,
    limits: Limits,
}

/// The connections that were open when accepting stopped.
#[must_use = "`finished` closes the connections gracefully"]
#[derive(Debug)]
pub struct Connections {
    /// Every open connection has a permit.
    permits: Arc<Semaphore>,
    max_connections: u32,
    /// Closes them gracefully.
    finish: CancelHandle,
    /// Drops them at once.
    close: CancelHandle,
}

impl Acceptor {
    /// Creates an acceptor that passes the requests of every connection to `app`.
    pub fn new(app: Router) -> Acceptor {
        // Prepares the router for being called; without this every request pays for it.
        Acceptor { app: app.with_state(()), refusals: Refusals::default(), limits: Limits::default() }
    }

    /// Sets the counter of requests that are refused before they reach `app`.
    #[must_use]
    pub fn counting(self, refusals: Refusals) -> Acceptor {
        Acceptor { refusals, ..self }
    }

    /// Sets the limits on connections.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Acceptor {
        Acceptor { limits, ..self }
    }

    /// Serves on every connection to `listener` until `stop` is done. The connections' timeouts use the clock of `stop`.
    ///
    /// Call it inside a tokio runtime: connections are tasks on it. Dropping the future also stops accepting, and keeps
    /// open connections.
    pub async fn accept(&self, listener: &TcpListener, stop: &Context) -> Connections {
        let clock = stop.without_cancel();
        let (finishing, finish) = clock.with_cancel();
        let (closed, close) = clock.with_name("connections").with_cancel();
        let permits = Arc::new(Semaphore::new(self.limits.max_connections as usize));
        let max_connections = self.limits.max_connections;
        let connections = Connections { permits, max_connections, finish: finish.handle(), close: close.handle() };
        // Dropping this future must not close open connections.
        finish.detach();
        close.detach();
        let builder = self.builder();

        // A done `stop` is checked first, so a flood of connections cannot keep the server from stopping.
        while let Ok(accepted) = stop.run(next(listener, &connections.permits)).await {
            let (stream, permit) = match accepted {
                Ok(accepted) => accepted,
                // The client has disconnected in the queue.
                Err(error) if is_clients_fault(&error) => continue,
                Err(error) => {
                    tracing::warn!("cannot accept: {error}");
                    // The loop's condition sees whether `stop` is done.
                    let _ = stop.sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let serving = self.serve(stream, &builder, &finishing);
            let closed = closed.clone();
            tokio::spawn(async move {
                let _permit = permit;
                // A connection fails if its client disconnects, which cancels the request's context, or if the client does not
                // speak HTTP, which hyper answers.
                let _ = closed.run(serving).await;
            });
        }
        connections
    }

    fn builder(&self) -> auto::Builder<StreamExecutor> {
        let mut builder = auto::Builder::new(StreamExecutor::new());
        let max_head = self.limits.max_head.max(8 << 10);
        // Go writes header names as `X-Request-Id`, which people read more easily.
        // The watch handles a FIN, so hyper must not.
        builder.http1().title_case_headers(true).half_close(true).max_buf_size(max_head as usize);
        builder.http2().max_header_list_size(max_head);
        builder
    }

    fn serve(
        &self,
        (stream, peer): (TcpStream, std::net::SocketAddr),
        builder: &auto::Builder<StreamExecutor>,
        finishing: &Context,
    ) -> impl Future<Output: Send> + Send + use<> {
        // Prefers latency to fewer packets. If this fails, the socket is closed, and the next read fails.
        let _ = stream.set_nodelay(true);
        let (stream, watch) = connection::watch(stream);
        let watch =
            watch.until(finishing).head_timeout(self.limits.head_timeout).idle_timeout(self.limits.idle_timeout);
        // The peer decides which headers are trusted, and what the inspector shows.
        let app = self.app.clone().map_request(move |mut request: Request<_>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            request
        });
        let service = TowerToHyperService::new(watch.service(app));
        let stream = TokioIo::new(Explained::new(stream, self.refusals.clone()));
        watch.serve(builder.serve_connection_with_upgrades(stream, service).into_owned())
    }
}

/// Accepts a connection once there is a permit for one.
async fn next(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<((TcpStream, std::net::SocketAddr), OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.expect("never closed");
    Ok((listener.accept().await?, permit))
}

impl Connections {
    /// Closes each connection once it has no request in flight. Resolves when all are closed.
    ///
    /// Dropping the future keeps connections with a request in flight open.
    pub async fn finished(self) {
        self.finish.cancel();
        // Every closed connection has returned its permit.
        let _ = self.permits.acquire_many(self.max_connections).await;
    }

    /// Returns a handle that drops the connections at once, with their requests in flight, also while
    /// [`finished`](Connections::finished) waits for them.
    pub fn close(&self) -> CancelHandle {
        self.close.clone()
    }
}

fn is_clients_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
