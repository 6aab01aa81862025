//! Serving any tower service on a listener, until a shutdown.
//!
//! | file | holds |
//! |---|---|
//! | `accept.rs` | accepting connections until the drain |
//! | `service.rs` | what every request and answer of a connection gets |
//! | `explained.rs` | the answer to malformed requests |
//! | `limits.rs` | limits on connections |
//! | `listen.rs` | a listener with a long queue |

mod accept;
mod explained;
mod limits;
mod listen;
mod service;

use std::{
    fmt,
    future::IntoFuture,
    io,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
};

use bytes::Buf;
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use ripcord::Shutdown;
use tokio::net::TcpListener;
use tower_service::Service;

use self::explained::OnRefusal;
use crate::server::connection::RequestBody;

pub use self::{limits::Limits, listen::listen, service::PeerAddr};

/// Serves `service` on every connection to `listener`, over HTTP/1 and HTTP/2. Await the result.
///
/// `service` is an axum `Router`, or any other tower service. Give it a [`ContextLayer`](crate::server::ContextLayer) below
/// [`Shutdown::context`], so that every request has a context:
///
/// ```
/// use std::time::Duration;
/// use axum::{Router, routing::get};
/// use ripcord::Shutdown;
/// use ripcord_http::server::{ContextLayer, Ctx, Ended};
///
/// async fn slow(Ctx(ctx): Ctx) -> Result<&'static str, Ended> {
///     ctx.sleep(Duration::from_secs(60)).await?;
///     Ok("done")
/// }
///
/// # async fn run(shutdown: Shutdown) -> std::io::Result<()> {
/// let shutdown = Shutdown::builder().drain(Duration::from_secs(10)).build();
/// # shutdown.begin("the end of the example");
/// let layer = ContextLayer::new(shutdown.context()).timeout(Duration::from_secs(5));
/// let app = Router::new().route("/slow", get(slow)).layer(layer);
/// let listener = ripcord_http::listen("127.0.0.1:0").await?;
/// ripcord_http::serve(listener, app).shutdown(&shutdown).await;
/// println!("{}", shutdown.run().await);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(Shutdown::builder().build())).unwrap();
/// ```
///
/// Every connection is [watched](crate::server::connection): a client that disconnects ends the context of its requests, and a
/// client that sends no request, half a request, or reads nothing is disconnected after a timeout. A malformed request is answered
/// with the reason. An accept error, such as too many open files, is retried after a second.
///
/// # Shutdown
///
/// With [`shutdown`](Serve::shutdown), the server and its connections are work in flight. From the stop request on:
///
/// - Every answer on HTTP/1 has `Connection: close`. Connections without a request are closed. HTTP/2 clients get GOAWAY.
/// - Streams see [`Context::draining`](ripcord::Context::draining) and can end in order. So can WebSockets.
/// - The listener stays open for the [drain delay](ripcord::ShutdownBuilder::drain_delay), for health checks. Then it is closed.
///   Requests that clients have sent by then are answered.
/// - Requests in flight go on until the end of the drain time, which ends their contexts. Connections that have not been closed
///   0.9 seconds after that are dropped.
///
/// Half a request, an HTTP/2 preface without a request, and a client that does not confirm GOAWAY delay none of this.
///
/// # Cancel safety
///
/// Dropping the future closes the listener. Open connections are served until they are closed, or until the shutdown.
///
/// # Panics
///
/// If it is awaited outside of a tokio runtime.
#[track_caller]
pub fn serve<S>(listener: TcpListener, service: S) -> Serve<S> {
    Serve {
        listener,
        service,
        limits: Limits::default(),
        shutdown: None,
        on_refusal: None,
        on_accept_error: None,
        location: Location::caller(),
    }
}

/// A server to await: see [`serve`].
#[must_use = "a server serves only when it is awaited"]
pub struct Serve<S> {
    listener: TcpListener,
    service: S,
    limits: Limits,
    shutdown: Option<Shutdown>,
    on_refusal: Option<OnRefusal>,
    on_accept_error: Option<OnAcceptError>,
    /// The line of the call of `serve`.
    location: &'static Location<'static>,
}

type OnAcceptError = Arc<dyn Fn(&io::Error) + Send + Sync>;

/// A request that was refused before the service saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The status of the answer: 400, 414 or 431.
    pub status: StatusCode,
    /// The reason that the answer gives.
    pub reason: String,
}

impl<S> Serve<S> {
    /// Sets the limits on connections.
    pub fn limits(self, limits: Limits) -> Self {
        Serve { limits, ..self }
    }

    /// Sets the shutdown that ends the server. The future is ready when the last connection is closed. Default: none, so that the
    /// future is never ready.
    ///
    /// Timeouts of connections use the clock of `shutdown`.
    pub fn shutdown(self, shutdown: &Shutdown) -> Self {
        Serve { shutdown: Some(shutdown.clone()), ..self }
    }

    /// Sets a function that is called for each malformed or too large request, which no service sees: for a log and a counter.
    pub fn on_refusal(self, on_refusal: impl Fn(&Refusal) + Send + Sync + 'static) -> Self {
        Serve { on_refusal: Some(Arc::new(on_refusal)), ..self }
    }

    /// Sets a function that is called when a connection cannot be accepted, such as for too many open files: for a log.
    ///
    /// The server tries again every second. An error that repeats is reported once, until a connection is accepted.
    pub fn on_accept_error(self, on_accept_error: impl Fn(&io::Error) + Send + Sync + 'static) -> Self {
        Serve { on_accept_error: Some(Arc::new(on_accept_error)), ..self }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The services that can be served.
trait HttpService:
    Service<
        Request<RequestBody<Incoming>>,
        Response = Response<<Self as HttpService>::Body>,
        Error: Into<BoxError>,
        Future: Send,
    > + Clone
    + Send
    + 'static
{
    type Body: Body<Data: Buf + Send, Error: Into<BoxError>> + Send + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<Request<RequestBody<Incoming>>, Response = Response<B>, Error: Into<BoxError>, Future: Send>,
    S: Clone + Send + 'static,
    B: Body<Data: Buf + Send, Error: Into<BoxError>> + Send + 'static,
{
    type Body = B;
}

impl<S, B> IntoFuture for Serve<S>
where
    S: Service<Request<RequestBody<Incoming>>, Response = Response<B>, Error: Into<BoxError>, Future: Send>,
    S: Clone + Send + 'static,
    B: Body<Data: Buf + Send, Error: Into<BoxError>> + Send + 'static,
{
    type Output = ();
    type IntoFuture = Serving;

    fn into_future(self) -> Serving {
        Serving(Box::pin(accept::serve(self)))
    }
}

impl<S> fmt::Debug for Serve<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("listener", &self.listener).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Ready when the server has shut down: see [`serve`].
#[must_use = "futures do nothing unless polled"]
pub struct Serving(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(task)
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
    }
}
