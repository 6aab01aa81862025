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
/// When a breaker changes, an implementation calls [`take_announcement`](BreakerHandle::take_announcement) and sends the
/// result to the other processes. When it receives an announcement of another process, it calls
/// [`open_for`](BreakerHandle::open_for) or [`close`](BreakerHandle::close) for the breaker with the same name. All
/// processes must receive the announcements for a name in the same order.
pub trait SharedState: Send + Sync {
    /// Connects a breaker. The builder of the breaker calls this method once. `breaker` is the handle to the new breaker.
    ///
    /// Returns a function that the breaker calls each time it has opened or closed, and after each
    /// [`reset`](super::CircuitBreaker::reset), but not for changes by [`open_for`](BreakerHandle::open_for) and
    /// [`close`](BreakerHandle::close). The function runs on the thread that changed the state, outside of all locks. It
    /// must neither block nor panic. After each call of the function, the implementation must call
    /// [`take_announcement`](BreakerHandle::take_announcement), in the function or later.
    fn connect(&self, breaker: BreakerHandle) -> Box<dyn Fn() + Send + Sync>;
}

/// A handle with which a [`SharedState`] reads and changes a breaker. It does not keep the breaker in memory. If the breaker is no
/// longer in memory, the handle changes nothing.
#[derive(Clone)]
pub struct BreakerHandle {
    name: Arc<str>,
    breaker: Weak<Shared>,
}

/// The state of a breaker that a [`SharedState`] sends to other processes. Returned by [`BreakerHandle::announcement`]. This enum
/// is exhaustive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// The breaker is closed.
    Closed,
    /// The breaker is open, and stays open for this time.
    Open(Duration),
}

/// What a breaker did about a change of another process. This enum is exhaustive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The breaker changed its state, or the time for which it stays open.
    Changed,
    /// There was nothing to change.
    Unchanged,
    /// The breaker changed nothing, because a change of its own is not announced yet. Call
    /// [`take_announcement`](BreakerHandle::take_announcement). If the change of the other process is the later one, call the
    /// method again.
    Unannounced,
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

    /// Returns the [`announcement`](Self::announcement) if the breaker has opened, closed or been reset since the last call of this
    /// method. Changes by [`open_for`](Self::open_for) and [`close`](Self::close) do not count. Returns `None` otherwise.
    ///
    /// Call this method after each such change. Until then, `open_for` and `close` change nothing and return
    /// [`Followed::Unannounced`].
    pub fn take_announcement(&self) -> Option<Announcement> {
        self.breaker.upgrade()?.take_announcement()
    }

    /// Opens the breaker for `duration`, because a breaker of another process has opened. Changes nothing if the breaker already
    /// stays open for at least this time, or was opened by [`force_open`](super::CircuitBreaker::force_open).
    ///
    /// The hook [`on_state_change`](super::CircuitBreakerBuilder::on_state_change) runs on the thread of the caller. A panic of the
    /// hook is discarded.
    pub fn open_for(&self, duration: Duration) -> Followed {
        self.change(|breaker| breaker.open_by_peer(duration))
    }

    /// Closes the breaker, because a breaker of another process has closed. Changes nothing if the breaker is already
    /// closed, or was opened by [`force_open`](super::CircuitBreaker::force_open).
    ///
    /// The hook [`on_state_change`](super::CircuitBreakerBuilder::on_state_change) runs on the thread of the caller. A panic of the
    /// hook is discarded.
    pub fn close(&self) -> Followed {
        self.change(Shared::close_by_peer)
    }

    fn change(&self, change: impl FnOnce(&Shared) -> Followed) -> Followed {
        let Some(breaker) = self.breaker.upgrade() else { return Followed::Unchanged };
        // A hook that panics runs after the change, except if a probe has expired in the same call. Then `Changed` is wrong, and the
        // next change of a peer tells the state.
        let mut followed = Followed::Changed;
        shielded(|| followed = change(&breaker));
        followed
    }
}

impl fmt::Debug for BreakerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerHandle").field("name", &self.name).field("is_alive", &self.is_alive()).finish()
    }
}
