//! The error of a handler that cannot continue, and its response.

use std::{error::Error, fmt, time::Duration};

use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use ripcord::{Cause, GroupError, TaskError};

use crate::client;

use super::{grpc, outcome::is_client_disconnected, settings::Statuses};

/// The error of a handler whose context has ended, or whose call has failed. It converts to an HTTP response.
///
/// A handler that returns `Result<_, Ended>` can use `?` on a [`ripcord::Error`], a [`GroupError`], a [`TaskError`], the
/// [error of a call](client::Error) to another server, and the errors of `ripcord-policy` (feature `policy`):
///
/// ```
/// use std::time::Duration;
/// use http::{Response, StatusCode};
/// use ripcord::Context;
/// use ripcord_http::server::Ended;
///
/// async fn handler(ctx: Context) -> Result<&'static str, Ended> {
///     ctx.sleep(Duration::from_secs(10)).await?;
///     Ok("done")
/// }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let ended = handler(Context::background().with_timeout(Duration::ZERO)).await.unwrap_err();
/// let response: Response<String> = ended.into();
/// assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
/// # })
/// ```
///
/// # Statuses
///
/// The first row that applies decides.
///
/// | error | status |
/// |---|---|
/// | the context ended at its deadline | 504 |
/// | the context ended because the client disconnected | 499 in logs and metrics; 503 on the wire, if the client has closed only its sending half |
/// | the context was canceled for another reason, such as the server's shutdown | 503 |
/// | an attempt of a retry, or a timeout of reqwest, exceeded its own time limit | 504 |
/// | a rate limiter refused the call, for example because the call needs more tokens than the burst | 429 |
/// | a circuit breaker refused the call, or the backend of a rate limiter is unavailable | 503, with `Retry-After` |
/// | another policy refused the call, such as a full bulkhead or worker pool | 503 |
/// | a policy, such as a rate limiter, gave up because its wait would end after the deadline | 504 |
/// | too little time was left to send a request to another server | 504 |
/// | a request to another server failed with a [`client::Error`], such as a refused connection or a rejected status | 502 |
/// | the call failed with another error or panicked | 500 |
///
/// A rate limiter waits for its tokens, alone or in a stack, so an overloaded handler answers 504. To answer 429 instead, call
/// `RateLimiter::allow` in the handler, and return 429 if it is `false`.
///
/// A [`GroupError`] converts like the error of the failed task, if the type of that error converts to an `Ended`. The same holds for
/// the error of a cache's load or of a worker pool's job. Otherwise, the status is 500. An error of `ripcord-policy` inside is found
/// only if it is a `Refused`, or if the call of the policy has failed with a [`client::Error`], an `Ended` or a [`ripcord::Error`].
/// So let tasks, loads and jobs return `Result<_, Ended>`, or one of these errors.
///
/// For statuses such as 404, use an error type of your own that contains an `Ended`. With `impl<E: Into<Ended>> From<E> for
/// YourError`, `?` converts each error that converts to `Ended`. Call `ctx.check()?` before you return a status of your own for a
/// failed call. Otherwise, logs and metrics show this status, and not 499, for a request whose client has disconnected.
///
/// Inside a [`ContextLayer`](super::ContextLayer), the settings of the layer decide the statuses for an ended context. A gRPC
/// request gets the [gRPC status](Ended::grpc_status) instead.
///
/// The body of the response is a short text, such as `Request timed out`. It never contains the error or its cause, because they may
/// be confidential. A [trusted](crate::TrustPolicy) client receives the cause in the header [`ripcord-cause`](crate::RemoteCause).
#[derive(Clone, Debug)]
pub struct Ended(Reason);

#[derive(Clone, Debug)]
enum Reason {
    Context(ripcord::Error),
    Failed(Failure, Cause),
}

/// The failure of a call, other than the end of the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The deadline is too near for the call.
    DeadlineTooNear,
    /// The call exceeded a time limit of its own.
    TimedOut,
    /// A request to another server failed.
    Upstream,
    #[cfg(feature = "policy")]
    Limited,
    #[cfg(feature = "policy")]
    Rejected { retry_after: Option<Duration> },
    /// The call failed with its own error.
    Call,
}

impl Ended {
    /// Creates the response for `error`.
    pub(super) fn failed(failure: Failure, error: impl Into<Cause>) -> Self {
        Ended(Reason::Failed(failure, error.into()))
    }

