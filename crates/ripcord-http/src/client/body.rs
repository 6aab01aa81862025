//! A response's body.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::call::Call;
use super::context_end::ContextEnd;
use super::error::{BoxError, Error, Phase};
use super::span::CallSpan;

pin_project! {
    /// The body of a response from a [`Client`](super::Client). After the context of the call ends, reading the body returns an
    /// error instead of data.
    ///
    /// The context is checked before each frame, so a body whose data is always ready ends too. A body that has been read
    /// completely is not affected by a later end of the context.
    ///
    /// The first error drops the inner body, which ends the transfer. Dropping this body does the same.
    pub struct ResponseBody<B> {
        // `None` after an error.
        #[pin]
        body: Option<B>,
        end: Option<ContextEnd>,
        call: Option<Call>,
        span: CallSpan,
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn new(body: B, end: Option<ContextEnd>, call: Option<Call>, span: CallSpan) -> Self {
        ResponseBody { body: Some(body), end, call, span }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Frame<B::Data>, Error>>> {
        let mut this = self.project();
        let Some(mut body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        if body.is_end_stream() {
            this.span.end();
            return Poll::Ready(None);
        }
        // Checked before each frame, so that an endless body ends.
        let error = match this.end.as_ref().and_then(ContextEnd::err) {
            Some(error) => Error::context(error, Phase::Read, this.call.take()),
            None => match body.as_mut().poll_frame(task) {
                Poll::Ready(Some(Err(error))) => Error::client(error.into(), Phase::Read, this.call.take()),
                Poll::Ready(Some(Ok(frame))) => {
                    if let Some(end) = this.end.as_ref() {
                        end.progress();
                    }
                    if body.is_end_stream() {
                        this.span.end();
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Poll::Ready(None) => {
                    this.span.end();
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    let Some(end) = this.end.as_mut() else { return Poll::Pending };
                    let error = ready!(end.poll_end(task));
                    Error::context(error, Phase::Read, this.call.take())
                }
            },
        };
        this.body.set(None);
        this.span.failed(&error);
        Poll::Ready(Some(Err(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("end", &self.end).finish_non_exhaustive()
    }
}
