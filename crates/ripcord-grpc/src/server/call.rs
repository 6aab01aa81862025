//! An ended call and its code.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Response};
use ripcord::Value;
use ripcord_http::server::{Ended, Finished, RequestOutcome};

use crate::{Code, Status, status::GRPC_STATUS};

/// A finished call. Passed to the function of [`ServerLayer::on_end`](super::ServerLayer::on_end).
///
/// `Display` writes a log line, such as `DEADLINE_EXCEEDED after 5s: context deadline exceeded`. `{:#}` adds the name of the
/// context, the source lines and the causes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Call<'a> {
    /// The status code of the call. `None` if the request is not a gRPC request.
    ///
    /// | the call | code |
    /// |---|---|
    /// | the response was sent completely | the code in the response, or `UNKNOWN` if there is none |
    /// | the deadline or an idle timeout passed | `DEADLINE_EXCEEDED` |
    /// | the context was canceled, or the client has disconnected | `CANCELLED` |
    /// | the handler panicked | `INTERNAL` |
    /// | a [strict](ripcord_http::server::ContextLayer::strict) layer refused the call | `INVALID_ARGUMENT` |
    /// | the service failed | the code that it had sent, or `UNKNOWN` if it had sent none |
    pub code: Option<Code>,
    /// The finished HTTP request, with its context, its outcome and its duration.
    pub request: &'a Finished<'a>,
}

impl<'a> Call<'a> {
    pub(super) fn new(request: &'a Finished<'a>) -> Self {
        let sent = request.ctx.value::<SentCode>();
        let code = sent.map(|sent| match &request.outcome {
            RequestOutcome::Answered => sent.get().unwrap_or(Code::Unknown),
            RequestOutcome::DeadlineExceeded => Code::DeadlineExceeded,
            RequestOutcome::Canceled | RequestOutcome::ClientDisconnected => Code::Cancelled,
            RequestOutcome::Refused(_) => Code::InvalidArgument,
            RequestOutcome::Panicked(_) => Code::Internal,
            _ => sent.get().unwrap_or(Code::Unknown),
        });
        Call { code, request }
    }
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(code) = self.code else { return fmt::Display::fmt(self.request, f) };
        write!(f, "{code} after {:?}: ", self.request.took)?;
        match (&self.request.outcome, &self.request.error) {
            (RequestOutcome::Panicked(_) | RequestOutcome::Refused(_), _) | (_, None) => {
                write!(f, "{}", self.request.outcome)
            }
            // Passes the alternate flag on to the error.
            (_, Some(error)) => fmt::Display::fmt(error, f),
        }
    }
}

/// Returns the path of a request if it has the form of a gRPC method, such as `/echo.Echo/Unary`. `parts` is the head of the
/// request.
///
/// If the path has another form or is longer than 128 bytes, returns `unmatched`. Pass this function to
/// [`ContextLayer::name`](ripcord_http::server::ContextLayer::name) to name the context of each call after its method.
///
/// A client can send any path of this form. If the names become labels of metrics and you do not trust the clients, write a
/// function that only returns the names of your own methods.
pub fn method(parts: &Parts) -> Cow<'static, str> {
    crate::method::name(parts.uri.path())
}

/// Returns whether a request with these headers is a gRPC request. A gRPC-Web request is not: its response has trailers in the
/// body.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map_or(&[][..], |value| value.as_bytes());
    content_type.starts_with(b"application/grpc") && !content_type.starts_with(b"application/grpc-web")
}

/// The code of the handler's answer, as a value of the call's context.
#[derive(Clone, Debug, Default)]
pub(super) struct SentCode(Arc<AtomicU8>);

/// The value without a code. The 17 codes are 0 to 16.
const NONE: u8 = u8::MAX;

impl SentCode {
    pub(super) fn new() -> Self {
        SentCode(Arc::new(AtomicU8::new(NONE)))
    }

    /// Records the code in the head of a response, if there is a code.
    pub(super) fn see_head<B>(&self, response: &Response<B>) {
        match response.extensions().get::<Ended>() {
            Some(ended) => self.set(Status::from(ended.clone()).code()),
            None => self.see_trailers(response.headers()),
        }
    }

    /// Records the code in trailers, or in a head that contains the trailers.
    pub(super) fn see_trailers(&self, trailers: &HeaderMap) {
        if let Some(code) = trailers.get(GRPC_STATUS) {
            self.set(Code::decode(code));
        }
    }

    // Relaxed: no other memory depends on the number.
    fn set(&self, code: Code) {
        self.0.store(code.number(), Ordering::Relaxed);
    }

    fn get(&self) -> Option<Code> {
        match self.0.load(Ordering::Relaxed) {
            NONE => None,
            code => Some(Code::from_number(u64::from(code))),
        }
    }
}

impl Value for SentCode {}
