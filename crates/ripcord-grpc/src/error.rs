//! The error of a call or of its request stream.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use ripcord_http::{RemoteCause, client};

use crate::{BoxError, Code, Status};

/// The error of a client's call that failed, or of a server's request stream that was cut short.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_grpc::{ClientLayer, Code, Error};
/// use ripcord_http::client::RequestExt;
/// use tower::{Layer, Service};
///
/// # futures::executor::block_on(async {
/// # let http_client = tower::service_fn(|_: http::Request<String>| async { Ok::<_, std::io::Error>(http::Response::new(String::new())) });
/// let mut client = ClientLayer::new().layer(http_client);
/// let ctx = Context::background().with_timeout(Duration::ZERO);
/// let request = http::Request::post("http://localhost/echo.Echo/Unary").body(String::new()).unwrap().with_context(&ctx);
/// let error: Error = client.call(request).await.unwrap_err();
/// assert_eq!(error.code(), Code::DeadlineExceeded);
/// assert!(error.is_not_sent());
/// # });
/// ```
///
/// # Display
///
/// `{}` prints the status, such as `DEADLINE_EXCEEDED: Request timed out`. `{:#}` prints all details on one line. If a context
/// ended, these are the code, the call, the cause, the name of the context, and the source line that canceled the context or set
/// its deadline. If the server responded with a status, these are the status and its [`remote_cause`](Error::remote_cause). For any
/// other error, these are the code, the call and the sources of the error.
///
/// # Source
///
/// | error | [`source`](StdError::source) |
/// |---|---|
/// | a call that failed without a status from the server | a [`client::Error`] |
/// | a request stream whose context ended | a [`ripcord::Error`] |
/// | a request stream that failed for another reason | the error of the body |
/// | a call for which the server responded with a status | `None` |
///
/// With the feature `tonic`, the source is a `tonic::Status`, whose source is the error of this table.
///
/// # Retries
///
/// | question | method |
/// |---|---|
/// | Is it safe to send the call again, even if it changes data? | [`is_not_sent`](Error::is_not_sent) |
/// | Which gRPC status code does the error have? | [`code`](Error::code) |
#[derive(Clone)]
pub struct Error(Arc<Repr>);

struct Repr {
    status: Status,
    inside: Inside,
    /// The status for tonic, which searches the sources of an error for its own type.
    #[cfg(feature = "tonic")]
    tonic: tonic::Status,
}

#[derive(Clone)]
enum Inside {
    /// The context ended the call, or the call could not be made.
    Client(client::Error),
    /// The context ended before the request stream.
    Ended(ripcord::Error),
    /// The request stream failed.
    Stream(Arc<BoxError>),
    /// The server answered with the status.
    #[cfg(feature = "tonic")]
    Answered,
}

impl Error {
    pub(crate) fn client(error: client::Error) -> Self {
        let code = code_of(&error);
        let message = match code {
            Code::DeadlineExceeded => "Request timed out",
            Code::Cancelled => "Request canceled",
            // The error may be confidential, and a handler that fails with this status sends the message to its client.
            _ => "Service unavailable",
        };
        Error::new(Status::new(code, message), Inside::Client(error))
    }

    /// Creates the error of a request stream whose context ended first.
    pub(crate) fn ended(error: ripcord::Error) -> Self {
        Error::new(error.clone().into(), Inside::Ended(error))
    }

    /// Creates the error of a failed request stream. Usually the client has reset the stream.
    pub(crate) fn stream(error: BoxError) -> Self {
        Error::new(Status::new(Code::Cancelled, "Request canceled"), Inside::Stream(Arc::new(error)))
    }

    #[cfg(feature = "tonic")]
    pub(crate) fn answered(status: Status, tonic: tonic::Status) -> Self {
        Error(Arc::new(Repr { status, inside: Inside::Answered, tonic }))
    }

    fn new(status: Status, inside: Inside) -> Self {
        #[cfg(feature = "tonic")]
        let tonic = match &inside {
            Inside::Client(error) => crate::tonic::with_source(&status, error.clone()),
            Inside::Ended(error) => crate::tonic::request_stream(&status, error.clone()),
            Inside::Stream(error) => crate::tonic::request_stream(&status, Shared(Arc::clone(error))),
            Inside::Answered => unreachable!("it is made with its status"),
        };
        Error(Arc::new(Repr {
            status,
            inside,
            #[cfg(feature = "tonic")]
            tonic,
        }))
    }

    /// Returns the gRPC status code of the error.
    ///
    /// | error | code |
    /// |---|---|
    /// | the server responded with a status | the code of that status |
    /// | a deadline or an idle timeout passed, or no time was left to send the call | [`DeadlineExceeded`](Code::DeadlineExceeded) |
    /// | the context was canceled | [`Cancelled`](Code::Cancelled) |
    /// | on a server: the request stream failed, usually because the client has reset it | [`Cancelled`](Code::Cancelled) |
    /// | on a client with feature `h2`: the server has reset the stream | the code that gRPC defines for the reason of the reset |
    /// | any other error of the transport | [`Unavailable`](Code::Unavailable) |
    pub fn code(&self) -> Code {
        self.0.status.code()
    }

