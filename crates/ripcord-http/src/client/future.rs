//! A call in flight.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;

use super::ResponseBody;
use super::call::Call;
use super::context_end::ContextEnd;
use super::error::{BoxError, Error, Phase};
use super::span::CallSpan;

pin_project! {
    /// The future of a call. Returned by [`Client`](super::Client), which [`ClientLayer`](super::ClientLayer) creates. It resolves
    /// to the response or an [`Error`].
    ///
    /// If the context ends before the head of the response arrives, this future drops the future of the wrapped client and returns
    /// an error. If the response is ready at that moment, this future returns the response. Dropping this future cancels the call.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
        // `None` once the result has been returned.
        call: Option<Call>,
    }
}

pin_project! {
    #[project = Project]
    enum State<F> {
        Calling { #[pin] future: F, end: Option<ContextEnd>, span: CallSpan },
        Ended { error: Option<Error> },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(future: F, end: ContextEnd, call: Call, span: CallSpan) -> Self {
        let end = Some(end);
        ResponseFuture { state: State::Calling { future, end, span }, call: Some(call) }
    }

    pub(super) fn without_context(future: F, call: Call) -> Self {
        ResponseFuture { state: State::Calling { future, end: None, span: CallSpan::default() }, call: Some(call) }
    }

    /// Returns a call that fails at once, without sending anything.
    pub(super) fn not_sent(error: Error) -> Self {
        ResponseFuture { state: State::Ended { error: Some(error) }, call: None }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody<R>>, Error>;

    fn poll(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let error = match this.state.as_mut().project() {
            Project::Calling { future, end, span } => {
                if let Poll::Ready(result) = future.poll(task) {
                    let (end, mut span, call) = (end.take(), std::mem::take(span), this.call.take());
                    this.state.set(State::Ended { error: None });
                    return Poll::Ready(match result {
                        Ok(response) => {
                            if let Some(end) = &end {
                                end.progress();
                            }
                            span.answered(response.status(), response.version());
                            Ok(response.map(|body| ResponseBody::new(body, end, call, span)))
                        }
                        Err(error) => {
                            let error = Error::client(error.into(), Phase::Send, call);
                            span.failed(&error);
                            Err(error)
                        }
                    });
                }
                let Some(end) = end else { return Poll::Pending };
                let error = Error::context(ready!(end.poll_end(task)), Phase::Send, this.call.take());
                std::mem::take(span).failed(&error);
                this.state.set(State::Ended { error: None });
                error
            }
            Project::Ended { error } => error.take().expect("polled after it was ready"),
        };
        Poll::Ready(Err(error))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
