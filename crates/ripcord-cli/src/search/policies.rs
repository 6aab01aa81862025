//! What is set of the policies around a backend.

use std::time::Duration;

/// The policies around a backend; see the [module](super) for where each has its place.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Policies {
    /// How long one request may take.
    pub attempt_timeout: Duration,
    /// Attempts in all, the first one included.
    pub retry_attempts: u32,
    /// After how long a second request is sent; none for a backend that is always slow.
    pub hedge_after: Option<Duration>,
    /// Failures in a row that open the breaker.
    pub breaker_failures: u32,
    /// How long the breaker stays open.
    pub breaker_open_for: Duration,
    /// Requests a second.
    pub limiter_rate: f64,
    /// Requests at once after a quiet time.
    pub limiter_burst: u32,
    /// How long an answer is kept.
    pub cache_ttl: Duration,
    /// How many answers are kept.
    pub cache_capacity: u32,
}
