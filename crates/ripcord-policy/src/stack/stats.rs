//! The statistics of a stack.

use crate::stats::CallStats;

/// Statistics of a [`Stack`](super::Stack). The module [`stats`](crate::stats) describes counters and gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackStats {
    /// The calls by result. A call succeeds if the call itself or the fallback returned a value. A call that failed because a
    /// layer refused its last attempt counts in `canceled`.
    pub calls: CallStats,
    /// Attempts that were sent to the called service: the number of times that the closure passed to [`run`](super::Stack::run)
    /// ran.
    pub attempts: u64,
}
