//! A response's body.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::error::{BoxError, Call, Error, Phase};
use super::under::Under;

pin_project! {
    /// A response's body, which obeys the call's Context: after its end there is an error instead of data.
    ///
    /// Also when data is always ready, so that an endless body ends. A body that was read to its end has ended, whatever the
    /// Context. At the first error the body below is dropped, and with it the transfer; dropping this one does the same.
    pub struct ResponseBody<B> {
        // None after an error.
        #[pin]
        body: Option<B>,
        under: Option<Under>,
        call: Option<Call>,
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn new(body: B, under: Option<Under>, call: Option<Call>) -> Self {
        ResponseBody { body: Some(body), under, call }
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
        let Some(body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        if body.is_end_stream() {
            return Poll::Ready(None);
        }
        // Asked before each frame, so that one that is ready does not win for ever.
        let error = match this.under.as_ref().and_then(Under::err) {
            Some(error) => Error::context(error, Phase::Read, this.call.take()),
            None => match body.poll_frame(task) {
                Poll::Ready(Some(Err(error))) => Error::client(error.into(), Phase::Read, this.call.take()),
                Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(frame))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    let Some(under) = this.under.as_mut() else { return Poll::Pending };
                    let error = ready!(under.poll_end(task));
                    Error::context(error, Phase::Read, this.call.take())
                }
            },
        };
        this.body.set(None);
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
        f.debug_struct("ResponseBody").field("under", &self.under).finish_non_exhaustive()
    }
}
