//! Watches TCP connections that you serve with hyper: disconnects, timeouts and graceful close.
//!
//! `ripcord_http::serve` (feature `serve`) does all of this for you. Use [`watch`] in a server of your own:
//!
//! ```no_run
//! use hyper_util::{rt::TokioIo, server::conn::auto, service::TowerToHyperService};
//! use ripcord::Context;
//! use ripcord_http::server::{ContextLayer, connection};
//!
//! # async fn serve() -> std::io::Result<()> {
//! let (server, _stop) = Context::background().with_name("serve").with_cancel();
//! // `with_state` prepares the router once. Without this call, the router is prepared for every request.
//! let app: axum::Router = axum::Router::new().layer(ContextLayer::new(&server)).with_state(());
//!
//! let mut builder = auto::Builder::new(connection::StreamExecutor::new());
//! // `connection::watch` handles a FIN, so hyper must not.
//! builder.http1().half_close(true);
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! loop {
//!     let Ok((stream, _)) = listener.accept().await else {
//!         // Out of file descriptors. The timeouts of the connections will free some.
//!         let _ = server.sleep(std::time::Duration::from_secs(1)).await;
//!         continue;
//!     };
//!     let (stream, watch) = connection::watch(stream);
//!     let service = TowerToHyperService::new(watch.service(app.clone()));
//!     let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
//!     tokio::spawn(watch.until(&server).serve(connection));
//! }
//! # }
//! ```
//!
//! # What a watched connection does
//!
//! When a client closes the connection or only its sending half, TCP sends a FIN. Without a watch, hyper has three gaps:
//!
//! - hyper detects a disconnect only while it reads. It does not read while a handler leaves the request's body unread.
//! - At a FIN, hyper drops the handler, although the client may still wait for the response.
//! - hyper waits without limit for a client that connects and sends nothing.
//!
//! A watched connection handles these cases:
//!
//! | the client | result |
//! |---|---|
//! | closes the connection or its sending half | the context is canceled; a response is still sent. With [`HalfClose::Allow`](super::HalfClose::Allow): no effect |
//! | resets the connection | the context is canceled, and the connection is dropped |
//! | stops reading a response | at the deadlines of its requests or at the end of the server's context, the connection is dropped or the HTTP/2 stream is reset |
//! | stops reading the last part of a response, which hyper has buffered | the connection is dropped after the [send timeout](Watch::send_timeout), 30 s |
//! | does not finish the head of a request | the connection is closed after the [head timeout](Watch::head_timeout), 30 s |
//! | sends no further request | the connection is closed after the [idle timeout](Watch::idle_timeout), 75 s |
//! | is still sending a body when the response is sent | the response has `Connection: close`; before the close, more data from the client is read and dropped, so that the client receives the response. This ends when the client closes the connection or sends nothing for 1 second, and after 10 seconds at the latest |
//! | upgrades the connection | the connection is watched until it is closed |
//!
//! Only requests that pass through a [`ContextLayer`](super::ContextLayer) are canceled. Other handlers continue after a FIN.
//!
//! # Limits
//!
//! A disconnect cannot be detected while the client has sent more unread data than the socket's buffers can hold. Only the deadline
//! ends such a request.
//!
//! On Linux and Android, a FIN is detected at once. On other systems, a FIN is detected when the connection reads: while it is
//! idle, and while a handler reads a request's body.

mod activity;
mod executor;
mod linger;
mod messages;
mod peer;
mod requests;
mod serve;
mod service;
mod stall;
mod stream;
mod timers;

use std::{sync::Arc, time::Duration};

use hyper_util::server::graceful::GracefulConnection;
use ripcord::Context;
use tokio::net::TcpStream;

#[cfg(feature = "serve")]
pub(crate) use self::linger::has_unread;
pub use self::{
    executor::StreamExecutor,
    messages::{RequestBody, ResponseBody},
    service::{WatchedFuture, WatchedService},
    stream::WatchedStream,
};
use self::{
    peer::{Going, Peer},
    serve::Serve,
    timers::Timeouts,
};

const SEND_TIMEOUT: Duration = Duration::from_secs(30);
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The default idle timeout. nginx keeps a connection for 60 s, and the side that sends the requests should close it first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Wraps an accepted TCP stream, to detect disconnects and stalls of its client. Returns the stream to pass to hyper, and the
/// [`Watch`] that serves the connection.
///
/// The [module documentation](self) has an example and lists the events that are handled.
pub fn watch(stream: TcpStream) -> (WatchedStream, Watch) {
    let (stream, peer) = (Arc::new(stream), Peer::default());
    let timeouts = Timeouts { head: HEAD_TIMEOUT, idle: IDLE_TIMEOUT };
    let watch =
        Watch { stream: Arc::clone(&stream), peer: peer.clone(), send_timeout: SEND_TIMEOUT, timeouts, until: None };
    (WatchedStream::new(stream, peer), watch)
}

/// A watched connection that is not served yet, with its settings. Created by [`watch`].
///
/// Wrap the service with [`service`](Watch::service), then run the connection with [`serve`](Watch::serve). With a timeout of zero,
/// the connection is closed as soon as the server has to wait for its client. [`Duration::MAX`] sets no limit.
///
/// ```no_run
/// use std::time::Duration;
/// use hyper_util::{rt::TokioIo, server::conn::auto, service::TowerToHyperService};
/// use ripcord::Context;
/// use ripcord_http::server::connection;
///
/// async fn serve(server: Context, stream: tokio::net::TcpStream, app: axum::Router) {
///     let (stream, watch) = connection::watch(stream);
///     let watch = watch.idle_timeout(Duration::from_secs(10)).until(&server);
///     let mut builder = auto::Builder::new(connection::StreamExecutor::new());
///     builder.http1().half_close(true);
///     let service = TowerToHyperService::new(watch.service(app));
///     watch.serve(builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned()).await;
/// }
/// ```
#[must_use = "a connection is watched only if it is served with `Watch::serve`"]
#[derive(Debug)]
pub struct Watch {
    stream: Arc<TcpStream>,
    peer: Peer,
    send_timeout: Duration,
    timeouts: Timeouts,
    until: Option<Context>,
}

impl Watch {
    /// Sets how long the server waits for a client that does not read the last part of a response, which hyper has buffered.
    /// Default: 30 seconds.
    ///
    /// The timer restarts whenever the client reads data. The connection is dropped when the time is over, or when the server's
    /// context, which was passed to [`ContextLayer::new`](super::ContextLayer::new), ends.
    ///
    /// A request is in flight until hyper has buffered the end of its response. While a request is in flight on the connection,
    /// this timeout does not apply, and the deadline of the request applies instead.
    pub fn send_timeout(self, send_timeout: Duration) -> Self {
        Watch { send_timeout, ..self }
    }

    /// Sets how long a client may take to send the head of a request (the request line and the headers). Default: 30 seconds. When
    /// the time is over, the connection is closed.
    ///
    /// For the first request, the time counts from the start of the connection. So the timeout also ends the connection of a client
    /// that sends nothing, or only the preface of HTTP/2. For later requests, the time counts from the first byte.
    ///
    /// Do not set hyper's `header_read_timeout` as well, because it would limit idle connections too.
    pub fn head_timeout(self, head: Duration) -> Self {
        Watch { timeouts: Timeouts { head, ..self.timeouts }, ..self }
    }

    /// Sets how long a connection may stay open between two requests. Default: 75 seconds. When the time is over, the connection is
    /// closed.
    ///
    /// nginx closes its idle connections to a server after 60 seconds. The default is longer, so that nginx closes first and does
    /// not send a request on a connection that the server is closing.
    pub fn idle_timeout(self, idle: Duration) -> Self {
        Watch { timeouts: Timeouts { idle, ..self.timeouts }, ..self }
    }

    /// Sets the context whose end closes the connection gracefully. Default: none, and only the client or a timeout closes the
    /// connection.
    ///
    /// When `ctx` ends, the connection is closed as soon as no request is in flight. The close itself cancels no request. If `ctx`
    /// is also the context of the server's [`ContextLayer`](super::ContextLayer), the end of `ctx` cancels the requests. A request
    /// whose head is incomplete does not delay the close. The timeouts of the connection use the clock of `ctx`.
    pub fn until(self, ctx: &Context) -> Self {
        self.peer.set_until(ctx);
        Watch { until: Some(ctx.clone()), ..self }
    }

    /// Wraps `inner`, the service that handles the requests of this connection. If `inner` contains a
    /// [`ContextLayer`](super::ContextLayer), the context of each request ends when the client disconnects.
    pub fn service<S>(&self, inner: S) -> WatchedService<S> {
        WatchedService::new(inner, self.peer.clone())
    }

    /// Serves the connection until it is closed. After an upgrade, waits until the upgraded connection is closed.
    ///
    /// `connection` is hyper's connection for the stream that [`watch`] returned. The [module documentation](self) has an example.
    ///
    /// The returned future resolves to hyper's result. It resolves to `None` if the connection was dropped before hyper had
    /// finished. In this case, the client disconnected, stopped reading, sent an incomplete request, or did not confirm GOAWAY
    /// within half a second.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the connection and its requests in flight.
    pub fn serve<C>(self, connection: C) -> impl Future<Output = Option<C::Output>> + use<C>
    where
        C: GracefulConnection,
    {
        let gone = gone(Arc::clone(&self.stream), self.peer.clone());
        Serve::new(connection, gone, self.stream, self.peer, self.send_timeout, self.timeouts, self.until.as_ref())
    }
}

/// Cancels the requests when their client disconnects. Returns when the client also no longer reads.
#[cfg(any(target_os = "linux", target_os = "android"))]
async fn gone(stream: Arc<TcpStream>, peer: Peer) {
    use tokio::io::{Interest, Ready};

    let is_gone = |ready: Ready| ready.is_error() || ready.is_write_closed();
    // Urgent data is never reported, because the socket is not registered for it. So this wait ends when the client has closed
    // the connection, even if there is unread data. An error means that the reactor is being shut down.
    let Ok(ready) = stream.ready(Interest::PRIORITY).await else { return };
    if !is_gone(ready) {
        peer.goes(Going::Closed);
        if stream.ready(Interest::ERROR).await.is_err() {
            return;
        }
    }
    peer.goes(Going::Gone);
}

/// On this platform, only reads and writes detect a disconnect.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
async fn gone(_: Arc<TcpStream>, _: Peer) {
    std::future::pending().await
}
