//! A client that takes nothing any more.

use std::{
    pin::Pin,
    task::{self, Poll, ready},
    time::Duration,
};

use ripcord::{Context, DoneOwned};

use super::peer::{Peer, Writes};

/// The wait for a connection to be of no use: its client takes nothing, and either every request on it has ended, or there is
/// none and it has taken nothing for the send timeout.
///
/// A body that has ended is cut short when it is asked for more. But while the socket takes nothing hyper asks for nothing,
/// and a client that stays without reading would keep the body, its request and its connection for as long as it likes. The
/// end of an answer that hyper has whole is of no request any more, and would be kept just so.
#[derive(Debug)]
pub(super) struct Stuck {
    send_timeout: Duration,
    /// Since when it has taken nothing, and what is waited for since.
    stall: Option<(Writes, Wait)>,
}

#[derive(Debug)]
enum Wait {
    Begin,
    /// The ends of the requests on their way.
    Requests(Vec<DoneOwned>),
    /// The end of the send timeout of what no request is left of, or that of the server.
    Tail(DoneOwned),
}

impl Stuck {
    pub(super) fn new(send_timeout: Duration) -> Self {
        Stuck { send_timeout, stall: None }
    }

    /// To be polled after the connection, which finds out whether the socket takes something.
    pub(super) fn poll(&mut self, peer: &Peer, task: &mut task::Context<'_>) -> Poll<()> {
        let Some(writes) = peer.stalled() else {
            self.stall = None;
            return Poll::Pending;
        };
        // One that has taken a little since is waited for anew.
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
                    // There may be others by now.
                    *wait = Wait::Begin;
                }
                Wait::Tail(end) => {
                    ready!(Pin::new(end).poll(task));
                    // The next request may have come, before the end of the last answer was taken.
                    if peer.limits().is_empty() {
                        return Poll::Ready(());
                    }
                    *wait = Wait::Begin;
                }
            }
        }
    }
}
