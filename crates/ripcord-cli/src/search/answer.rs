//! What came in before the deadline: for programs as JSON, with a status.
//!
//! ```json
//! {
//!   "query": "deadline", "complete": false, "request_id": "…", "timeout_ms": 500.0, "took_ms": 500.1,
//!   "hits": [{ "title": "context.WithDeadline", "snippet": "… ends the [deadline] …", "backend": "fast" }],
//!   "backends": [
//!     { "name": "fast", "outcome": "ok", "cache": "miss", "requests": 1, "took_ms": 3.2, "hits": 4 },
//!     { "name": "slow", "outcome": "late", "requests": 1, "took_ms": 500.1, "error": "context deadline exceeded" },
//!     { "name": "flaky", "outcome": "rejected", "requests": 0, "took_ms": 0.1, "retry_after_ms": 7200.0,
//!       "error": "circuit breaker 'flaky' is OPEN" }
//!   ],
//!   "trace": [{ "depth": 0, "name": "search", "start_ms": 0.0, "took_ms": 500.1, "state": "deadline exceeded" }]
//! }
//! ```
//!
//! The status is 200 when anything came in. Otherwise it is 504 if a backend was late, 503 with a `Retry-After` if all were
//! left alone or the server is shutting down, and 502 if they failed.

use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use ripcord::{Context, Trace};
use ripcord_http::RequestId;
use ripcord_policy::Error;
use serde::Serialize;

use super::{
    Query,
    backend::{Found, Hits, Source},
    call::Failure,
};

/// What a search answers.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// The words that were searched for.
    pub(super) query: Arc<str>,
    /// Whether every backend is in it.
    pub(super) complete: bool,
    /// The id of the request.
    pub(super) request_id: Option<String>,
    /// The time that the search had, in milliseconds.
    pub(super) timeout_ms: Option<f64>,
    /// How long it took, in milliseconds.
    pub(super) took_ms: f64,
    /// What was found, a backend after the other.
    pub(super) hits: Vec<NamedHit>,
    /// How each backend fared.
    pub(super) backends: Vec<Report>,
    /// What was done when, each before what was done for it.
    pub(super) trace: Vec<Line>,
}

/// A document, and who found it.
#[derive(Debug, Serialize)]
pub(super) struct NamedHit {
    pub(super) title: String,
    pub(super) snippet: String,
    pub(super) backend: Arc<str>,
}

/// How a backend fared in one search.
#[derive(Debug, Serialize)]
pub struct Report {
    pub(super) name: Arc<str>,
    pub(super) outcome: Outcome,
    #[serde(rename = "cache", skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<Source>,
    #[serde(serialize_with = "count")]
    pub(super) requests: Arc<AtomicU32>,
    pub(super) took_ms: f64,
    #[serde(rename = "hits", skip_serializing_if = "Option::is_none", serialize_with = "number_of")]
    pub(super) hits: Option<Hits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_after_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// What came of a backend's part in a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It answered.
    Ok,
    /// It had not answered when the time was over.
    Late,
    /// It could not be reached, or answered with an error, as often as it was asked.
    Failed,
    /// It was not asked: its breaker is open, or it gets enough requests already.
    Rejected,
    /// The search was canceled before it had answered.
    Canceled,
}

/// One line of the trace.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    pub(super) depth: usize,
    pub(super) name: String,
    pub(super) start_ms: f64,
    pub(super) took_ms: f64,
    pub(super) state: &'static str,
}

impl Answer {
    pub(super) fn new(ctx: &Context, query: &Query, backends: Vec<Report>, took: Duration, trace: &Trace) -> Answer {
        let hits = backends.iter().flat_map(|report| {
            let hits = report.hits.iter().flat_map(|hits| hits.iter());
            hits.map(|hit| NamedHit {
                title: hit.title.clone(),
                snippet: hit.snippet.clone(),
                backend: report.name.clone(),
            })
        });
        let left = ctx.deadline().map(|deadline| deadline.saturating_duration_since(trace.start()));
        Answer {
            query: Arc::clone(&query.words),
            complete: backends.iter().all(|report| report.outcome == Outcome::Ok),
            request_id: ctx.value::<RequestId>().map(ToString::to_string),
            timeout_ms: left.map(milliseconds),
            took_ms: milliseconds(took),
            hits: hits.collect(),
            trace: lines(trace),
            backends,
        }
    }

