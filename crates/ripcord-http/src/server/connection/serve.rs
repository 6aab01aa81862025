//! Serving a connection under its watch.

use std::{
    pin::Pin,
    sync::Arc,
    task::{self, Poll, ready},
    time::Duration,
};

use hyper_util::server::graceful::GracefulConnection;
use pin_project_lite::pin_project;
use ripcord::{Context, DoneOwned};
use tokio::net::TcpStream;

use super::{
    activity::Phase,
    linger::has_unread,
    peer::Peer,
    stall::StallWatch,
    timers::{Idle, Timeouts},
};

/// The maximum time for an HTTP/2 client to acknowledge the close of the connection.
const GOODBYE: Duration = Duration::from_millis(500);

pin_project! {
    /// A connection and the events that end it. `G` is ready when the client has disconnected and no longer reads.
    pub(super) struct Serve<C: GracefulConnection, G> {
        #[pin]
        connection: C,
        #[pin]
        gone: G,
        watched: Watched,
        // The output of the served connection. After this, only an upgraded connection is still watched.
        served: Option<C::Output>,
    }
}

/// The reasons to end a connection from outside.
struct Watched {
    stream: Arc<TcpStream>,
    peer: Peer,
    stuck: StallWatch,
    idle: Idle,
    until: Option<DoneOwned>,
    closing: Closing,
    upgraded: Option<DoneOwned>,
}

enum Closing {
    No,
    /// The connection was asked to close gracefully.
    Asked,
    /// The connection is closed at the end of this wait.
    Soon(DoneOwned),
}

impl<C: GracefulConnection, G> Serve<C, G> {
    pub(super) fn new(
        connection: C,
        gone: G,
        stream: Arc<TcpStream>,
        peer: Peer,
        send_timeout: Duration,
        timeouts: Timeouts,
        until: Option<&Context>,
    ) -> Self {
        let idle = Idle::new(timeouts, peer.clock());
        let until = until.map(Context::done_owned);
        let stuck = StallWatch::new(send_timeout);
        let watched = Watched { stream, peer, stuck, idle, until, closing: Closing::No, upgraded: None };
        Serve { connection, gone, watched, served: None }
    }
}

impl<C: GracefulConnection, G: Future<Output = ()>> Future for Serve<C, G> {
    /// `None` if the connection was dropped before it was served.
    type Output = Option<C::Output>;

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // The connection is polled first: a handler that answers at once must have answered before its client's FIN is detected.
        while this.served.is_none() {
            if let Poll::Ready(served) = this.connection.as_mut().poll(task) {
                *this.served = Some(served);
                break;
            }
            match this.watched.poll_close(task) {
                Poll::Pending => break,
                Poll::Ready(Close::InOrder) => this.connection.as_mut().graceful_shutdown(),
                Poll::Ready(Close::Now) => return Poll::Ready(None),
            }
        }
        if this.served.is_some() && !this.watched.is_upgraded(task) {
            return Poll::Ready(this.served.take());
        }
        if this.gone.poll(task).is_ready() {
            return Poll::Ready(this.served.take());
        }
        ready!(this.watched.stuck.poll(&this.watched.peer, task));
        Poll::Ready(this.served.take())
    }
}

enum Close {
    InOrder,
    Now,
}

impl Watched {
    /// Returns ready when the connection must be closed because it has no request.
    fn poll_close(&mut self, task: &mut task::Context<'_>) -> Poll<Close> {
        loop {
            match &mut self.closing {
                Closing::No => {
                    let until = self.until.as_mut().map_or(Poll::Pending, |until| Pin::new(until).poll(task).map(drop));
                    if until.is_pending() {
                        ready!(self.idle.poll(&self.peer, task));
                    }
                    if self.has_unread_request() {
                        return Poll::Pending;
                    }
                    self.closing = Closing::Asked;
                    return Poll::Ready(Close::InOrder);
                }
                Closing::Asked => {
                    if self.peer.traffic().activity().phase == Phase::Busy {
                        return Poll::Pending;
                    }
                    if self.has_unread_request() {
                        return Poll::Pending;
                    }
                    if !self.peer.traffic().is_http2() {
                        return Poll::Ready(Close::Now);
                    }
                    self.closing = Closing::Soon(self.peer.clock().with_timeout(GOODBYE).done_owned());
                }
                Closing::Soon(done) => {
                    ready!(Pin::new(done).poll(task));
                    self.closing = Closing::Asked;
                    if self.peer.traffic().activity().phase != Phase::Busy {
                        return Poll::Ready(Close::Now);
                    }
                }
            }
        }
    }

    /// Returns whether there is unread data. It may be a request, which the client would lose if the connection were closed. The
    /// connection is polled again when it can read.
    fn has_unread_request(&self) -> bool {
        self.peer.traffic().activity().phase != Phase::Busy
            && !self.peer.traffic().is_http2()
            && has_unread(&self.stream).unwrap_or(false)
    }

    /// Returns whether the connection has switched to another protocol and is still open.
    fn is_upgraded(&mut self, task: &mut task::Context<'_>) -> bool {
        if self.upgraded.is_none() {
            self.upgraded = self.peer.upgraded().map(|open| open.done_owned());
        }
        self.upgraded.as_mut().is_some_and(|open| Pin::new(open).poll(task).is_pending())
    }
}
