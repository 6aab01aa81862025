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

/// How long a client of HTTP/2 gets to acknowledge that the connection is closed.
const GOODBYE: Duration = Duration::from_millis(500);

pin_project! {
    /// A connection, and what else ends it. `G` is ready when the client is gone.
    pub(super) struct Serve<C: GracefulConnection, G> {
        #[pin]
        connection: C,
        #[pin]
        gone: G,
        watched: Watched,
        // Once the connection is served. Only an upgraded one is still watched then.
        served: Option<C::Output>,
    }
}

/// The reasons for ending a connection from outside.
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
    /// The connection was asked to close in order.
    Asked,
    /// It is closed at the end of this.
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
        // The connection first: a handler that answers at once has answered when its client's FIN is seen.
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
    /// Ready when the connection is to be closed because no request is on it.
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

    /// Returns whether something has come that is not read yet: it may be a request, which the client would lose. The connection
    /// is polled again when it can read.
    fn has_unread_request(&self) -> bool {
        self.peer.traffic().activity().phase != Phase::Busy
            && !self.peer.traffic().is_http2()
            && has_unread(&self.stream).unwrap_or(false)
    }

    /// Whether the connection is another protocol's by now, and open.
    fn is_upgraded(&mut self, task: &mut task::Context<'_>) -> bool {
        if self.upgraded.is_none() {
            self.upgraded = self.peer.upgraded().map(|open| open.done_owned());
        }
        self.upgraded.as_mut().is_some_and(|open| Pin::new(open).poll(task).is_pending())
    }
}
