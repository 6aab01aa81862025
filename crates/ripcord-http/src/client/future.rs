//! A call under way.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;
use ripcord::Context;

use super::ResponseBody;
use super::error::{BoxError, Call, Error, Phase};
use super::under::Under;

pin_project! {
    /// A call of a [`Client`](super::Client). A result that is ready when the Context's end comes wins.
    ///
    /// When the end wins, the client's future is dropped at once. Dropping this one cancels the call.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
        // Gone when the result has been given.
        call: Option<Call>,
    }
}

pin_project! {
    #[project = Project]
    enum State<F> {
        Calling { #[pin] future: F, under: Option<Under> },
        Ended { error: Option<Error> },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(future: F, ctx: Context, call: Call) -> Self {
        let under = Some(Under::new(ctx));
        ResponseFuture { state: State::Calling { future, under }, call: Some(call) }
    }

    pub(super) fn without_context(future: F, call: Call) -> Self {
        ResponseFuture { state: State::Calling { future, under: None }, call: Some(call) }
    }

    /// Returns a call that fails at once: nothing is sent.
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
            Project::Calling { future, under } => {
                if let Poll::Ready(result) = future.poll(task) {
                    let (under, call) = (under.take(), this.call.take());
                    this.state.set(State::Ended { error: None });
                    return Poll::Ready(match result {
                        Ok(response) => Ok(response.map(|body| ResponseBody::new(body, under, call))),
                        Err(error) => Err(Error::client(error.into(), Phase::Send, call)),
                    });
                }
                let Some(under) = under else { return Poll::Pending };
                let error = ready!(under.poll_end(task));
                this.state.set(State::Ended { error: None });
                Error::context(error, Phase::Send, this.call.take())
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
