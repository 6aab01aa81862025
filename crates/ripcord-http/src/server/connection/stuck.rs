//! A client that takes nothing any more.

use std::{
    pin::Pin,
    task::{self, Poll},
};

use ripcord::{Context, DoneOwned};

use super::peer::Peer;

/// The wait for a connection to be of no use: its client takes nothing, and every request on it has ended.
///
/// A body that has ended is cut short when it is asked for more. But while the socket takes nothing hyper asks for nothing,
/// and a client that stays without reading would keep the body, its request and its connection for as long as it likes.
#[derive(Debug, Default)]
pub(super) struct Stuck {
    waits: Vec<DoneOwned>,
}

impl Stuck {
    /// To be polled after the connection, which finds out whether the socket takes something.
    pub(super) fn poll(&mut self, peer: &Peer, task: &mut task::Context<'_>) -> Poll<()> {
        if !peer.takes_nothing() {
            self.waits.clear();
            return Poll::Pending;
        }
        loop {
            self.waits.retain_mut(|wait| Pin::new(wait).poll(task).is_pending());
            if !self.waits.is_empty() {
                return Poll::Pending;
            }
            let limits = peer.limits();
            if limits.is_empty() {
                // What is left to be sent is the end of an answer whose request is over.
                return Poll::Pending;
            }
            if limits.iter().all(Context::is_done) {
                return Poll::Ready(());
            }
            self.waits.extend(limits.iter().map(Context::done_owned));
        }
    }
}
