//! Serves any tower service on a listener, until a shutdown.
//!
//! | file | contents |
//! |---|---|
//! | `accept.rs` | accepting connections until the drain |
//! | `service.rs` | the additions to every request and response |
//! | `explained.rs` | the response to malformed requests |
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

/// Creates a server that serves `service` on every connection to `listener`, over HTTP/1 and HTTP/2. Await the returned value to
/// run the server. Without a [shutdown](Serve::shutdown), it runs until its future is dropped.
///
/// `service` is an axum `Router` or another tower service. Add a [`ContextLayer`](crate::server::ContextLayer) with the context of
/// a [`Shutdown`], so that every request has a context:
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
/// # Connections
///
/// Every connection is [watched](crate::server::connection). If a client disconnects, the contexts of its requests end. If a client
/// sends no request or an incomplete request, the connection is closed after a timeout, which [`Limits`] sets. If a client stops
/// reading a response, the connection is dropped or the HTTP/2 stream is reset. This happens at the deadline of the request or at
/// the end of the server's context. If hyper has already buffered the end of the response, the connection is dropped when the
/// client has read nothing for 30 seconds.
///
/// The response to a malformed request contains the reason. If a connection cannot be accepted, for example because too many files
/// are open, the server tries again every second.
///
/// # Shutdown
///
/// Pass a [`Shutdown`] to the method [`shutdown`](Serve::shutdown). When the shutdown has been requested, for example by a signal:
///
/// - Every HTTP/1 response has `Connection: close`. Connections without a request are closed. HTTP/2 clients receive GOAWAY.
/// - Handlers of streams and WebSockets can wait for [`Context::draining`](ripcord::Context::draining) on the request's context,
///   and then close the stream or WebSocket.
/// - The listener stays open for the [drain delay](ripcord::ShutdownBuilder::drain_delay), so that health checks still get a
///   response. After the drain delay, the listener is closed. Requests that clients have sent before the close get a response.
/// - Requests in flight continue until the [drain time](ripcord::ShutdownBuilder::drain) is over. At the end of the drain time,
///   their contexts end. Connections that are still open 0.9 seconds later are dropped.
///
/// An incomplete request or an HTTP/2 preface without a request does not delay the shutdown. An HTTP/2 client that does not confirm
/// GOAWAY delays it by at most half a second. During this time, a request that the client sent before GOAWAY can still arrive.
///
/// # Panics
///
/// Awaiting the returned value outside of a tokio runtime panics.
///
/// # Cancel safety
///
/// Dropping the future of the running server closes the listener. If the server has no [`Shutdown`], each open connection is closed
/// as soon as it has no request in flight. With a [`Shutdown`], the open connections are served until the shutdown.
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

/// A server with its settings that does not run yet. Created by [`serve`]. Await this value to run the server.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// let shutdown = ripcord::Shutdown::builder().build();
/// let listener = ripcord_http::listen("127.0.0.1:8080").await?;
/// ripcord_http::serve(listener, axum::Router::new())
///     .on_accept_error(|error| eprintln!("cannot accept a connection: {error}"))
///     .shutdown(&shutdown)
///     .await;
/// # Ok(())
/// # }
/// ```
#[must_use = "a server serves only when it is awaited"]
pub struct Serve<S> {
    listener: TcpListener,
    service: S,
    limits: Limits,
    shutdown: Option<Shutdown>,
    on_refusal: Option<OnRefusal>,
    on_accept_error: Option<OnAcceptError>,
    /// The line that called `serve`.
    location: &'static Location<'static>,
}

type OnAcceptError = Arc<dyn Fn(&io::Error) + Send + Sync>;

/// The refusal of an HTTP/1 request that is malformed or whose head is too large (see [`Limits::max_head`]). Passed to the function
/// of [`Serve::on_refusal`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The status of the response: 400 for a malformed request, 414 for a path and query of more than 65,534 bytes, or 431 for a
    /// head that is too large or has more than 100 headers.
    pub status: StatusCode,
    /// The reason in English, which is also in the body of the response.
    pub reason: String,
}

impl<S> Serve<S> {
    /// Sets the limits on connections. [`Limits`] lists the default values.
    pub fn limits(self, limits: Limits) -> Self {
        Serve { limits, ..self }
    }

    /// Sets the shutdown that stops the server. Default: none, and the server runs until its future is dropped. [`serve`] describes
    /// what happens at a shutdown.
    ///
    /// After the shutdown has been requested, the future of the server completes as soon as the listener and the last connection
    /// are closed. The timeouts of connections use the clock of `shutdown`'s context.
    pub fn shutdown(self, shutdown: &Shutdown) -> Self {
        Serve { shutdown: Some(shutdown.clone()), ..self }
    }

    /// Sets a function that is called for each HTTP/1 request that is malformed or whose head is too large (see
    /// [`Limits::max_head`]). Use it for logs and metrics. Default: none.
    ///
    /// The server responds to such a request itself, and the request does not reach the service. The function runs in the task of
    /// the connection, so it must not block.
    pub fn on_refusal(self, on_refusal: impl Fn(&Refusal) + Send + Sync + 'static) -> Self {
        Serve { on_refusal: Some(Arc::new(on_refusal)), ..self }
    }

    /// Sets a function that is called when a connection cannot be accepted, for example because too many files are open. Use it for
    /// logs. Default: none.
    ///
    /// The server tries again every second. If the same error occurs several times in a row, the function is called only for the
    /// first one. The function runs in the task of the server, so it must not block.
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

/// The future of a running server. Created when a [`Serve`] is awaited. It completes when the server has shut down. Without a
/// [`shutdown`](Serve::shutdown), it never completes. [`serve`] describes what happens if it is dropped.
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
