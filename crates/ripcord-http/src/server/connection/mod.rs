//! Serves a TCP connection with hyper, with disconnects, timeouts and graceful close.
//!
//! hyper detects a disconnect only while it reads, so not while a handler leaves the request's body unread. It drops the handler
//! at a FIN, although a client that has closed only its sending half still waits for the response. It waits without limit for a
//! client that connects and sends nothing. [`watch`] handles these cases, in the task of the connection:
//!
//! | the client | result |
//! |---|---|
//! | closes, or closes its sending half | the context is canceled; an answer is still sent. With [`HalfClose::Allow`](super::HalfClose::Allow): nothing |
//! | resets | the context is canceled, the connection dropped |
//! | takes no more of a response | the connection is dropped, or the stream of HTTP/2 reset, when its requests have ended |
//! | takes nothing of the end of an answer | the connection is dropped after the [send timeout](Watch::send_timeout), 30 s |
//! | does not finish the head of a request | the connection is closed after the [head timeout](Watch::head_timeout), 30 s |
//! | sends no further request | the connection is closed after the [idle timeout](Watch::idle_timeout), 75 s |
//! | is still sending when it is answered | the answer has `Connection: close`; what the client sends is dropped for a moment before the connection is closed, so the answer is not lost |
//! | upgrades the connection | the connection is watched until it is closed |
//!
//! Only requests that pass through a [`ContextLayer`](super::ContextLayer) are canceled. Other handlers continue after a FIN.
//!
//! Some disconnects are invisible. If the client closes the connection while the socket's buffers cannot hold all unread data,
//! only the deadline ends the request.
//!
//! `ripcord_http::serve`, behind the feature `serve`, does all of this. A server of your own does the following:
//!
//! ```no_run
//! use hyper_util::{rt::TokioIo, server::conn::auto, service::TowerToHyperService};
//! use ripcord::Context;
//! use ripcord_http::server::{ContextLayer, connection};
//!
//! # async fn serve() -> std::io::Result<()> {
//! let (server, _stop) = Context::background().with_name("serve").with_cancel();
//! // `with_state` prepares the router for being called: without it, every request pays for that.
//! let app: axum::Router = axum::Router::new().layer(ContextLayer::new(&server)).with_state(());
//!
//! let mut builder = auto::Builder::new(connection::StreamExecutor::new());
//! // The watch handles a FIN, so hyper must not.
//! builder.http1().half_close(true);
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! loop {
//!     let Ok((stream, _)) = listener.accept().await else {
//!         // Out of file descriptors: the timeouts above will free some.
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
/// Longer than the 60 s for which nginx keeps a connection: the side that sends the requests should close the connection first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Splits a connection into the stream to serve and the watch over its client. See the [module](self).
pub fn watch(stream: TcpStream) -> (WatchedStream, Watch) {
    let (stream, peer) = (Arc::new(stream), Peer::default());
    let timeouts = Timeouts { head: HEAD_TIMEOUT, idle: IDLE_TIMEOUT };
    let watch =
        Watch { stream: Arc::clone(&stream), peer: peer.clone(), send_timeout: SEND_TIMEOUT, timeouts, until: None };
    (WatchedStream::new(stream, peer), watch)
}

/// The watch over the client of one connection. See the [module](self).
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
    /// Sets how long a client may read nothing while the end of a response is being sent and no request is in flight. Default: 30
    /// seconds.
    ///
    /// The time starts again whenever the client takes data. The end of the server's context also ends the wait. While a request
    /// is in flight, the request's deadline is the limit instead.
    pub fn send_timeout(self, send_timeout: Duration) -> Self {
        Watch { send_timeout, ..self }
    }

    /// Sets the maximum time for the head of a request. It counts from the start of the connection, or from the first byte of a
    /// later request. Default: 30 seconds.
    ///
    /// It also limits a client that sends nothing, or only the preface of HTTP/2. Do not also set hyper's own
    /// `header_read_timeout`, which would limit idle connections too.
    pub fn head_timeout(self, head: Duration) -> Self {
        Watch { timeouts: Timeouts { head, ..self.timeouts }, ..self }
    }

    /// Sets how long a connection may stay open between two requests. Default: 75 seconds. This is longer than nginx keeps a
    /// connection.
    pub fn idle_timeout(self, idle: Duration) -> Self {
        Watch { timeouts: Timeouts { idle, ..self.timeouts }, ..self }
    }

    /// Closes the connection gracefully when `ctx` has ended: at once if no request is in flight, otherwise after the response. A
    /// request with an incomplete head does not delay the close.
    ///
    /// The connection's own timeouts use the clock of `ctx`.
    pub fn until(self, ctx: &Context) -> Self {
        self.peer.set_until(ctx);
        Watch { until: Some(ctx.clone()), ..self }
    }

    /// Returns a service whose requests belong to this connection.
    pub fn service<S>(&self, inner: S) -> WatchedService<S> {
        WatchedService::new(inner, self.peer.clone())
    }

    /// Serves the connection until it is closed, including after an upgrade.
    ///
    /// Returns `None` if the connection was dropped: because the client disconnected, read nothing until its requests had ended,
    /// or sent no request for too long.
    ///
    /// Dropping the future drops the connection, with the requests in flight.
    pub fn serve<C>(self, connection: C) -> impl Future<Output = Option<C::Output>> + use<C>
    where
        C: GracefulConnection,
    {
        let gone = gone(Arc::clone(&self.stream), self.peer.clone());
        Serve::new(connection, gone, self.stream, self.peer, self.send_timeout, self.timeouts, self.until.as_ref())
    }
}

/// Cancels the requests when their client disconnects. Resolves when the client does not read any more either.
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
