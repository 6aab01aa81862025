//! The statistics that all policies have in common.
//!
//! Each policy has a method `stats`, which returns a plain struct. The field `calls` is a [`CallStats`]. The other fields are
//! the policy's own counters and gauges. A *counter* counts events since the policy was created, and only grows. A *gauge* is a
//! current value, which may grow and shrink. The docs of a field say if it is a gauge. All clones of a policy share its
//! statistics.
//!
//! The [`RateLimiterStats`](crate::limiter::RateLimiterStats) of a rate limiter count requests for tokens instead of calls,
//! because a limiter does not see the results of calls.
//!
//! Each number is exact. The numbers of one struct may belong to slightly different moments if calls start or end while they
//! are read.

use crate::Outcome;

/// The numbers of calls through a policy, by result. A cache counts its loads as calls, and a worker pool counts its jobs. A
/// rate limiter counts requests for tokens: see [`RateLimiterStats`](crate::limiter::RateLimiterStats).
///
/// `started = succeeded + failed + canceled` whenever no call is in flight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallStats {
    /// Calls that the policy admitted and started.
    pub started: u64,
    /// Started calls that succeeded.
    pub succeeded: u64,
    /// Started calls that failed: calls with the outcome [`Outcome::Failure`].
    pub failed: u64,
    /// Started calls that were canceled or dropped, and all other started calls with the outcome [`Outcome::Neutral`].
    pub canceled: u64,
    /// Calls that the policy refused and never started, including calls whose context was canceled or past its deadline
    /// already.
    pub rejected: u64,
}

impl CallStats {
    /// Returns the number of calls in flight: calls that have started and not ended yet.
    pub fn in_flight(&self) -> u64 {
        self.started.saturating_sub(self.succeeded + self.failed + self.canceled)
    }
}

impl std::ops::Add for CallStats {
    type Output = Self;

    /// Adds the statistics of two policies of the same kind, such as the breakers of two keys.
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

/// The events of a call that every policy counts.
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
