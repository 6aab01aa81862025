//! How a request ends: the answer to an ended Context, the outcome for logs and metrics, and the causes.

use std::{error::Error, fmt, time::Duration};

use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use ripcord::Context;

use super::layer::Statuses;
use crate::Malformed;

// ===== Ended =====

/// The answer of a handler whose Context has ended. A handler that returns it can use `?` on every call that takes the Context.
///
/// | end of the Context | status |
/// |---|---|
/// | deadline | 504 |
/// | client disconnected | 499 in logs and metrics; 503 on the wire, for a client that has closed only its sending half |
/// | any other cancel, such as the server's shutdown | 503 |
///
/// Below a [`ContextLayer`](super::ContextLayer) the statuses are the layer's, and a gRPC request is answered in gRPC's terms. The
/// answer never contains the cause, which may be confidential.
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
#[derive(Clone, Debug)]
pub struct Ended(ripcord::Error);

impl Ended {
    /// Returns the error of the Context.
    pub fn error(&self) -> &ripcord::Error {
        &self.0
    }

    /// Returns the status for logs and metrics, by the default settings of a layer.
    pub fn status(&self) -> StatusCode {
        self.status_by(&Statuses::default())
    }

    pub(super) fn status_by(&self, statuses: &Statuses) -> StatusCode {
        if self.0.is_deadline_exceeded() {
            statuses.deadline_exceeded
        } else if is_client_disconnected(&self.0) {
            statuses.client_disconnected
        } else {
            statuses.canceled
        }
    }

    /// Returns the status on the wire: 499 is not one of HTTP's.
    pub(super) fn answer_by(&self, statuses: &Statuses) -> StatusCode {
        if is_client_disconnected(&self.0) { statuses.canceled } else { self.status_by(statuses) }
    }

    /// Returns the text on the wire.
    pub(super) fn text(&self) -> &'static str {
        if self.0.is_deadline_exceeded() { "Request timed out" } else { "Request canceled" }
    }
}

pub(super) fn is_client_disconnected(error: &ripcord::Error) -> bool {
    error.cause().is_some_and(|cause| cause.downcast_ref::<ClientDisconnected>().is_some())
}

impl From<ripcord::Error> for Ended {
    fn from(error: ripcord::Error) -> Self {
        Ended(error)
    }
}

impl From<Ended> for ripcord::Error {
    fn from(ended: Ended) -> Self {
        ended.0
    }
}

impl<B: From<&'static str>> From<Ended> for Response<B> {
    fn from(ended: Ended) -> Self {
        let mut response = plain_text(ended.answer_by(&Statuses::default()), ended.text().into());
        // The layer recognizes the answer by this.
        response.extensions_mut().insert(ended);
        response
    }
}

pub(super) fn plain_text<B>(status: StatusCode, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for Ended {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

#[cfg(feature = "axum")]
impl axum::response::IntoResponse for Ended {
    fn into_response(self) -> axum::response::Response {
        Response::<axum::body::Body>::from(self)
    }
}

// ===== Finished and Outcome =====

/// A request that is over, passed to the hook of [`ContextLayer::on_end`](super::ContextLayer::on_end).
///
/// `Display` writes a line for a log, such as `504 after 5s: context deadline exceeded`. `{:#}` adds the names, lines and causes of
/// the end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finished<'a> {
    /// The request's Context, with all its values.
    pub ctx: &'a Context,
    /// The outcome of the request.
    pub outcome: Outcome,
    /// The end of the Context, if it ended before the request was over.
    pub error: Option<ripcord::Error>,
    /// The status on the wire, if the request was answered.
    pub answered: Option<StatusCode>,
    /// The status for logs and metrics: what was answered, or would have been if the client had stayed. 499 if the client
    /// disconnected. For a gRPC request, the status that HTTP would have used.
    pub status: StatusCode,
    /// The time from arrival to end, by the clock of the server's Context.
    pub took: Duration,
}

impl fmt::Display for Finished<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {:?}: ", self.status.as_u16(), self.took)?;
        match (&self.outcome, &self.error) {
            (Outcome::Panicked(_) | Outcome::Refused(_), _) | (_, None) => write!(f, "{}", self.outcome),
            // Passes the alternate flag on.
            (_, Some(error)) => fmt::Display::fmt(error, f),
        }
    }
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The response was sent to its end.
    Answered,
    /// The deadline passed: the response says so, or its body was cut short.
    DeadlineExceeded,
    /// The server canceled the request: the response says so, or its body was cut short.
    Canceled,
    /// The client disconnected before the request was over. A handler that continued may still have answered.
    ClientDisconnected,
    /// The handler or the body panicked, with this message.
    Panicked(String),
    /// The request was refused for this header.
    Refused(Malformed),
    /// The service or the body failed with an error of its own.
    Failed,
}

impl Outcome {
    /// Returns the outcome of a request whose Context ended before the request was over.
    pub(super) fn from_error(error: &ripcord::Error) -> Self {
        if error.is_deadline_exceeded() {
            Outcome::DeadlineExceeded
        } else if is_client_disconnected(error) {
            Outcome::ClientDisconnected
        } else {
            Outcome::Canceled
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Answered => f.write_str("answered"),
            Outcome::DeadlineExceeded => f.write_str("context deadline exceeded"),
            Outcome::Canceled => f.write_str("context canceled"),
            Outcome::ClientDisconnected => f.write_str("client disconnected"),
            Outcome::Panicked(message) => write!(f, "handler panicked: {message}"),
            Outcome::Refused(malformed) => write!(f, "refused: {malformed}"),
            Outcome::Failed => f.write_str("failed"),
        }
    }
}

// ===== Causes =====

/// The cause of the end of a request's Context when the client disconnected before the request was over.
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

/// The cause of the end of a request's Context when the response has been sent. Work that continues after the response sees it,
/// unless it is [detached](super::detach).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestAnswered;

impl fmt::Display for RequestAnswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request has been answered: see detach")
    }
}

impl Error for RequestAnswered {}

/// The source of a request's deadline.
///
/// It is the cause of the end when a deadline from a header ends the Context.
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
    /// There is no deadline.
    None,
    /// The server's own limit. The client did not ask for a deadline.
    Local,
    /// The client asked for the deadline in this header.
    Header(&'static str),
    /// The client asked in this header for more time than the server's own limit.
    Clamped(&'static str),
}

impl DeadlineSource {
    /// Returns the source of the deadline of the request that `ctx` belongs to. Returns `None` if it belongs to no request.
    pub fn from_context(ctx: &Context) -> Self {
        super::lifetime::source_of(ctx)
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
