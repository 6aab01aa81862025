//! The list of all policies of the crate. `tests/shape.rs` checks that the list is complete, and makes a call through each policy.
//! `tests/ends.rs` checks that the table of ends has rows for each policy.

pub(crate) const POLICIES: [&str; 11] = [
    "Bulkhead",
    "Cache",
    "CircuitBreaker",
    "Fallback",
    "Hedge",
    "KeyedCircuitBreaker",
    "KeyedLimiter",
    "RateLimiter",
    "Retry",
    "Stack",
    "WorkerPool",
];
