//! One shape of statistics for all policies.
//!
//! Each policy has a method `stats()`, which returns a plain struct: `calls`, a [`CallStats`], and the policy's own figures.
//! Counters only grow. Gauges are marked as such. All clones of a policy share its statistics.
//!
//! A limiter runs no calls and never learns how they end: its [`LimiterStats`](crate::LimiterStats) count requests for tokens.
//!
//! Each number is right by itself. Numbers read while calls are in flight need not be of one instant.

use crate::Outcome;

/// How the calls through a policy ended. A cache counts its loads here, a pool its tasks.
///
/// `started = succeeded + failed + canceled` whenever no call is in flight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallStats {
    /// Calls admitted and started.
    pub started: u64,
    /// Of those, calls that succeeded.
    pub succeeded: u64,
    /// Of those, calls that failed, with the callee to blame.
    pub failed: u64,
    /// Of those, calls that the caller canceled or dropped, and calls with another neutral outcome.
    pub canceled: u64,
    /// Calls refused and never started, including calls whose context had ended before.
    pub rejected: u64,
}

impl CallStats {
    /// Returns the number of calls in flight.
    pub fn in_flight(&self) -> u64 {
        self.started.saturating_sub(self.succeeded + self.failed + self.canceled)
    }
}

impl std::ops::Add for CallStats {
    type Output = Self;

    /// Returns the statistics of the calls through both of two policies of the same kind, such as the breakers of several keys.
    fn add(self, other: Self) -> Self {
        CallStats {
            started: self.started + other.started,
            succeeded: self.succeeded + other.succeeded,
            failed: self.failed + other.failed,
            canceled: self.canceled + other.canceled,
            rejected: self.rejected + other.rejected,
        }
    }
}

/// What is counted of every call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Call {
    Started,
    Succeeded,
    Failed,
    Canceled,
    Rejected,
}

impl From<Outcome> for Call {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Call::Succeeded,
            Outcome::Failure => Call::Failed,
            Outcome::Neutral => Call::Canceled,
        }
    }
}