    /// Returns the error of the context, if the end of the context is the reason for this error. Returns `None` if a call failed
    /// for another reason.
    pub fn context_error(&self) -> Option<&ripcord::Error> {
        match &self.0 {
            Reason::Context(error) => Some(error),
            Reason::Failed(..) => None,
        }
    }

    /// Returns how long the client should wait before it sends the request again. Returns `None` unless a circuit breaker refused
    /// the call or the backend of a rate limiter was unavailable.
    ///
    /// The response has this time in the header `Retry-After`, rounded up to whole seconds, and at least one second. It has no such
    /// header if the time is more than 292 years, which means never.
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.0 {
            #[cfg(feature = "policy")]
            Reason::Failed(Failure::Rejected { retry_after }, _) => *retry_after,
            _ => None,
        }
    }

    /// Returns the status for logs and metrics, as in the table of [`Ended`]. The settings of a
    /// [`ContextLayer`](super::ContextLayer) for statuses do not affect it.
    pub fn status(&self) -> StatusCode {
        self.status_by(&Statuses::default())
    }

    /// Returns the gRPC status code and the message that a [`ContextLayer`](super::ContextLayer) sends to a gRPC client.
    ///
    /// | error | code |
    /// |---|---|
    /// | the context ended at its deadline, or the time left was too short for a wait or a request | 4, `DEADLINE_EXCEEDED` |
    /// | the context was canceled | 1, `CANCELLED` |
    /// | a rate limiter refused the call | 8, `RESOURCE_EXHAUSTED` |
    /// | another policy refused the call, a request to another server failed, or a call exceeded its own timeout | 14, `UNAVAILABLE` |
    /// | the call failed with its own error or panicked | 13, `INTERNAL` |
    pub fn grpc_status(&self) -> (u8, &'static str) {
        (self.code() as u8, self.text())
    }

    pub(super) fn status_by(&self, statuses: &Statuses) -> StatusCode {
        match &self.0 {
            Reason::Context(error) if error.is_deadline_exceeded() => statuses.deadline_exceeded,
            Reason::Context(error) if is_client_disconnected(error) => statuses.client_disconnected,
            Reason::Context(_) => statuses.canceled,
            Reason::Failed(Failure::DeadlineTooNear, _) => statuses.deadline_exceeded,
            Reason::Failed(Failure::TimedOut, _) => StatusCode::GATEWAY_TIMEOUT,
            Reason::Failed(Failure::Upstream, _) => StatusCode::BAD_GATEWAY,
            #[cfg(feature = "policy")]
            Reason::Failed(Failure::Limited, _) => StatusCode::TOO_MANY_REQUESTS,
            #[cfg(feature = "policy")]
            Reason::Failed(Failure::Rejected { .. }, _) => StatusCode::SERVICE_UNAVAILABLE,
            Reason::Failed(Failure::Call, _) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the status on the wire. It is never 499, because HTTP does not define 499.
    pub(super) fn answer_by(&self, statuses: &Statuses) -> StatusCode {
        match self.context_error() {
            Some(error) if is_client_disconnected(error) => statuses.canceled,
            _ => self.status_by(statuses),
        }
    }

    /// Returns the text on the wire.
    pub(super) fn text(&self) -> &'static str {
        match &self.0 {
            Reason::Context(error) if !error.is_deadline_exceeded() => "Request canceled",
            Reason::Context(_) => "Request timed out",
            Reason::Failed(Failure::DeadlineTooNear | Failure::TimedOut, _) => "Request timed out",
            Reason::Failed(Failure::Upstream, _) => "Bad gateway",
            #[cfg(feature = "policy")]
            Reason::Failed(Failure::Limited, _) => "Too many requests",
            #[cfg(feature = "policy")]
            Reason::Failed(Failure::Rejected { .. }, _) => "Service unavailable",
            Reason::Failed(Failure::Call, _) => "Internal server error",
        }
    }

    pub(super) fn code(&self) -> grpc::Code {
        match &self.0 {
            Reason::Context(error) => grpc::Code::from_error(error),
            Reason::Failed(Failure::DeadlineTooNear, _) => grpc::Code::DeadlineExceeded,
            Reason::Failed(Failure::TimedOut | Failure::Upstream, _) => grpc::Code::Unavailable,
            #[cfg(feature = "policy")]
            Reason::Failed(Failure::Limited, _) => grpc::Code::ResourceExhausted,
            #[cfg(feature = "policy")]
            Reason::Failed(Failure::Rejected { .. }, _) => grpc::Code::Unavailable,
            Reason::Failed(Failure::Call, _) => grpc::Code::Internal,
        }
    }
}

