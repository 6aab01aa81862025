//! Seeing a client go, on a TCP connection that is served by hyper.
//!
//! By itself a server learns of a client's going only where it happens to read: hyper while there is nothing left to read of
//! the request, and never while it waits for a handler that has not taken the request's body. And it drops the handler at a
//! FIN, though a client that has only closed its own half still waits for the answer. [`watch`] listens to what the system says
//! of the socket, beside the connection and in the same task, and tells the requests on it:
//!
//! | the client | by default | with [`HalfClose::Allow`](super::HalfClose::Allow) |
//! |---|---|---|
//! | closes, or closes its half | the Context is canceled; an answer is still sent | nothing |
//! | resets | the Context is canceled, the connection dropped | the same |
//! | stays, but takes no more of a body | the connection is dropped when all requests on it have ended | the same |
//! | stays, but takes nothing of the end of an answer | the connection is dropped after the [send timeout](Watch::send_timeout) | the same |
//!
//! Only a request that comes to a [`ContextLayer`](super::ContextLayer) is told: of one that does not, nobody ends the handler at
//! a FIN.
//!
//! What the system cannot see the deadline ends: a client that closes while more than the socket's buffers hold is still on its
//! way to a handler that does not read. And what a client of HTTP/2 does not take, while it takes other things or the whole fits
//! into the connection's buffers, is between it and hyper: [`auto::Builder::http2`] bounds how much that may be.
//!
//! [`auto::Builder::http2`]: https://docs.rs/hyper-util/0.1/hyper_util/server/conn/auto/struct.Builder.html#method.http2
//!
//! ```no_run
//! use hyper_util::{
//!     rt::{TokioExecutor, TokioIo},
//!     server::conn::auto,
//!     service::TowerToHyperService,
//! };
//! use ripcord::Context;
//! use ripcord_http::server::{ContextLayer, connection};
//!
//! # async fn serve() -> std::io::Result<()> {
//! let (server, _stop) = Context::background().with_name("serve").with_cancel();
//! let app: axum::Router = axum::Router::new().layer(ContextLayer::new(&server));
//!
//! let mut builder = auto::Builder::new(TokioExecutor::new());
//! // A FIN is the layer's business now, so hyper is to go on.
//! builder.http1().half_close(true);
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! loop {
//!     let (stream, _) = listener.accept().await?;
//!     let (stream, watch) = connection::watch(stream);
//!     let service = TowerToHyperService::new(watch.service(app.clone()));
//!     let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
//!     tokio::spawn(watch.serve(connection));
//! }
//! # }
//! ```
//!
//! A FIN is seen at once on Linux and Android. Elsewhere it is seen where the connection reads: when it is idle, and while a
//! handler takes a request's body.

mod peer;
mod service;
mod stream;
mod stuck;

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use tokio::net::TcpStream;

pub(super) use self::peer::Attendance;
use self::{
    peer::{Going, Peer},
    stuck::Stuck,
};
pub use self::{service::WatchedService, stream::WatchedStream};

/// How long a client may take nothing of an answer whose request is over, unless a watch is told otherwise.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Splits a connection into the stream to serve, and the watch over its client: see the [module](self).
pub fn watch(stream: TcpStream) -> (WatchedStream, Watch) {
    let (stream, peer) = (Arc::new(stream), Peer::default());
    (WatchedStream::new(Arc::clone(&stream), peer.clone()), Watch { stream, peer, send_timeout: SEND_TIMEOUT })
}

/// The watch over the client of one connection: see the [module](self).
#[must_use = "a connection that is not served with it is not watched"]
#[derive(Debug)]
pub struct Watch {
    stream: Arc<TcpStream>,
    peer: Peer,
    send_timeout: Duration,
}

impl Watch {
    /// How long the client may take nothing at all of what is to be sent, when no request of a layer is on its way any more: the
    /// end of an answer that hyper has whole, or the answer to a request that came to no layer. 30 seconds by default.
    ///
    /// It begins anew whenever the client takes something, so a slow client gets the time that it needs. It goes by the clock
    /// of the server's Context, whose end is its end as well: a server that is shutting down waits for no such client.
    ///
    /// What is left of an answer while its request is on its way is bounded by that one's deadline instead.
    pub fn send_timeout(self, send_timeout: Duration) -> Self {
        Watch { send_timeout, ..self }
    }

    /// A service whose requests know that they came over this connection.
    pub fn service<S>(&self, inner: S) -> WatchedService<S> {
        WatchedService::new(inner, self.peer.clone())
    }

    /// Serves the connection until it is ready; `None` if it was dropped because the client has gone for good, or took nothing
    /// any more when the time of its requests or the [send timeout](Watch::send_timeout) was over.
    ///
    /// Dropping the future drops the connection, and with it what is on its way.
    pub async fn serve<C: Future>(self, connection: C) -> Option<C::Output> {
        let mut connection = pin!(connection);
        let mut gone = pin!(self.gone());
        let mut stuck = Stuck::new(self.send_timeout);
        // The connection first: a handler that answers at once has answered when its client's FIN is seen.
        poll_fn(|task| match connection.as_mut().poll(task) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => match gone.as_mut().poll(task) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => stuck.poll(&self.peer, task).map(|()| None),
            },
        })
        .await
    }

    /// Tells the requests how far their client has gone; ready when it has gone for good.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    async fn gone(&self) {
        use tokio::io::{Interest, Ready};

        let is_gone = |ready: Ready| ready.is_error() || ready.is_write_closed();
        // What ends the wait for urgent data, of which none is ever told since the socket is not registered for it, is that
        // the client has closed: also while there is something left to read, which a wait for that would be ready with.
        // An error is the reactor's own, which is being shut down.
        let Ok(ready) = self.stream.ready(Interest::PRIORITY).await else { return };
        if !is_gone(ready) {
            self.peer.goes(Going::Closed);
            if self.stream.ready(Interest::ERROR).await.is_err() {
                return;
            }
        }
        self.peer.goes(Going::Gone);
    }

    /// What reads and writes see is all there is.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    async fn gone(&self) {
        std::future::pending().await
    }
}
