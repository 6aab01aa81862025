//! The connection between a breaker and the breakers of other processes that have its name.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::shared::Shared;
use crate::panics::shielded;

/// Shares the state of breakers with other processes. Set it with
/// [`CircuitBreakerBuilder::shared`](super::CircuitBreakerBuilder::shared).
///
/// The crate `ripcord-redis` has an implementation, `SharedBreaker`. An implementation tells the other processes what
/// [`announcement`](BreakerHandle::announcement) returns, and calls [`open_for`](BreakerHandle::open_for) and
/// [`close`](BreakerHandle::close) when it hears of their changes. It must deliver the changes of one breaker in one order to all
/// processes.
pub trait SharedState: Send + Sync {
    /// Connects a breaker that was just built. Returns a function that the breaker calls after it has opened or closed. The breaker
    /// does not call it for a change that another process caused.
    ///
    /// The function runs on the thread that changed the state, outside of all locks. It must neither block nor panic.
    fn connect(&self, breaker: BreakerHandle) -> Box<dyn Fn() + Send + Sync>;
}

/// A handle by which a [`SharedState`] reads and changes a breaker. It does not keep the breaker in memory.
#[derive(Clone)]
pub struct BreakerHandle {
    name: Arc<str>,
    breaker: Weak<Shared>,
}

/// The state that a breaker announces to other processes. This enum is complete.
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

    /// Returns the current state for other processes. Returns `None` if the breaker is half-open, was opened by
    /// [`force_open`](super::CircuitBreaker::force_open), or is no longer in memory.
    pub fn announcement(&self) -> Option<Announcement> {
        self.breaker.upgrade()?.announcement()
    }

    /// Opens the breaker for `duration`, because a breaker of another process has opened. Returns whether this changed anything.
    ///
    /// Changes nothing if the breaker is open for at least this time, or was opened by
    /// [`force_open`](super::CircuitBreaker::force_open). The hook
    /// [`on_state_change`](super::CircuitBreakerBuilder::on_state_change) runs on this thread. A panic of the hook is discarded.
    pub fn open_for(&self, duration: Duration) -> bool {
        self.change(|breaker| breaker.open_by_peer(duration))
    }

    /// Closes the breaker, because a breaker of another process has closed. Returns whether this changed anything.
    ///
    /// Changes nothing if the breaker was opened by [`force_open`](super::CircuitBreaker::force_open). The hook runs as for
    /// [`open_for`](BreakerHandle::open_for).
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