    /// The answer's status.
    pub fn status(&self) -> StatusCode {
        let any = |outcome| self.backends.iter().any(|report| report.outcome == outcome);
        if any(Outcome::Ok) {
            StatusCode::OK
        } else if any(Outcome::Late) {
            StatusCode::GATEWAY_TIMEOUT
        } else if any(Outcome::Failed) {
            StatusCode::BAD_GATEWAY
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }

    /// When to come again, if all backends are left alone for a while: in whole seconds, rounded up.
    pub(super) fn retry_after(&self) -> Option<HeaderValue> {
        let waits = self.backends.iter().filter_map(|report| report.retry_after_ms);
        let wait = waits.reduce(f64::min).filter(|_| self.status() == StatusCode::SERVICE_UNAVAILABLE)?;
        Some(HeaderValue::from((wait / 1000.0).ceil() as u64))
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let (status, retry_after) = (self.status(), self.retry_after());
        let mut response = (status, Json(self)).into_response();
        if let Some(retry_after) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, retry_after);
        }
        response
    }
}

impl Report {
    /// Of a backend that has not answered yet.
    pub(super) fn begin(name: &str) -> Report {
        Report {
            name: name.into(),
            outcome: Outcome::Canceled,
            source: None,
            requests: Arc::default(),
            took_ms: 0.0,
            hits: None,
            retry_after_ms: None,
            error: None,
        }
    }

    /// The requests that were sent for the search so far.
    pub(super) fn requests(&self) -> &Arc<AtomicU32> {
        &self.requests
    }

    /// The backend has answered, or will not.
    pub(super) fn end(&mut self, Found { took, result }: Found) {
        self.took_ms = milliseconds(took);
        match result {
            Ok((hits, source)) => {
                self.outcome = Outcome::Ok;
                (self.hits, self.source) = (Some(hits), Some(source));
            }
            Err(error) => {
                self.outcome = Outcome::new(&error);
                self.retry_after_ms = error.retry_after().map(milliseconds);
                self.error = Some(match error.source().filter(|_| error.end().is_none() && error.stop().is_some()) {
                    Some(last) => format!("{error}, last error: {last}"),
                    None => error.to_string(),
                });
            }
        }
    }

    /// The search has ended. Of a backend that has not, this is the outcome.
    pub(super) fn cut_short(&mut self, error: &ripcord::Error, took: Duration) {
        if self.outcome == Outcome::Canceled && self.error.is_none() {
            self.end(Found { took, result: Err(error.clone().into()) });
        }
    }
}

impl Outcome {
    fn new(error: &Error<Failure>) -> Outcome {
        match error.end() {
            Some(end) if end.is_canceled() => Outcome::Canceled,
            Some(_) if !error.is_attempt_timeout() => Outcome::Late,
            // The last attempt was refused here: that counts, and not that the retry found the wait too long.
            _ if error.is_rejected() => Outcome::Rejected,
            _ => Outcome::Failed,
        }
    }

    /// As the JSON has it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Late => "late",
            Outcome::Failed => "failed",
            Outcome::Rejected => "rejected",
            Outcome::Canceled => "canceled",
        }
    }
}

fn lines(trace: &Trace) -> Vec<Line> {
    let begun = trace.start();
    let spans = trace.spans();
    let lines = spans.iter().map(|span| Line {
        depth: span.depth(),
        name: span.name().to_owned(),
        start_ms: milliseconds(span.start().saturating_duration_since(begun)),
        took_ms: milliseconds(span.duration()),
        state: match span.err() {
            Some(error) if error.is_deadline_exceeded() => "deadline exceeded",
            Some(_) => "canceled",
            None if span.is_ended() => "done",
            None => "running",
        },
    });
    lines.collect()
}

/// To the microsecond.
fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

fn count<S: serde::Serializer>(count: &AtomicU32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u32(count.load(Ordering::Relaxed))
}

#[expect(clippy::ref_option, reason = "serde gives a reference to the field")]
fn number_of<S: serde::Serializer>(hits: &Option<Hits>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(hits.as_ref().map_or(0, |hits| hits.len() as u64))
}
