//! Detects connected clients that have stopped reading.

use std::{
    pin::Pin,
    task::{self, Poll, ready},
    time::Duration,
};

use ripcord::{Context, DoneOwned};

use super::{activity::Writes, peer::Peer};

/// Waits until a connection is useless: its client has stopped reading, and either every request on the connection has ended, or
/// the connection has no request and the send timeout has passed.
///
/// hyper polls a body only while the socket accepts data. Without this wait, a body that was cut at its deadline would stay,
/// with its request and its connection, until the client disconnects. The end of a response in hyper's buffer no longer belongs to
/// a request.
#[derive(Debug)]
pub(super) struct StallWatch {
    send_timeout: Duration,
    /// The number of writes before the stall, and the event that the stall waits for.
    stall: Option<(Writes, Wait)>,
}

#[derive(Debug)]
enum Wait {
    Begin,
    /// The ends of the requests in flight.
    Requests(Vec<DoneOwned>),
    /// The send timeout for the end of a response, or the end of the server.
    Tail(DoneOwned),
}

impl StallWatch {
    pub(super) fn new(send_timeout: Duration) -> Self {
        StallWatch { send_timeout, stall: None }
    }

    /// Returns ready when the connection is useless. Must be polled after the connection, because polling the connection shows
    /// whether the socket accepts data.
    pub(super) fn poll(&mut self, peer: &Peer, task: &mut task::Context<'_>) -> Poll<()> {
        let Some(writes) = peer.traffic().stalled() else {
            self.stall = None;
            return Poll::Pending;
        };
        // After a successful write, the wait starts again.
        let (_, wait) = match &mut self.stall {
            Some(stall) if stall.0 == writes => stall,
            stall => stall.insert((writes, Wait::Begin)),
        };
        loop {
            match wait {
                Wait::Begin => {
                    let limits = peer.limits();
                    *wait = if limits.is_empty() {
                        Wait::Tail(peer.server().with_timeout(self.send_timeout).done_owned())
                    } else if limits.iter().all(Context::is_done) {
                        return Poll::Ready(());
                    } else {
                        Wait::Requests(limits.iter().map(Context::done_owned).collect())
                    };
                }
                Wait::Requests(waits) => {
                    waits.retain_mut(|wait| Pin::new(wait).poll(task).is_pending());
                    if !waits.is_empty() {
                        return Poll::Pending;
                    }
                    // There may be new requests now.
                    *wait = Wait::Begin;
                }
                Wait::Tail(end) => {
                    ready!(Pin::new(end).poll(task));
                    // The next request may have started before the client had read the end of the last response.
                    if peer.limits().is_empty() {
                        return Poll::Ready(());
                    }
                    *wait = Wait::Begin;
                }
            }
        }
    }
}
