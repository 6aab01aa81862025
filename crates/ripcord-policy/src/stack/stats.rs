//! What a stack has done so far.

use crate::stats::CallStats;

/// Statistics of a [`Stack`](super::Stack). The module [`stats`](crate::stats) describes counters and gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackStats {
    /// Calls, and how they ended. A fallback's answer is a success; a call that a layer refused in the end counts as canceled.
    pub calls: CallStats,
    /// Attempts that reached the call itself.
    pub attempts: u64,
}
