//! How a request ends: the outcome for logs and metrics, and the causes.

use std::{error::Error, fmt, time::Duration};

use http::StatusCode;
use ripcord::Context;

use super::Ended;
use crate::{Malformed, RemoteCause};

// ===== Finished and RequestOutcome =====

/// A finished request. Passed to the function of [`ContextLayer::on_end`](super::ContextLayer::on_end).
///
/// `Display` writes a log line, such as `504 after 5s: context deadline exceeded`, or `503 after 2ms: answered: circuit breaker
/// 'users' is OPEN`. `{:#}` adds the name of the context, the source lines and the causes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finished<'a> {
    /// The request's context, with all its values.
    pub ctx: &'a Context,
    /// The request's method, such as `GET`, or `OTHER` for a method that is not standard.
    pub method: &'static str,
    /// The outcome of the request.
    pub outcome: RequestOutcome,
    /// The error of the context, if the context ended before the request was over.
    pub error: Option<ripcord::Error>,
    /// The status that was sent. `None` if no response was sent.
    pub answered: Option<StatusCode>,
    /// The status for logs and metrics.
    ///
    /// This is the status that was sent. If no response was sent, it is the status for the [`outcome`](Finished::outcome), such as
    /// 499 for a disconnect. There are two exceptions:
    ///
    /// - If the handler returned [`Ended`](super::Ended) because the client disconnected, 503 was sent, and this status is 499.
    /// - The head of the response to a gRPC request can report the end of the context or an [`Ended`](super::Ended). Then 200 was
    ///   sent, and this status is the corresponding HTTP status, such as 504.
    pub status: StatusCode,
    /// The error that the handler returned as [`Ended`], if a call has failed or a policy has refused it. `None` if the context's end
    /// was the reason, which is the [`error`](Finished::error), or if the handler returned a response of its own.
    pub failure: Option<Ended>,
    /// The time from the arrival of the request to its end, measured by the clock of the server's context.
    pub took: Duration,
}

impl<'a> Finished<'a> {
    /// Returns the route, for logs and metrics, such as `/users/{id}`. The route is the name of the context without the method in
    /// front of it. Returns `unmatched` if the name is only the method, as it is by default.
    ///
    /// With axum, pass `server::method_and_path` or `server::matched_path` to [`ContextLayer::name`](super::ContextLayer::name).
    pub fn route(&self) -> &'a str {
        match self.ctx.name() {
            Some(name) if name != self.method => match name.split_once(' ') {
                Some((method, route)) if method == self.method => route,
                _ => name,
            },
            _ => "unmatched",
        }
    }

    /// Returns the time that was left until the deadline when the request arrived. Returns `None` if the request has no deadline.
    pub fn time_left_at_start(&self) -> Option<Duration> {
        Some((self.ctx.deadline()? + self.took).saturating_duration_since(self.ctx.clock().now()))
    }

    /// Returns the time from the end of the request's context to the end of the request. Returns `None` if the request was over
    /// before a deadline, an idle timeout, a cancel or a disconnect ended its context.
    pub fn overrun(&self) -> Option<Duration> {
        // An answered request has no error, although its context has ended by now.
        let ended = self.ctx.ended_at().filter(|_| self.error.is_some())?;
        Some(self.ctx.clock().now().saturating_duration_since(ended))
    }
}

impl fmt::Display for Finished<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {:?}: ", self.status.as_u16(), self.took)?;
        // The alternate flag is passed on to the errors.
        match (&self.outcome, &self.error) {
            (RequestOutcome::Panicked(_) | RequestOutcome::Refused(_), _) | (_, None) => {
                fmt::Display::fmt(&self.outcome, f)?;
            }
            (_, Some(error)) => fmt::Display::fmt(error, f)?,
        }
        match &self.failure {
            Some(failure) => {
                f.write_str(": ")?;
                fmt::Display::fmt(failure, f)
            }
            None => Ok(()),
        }
    }
}

/// The outcome of a request, for logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestOutcome {
    /// The response was sent completely.
    Answered,
    /// The deadline or an idle timeout passed, a policy of `ripcord-policy` gave up because its wait would end after the deadline, or
    /// too little time was left to send a request to another server. The response reports this, was cut short, or was not sent.
    DeadlineExceeded,
    /// The server canceled the request's context. The response reports this, was cut short, or was not sent.
    Canceled,
    /// The client disconnected or canceled before the request was over. A response may still have been sent.
    ClientDisconnected,
    /// The handler or the body panicked, with this message.
    Panicked(String),
    /// A [`strict`](super::ContextLayer::strict) layer refused the request because of this malformed header.
    Refused(Malformed),
    /// The service or the response's body returned an error of its own.
    Failed,
}

impl RequestOutcome {
    /// Returns the outcome of a request whose context ended before the request was over.
    pub(super) fn from_error(error: &ripcord::Error) -> Self {
        if error.is_deadline_exceeded() {
            RequestOutcome::DeadlineExceeded
        } else if is_client_disconnected(error) {
            RequestOutcome::ClientDisconnected
        } else {
            RequestOutcome::Canceled
        }
    }
}

