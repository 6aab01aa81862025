//! The states of a breaker, and its statistics.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::Refused;
use crate::stats::CallStats;

/// The state of a [`CircuitBreaker`](super::CircuitBreaker), which decides whether the breaker admits calls. This enum is
/// exhaustive.
///
/// `Display` prints `CLOSED`, `OPEN` or `HALF-OPEN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The breaker admits all calls.
    Closed,
    /// The breaker refuses all calls.
    Open,
    /// The breaker admits calls, called probes, to find out whether the service works again. At most
    /// [`half_open_calls`](super::CircuitBreakerBuilder::half_open_calls) probes are in flight at a time.
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

/// A change of the state of a [`CircuitBreaker`](super::CircuitBreaker). This is the argument of the hook
/// [`on_state_change`](super::CircuitBreakerBuilder::on_state_change).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// The breaker's name.
    pub name: Arc<str>,
    /// The state before the change.
    pub from: State,
    /// The state after the change.
    pub to: State,
    /// Whether a breaker of another process caused the change. Only with
    /// [`CircuitBreakerBuilder::shared`](super::CircuitBreakerBuilder::shared).
    pub is_by_peer: bool,
}

/// The error of [`try_acquire`](super::CircuitBreaker::try_acquire): the breaker is open, or it is half-open and all its
/// probes are in flight. See [States](super::CircuitBreaker#states).
///
/// `{}` prints the name and the state of the breaker. `{:#}` adds the line of code that built the breaker, or that opened it by
/// [`force_open`](super::CircuitBreaker::force_open).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerOpen {
    /// The breaker's name.
    pub name: Arc<str>,
    /// The time until the breaker becomes half-open and admits a probe. If the breaker is half-open and all its probes are in
    /// flight, the time is zero, because a probe may end at any moment. After
    /// [`force_open`](super::CircuitBreaker::force_open), the time is the setting
    /// [`open_for`](super::CircuitBreakerBuilder::open_for).
    pub retry_after: Duration,
    /// The line of code that called [`CircuitBreaker::builder`](super::CircuitBreaker::builder) or
    /// [`CircuitBreaker::new`](super::CircuitBreaker::new).
    pub built_at: &'static Location<'static>,
    /// The line of code that called [`force_open`](super::CircuitBreaker::force_open), if this call opened the breaker.
    pub forced_at: Option<&'static Location<'static>>,
}

impl fmt::Display for BreakerOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Refused::from(self.clone()).fmt(f)
    }
}

impl std::error::Error for BreakerOpen {}

impl From<BreakerOpen> for Refused {
    fn from(BreakerOpen { name, retry_after, built_at, forced_at }: BreakerOpen) -> Self {
        Refused::breaker_open(name, retry_after, built_at, forced_at)
    }
}

/// Statistics of a [`CircuitBreaker`](super::CircuitBreaker). The module [`stats`](crate::stats) describes counters and gauges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CircuitBreakerStats {
    /// Admitted calls by result, and refused calls.
    pub calls: CallStats,
    /// Calls that were [slow](super::CircuitBreakerBuilder::slow_call), both successes and failures.
    pub slow: u64,
    /// Results that were ignored because the breaker changed its state during the call.
    pub stale: u64,
    /// The number of times the breaker opened.
    pub opened: u64,
    /// The number of times the breaker opened because a breaker of another process had opened. Included in `opened`.
    pub opened_by_peer: u64,
    /// The current state: a gauge.
    pub state: State,
}
