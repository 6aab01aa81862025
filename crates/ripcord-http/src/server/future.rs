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
use ripcord::DoneOwned;

use super::{
    BoxError, ContextBody, Ended, Outcome, body::Content, ended::plain_text, panic_message, request::InFlight,
};

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
        // Made when the handler is first found waiting, so that one which never waits arms no timer.
        done: Option<DoneOwned>,
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
        Refused { ended: Ended },
        Panicked,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(request: InFlight, future: F, bodyless: bool) -> Self {
        let handler = Handler::Called { started: false, future };
        ResponseFuture { request: Some(request), done: None, bodyless, handler }
    }

    /// The answer to a request whose Context has ended before it began.
    pub(super) fn refused(request: InFlight, error: ripcord::Error, bodyless: bool) -> Self {
        let handler = Handler::Refused { ended: error.into() };
        ResponseFuture { request: Some(request), done: None, bodyless, handler }
    }

    /// The answer for a handler that panicked before it was a future.
    pub(super) fn panicked(request: InFlight, bodyless: bool) -> Self {
        ResponseFuture { request: Some(request), done: None, bodyless, handler: Handler::Panicked }
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
        let mut ended = request.ctx().err();
        let mut response = loop {
            let polled = match this.handler.as_mut().project() {
                HandlerProject::Refused { ended } => break ended.clone().into(),
                HandlerProject::Panicked => break internal_server_error(),
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
                    request.settle(Outcome::Failed);
                    *this.request = None;
                    return Poll::Ready(Err(error));
                }
                Err(panic) => {
                    request.panicked(panic_message(&*panic));
                    break internal_server_error();
                }
                Ok(Poll::Pending) => {}
            }
            if let Some(error) = ended {
                break Ended::from(error).into();
            }
            let done = this.done.get_or_insert_with(|| request.ctx().done_owned());
            match Pin::new(done).poll(task) {
                // It ended since it was asked, so the handler is still to have its last word.
                Poll::Ready(error) => ended = Some(error),
                Poll::Pending => return Poll::Pending,
            }
        };
        request.answer(&mut response);
        let request = this.request.take();
        // A waiting handler's place with its Context is the body's now.
        let done = this.done.take();
        let length = if *this.bodyless || is_bodyless(response.status()) { Some(0) } else { content_length(&response) };
        Poll::Ready(Ok(response.map(|content| ContextBody::new(request, done, length, content))))
    }
}

fn internal_server_error<B>() -> Response<Content<B>> {
    plain_text(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error".into())
}

/// Whether no body follows such a head, whatever the handler gave.
fn is_bodyless(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

fn content_length<B>(response: &Response<B>) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