impl fmt::Display for RequestOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestOutcome::Answered => f.write_str("answered"),
            RequestOutcome::DeadlineExceeded => f.write_str("context deadline exceeded"),
            RequestOutcome::Canceled => f.write_str("context canceled"),
            RequestOutcome::ClientDisconnected => f.write_str("client disconnected"),
            RequestOutcome::Panicked(message) => write!(f, "handler panicked: {message}"),
            RequestOutcome::Refused(malformed) => write!(f, "refused: {malformed}"),
            RequestOutcome::Failed => f.write_str("failed"),
        }
    }
}

// ===== Causes =====

pub(super) fn is_client_disconnected(error: &ripcord::Error) -> bool {
    error.cause().is_some_and(|cause| {
        cause.downcast_ref::<ClientDisconnected>().is_some() || cause.downcast_ref::<ClientCanceled>().is_some()
    })
}

/// The cause with which a request's context ends if the client disconnects before the request is over.
///
/// ```
/// use ripcord::Context;
/// use ripcord_http::server::ClientDisconnected;
///
/// let (ctx, cancel) = Context::background().with_cancel();
/// cancel.cancel_with(ClientDisconnected);
/// assert!(ctx.cause().unwrap().downcast_ref::<ClientDisconnected>().is_some());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientDisconnected;

impl fmt::Display for ClientDisconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("client disconnected")
    }
}

impl Error for ClientDisconnected {}

/// The cause with which a request's context ends if a [trusted](super::ContextLayer::trust) client cancels the request and sends a
/// cause.
///
/// [`ContextLayer::remote_cancel`](super::ContextLayer::remote_cancel) turns such cancels on. The outcome of such a request is
/// [`RequestOutcome::ClientDisconnected`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCanceled(pub(super) RemoteCause);

impl ClientCanceled {
    /// Returns the cause that the client sent.
    pub fn remote_cause(&self) -> &RemoteCause {
        &self.0
    }
}

impl fmt::Display for ClientCanceled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client canceled: {}", self.0.text())
    }
}

impl Error for ClientCanceled {}

/// The cause with which a request's context ends when the response has been sent completely.
///
/// Work that continues after the response, such as a spawned task, sees this cause in its context. To keep the context alive for
/// such work, use [`detach`](super::detach).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestAnswered;

impl fmt::Display for RequestAnswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request has been answered: see detach")
    }
}

impl Error for RequestAnswered {}

/// The source of a request's deadline: the server's own limit, or a header of the client.
///
/// If the deadline ends the context, this value is the cause of the context's error. There are three exceptions:
///
/// - The deadline is that of the server's own context. The error then has the cause of that deadline.
/// - The value is `Local`, and [`timeout_cause`](super::ContextLayer::timeout_cause) has set the cause.
/// - An [inner layer](super::ContextLayer#one-route-with-its-own-limit) has set the deadline. The cause is then `Local` or the
///   cause from `timeout_cause`, even if the value is `Clamped`.
///
/// ```
/// use std::time::Duration;
/// use http::{Request, Response};
/// use ripcord::Context;
/// use ripcord_http::server::{ContextLayer, DeadlineSource};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let layer = ContextLayer::new(&Context::background()).timeout(Duration::from_secs(5));
/// let service = ServiceBuilder::new().layer(layer).service(service_fn(|request: Request<String>| async move {
///     let ctx = request.extensions().get::<Context>().expect("the layer inserted one");
///     assert_eq!(DeadlineSource::from_context(ctx), DeadlineSource::Header("grpc-timeout"));
///     Ok::<_, std::convert::Infallible>(Response::new(String::new()))
/// }));
/// let request = Request::builder().header("grpc-timeout", "250m").body(String::new()).unwrap();
/// service.oneshot(request).await.unwrap();
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeadlineSource {
    /// The request has no deadline.
    None,
    /// The deadline is the server's own limit: a timeout of a layer, or the deadline of the server's context. The client sent no
    /// deadline.
    Local,
    /// The deadline comes from the header of this name, which the client sent.
    Header(&'static str),
    /// The deadline is the server's own limit. The client asked for more time in the header of this name.
    Clamped(&'static str),
}

impl DeadlineSource {
    /// Returns the source of the deadline of a request. `ctx` is the request's context or a context derived from it.
    ///
    /// Returns [`DeadlineSource::None`] if `ctx` does not belong to a request.
    pub fn from_context(ctx: &Context) -> Self {
        super::handle::source_of(ctx)
    }
}

impl fmt::Display for DeadlineSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeadlineSource::None => f.write_str("no deadline"),
            DeadlineSource::Local => f.write_str("the server's limit"),
            DeadlineSource::Header(header) => write!(f, "the client's {header}"),
            DeadlineSource::Clamped(header) => write!(f, "the server's limit, below the client's {header}"),
        }
    }
}

impl Error for DeadlineSource {}
