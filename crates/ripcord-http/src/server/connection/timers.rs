//! The timeouts that close a connection without requests.
//!
//! One context with a timeout serves all waits of a connection. It is armed for the earliest known time. If it fires too early,
//! it is armed again. So a busy connection sets no timer.

use std::{
    pin::Pin,
    task::{self, Poll},
    time::{Duration, Instant},
};

use ripcord::{Context, DoneOwned};

use super::{
    activity::{Activity, Phase},
    peer::Peer,
};

/// The maximum times for which a connection without a request stays open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// The maximum time from the first byte of a request, or the start of the connection, to the end of the request's head.
    pub(super) head: Duration,
    /// The maximum time from the end of a response to the next request.
    pub(super) idle: Duration,
}

/// The wait until a connection has been without a request for too long.
#[derive(Debug)]
pub(super) struct Idle {
    timeouts: Timeouts,
    /// A context that provides the time and is never canceled.
    clock: Context,
    seen: Option<Activity>,
    /// The time of the close. `None` while the connection has a request.
    due: Option<Instant>,
    armed: Option<(Instant, DoneOwned)>,
}

impl Idle {
    pub(super) fn new(timeouts: Timeouts, clock: Context) -> Self {
        Idle { timeouts, clock, seen: None, due: None, armed: None }
    }

    /// Returns ready when the connection must be closed. Must be polled after the connection.
    pub(super) fn poll(&mut self, peer: &Peer, task: &mut task::Context<'_>) -> Poll<()> {
        let activity = peer.traffic().activity();
        if self.seen != Some(activity) {
            self.seen = Some(activity);
            let timeout = match activity.phase {
                Phase::Busy => None,
                Phase::Head => Some(self.timeouts.head),
                Phase::Idle => Some(self.timeouts.idle),
            };
            self.due = timeout.and_then(|timeout| self.clock.clock().now().checked_add(timeout));
        }
        loop {
            let Some(due) = self.due else { return Poll::Pending };
            let (_, done) = match &mut self.armed {
                Some(armed) if armed.0 <= due => armed,
                armed => armed.insert((due, self.clock.with_deadline(due).done_owned())),
            };
            if Pin::new(done).poll(task).is_pending() {
                return Poll::Pending;
            }
            self.armed = None;
            if self.clock.clock().now() >= due {
                return Poll::Ready(());
            }
        }
    }
}
