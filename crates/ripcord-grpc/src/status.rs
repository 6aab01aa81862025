//! A status on the wire: the headers or trailers that end a response.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};
use ripcord_http::RemoteCause;
use ripcord_http::server::Ended;

use crate::Code;

pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(crate) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The characters that gRPC escapes: `%` and all characters outside printable ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// The status with which a gRPC call ends: a code and a message, as in the headers `grpc-status` and `grpc-message`.
///
/// The client can see the message. A status that is created from the error of a context has a fixed message, because the cause may
/// be confidential.
///
/// ```
/// use std::time::Duration;
/// use http::HeaderMap;
/// use ripcord::Context;
/// use ripcord_grpc::{Code, Status};
///
/// let ended = Context::background().with_timeout(Duration::ZERO).err().unwrap();
/// let mut trailers = HeaderMap::new();
/// Status::from(ended).write(&mut trailers);
/// assert_eq!(trailers["grpc-status"], "4");
///
/// let received = Status::read(&trailers).unwrap();
/// assert_eq!(received.code(), Code::DeadlineExceeded);
/// assert_eq!(received.to_string(), "DEADLINE_EXCEEDED: Request timed out");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    code: Code,
    message: Cow<'static, str>,
    remote_cause: Option<RemoteCause>,
}

impl Status {
    /// Creates a status with a code and a message. An empty message is not sent.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Status { code, message: message.into(), remote_cause: None }
    }

    /// Reads the status from the trailers of a response. Returns `None` if the trailers do not contain `grpc-status`.
    ///
    /// If a response has no body, gRPC sends the trailers as headers. Pass the headers in this case. Bytes of the message that are
    /// not UTF-8 are replaced by U+FFFD.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let code = Code::decode(headers.get(GRPC_STATUS)?);
        let message = headers.get(GRPC_MESSAGE).map_or(Cow::Borrowed(""), |message| {
            Cow::Owned(percent_decode(message.as_bytes()).decode_utf8_lossy().into_owned())
        });
        Some(Status { code, message, remote_cause: RemoteCause::find(headers) })
    }

    /// Writes the code and the message into the headers or trailers of a response. Replaces the values of an earlier status.
    ///
    /// The [`remote_cause`](Status::remote_cause) is not written.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(GRPC_STATUS, self.code.to_header());
        if self.message.is_empty() {
            headers.remove(GRPC_MESSAGE);
            return;
        }
        let escaped = utf8_percent_encode(&self.message, ESCAPED).to_string();
        headers.insert(GRPC_MESSAGE, HeaderValue::try_from(escaped).expect("it is printable ASCII"));
    }

    /// Returns the status code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Returns the message, which may be empty.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the reason why the server's context ended. Returns `None` unless a server has sent this status together with the
    /// header or trailer `ripcord-cause`.
    pub fn remote_cause(&self) -> Option<&RemoteCause> {
        self.remote_cause.as_ref()
    }

    #[cfg(feature = "tonic")]
    pub(crate) fn with_remote_cause(self, remote_cause: Option<RemoteCause>) -> Self {
        Status { remote_cause, ..self }
    }
}

impl From<Ended> for Status {
    /// Returns the status that [`ContextLayer`](ripcord_http::server::ContextLayer) sends for this error. [`Ended::grpc_status`]
    /// lists the codes.
    fn from(ended: Ended) -> Self {
        let (code, message) = ended.grpc_status();
        Status::new(Code::from_number(u64::from(code)), message)
    }
}

impl From<ripcord::Error> for Status {
    fn from(error: ripcord::Error) -> Self {
        Ended::from(error).into()
    }
}

impl fmt::Display for Status {
    /// Prints the code and the message. `{:#}` also prints the [`remote_cause`](Status::remote_cause).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        match &self.remote_cause {
            Some(cause) if f.alternate() => write!(f, ": {cause}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_message_comes_back_unchanged() {
        for message in ["", "100 %", "%41", "a\r\nb: c\u{1b}[31m\u{7f}", "größer → 大", " leading"] {
            let mut headers = HeaderMap::new();
            Status::new(Code::NotFound, message).write(&mut headers);
            assert!(headers.values().all(|value| value.to_str().is_ok()), "{headers:?}");
            assert_eq!(Status::read(&headers), Some(Status::new(Code::NotFound, message)));
        }
    }

    #[test]
    fn malformed_escapes_and_bytes_do_not_fail() {
        for (sent, read) in [("%", "%"), ("%4", "%4"), ("%zz", "%zz"), ("%FF", "\u{fffd}")] {
            let headers = HeaderMap::from_iter([
                (GRPC_STATUS, HeaderValue::from_static("5")),
                (GRPC_MESSAGE, HeaderValue::from_static(sent)),
            ]);
            assert_eq!(Status::read(&headers).expect("there is one").message(), read);
        }
    }
}
