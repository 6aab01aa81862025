//! Detects clients that stay connected and stop reading.

use std::{
    pin::Pin,
    task::{self, Poll, ready},
    time::Duration,
};

use ripcord::{Context, DoneOwned};

use super::{activity::Writes, peer::Peer};

/// Waits until a connection is useless: its client has stopped reading, and either every request on it has ended, or there is no
/// request and the send timeout has passed.
///
/// hyper polls a body only while the socket accepts data. Without this wait, a body that was cut at its deadline would be kept, with
/// its request and its connection, until the client leaves. The end of an answer that hyper has buffered belongs to no request.
#[derive(Debug)]
pub(super) struct StallWatch {
    send_timeout: Duration,
    /// The writes before the stall, and what it is waiting for.
    stall: Option<(Writes, Wait)>,
}

#[derive(Debug)]
enum Wait {
    Begin,
    /// The ends of the requests in flight.
    Requests(Vec<DoneOwned>),
    /// The send timeout, or the end of the server, for the end of an answer.
    Tail(DoneOwned),
}

impl StallWatch {
    pub(super) fn new(send_timeout: Duration) -> Self {
        StallWatch { send_timeout, stall: None }
    }

    /// Ready when the connection is useless. To be polled after the connection, which finds out whether the socket takes
    /// something.
    pub(super) fn poll(&mut self, peer: &Peer, task: &mut task::Context<'_>) -> Poll<()> {
        let Some(writes) = peer.traffic().stalled() else {
            self.stall = None;
            return Poll::Pending;
        };
        // After some progress the wait starts again.
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
                    // There may be other requests by now.
                    *wait = Wait::Begin;
                }
                Wait::Tail(end) => {
                    ready!(Pin::new(end).poll(task));
                    // The next request may have come before the end of the last answer was taken.
                    if peer.limits().is_empty() {
                        return Poll::Ready(());
                    }
                    *wait = Wait::Begin;
                }
            }
        }
    }
}
