//! The error of a call.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use ripcord::Origin;

use super::call::Call;
use super::sources;
use crate::RemoteCause;

pub(super) type BoxError = Box<dyn StdError + Send + Sync>;

/// The error of a failed call. The call failed for one of these reasons:
///
/// - The context of the call ended.
/// - Less time was left than the unit of the deadline header, 1 ms by default, so the call was not sent.
/// - The wrapped client, a tower service or reqwest, failed.
/// - [`error_for_status`](super::reqwest::Response::error_for_status) rejected the status of the response.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_http::client::{ClientLayer, Error, RequestExt};
/// use tower::{Layer, Service};
///
/// # futures::executor::block_on(async {
/// # let client = tower::service_fn(|_: http::Request<String>| async { Ok::<_, std::io::Error>(http::Response::new(String::new())) });
/// let mut client = ClientLayer::new().layer(client);
/// let ctx = Context::background().with_timeout(Duration::ZERO);
/// let request = http::Request::get("http://localhost/").body(String::new()).unwrap().with_context(&ctx);
/// let error: Error = client.call(request).await.unwrap_err();
/// assert_eq!(error.to_string(), r#"Get "http://localhost/": context deadline exceeded"#);
/// assert!(error.is_deadline_exceeded() && error.is_not_sent());
/// # });
/// ```
///
/// # Display
///
/// `{}` prints the call and the error, as Go does: `Get "http://localhost/": context deadline exceeded`. For an error while reading
/// the body, `{}` omits the call. `{:#}` prints all details on one line. If the context ended, these are the cause, the name of the
/// context and the source line that canceled it or set its deadline. Otherwise, these are the sources of the wrapped client's
/// error. A password in the URL is printed as `***`.
///
/// [`source`](StdError::source) returns the [`ripcord::Error`] if the context ended. If the wrapped client failed, it returns the
/// source of the client's error, whose type is not part of the API and may change. Otherwise, it returns `None`.
///
/// # Retries
///
/// | question | method |
/// |---|---|
/// | Is it safe to send the request again, even a POST? | [`is_not_sent`](Error::is_not_sent) |
/// | Was it impossible to connect to the server? | [`is_connect`](Error::is_connect) |
/// | Did a deadline or a timeout end the call? | [`is_timeout`](Error::is_timeout) |
/// | What did the server answer? | [`status`](Error::status) and [`headers`](Error::headers) |
///
/// With `Retry` of `ripcord-policy`:
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use http::{StatusCode, header::RETRY_AFTER};
/// use ripcord::Context;
/// use ripcord_http::client::{ClientLayer, Error, RequestExt};
/// use ripcord_policy::{Retry, retry::parse_retry_after};
/// use tower::{Layer, ServiceExt};
///
/// /// Returns whether another attempt at a POST is safe and may help.
/// fn is_transient(error: &Error) -> bool {
///     // 503: the server has refused the request without acting on it.
///     error.is_not_sent() || error.status() == Some(StatusCode::SERVICE_UNAVAILABLE)
/// }
///
/// fn retry_after(error: &Error) -> Option<Duration> {
///     parse_retry_after(error.headers()?.get(RETRY_AFTER)?.to_str().ok()?, SystemTime::now())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let http_client = tower::service_fn(|_: http::Request<String>| async {
/// #     Err::<http::Response<String>, _>(std::io::Error::from(std::io::ErrorKind::ConnectionRefused))
/// # });
/// let client = ClientLayer::new().layer(http_client);
/// let retry = Retry::builder()
///     .max_attempts(2)
///     .base(Duration::from_millis(1))
///     .retry_if(is_transient)
///     .retry_after(retry_after)
///     .build()?;
///
/// let ctx = Context::background().with_timeout(Duration::from_secs(5));
/// let call = |ctx: Context| {
///     let request = http::Request::post("http://localhost/orders").body(String::new()).expect("a valid URL");
///     client.clone().oneshot(request.with_context(&ctx))
/// };
/// let error = retry.run(&ctx, call).await.unwrap_err();
/// assert_eq!(error.attempts(), 2); // nothing listens, so nothing was sent
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Repr>);

