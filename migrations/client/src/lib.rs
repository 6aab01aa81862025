//! A client of the price service.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use failsafe::{
    Config, StateMachine,
    backoff::{self, Constant},
    failure_policy::{self, ConsecutiveFailures},
    futures::CircuitBreaker,
};
use reqwest::StatusCode;
use tokio::time::timeout;

/// The error of a call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service does not know the symbol.
    #[error("no such symbol")]
    NotFound,
    /// The service did not answer in time.
    #[error("the price service did not answer in time")]
    Timeout,
    /// The service has failed so often that it is not called for a while.
    #[error("the price service is unavailable")]
    Unavailable,
    /// The service has answered with something other than a price.
    #[error("malformed price {0:?}")]
    Malformed(String),
    /// The service has failed, or could not be reached.
    #[error("the price service has failed")]
    Failed(#[source] reqwest::Error),
}

/// The times of a [`Client`].
#[derive(Clone, Debug)]
pub struct Times {
    /// The limit of one attempt.
    pub attempt: Duration,
    /// The limit of a call, with all its attempts.
    pub call: Duration,
    /// The time for which the service is not called after five failures in a row.
    pub open: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Times { attempt: Duration::from_millis(500), call: Duration::from_secs(5), open: Duration::from_secs(30) }
    }
}

/// A client of the price service.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    breaker: StateMachine<ConsecutiveFailures<Constant>, ()>,
    times: Times,
}

impl Client {
    /// Creates a client of the service at the URL `base`.
    pub fn new(base: &str) -> Self {
        Client::with_times(base, Times::default())
    }

    /// Creates a client with other times.
    pub fn with_times(base: &str, times: Times) -> Self {
        let policy = failure_policy::consecutive_failures(5, backoff::constant(times.open));
        let breaker = Config::new().failure_policy(policy).build();
        Client { http: reqwest::Client::new(), base: base.to_owned(), breaker, times }
    }

    /// Returns the price of a share in cents.
    ///
    /// # Errors
    ///
    /// Returns an error if the service fails three times, is not called because it has failed too often, or does not know the symbol.
    pub async fn price(&self, symbol: &str) -> Result<u64, Error> {
        let backoff = ExponentialBuilder::default().with_min_delay(Duration::from_millis(100)).with_max_times(2);
        let call = (|| self.attempt(symbol)).retry(backoff.with_jitter()).when(is_transient);
        let body = timeout(self.times.call, call).await.unwrap_or(Err(Error::Timeout))?;
        body.trim().parse().map_err(|_| Error::Malformed(body))
    }

    /// Makes one attempt, if the breaker admits it.
    async fn attempt(&self, symbol: &str) -> Result<String, Error> {
        let limited = async { timeout(self.times.attempt, self.send(symbol)).await.unwrap_or(Err(Error::Timeout)) };
        self.breaker.call_with(is_transient, limited).await.map_err(|error| match error {
            failsafe::Error::Inner(error) => error,
            failsafe::Error::Rejected => Error::Unavailable,
        })
    }

    async fn send(&self, symbol: &str) -> Result<String, Error> {
        let response = self.http.get(format!("{}/prices/{symbol}", self.base)).send().await.map_err(Error::Failed)?;
        if response.status() == StatusCode::NOT_FOUND {
            return Err(Error::NotFound);
        }
        response.error_for_status().map_err(Error::Failed)?.text().await.map_err(Error::Failed)
    }
}

/// Returns whether another attempt may help. Only such errors count as failures of the service.
fn is_transient(error: &Error) -> bool {
    match error {
        Error::Timeout => true,
        Error::Failed(error) => error.status().is_none_or(|status| status.is_server_error()),
        Error::NotFound | Error::Unavailable | Error::Malformed(_) => false,
    }
}
