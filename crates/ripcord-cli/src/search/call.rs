//! One request to a backend.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use reqwest::{Client, StatusCode, Url, header::RETRY_AFTER};
use ripcord::Context;
use ripcord_http::client::{
    self,
    reqwest::{RequestBuilderExt as _, Response},
};
use ripcord_policy::{Outcome, retry::parse_retry_after};
use serde::Deserialize;

use crate::backends::Hit;

/// Maximum size of a backend's answer in bytes.
const MAX_BYTES: usize = 1 << 20;

/// A backend's answer.
#[derive(Deserialize)]
struct Found {
    hits: Arc<[Hit]>,
}

/// Sends `words` to the backend at `url`. The request carries the time left, the request ID and the trace.
///
/// Dropping the future closes the connection, which cancels the request in the backend.
pub(super) async fn call(client: &Client, url: &Url, words: &str, ctx: &Context) -> Result<Arc<[Hit]>, Failure> {
    let mut url = url.clone();
    url.query_pairs_mut().append_pair("q", words);
    let mut response =
        client.get(url).context(ctx).send().await.and_then(Response::error_for_status).map_err(Failure::Call)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Failure::Call)? {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(Failure::Answer(format!("more than {MAX_BYTES} bytes").into()));
        }
        body.extend_from_slice(&chunk);
    }
    match serde_json::from_slice::<Found>(&body) {
        Ok(found) => Ok(found.hits),
        Err(error) => Err(Failure::Answer(error.to_string().into())),
    }
}

/// The reason why a request to a backend failed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The backend could not be reached, the connection was lost, or the answer's status is an error.
    Call(client::Error),
    /// The answer is not a list of hits.
    Answer(Arc<str>),
}

impl Failure {
    fn call(&self) -> Option<&client::Error> {
        match self {
            Failure::Call(error) => Some(error),
            Failure::Answer(_) => None,
        }
    }

    fn status(&self) -> Option<StatusCode> {
        self.call()?.status()
    }

    /// Returns whether the request's context has ended, or left too little time to send anything.
    pub(super) fn is_end_of_context(&self) -> bool {
        self.call().is_some_and(|error| error.context_error().is_some() || error.is_deadline_exceeded())
    }

    /// Returns whether another attempt may help. A search changes nothing, so it may be sent again after the backend received it.
    pub(super) fn is_transient(&self) -> bool {
        let may_change = |status: StatusCode| status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
        self.call().is_some_and(|error| error.status().is_none_or(may_change))
    }

    /// Returns the outcome for the circuit breaker. A backend that rejects the request itself is healthy.
    pub(super) fn outcome(&self) -> Outcome {
        match self.status() {
            Some(status) if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => Outcome::Success,
            None if self.is_end_of_context() => Outcome::Neutral,
            _ => Outcome::Failure,
        }
    }

    /// Returns the time that the backend asks to wait before the next request.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let value = self.call()?.headers()?.get(RETRY_AFTER)?;
        parse_retry_after(value.to_str().ok()?, SystemTime::now())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.status()) {
            (_, Some(status)) => write!(f, "answered with status {}", status.as_u16()),
            // `{:#}` would tell clients which line of this program set the deadline.
            (Failure::Call(error), None) if self.is_end_of_context() => write!(f, "{error}"),
            (Failure::Call(error), None) => write!(f, "{error:#}"),
            (Failure::Answer(reason), None) => write!(f, "the answer is not a list of hits: {reason}"),
        }
    }
}

impl std::error::Error for Failure {}
