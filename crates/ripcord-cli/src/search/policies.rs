//! The settings of the policies around a backend.

use std::time::Duration;

/// The settings of the policies around a backend. The [module](super) shows their order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Policies {
    /// Time limit of one request.
    pub attempt_timeout: Duration,
    /// Maximum number of attempts, including the first.
    pub retry_attempts: u32,
    /// Time after which a second request is sent if the first has no answer. If `None`, no second request is sent. Use `None` for a
    /// backend that is always slow.
    pub hedge_after: Option<Duration>,
    /// Number of consecutive failures that open the circuit breaker.
    pub breaker_failures: u32,
    /// Time for which an open circuit breaker rejects requests.
    pub breaker_open_for: Duration,
    /// Maximum number of requests per second, on average.
    pub limiter_rate: f64,
    /// Maximum number of requests at once, after a time without requests.
    pub limiter_burst: u32,
    /// Time for which an answer is cached.
    pub cache_ttl: Duration,
    /// Maximum number of cached answers.
    pub cache_capacity: u32,
}
