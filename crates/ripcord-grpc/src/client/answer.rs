//! The body of a response, and the corrections of its status.

use std::pin::Pin;
use std::task::{self, Poll, ready};

use base64::Engine as _;
use http::response::Parts;
use http::{HeaderMap, HeaderName, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use ripcord::Context;
use ripcord_http::client;

use super::counted::Counted;
use crate::metadata::BASE64;
use crate::status::{GRPC_MESSAGE, GRPC_STATUS};
use crate::{BoxError, Code, Error, Status};

const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Corrects the headers and trailers of a response.
#[derive(Debug, Default)]
pub(super) struct Answered {
    ctx: Option<Context>,
    counted: Counted,
}

impl Answered {
    pub(super) fn new(ctx: Option<Context>, path: &str) -> Self {
        Answered { ctx, counted: Counted::new(path) }
    }

    /// Handles the head of a response. The head contains a status if the response has no body.
    pub(super) fn receive_head(&mut self, head: &mut Parts) {
        self.receive(&mut head.headers);
        if head.status != StatusCode::OK {
            self.counted.ended(Code::from_http(head.status));
        }
    }

    /// If the headers or trailers contain a status, corrects the status and counts the call.
    pub(super) fn receive(&mut self, headers: &mut HeaderMap) {
        let Some(code) = headers.get(GRPC_STATUS).map(Code::decode) else { return };
        // tonic panics on details that are not base64.
        if headers.get(DETAILS).is_some_and(|details| BASE64.decode(details.as_bytes()).is_err()) {
            headers.remove(DETAILS);
        }
        // Some servers, such as tonic's, answer with CANCELLED when the deadline passes.
        let ended = || self.ctx.as_ref().and_then(Context::err);
        if code == Code::Cancelled
            && let Some(error) = ended().filter(ripcord::Error::is_deadline_exceeded)
        {
            headers.remove(GRPC_MESSAGE);
            Status::from(error).write(headers);
            return self.counted.ended(Code::DeadlineExceeded);
        }
        self.counted.ended(code);
    }

    /// Handles the end of an answer without a status. In gRPC, its code is `UNKNOWN`.
    pub(super) fn ended_without_status(&mut self) {
        self.counted.ended(Code::Unknown);
    }

    /// Handles the failure of the call.
    pub(super) fn failed(&mut self, error: client::Error) -> Error {
        let error = Error::client(error);
        self.counted.ended(error.code());
        error
    }
}

pin_project! {
    /// The body of a response from a [`Client`](super::Client). After the context of the call ends, reading the body returns an
    /// error instead of data.
    ///
    /// A body that has been read completely is not affected by a later end of the context. After an error, the HTTP/2 stream of the
    /// call is reset. Dropping a body that has not been read completely also resets the stream.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        body: client::ResponseBody<B>,
        answered: Answered,
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn new(body: client::ResponseBody<B>, answered: Answered) -> Self {
        ResponseBody { body, answered }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Option<Result<Frame<B::Data>, Error>>> {
        let this = self.project();
        Poll::Ready(match ready!(this.body.poll_frame(task)) {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    this.answered.receive(trailers);
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => Some(Err(this.answered.failed(error))),
            None => {
                this.answered.ended_without_status();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
