//! The list of all policies of the crate, which the tests of all policies share. `tests/shape.rs` checks that the list is complete,
//! and makes a call through each policy. `tests/ends.rs` checks that the table of ends has rows for each policy.
//! `tests/metrics.rs` records the metrics of each policy.

/// Calls the macro `$with` with the types of all policies.
macro_rules! for_each_policy {
    ($with:ident) => {
        $with! {
            Bulkhead,
            Cache<u32, u32>,
            CircuitBreaker,
            Fallback<u32, std::io::Error>,
            Hedge,
            KeyedCircuitBreaker<u32>,
            KeyedLimiter<u32>,
            RateLimiter,
            Retry<std::io::Error>,
            Stack<u32, std::io::Error, u32>,
            WorkerPool,
        }
    };
}

macro_rules! names {
    ($($policy:ident $(<$($argument:ty),*>)?),* $(,)?) => {
        /// The names of all policies.
        pub(crate) const POLICIES: [&str; [$(stringify!($policy)),*].len()] = [$(stringify!($policy)),*];
    };
}

for_each_policy!(names);