struct Repr {
    call: Option<Call>,
    phase: Phase,
    kind: Kind,
}

/// The phase of the call at the time of the error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing was sent.
    Prepare,
    Send,
    Read,
}

enum Kind {
    Context(ripcord::Error),
    TooLate(TooLate),
    Client(BoxError),
    /// The headers are boxed, because they are larger than the other variants.
    #[cfg(feature = "reqwest")]
    Status(StatusCode, Box<HeaderMap>),
}

/// The time left is too short to be sent.
#[derive(Debug)]
pub(super) struct TooLate {
    pub(super) left: Duration,
    /// The deadline's origin. `None` if the request's own header is the nearer deadline.
    pub(super) origin: Option<Origin>,
}

impl Error {
    pub(super) fn context(error: ripcord::Error, phase: Phase, call: Option<Call>) -> Self {
        Error(Arc::new(Repr { call, phase, kind: Kind::Context(error) }))
    }

    pub(super) fn too_late(reason: TooLate, call: Call) -> Self {
        Error(Arc::new(Repr { call: Some(call), phase: Phase::Prepare, kind: Kind::TooLate(reason) }))
    }

    pub(super) fn client(error: BoxError, phase: Phase, call: Option<Call>) -> Self {
        // A client layer below has already added the call.
        match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) => Error(Arc::new(Repr { call, phase, kind: Kind::Client(error) })),
        }
    }

    #[cfg(feature = "reqwest")]
    pub(super) fn from_status(status: StatusCode, headers: HeaderMap, call: Call) -> Self {
        Error(Arc::new(Repr { call: Some(call), phase: Phase::Send, kind: Kind::Status(status, Box::new(headers)) }))
    }

    /// Returns whether the call ended because a context was canceled. This is the context of the call, or another context whose
    /// error the wrapped client returned.
    pub fn is_canceled(&self) -> bool {
        self.context_error().is_some_and(ripcord::Error::is_canceled)
    }

    /// Returns whether the call ended because the deadline or an idle timeout of a context passed. This is the context of the call,
    /// or another context whose error the wrapped client returned.
    ///
    /// The result is also `true` if the call was not sent because too little time was left: less than the unit of the deadline
    /// header, which is 1 ms by default.
    ///
    /// The wrapped client's own timeouts do not count. [`is_timeout`](Error::is_timeout) includes them.
    pub fn is_deadline_exceeded(&self) -> bool {
        matches!(self.0.kind, Kind::TooLate(_))
            || self.context_error().is_some_and(ripcord::Error::is_deadline_exceeded)
    }

    /// Returns the error of the context that ended the call. Returns `None` if no context ended the call.
    ///
    /// This is the context of the call, or another context whose error is among the sources of the wrapped client's error.
    ///
    /// If the call was not sent because [too little time](Error::is_deadline_exceeded) was left, the result is `None`, because the
    /// context had not ended yet.
    pub fn context_error(&self) -> Option<&ripcord::Error> {
        match &self.0.kind {
            Kind::Context(error) => Some(error),
            Kind::Client(error) => sources::find(&**error),
            _ => None,
        }
    }

    /// Returns whether the error occurred while reading the body of the response. This includes a body that is not valid JSON.
    pub fn is_body(&self) -> bool {
        self.0.phase == Phase::Read
    }

    /// Returns the status of a response that [`error_for_status`](super::reqwest::Response::error_for_status) rejected. Returns
    /// `None` for any other error.
    pub fn status(&self) -> Option<StatusCode> {
        match &self.0.kind {
            #[cfg(feature = "reqwest")]
            Kind::Status(status, _) => Some(*status),
            _ => None,
        }
    }

    /// Returns the headers of a response that [`error_for_status`](super::reqwest::Response::error_for_status) rejected, such as
    /// `Retry-After`. Returns `None` for any other error.
    pub fn headers(&self) -> Option<&HeaderMap> {
        match &self.0.kind {
            #[cfg(feature = "reqwest")]
            Kind::Status(_, headers) => Some(headers),
            _ => None,
        }
    }

    /// Returns the reason why the server ended the request, from the header [`ripcord-cause`](RemoteCause) of a response that
    /// [`error_for_status`](super::reqwest::Response::error_for_status) rejected. Returns `None` if there is no such header, and
    /// for any other error.
    pub fn remote_cause(&self) -> Option<RemoteCause> {
        self.headers().and_then(RemoteCause::find)
    }

    /// Returns whether the connection to the server could not be made.
    ///
    /// With reqwest, every connect error counts. With another client, the innermost [`io::Error`](std::io::Error) among the
    /// sources must say that the server refused the connection, or that this machine has no address for it. An unreachable host does
    /// not count, because the same error ends an established connection whose host has vanished.
    pub fn is_connect(&self) -> bool {
        match &self.0.kind {
            Kind::Client(error) => self.0.phase != Phase::Read && sources::is_connect(&**error),
            _ => false,
        }
    }

    /// Returns whether a deadline, an idle timeout, or a timeout of the wrapped client ended the call.
    ///
    /// The result is also `true` if the call was not sent because [too little time](Error::is_deadline_exceeded) was left.
    pub fn is_timeout(&self) -> bool {
        match &self.0.kind {
            Kind::Client(error) if !self.is_deadline_exceeded() => sources::is_timeout(&**error),
            _ => self.is_deadline_exceeded(),
        }
    }

    /// Returns whether no part of the request was sent. If so, it is safe to send the request again, even a POST.
    ///
    /// The result is `true` if the call failed before it was sent, or if the connection to the server
    /// [could not be made](Error::is_connect). `false` means that the server may have received the request.
    pub fn is_not_sent(&self) -> bool {
        self.0.phase == Phase::Prepare || self.is_connect()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repr { call, phase, kind } = &*self.0;
        if let Some(call) = call.as_ref().filter(|_| f.alternate() || *phase != Phase::Read) {
            write!(f, "{call}: ")?;
        }
        if f.alternate() && self.is_body() {
            f.write_str("reading the body: ")?;
        }
        match kind {
            Kind::Context(error) => fmt::Display::fmt(error, f),
            Kind::TooLate(_) if !f.alternate() => f.write_str("context deadline exceeded"),
            Kind::TooLate(reason) => write!(f, "context deadline exceeded: {reason}"),
            Kind::Client(error) if f.alternate() => sources::write(&**error, f),
            Kind::Client(error) => fmt::Display::fmt(error, f),
            #[cfg(feature = "reqwest")]
            Kind::Status(status, headers) => {
                write!(f, "status {status}")?;
                let remote = RemoteCause::find(headers).filter(|_| f.alternate());
                remote.map_or(Ok(()), |remote| write!(f, ": {remote}"))
            }
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        if let Some(call) = &self.0.call {
            debug.field("call", call);
        }
        debug.field("is_body", &self.is_body());
        match &self.0.kind {
            Kind::Context(error) => debug.field("context", error),
            Kind::TooLate(reason) => debug.field("too_late", reason),
            Kind::Client(error) => debug.field("client", error),
            #[cfg(feature = "reqwest")]
            Kind::Status(status, _) => debug.field("status", status),
        };
        debug.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.kind {
            Kind::Context(error) => Some(error),
            // `Display` prints the client's error, so the source of the client's error is next.
            Kind::Client(error) => error.source(),
            _ => None,
        }
    }
}

impl fmt::Display for TooLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} left is too little to send", self.left)?;
        match &self.origin {
            Some(origin) => write!(f, " ({origin})"),
            None => f.write_str(" (set by the request's own header)"),
        }
    }
}
