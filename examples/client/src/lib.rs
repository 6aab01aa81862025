//! A client of the price service.

use std::time::Duration;

use reqwest::StatusCode;
use ripcord::{Clock, Context};
use ripcord_http::client::{self, reqwest::RequestBuilderExt as _};
use ripcord_policy::{CircuitBreaker, Jitter, Outcome, Retry, Stack};

/// The error of a call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service does not know the symbol.
    #[error("no such symbol")]
    NotFound,
    /// The service did not answer in time.
    #[error("the price service did not answer in time")]
    Timeout(#[source] CallError),
    /// The context of the call was canceled.
    #[error("the call was canceled")]
    Canceled(#[source] CallError),
    /// The service has failed so often that it is not called for a while.
    #[error("the price service is unavailable")]
    Unavailable(#[source] CallError),
    /// The service has answered with something other than a price.
    #[error("malformed price {0:?}")]
    Malformed(String),
    /// The service has failed, or could not be reached.
    #[error("the price service has failed")]
    Failed(#[source] CallError),
}

/// The details of an error: the attempts, the end of the context, the last failure.
pub type CallError = ripcord_policy::Error<client::Error>;

/// A client of the price service.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    stack: Stack<String, client::Error>,
}

impl Client {
    /// Creates a client of the service at the URL `base`.
    pub fn new(base: &str) -> Self {
        Client::with_clock(base, Clock::system())
    }

    /// Creates a client that measures all times by `clock`. For tests.
    pub fn with_clock(base: &str, clock: Clock) -> Self {
        let stack = Stack::builder()
            .clock(clock)
            .deadline(Duration::from_secs(5))
            .retry(
                Retry::builder()
                    .max_attempts(3)
                    .base(Duration::from_millis(100))
                    .jitter(Jitter::Full)
                    .retry_if(is_transient),
            )
            .breaker(
                CircuitBreaker::builder("prices")
                    .consecutive_failures(5)
                    .open_for(Duration::from_secs(30))
                    .classify(health),
            )
            .attempt_timeout(Duration::from_millis(500))
            .build()
            .expect("the settings are constants");
        Client { http: reqwest::Client::new(), base: base.to_owned(), stack }
    }

    /// Returns the price of a share in cents.
    ///
    /// # Errors
    ///
    /// Returns an error if `ctx` ends, or if the service fails three times, is not called because it has failed too often, or does not
    /// know the symbol.
    pub async fn price(&self, ctx: &Context, symbol: &str) -> Result<u64, Error> {
        let url = format!("{}/prices/{symbol}", self.base);
        let call = self.stack.run(ctx, |ctx| {
            let request = self.http.get(&url).context(&ctx);
            async move { request.send().await?.error_for_status()?.text().await }
        });
        let body = call.await?;
        body.trim().parse().map_err(|_| Error::Malformed(body))
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        if error.last().is_some_and(|error| error.status() == Some(StatusCode::NOT_FOUND)) {
            Error::NotFound
        } else if error.is_canceled() {
            Error::Canceled(error)
        } else if error.is_breaker_open() {
            Error::Unavailable(error)
        } else if error.is_attempt_timeout() || error.is_deadline_exceeded() {
            Error::Timeout(error)
        } else {
            Error::Failed(error)
        }
    }
}

/// Returns whether another attempt may help. The stack also makes another attempt after an attempt timeout.
fn is_transient(error: &client::Error) -> bool {
    error.status().is_none_or(|status| status.is_server_error())
}

/// Judges the service for the breaker. An answer such as "no such symbol" is not a failure.
fn health(result: &Result<String, client::Error>) -> Outcome {
    if result.as_ref().is_err_and(is_transient) { Outcome::Failure } else { Outcome::Success }
}
