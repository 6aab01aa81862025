//! What a breaker says of itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Refused;
use crate::stats::CallStats;

/// Whether calls are let through. This enum is complete.
///
/// Displays as a Go program would print it: `CLOSED`, `OPEN`, `HALF-OPEN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// All calls are.
    Closed,
    /// None are.
    Open,
    /// A few are, to see how they fare.
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

/// A change of state, as `on_state_change` is told of it.
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

/// The breaker is open, or half-open with all of its probes under way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Open {
    /// The breaker's name.
    pub name: Arc<str>,
    /// Until the next probe is allowed; zero while probes are under way, which may end any time. A breaker forced open
    /// tells the time it would be open for.
    pub retry_after: Duration,
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Refused::from(self.clone()).fmt(f)
    }
}

impl std::error::Error for Open {}

impl From<Open> for Refused {
    fn from(Open { name, retry_after }: Open) -> Self {
        Refused::breaker_open(name, retry_after)
    }
}

/// The numbers of a breaker; see [`stats`](crate::stats) for the shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerStats {
    /// Calls let through, and how they ended; calls refused.
    pub calls: CallStats,
    /// Calls that took as long as a slow call, whatever their result.
    pub slow: u64,
    /// Results that came after the state had changed, and were not gone by.
    pub stale: u64,
    /// Times it opened.
    pub opened: u64,
    /// The state now.
    pub state: State,
}
