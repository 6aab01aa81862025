//! The future of a response.

use std::{
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    task::{self, Poll},
};

use bytes::Bytes;
use http::{Method, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::Body;
use pin_project_lite::pin_project;

use super::{
    BoxError, ContextBody, Ended, content::Content, ended::plain_text, grpc, panic_message, request::InFlight,
};
use crate::Malformed;

pin_project! {
    /// A future that runs the handler (the inner service) and resolves to the response. Returned by
    /// [`ContextService`](super::ContextService). An error of the handler is returned unchanged.
    ///
    /// If the request's context ends first, the handler is polled once more and then dropped, and the response reports the end of
    /// the context. If the handler's response is ready at that moment, this response is sent.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready cancels the request's context with the cause
    /// [`ClientDisconnected`](super::ClientDisconnected), because servers drop the future when the client disconnects.
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        // This field is before the handler, because fields are dropped in order: when the handler is dropped, the context already
        // has its cause. `None` once the response is ready, and for a request that cancels another request.
        request: Option<InFlight>,
        bodyless: Bodyless,
        #[pin]
        handler: Handler<F>,
    }
}

pin_project! {
    #[project = HandlerProject]
    #[derive(Debug)]
    enum Handler<F> {
        Called { started: bool, #[pin] future: F },
        NotCalled { refusal: Refusal },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(request: InFlight, future: F, bodyless: Bodyless) -> Self {
        let handler = Handler::Called { started: false, future };
        ResponseFuture { request: Some(request), bodyless, handler }
    }

    /// Creates the response for a handler that is not called, or panicked before it returned a future.
    pub(super) fn not_called(request: InFlight, refusal: Refusal, bodyless: Bodyless) -> Self {
        ResponseFuture { request: Some(request), bodyless, handler: Handler::NotCalled { refusal } }
    }

    /// Creates the response for a request that cancels another request. The response has no context.
    pub(super) fn cancel(is_found: bool) -> Self {
        let handler = Handler::NotCalled { refusal: Refusal::Cancel { is_found } };
        ResponseFuture { request: None, bodyless: Bodyless::ByStatus, handler }
    }
}

/// The response in place of the handler's response.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    Ended(ripcord::Error),
    Malformed(Malformed),
    Panicked,
    /// The request canceled another request, if that request was in flight.
    Cancel {
        is_found: bool,
    },
}

impl Refusal {
    fn respond<B>(self, is_grpc: bool) -> Response<Content<B>> {
        let (mut response, code, message) = match self {
            // The outermost layer turns this response into a gRPC response.
            Refusal::Ended(error) => return Ended::from(error).into(),
            Refusal::Cancel { is_found: true } => return plain_text(StatusCode::OK, "Request canceled".into()),
            Refusal::Cancel { is_found: false } => return plain_text(StatusCode::NOT_FOUND, "No such request".into()),
            Refusal::Malformed(malformed) => {
                let response = plain_text(StatusCode::BAD_REQUEST, malformed.to_string().into());
                (response, grpc::Code::InvalidArgument, "Malformed header")
            }
            Refusal::Panicked => {
                let text = "Internal server error";
                (plain_text(StatusCode::INTERNAL_SERVER_ERROR, text.into()), grpc::Code::Internal, text)
            }
        };
        if is_grpc {
            grpc::answer(&mut response, code, message);
        }
        response
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data: From<Bytes>, Error: Into<BoxError>>,
{
    type Output = Result<Response<ContextBody<B>>, E>;

    /// Polls the request.
    ///
    /// # Panics
    ///
    /// Panics if it is polled after it has returned `Ready`.
    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(request) = this.request.as_mut() else {
            let HandlerProject::NotCalled { refusal } = this.handler.project() else {
                panic!("polled after it was ready")
            };
            return Poll::Ready(Ok(refusal.clone().respond(false).map(ContextBody::without_request)));
        };
        // The end of the context is read before the handler is polled, and handled after it. So a handler that watches its
        // context sees every end, is polled once more, and its response is sent if both are ready.
        let mut ended = request.err();
        let mut response = loop {
            let polled = match this.handler.as_mut().project() {
                HandlerProject::NotCalled { refusal } => break refusal.clone().respond(request.is_grpc()),
                // A handler is not started if its context has ended.
                HandlerProject::Called { started: false, .. } if ended.is_some() => Ok(Poll::Pending),
                HandlerProject::Called { started, future } => {
                    *started = true;
                    // Unwind safe: after a panic the handler is not polled again.
                    panic::catch_unwind(AssertUnwindSafe(|| future.poll(task)))
                }
            };
            match polled {
                Ok(Poll::Ready(Ok(response))) => break response.map(|body| Content::Theirs { body }),
                Ok(Poll::Ready(Err(error))) => {
                    request.failed();
                    *this.request = None;
                    return Poll::Ready(Err(error));
                }
                Err(panic) => {
                    request.panicked(panic_message(&*panic));
                    break Refusal::Panicked.respond(request.is_grpc());
                }
                Ok(Poll::Pending) => {}
            }
            if let Some(error) = ended {
                break Refusal::Ended(error).respond(request.is_grpc());
            }
            match request.poll_err(task) {
                // The context has ended since the last check, so the handler is polled once more.
                Poll::Ready(error) => ended = Some(error),
                Poll::Pending => return Poll::Pending,
            }
        };
        let mut request = this.request.take().expect("checked above");
        request.answer(&mut response);
        let status = response.status();
        if this.bodyless.is_upgrade(status) {
            request.upgraded();
            return Poll::Ready(Ok(response.map(ContextBody::without_request)));
        }
        let length = if this.bodyless.is_bodyless(status) { Some(0) } else { content_length(&response) };
        Poll::Ready(Ok(response.map(|content| ContextBody::new(request, length, content))))
    }
}

/// The responses without a body, by the method of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bodyless {
    ByStatus,
    Head,
    Connect,
}

impl Bodyless {
    pub(super) fn from_method(method: &Method) -> Self {
        match *method {
            Method::HEAD => Bodyless::Head,
            Method::CONNECT => Bodyless::Connect,
            _ => Bodyless::ByStatus,
        }
    }

    /// Returns whether a response with this status has no body. The body that the handler returned is then not sent.
    fn is_bodyless(self, status: StatusCode) -> bool {
        let by_status =
            status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        by_status || self != Bodyless::ByStatus
    }

    /// Returns whether the connection, or the HTTP/2 stream, switches to another protocol.
    fn is_upgrade(self, status: StatusCode) -> bool {
        status == StatusCode::SWITCHING_PROTOCOLS || (self == Bodyless::Connect && status.is_success())
    }
}

fn content_length<B>(response: &Response<B>) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
