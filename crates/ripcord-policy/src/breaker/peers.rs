//! The connection between a breaker and the breakers of other processes that have its name.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::shared::Shared;
use crate::panics::shielded;

/// Shares the state of breakers with other processes. Set it with
/// [`CircuitBreakerBuilder::shared`](super::CircuitBreakerBuilder::shared). The crate `ripcord-redis` has an implementation,
/// `SharedBreaker`.
///
/// When a breaker changes, an implementation sends the [`announcement`](BreakerHandle::announcement) of the breaker to the other
/// processes. When it receives an announcement of another process, it calls [`open_for`](BreakerHandle::open_for) or
/// [`close`](BreakerHandle::close) for the breaker with the same name. All processes must receive the announcements for a name in
/// the same order.
pub trait SharedState: Send + Sync {
    /// Connects a breaker. The builder of the breaker calls this method once. `breaker` is the handle to the new breaker.
    ///
    /// Returns a function that the breaker calls each time it has opened or closed, except for changes by
    /// [`open_for`](BreakerHandle::open_for) and [`close`](BreakerHandle::close). The function runs on the thread that changed the
    /// state, outside of all locks. It must neither block nor panic.
    fn connect(&self, breaker: BreakerHandle) -> Box<dyn Fn() + Send + Sync>;
}

/// A handle with which a [`SharedState`] reads and changes a breaker. It does not keep the breaker in memory. If the breaker is no
/// longer in memory, the handle changes nothing.
#[derive(Clone)]
pub struct BreakerHandle {
    name: Arc<str>,
    breaker: Weak<Shared>,
}

/// The state of a breaker that a [`SharedState`] sends to other processes. Returned by [`BreakerHandle::announcement`]. No variant
/// will be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// The breaker is closed.
    Closed,
    /// The breaker stays open for this time.
    Open(Duration),
}

impl BreakerHandle {
    pub(super) fn new(breaker: &Arc<Shared>) -> Self {
        BreakerHandle { name: Arc::clone(&breaker.name), breaker: Arc::downgrade(breaker) }
    }

    /// Returns the name of the breaker.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns whether the breaker is still in memory.
    pub fn is_alive(&self) -> bool {
        self.breaker.strong_count() > 0
    }

    /// Returns the current state of the breaker, to send it to other processes. Returns `None` if the breaker is half-open, was
    /// opened by [`force_open`](super::CircuitBreaker::force_open), or is no longer in memory.
    pub fn announcement(&self) -> Option<Announcement> {
        self.breaker.upgrade()?.announcement()
    }

    /// Opens the breaker for `duration`, because a breaker of another process has opened. Returns `false` if this changes nothing:
    /// the breaker already stays open for at least this time, or was opened by
    /// [`force_open`](super::CircuitBreaker::force_open).
    ///
    /// The hook [`on_state_change`](super::CircuitBreakerBuilder::on_state_change) runs on the thread of the caller. A panic of the
    /// hook is discarded.
    pub fn open_for(&self, duration: Duration) -> bool {
        self.change(|breaker| breaker.open_by_peer(duration))
    }

    /// Closes the breaker, because a breaker of another process has closed. Returns `false` if this changes nothing: the breaker is
    /// already closed, or was opened by [`force_open`](super::CircuitBreaker::force_open).
    ///
    /// The hook [`on_state_change`](super::CircuitBreakerBuilder::on_state_change) runs on the thread of the caller. A panic of the
    /// hook is discarded.
    pub fn close(&self) -> bool {
        self.change(Shared::close_by_peer)
    }

    fn change(&self, change: impl FnOnce(&Shared) -> bool) -> bool {
        let Some(breaker) = self.breaker.upgrade() else { return false };
        let mut is_changed = false;
        shielded(|| is_changed = change(&breaker));
        is_changed
    }
}

impl fmt::Debug for BreakerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerHandle").field("name", &self.name).field("is_alive", &self.is_alive()).finish()
    }
}
