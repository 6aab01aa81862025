//! The statistics of a stack.

use crate::stats::CallStats;

/// Statistics of a [`Stack`](super::Stack). The module [`stats`](crate::stats) describes counters and gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackStats {
    /// The calls by result. A call succeeds if the call itself or the fallback returned a value. A call that fails because a
    /// layer refused it counts as canceled.
    pub calls: CallStats,
    /// Attempts that were sent: the number of times that the call itself ran.
    pub attempts: u64,
}
