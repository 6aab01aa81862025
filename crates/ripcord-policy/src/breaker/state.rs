//! The states of a breaker, and its statistics.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Refused;
use crate::stats::CallStats;

/// Which calls a breaker admits. This enum is complete.
///
/// `Display` prints the state like a Go program: `CLOSED`, `OPEN`, `HALF-OPEN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// All calls.
    Closed,
    /// No call.
    Open,
    /// A few probes, which show whether the callee works again.
    HalfOpen,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Closed => "CLOSED",
            State::Open => "OPEN",
            State::HalfOpen => "HALF-OPEN",
        })
    }
}

/// A change of state, as passed to `on_state_change`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// The breaker's name.
    pub name: Arc<str>,
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
}

/// The error of [`try_acquire`](super::CircuitBreaker::try_acquire): the breaker is open, or it is half-open and all its probes
/// are in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerOpen {
    /// The breaker's name.
    pub name: Arc<str>,
    /// The time until the next probe is allowed. It is zero while all probes are in flight, because a probe may end at any time.
    /// For a breaker that was forced open, it is the duration for which a breaker otherwise stays open.
    pub retry_after: Duration,
}

impl fmt::Display for BreakerOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Refused::from(self.clone()).fmt(f)
    }
}

impl std::error::Error for BreakerOpen {}

impl From<BreakerOpen> for Refused {
    fn from(BreakerOpen { name, retry_after }: BreakerOpen) -> Self {
        Refused::breaker_open(name, retry_after)
    }
}

/// Statistics of a breaker; see [`stats`](crate::stats) for the shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerStats {
    /// Calls admitted, and how they ended. Also calls refused.
    pub calls: CallStats,
    /// Slow calls, whatever their result.
    pub slow: u64,
    /// Results ignored because the breaker had changed state while the call was in flight.
    pub stale: u64,
    /// The number of times the breaker opened.
    pub opened: u64,
    /// The current state.
    pub state: State,
}
