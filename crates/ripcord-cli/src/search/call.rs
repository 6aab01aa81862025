//! One request to a backend.

use std::{fmt, sync::Arc, time::Duration};

use reqwest::{Client, Url, header::RETRY_AFTER};
use ripcord::Context;
use ripcord_http::client::{
    self,
    reqwest::{RequestBuilderExt as _, Response},
};
use serde::Deserialize;

use crate::backends::Hit;

/// The most bytes that a backend's answer may have.
const MOST: usize = 1 << 20;

/// What a backend answers.
#[derive(Deserialize)]
struct Found {
    hits: Arc<[Hit]>,
}

/// Asks the backend at `url` for `words`. It is told how much time there is, the request's id and its trace.
///
/// Dropping the future closes the connection, by which the backend learns that nobody waits any more.
pub(super) async fn call(client: &Client, url: &Url, words: &str, ctx: &Context) -> Result<Arc<[Hit]>, Failure> {
    let mut url = url.clone();
    url.query_pairs_mut().append_pair("q", words);
    let mut response = client.get(url).context(ctx).send().await.map_err(Failure::Unreachable)?;
    if !response.status().is_success() {
        return Err(Failure::Status { status: response.status().as_u16(), retry_after: retry_after(&response) });
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Failure::Unreachable)? {
        if body.len() + chunk.len() > MOST {
            return Err(Failure::Answer(format!("more than {MOST} bytes").into()));
        }
        body.extend_from_slice(&chunk);
    }
    match serde_json::from_slice::<Found>(&body) {
        Ok(found) => Ok(found.hits),
        Err(error) => Err(Failure::Answer(error.to_string().into())),
    }
}

/// What the backend asks for, if it counts in seconds; a date would be of its own clock.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Why a request to a backend brought nothing.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The connection was refused or lost.
    Unreachable(client::Error),
    /// The backend answered with an error.
    Status { status: u16, retry_after: Option<Duration> },
    /// The backend's answer is not one.
    Answer(Arc<str>),
}

impl Failure {
    /// Whether the Context of the request has ended, or left too little to send anything.
    pub(super) fn is_end_of_context(&self) -> bool {
        matches!(self, Failure::Unreachable(error) if error.context_error().is_some())
    }

    /// Whether asking again may help.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Failure::Unreachable(_) => true,
            Failure::Status { status, .. } => matches!(status, 429 | 500..),
            Failure::Answer(_) => false,
        }
    }

    /// Whether the backend is well, and it is the request that it did not like.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Failure::Status { status: 400..=428 | 430..=499, .. })
    }

    /// How long the backend asks to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unreachable(error) => write!(f, "{error:#}"),
            Failure::Status { status, .. } => write!(f, "answered with status {status}"),
            Failure::Answer(why) => write!(f, "answered with what is no list of hits: {why}"),
        }
    }
}

impl std::error::Error for Failure {}
