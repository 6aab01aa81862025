//! Responses to gRPC requests.
//!
//! A gRPC client maps status 504 to "unavailable" and sends the request again. So the response has status 200 and the gRPC code
//! in trailers. A response without a body has these trailers as its headers.

use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use ripcord::Context;

use super::content::Content;

const GRPC: &[u8] = b"application/grpc";
const GRPC_WEB: &[u8] = b"application/grpc-web";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// A gRPC status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Cancelled = 1,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    #[cfg(feature = "policy")]
    ResourceExhausted = 8,
    Internal = 13,
    Unavailable = 14,
}

impl Code {
    /// Returns the code for the end of a context.
    pub(super) fn from_error(error: &ripcord::Error) -> Self {
        if error.is_deadline_exceeded() { Code::DeadlineExceeded } else { Code::Cancelled }
    }

    fn value(self) -> HeaderValue {
        HeaderValue::from(self as u16)
    }
}

/// Returns whether a request with these headers is a gRPC request. A gRPC-Web request is not: its response has trailers in the
/// body.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    content_type.starts_with(GRPC) && !content_type.starts_with(GRPC_WEB)
}

/// Returns the end of `ctx` if these headers or trailers have the gRPC code for it.
pub(super) fn end(headers: &HeaderMap, ctx: &Context) -> Option<ripcord::Error> {
    let code = headers.get(GRPC_STATUS).filter(|code| *code == "1" || *code == "4")?;
    ctx.err().filter(|error| *code == Code::from_error(error).value())
}

/// Returns the trailers that end a response.
pub(super) fn trailers(code: Code, message: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(GRPC_STATUS, code.value()), (GRPC_MESSAGE, HeaderValue::from_static(message))])
}

/// Turns `response` into a response that has only trailers.
pub(super) fn answer<B>(response: &mut Response<Content<B>>, code: Code, message: &'static str) {
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.extend(trailers(code, message));
    *response.body_mut() = Content::Ours { text: None };
}
