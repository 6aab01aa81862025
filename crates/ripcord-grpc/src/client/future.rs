//! A call in flight.

use std::fmt;
use std::pin::Pin;
use std::task::{self, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;
use ripcord_http::client;

use super::ResponseBody;
use super::answer::Answered;
use crate::{BoxError, Error};

pin_project! {
    /// The future of a call. Returned by [`Client`](super::Client), which [`ClientLayer`](super::ClientLayer) creates.
    ///
    /// If the context ends before the head of the response arrives, this future drops the future of the wrapped client and returns
    /// an error. If the response is ready at that moment, this future returns the response. Dropping this future cancels the call.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: client::ResponseFuture<F>,
        answered: Answered,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(inner: client::ResponseFuture<F>, answered: Answered) -> Self {
        ResponseFuture { inner, answered }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody<R>>, Error>;

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(task));
        let mut answered = std::mem::take(this.answered);
        Poll::Ready(match result {
            Ok(response) => {
                let (mut head, body) = response.into_parts();
                answered.receive_head(&mut head);
                Ok(Response::from_parts(head, ResponseBody::new(body, answered)))
            }
            Err(error) => Err(answered.failed(error)),
        })
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
