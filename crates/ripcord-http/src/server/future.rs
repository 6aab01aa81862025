//! The response to come.

use std::{
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    task::{self, Poll},
};

use bytes::Bytes;
use http::{Response, StatusCode, header::CONTENT_LENGTH};
use http_body::Body;
use pin_project_lite::pin_project;

use super::{BoxError, ContextBody, Ended, body::Content, ended::plain_text, panic_message, request::InFlight};
use crate::Malformed;

pin_project! {
    /// The response to come of a [`ContextService`](super::ContextService).
    ///
    /// Dropping it before it is ready is what a server does when the client has gone: it cancels the request's Context
    /// with [`ClientDisconnected`](super::ClientDisconnected). At the deadline a response that is ready wins.
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        // Above the handler, for fields are dropped from the top: when the handler's own are dropped, the Context
        // already says why. `None` once it is ready.
        request: Option<InFlight>,
        bodyless: bool,
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
    pub(super) fn new(request: InFlight, future: F, bodyless: bool) -> Self {
        let handler = Handler::Called { started: false, future };
        ResponseFuture { request: Some(request), bodyless, handler }
    }

    /// The answer of a handler that is not called, or panicked before it was a future.
    pub(super) fn not_called(request: InFlight, refusal: Refusal, bodyless: bool) -> Self {
        ResponseFuture { request: Some(request), bodyless, handler: Handler::NotCalled { refusal } }
    }
}

/// What is answered for a handler that is not there.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    Ended(ripcord::Error),
    Malformed(Malformed),
    Panicked,
}

impl<B> From<Refusal> for Response<Content<B>> {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Ended(error) => Ended::from(error).into(),
            Refusal::Malformed(malformed) => plain_text(StatusCode::BAD_REQUEST, malformed.to_string().into()),
            Refusal::Panicked => plain_text(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error".into()),
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data: From<Bytes>, Error: Into<BoxError>>,
{
    type Output = Result<Response<ContextBody<B>>, E>;

    /// # Panics
    ///
    /// When it is polled after it was ready.
    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let request = this.request.as_mut().expect("polled after it was ready");
        // The end is looked at before the handler and acted on after it. So a handler that watches its Context sees every
        // end that is acted on, gets the last word, and wins the tie.
        let mut ended = request.err();
        let mut response = loop {
            let polled = match this.handler.as_mut().project() {
                HandlerProject::NotCalled { refusal } => break refusal.clone().into(),
                // Nothing begins on a Context that is done.
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
                    break Refusal::Panicked.into();
                }
                Ok(Poll::Pending) => {}
            }
            if let Some(error) = ended {
                break Refusal::Ended(error).into();
            }
            match request.poll_err(task) {
                // It ended since it was asked, so the handler is still to have its last word.
                Poll::Ready(error) => ended = Some(error),
                Poll::Pending => return Poll::Pending,
            }
        };
        let mut request = this.request.take().expect("it was there above");
        request.answer(&mut response);
        let length = if *this.bodyless || is_bodyless(response.status()) { Some(0) } else { content_length(&response) };
        Poll::Ready(Ok(response.map(|content| ContextBody::new(request, length, content))))
    }
}

/// Whether no body follows such a head, whatever the handler gave.
fn is_bodyless(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

fn content_length<B>(response: &Response<B>) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