    /// Returns the status of the failed call.
    ///
    /// If the server responded with a status, returns that status. Otherwise, returns a status with the [`code`](Error::code) of
    /// this error and a fixed message, such as `Request timed out`.
    pub fn status(&self) -> &Status {
        &self.0.status
    }

    /// Returns the reason why the server ended the call, if the server has sent the reason in the header or trailer
    /// `ripcord-cause`. Otherwise, returns `None`. A server sends the reason only to clients that it trusts.
    pub fn remote_cause(&self) -> Option<&RemoteCause> {
        self.0.status.remote_cause()
    }

    /// Returns the error of the context in this process that ended the call. Returns `None` if no such context ended the call.
    ///
    /// If the call was not sent because no time was left, the result is `None`, because the context itself had not ended yet.
    pub fn context_error(&self) -> Option<&ripcord::Error> {
        match &self.0.inside {
            Inside::Client(error) => error.context_error(),
            Inside::Ended(error) => Some(error),
            _ => None,
        }
    }

    /// Returns whether the [`code`](Error::code) is [`DeadlineExceeded`](Code::DeadlineExceeded).
    ///
    /// An error has this code in three cases: the deadline or an idle timeout of a context in this process passed, no time was left
    /// to send the call, or the server responded with this code.
    pub fn is_deadline_exceeded(&self) -> bool {
        self.code() == Code::DeadlineExceeded
    }

    /// Returns whether the [`code`](Error::code) is [`Cancelled`](Code::Cancelled).
    ///
    /// An error has this code in three cases: a context in this process was canceled, the peer canceled the call by resetting the
    /// stream, or the server responded with this code.
    pub fn is_canceled(&self) -> bool {
        self.code() == Code::Cancelled
    }

    /// Returns whether no part of the call was sent. If so, it is safe to send the call again, even if the call changes data.
    ///
    /// The result is `true` if the call failed before it was sent, or if the connection to the server could not be made. `false`
    /// means that the server may have received the call.
    pub fn is_not_sent(&self) -> bool {
        matches!(&self.0.inside, Inside::Client(error) if error.is_not_sent())
    }

    #[cfg(feature = "tonic")]
    pub(crate) fn tonic(&self) -> &tonic::Status {
        &self.0.tonic
    }

    fn inside(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.inside {
            Inside::Client(error) => Some(error),
            Inside::Ended(error) => Some(error),
            Inside::Stream(error) => Some(&***error),
            #[cfg(feature = "tonic")]
            Inside::Answered => None,
        }
    }
}

/// Returns the code of a failed call.
fn code_of(error: &client::Error) -> Code {
    if error.is_deadline_exceeded() {
        return Code::DeadlineExceeded;
    }
    if error.is_canceled() {
        return Code::Cancelled;
    }
    #[cfg(feature = "h2")]
    if let Some(reason) = h2_reason(error) {
        return code_of_reset(reason);
    }
    Code::Unavailable
}

/// Returns the reason of an HTTP/2 error that affects only the stream.
#[cfg(feature = "h2")]
fn h2_reason(error: &client::Error) -> Option<h2::Reason> {
    let sources = std::iter::successors(error.source(), |&error| error.source());
    let h2: &h2::Error = sources.into_iter().find_map(|error| error.downcast_ref())?;
    h2.reason().filter(|_| h2.is_reset())
}

/// Returns the code for a stream that the peer has reset. The gRPC specification contains the table.
#[cfg(feature = "h2")]
fn code_of_reset(reason: h2::Reason) -> Code {
    match reason {
        h2::Reason::REFUSED_STREAM => Code::Unavailable,
        h2::Reason::CANCEL => Code::Cancelled,
        h2::Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        h2::Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        _ => Code::Internal,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inside() {
            Some(inside) if f.alternate() => write!(f, "{}: {inside:#}", self.code()),
            // Passes the alternate flag on to the status.
            _ => fmt::Display::fmt(&self.0.status, f),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error").field("status", &self.0.status).field("inside", &self.inside()).finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        #[cfg(feature = "tonic")]
        return self.inside().map(|_| &self.0.tonic as _);
        #[cfg(not(feature = "tonic"))]
        self.inside()
    }
}

/// A boxed error that can be a source.
#[cfg(feature = "tonic")]
struct Shared(Arc<BoxError>);

#[cfg(feature = "tonic")]
impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(feature = "tonic")]
impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(feature = "tonic")]
impl StdError for Shared {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}
