//! The settings of the policies around a backend.

use std::time::Duration;

use ripcord_redis::{Client, OnOutage, SharedBreaker};

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

/// The Redis in which services share the state of the policies: the limits, the cached answers and the states of circuit breakers.
#[derive(Clone, Debug)]
pub struct Sharing {
    pub(super) client: Client,
    pub(super) on_outage: OnOutage,
    pub(super) breakers: SharedBreaker,
}

impl Sharing {
    /// Shares the state with all services that use the Redis and the prefix of `client`. `on_outage` decides what the limits do
    /// while Redis is unavailable.
    pub fn new(client: &Client, on_outage: OnOutage) -> Sharing {
        Sharing { client: client.clone(), on_outage, breakers: SharedBreaker::new(client) }
    }
}
