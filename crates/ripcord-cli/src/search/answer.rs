//! The answer to a search as JSON, and its status.
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
//! The status is 200 if any backend answered. Otherwise, it is 504 if a backend was late, 502 if a backend failed, and 503 with a
//! `Retry-After` if policies rejected all requests or the server is shutting down.

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
use ripcord::{Context, Span, Value};
use ripcord_http::RequestId;
use ripcord_policy::{Error, cache::Source};
use serde::Serialize;

use super::{
    Query,
    backend::{Found, Hits},
    call::Failure,
};

/// The answer to a search.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// The words to search for.
    pub(super) query: Arc<str>,
    /// Whether every backend has answered.
    pub(super) complete: bool,
    /// The request ID.
    pub(super) request_id: Option<String>,
    /// The time limit of the search, in milliseconds.
    pub(super) timeout_ms: Option<f64>,
    /// The duration of the search, in milliseconds.
    pub(super) took_ms: f64,
    /// The hits, grouped by backend.
    pub(super) hits: Vec<NamedHit>,
    /// The result of each backend.
    pub(super) backends: Vec<Report>,
    /// The trace, parents first.
    pub(super) trace: Vec<Line>,
}

/// A document and the backend that found it.
#[derive(Debug, Serialize)]
pub(super) struct NamedHit {
    pub(super) title: String,
    pub(super) snippet: String,
    pub(super) backend: Arc<str>,
}

/// The result of one backend in one search.
#[derive(Debug, Serialize)]
pub struct Report {
    pub(super) name: Arc<str>,
    pub(super) outcome: BackendOutcome,
    #[serde(rename = "cache", skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<&'static str>,
    pub(super) requests: Requests,
    pub(super) took_ms: f64,
    #[serde(rename = "hits", skip_serializing_if = "Option::is_none", serialize_with = "number_of")]
    pub(super) hits: Option<Hits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_after_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// The number of requests sent to one backend for one search. Clones share the number.
///
/// This is a context value, so that it passes through all policies to the code that sends requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests(Arc<AtomicU32>);

impl Value for Requests {}

impl Requests {
    /// Counts a request. Returns its number.
    pub(super) fn count_one(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Serialize for Requests {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.count())
    }
}

/// The outcome of one backend in a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendOutcome {
    /// The backend answered.
    Ok,
    /// The backend had not answered when the deadline passed.
    Late,
    /// Every request to the backend failed or returned an error.
    Failed,
    /// A policy rejected the request, because the backend's circuit breaker is open or a limit is reached.
    Rejected,
    /// The search was canceled before the backend answered.
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
    pub(super) fn new(ctx: &Context, query: &Query, backends: Vec<Report>, took: Duration, trace: &Span) -> Answer {
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
            complete: backends.iter().all(|report| report.outcome == BackendOutcome::Ok),
            request_id: ctx.value::<RequestId>().map(ToString::to_string),
            timeout_ms: left.map(milliseconds),
            took_ms: milliseconds(took),
            hits: hits.collect(),
            trace: lines(trace),
            backends,
        }
    }

    /// Logs why backends have failed, or why no request was sent to them. The status of the answer does not say it.
    pub(super) fn log_failures(&self) {
        for report in &self.backends {
            let what = match report.outcome {
                BackendOutcome::Failed => "Backend failed",
                BackendOutcome::Rejected => "Backend not asked",
                _ => continue,
            };
            let error = report.error.as_deref().unwrap_or_default();
            tracing::warn!(backend = &*report.name, request_id = self.request_id, "{what}: {error}");
        }
    }

    /// Returns the HTTP status of the answer.
    pub fn status(&self) -> StatusCode {
        let any = |outcome| self.backends.iter().any(|report| report.outcome == outcome);
        if any(BackendOutcome::Ok) {
            StatusCode::OK
        } else if any(BackendOutcome::Late) {
            StatusCode::GATEWAY_TIMEOUT
        } else if any(BackendOutcome::Failed) {
            StatusCode::BAD_GATEWAY
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }

    /// Returns the value of `Retry-After`, in whole seconds, rounded up, if every backend was rejected.
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
    /// Creates the report of a backend that has not answered yet.
    pub(super) fn begin(name: &str) -> Report {
        Report {
            name: name.into(),
            outcome: BackendOutcome::Canceled,
            source: None,
            requests: Requests::default(),
            took_ms: 0.0,
            hits: None,
            retry_after_ms: None,
            error: None,
        }
    }

    /// Records the backend's result.
    pub(super) fn end(&mut self, Found { took, result }: Found) {
        self.took_ms = milliseconds(took);
        match result {
            Ok(found) => {
                self.outcome = BackendOutcome::Ok;
                self.hits = Some(found.value);
                self.source = Some(match found.source {
                    // A search that joined a request at the request's end sends its own request.
                    Source::Joined if self.requests.count() == 0 => "shared",
                    Source::Joined | Source::Loaded => "miss",
                    _ => "hit",
                });
            }
            Err(error) => {
                self.outcome = BackendOutcome::new(&error);
                self.retry_after_ms = error.retry_after().map(milliseconds);
                // If a retry stopped, the source is the failure, the rejection or the timeout of the last attempt.
                let is_own = error.context_error().is_none() || error.is_attempt_timeout();
                self.error = Some(match error.source().filter(|_| is_own && error.stop_reason().is_some()) {
                    Some(last) => format!("{error}, last error: {last}"),
                    None => error.to_string(),
                });
            }
        }
    }

    /// Records the end of the search as the result, if the backend has no result.
    pub(super) fn cut_short(&mut self, error: &ripcord::Error, took: Duration) {
        if self.outcome == BackendOutcome::Canceled && self.error.is_none() {
            self.end(Found { took, result: Err(error.clone().into()) });
        }
    }
}

impl BackendOutcome {
    fn new(error: &Error<Failure>) -> BackendOutcome {
        match error.context_error() {
            Some(end) if end.is_canceled() => BackendOutcome::Canceled,
            Some(_) if !error.is_attempt_timeout() => BackendOutcome::Late,
            // The last attempt was rejected locally. This counts even if the retry stopped because its wait was too long.
            _ if error.is_rejected() => BackendOutcome::Rejected,
            _ => BackendOutcome::Failed,
        }
    }

    /// Returns the name in the JSON.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            BackendOutcome::Ok => "ok",
            BackendOutcome::Late => "late",
            BackendOutcome::Failed => "failed",
            BackendOutcome::Rejected => "rejected",
            BackendOutcome::Canceled => "canceled",
        }
    }
}

fn lines(trace: &Span) -> Vec<Line> {
    let start = trace.start();
    let spans = trace.snapshots();
    let lines = spans.iter().map(|span| Line {
        depth: span.depth(),
        name: span.name().to_owned(),
        start_ms: milliseconds(span.start().saturating_duration_since(start)),
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

/// Returns milliseconds with a precision of one microsecond.
fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn number_of<S: serde::Serializer>(hits: &Option<Hits>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(hits.as_ref().map_or(0, |hits| hits.len() as u64))
}