impl From<ripcord::Error> for Ended {
    fn from(error: ripcord::Error) -> Self {
        Ended(Reason::Context(error))
    }
}

/// Converts the error of a request to another server. The table of [`Ended`] lists the statuses.
impl From<client::Error> for Ended {
    fn from(error: client::Error) -> Self {
        match error.context_error() {
            Some(end) => end.clone().into(),
            None => Ended::failed(Failure::from_client(&error), error),
        }
    }
}

impl Failure {
    /// Returns the failure for the error of a request that no context has ended.
    pub(super) fn from_client(error: &client::Error) -> Self {
        if error.is_deadline_exceeded() {
            Failure::DeadlineTooNear
        } else if error.is_timeout() {
            Failure::TimedOut
        } else {
            Failure::Upstream
        }
    }
}

impl From<GroupError> for Ended {
    fn from(error: GroupError) -> Self {
        match classify(error.cause().as_error()) {
            Some(Err(end)) => end.into(),
            Some(Ok(failure)) => Ended::failed(failure, error.cause().clone()),
            None => Ended::failed(Failure::Call, error),
        }
    }
}

/// Converts the error of a spawned task, such as the task of [`ripcord::Context::spawn_blocking`].
impl From<TaskError> for Ended {
    fn from(error: TaskError) -> Self {
        match error.context_error() {
            Some(end) => end.clone().into(),
            None => Ended::failed(Failure::Call, error),
        }
    }
}

/// Returns the failure of a call, or the error of the context that ended, if `error` has one of the types that convert to an [`Ended`].
/// Otherwise, returns `None`.
///
/// Looks into the errors that contain the error of a task, a load or a job.
pub(super) fn classify(error: &(dyn Error + 'static)) -> Option<Result<Failure, ripcord::Error>> {
    if let Some(Ended(reason)) = error.downcast_ref() {
        return Some(match reason {
            Reason::Context(end) => Err(end.clone()),
            Reason::Failed(failure, _) => Ok(*failure),
        });
    }
    if let Some(end) = error.downcast_ref::<ripcord::Error>() {
        return Some(Err(end.clone()));
    }
    if let Some(error) = error.downcast_ref::<client::Error>() {
        let end = error.context_error().cloned();
        return Some(end.map_or_else(|| Ok(Failure::from_client(error)), Err));
    }
    if let Some(error) = error.downcast_ref::<TaskError>() {
        return Some(error.context_error().cloned().map_or(Ok(Failure::Call), Err));
    }
    if let Some(error) = error.downcast_ref::<GroupError>() {
        return classify(error.cause().as_error());
    }
    #[cfg(feature = "policy")]
    let classified = super::policy::classify(error);
    #[cfg(not(feature = "policy"))]
    let classified = None;
    classified
}

impl<B: From<&'static str>> From<Ended> for Response<B> {
    fn from(ended: Ended) -> Self {
        let mut response = plain_text(ended.answer_by(&Statuses::default()), ended.text().into());
        if let Some(after) = ended.retry_after().and_then(whole_seconds) {
            response.headers_mut().insert(RETRY_AFTER, after.into());
        }
        // The layer recognizes the response by this extension.
        response.extensions_mut().insert(ended);
        response
    }
}

/// Converts `time` to seconds, rounded up, and at least one. Zero would ask the client to send the request again at once. Returns
/// `None` for more than 292 years, which means never, as in a timeout.
fn whole_seconds(time: Duration) -> Option<u64> {
    i64::try_from(time.as_nanos()).ok()?;
    Some((time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1))
}

pub(super) fn plain_text<B>(status: StatusCode, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reason::Context(error) => fmt::Display::fmt(error, f),
            Reason::Failed(_, error) => fmt::Display::fmt(error, f),
        }
    }
}

impl Error for Ended {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // `Display` prints the error inside, so the source of this error is the source of the error inside.
        match &self.0 {
            Reason::Context(error) => error.source(),
            Reason::Failed(_, error) => error.source(),
        }
    }
}

#[cfg(feature = "axum")]
impl axum::response::IntoResponse for Ended {
    fn into_response(self) -> axum::response::Response {
        Response::<axum::body::Body>::from(self)
    }
}
