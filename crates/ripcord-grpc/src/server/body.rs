//! The bodies of a call's request and response.

use std::fmt;
use std::pin::Pin;
use std::task::{self, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use ripcord::{Context, DoneOwned};

use super::service::Answer;
use crate::{BoxError, Error};

pin_project! {
    /// The body of a request that [`ServerLayer`](super::ServerLayer) passes to the handler. After the context of the call ends,
    /// reading the body returns an error instead of data.
    ///
    /// A task that the handler has spawned to read the body also gets the error. If the client resets the request stream, reading
    /// returns an error too. A body that has been received completely is not affected by a later end of the context.
    pub struct RequestBody<B> {
        #[pin]
        body: B,
        // `None` if the request is not gRPC's.
        ctx: Option<Context>,
        // The wait for the end. `None` until the body has been pending: a call that never waits arms no timer.
        done: Option<DoneOwned>,
    }
}

impl<B> RequestBody<B> {
    pub(super) fn new(body: B, ctx: Option<Context>) -> Self {
        RequestBody { body, ctx, done: None }
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Error: Into<BoxError>>,
{
    type Data = B::Data;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Option<Result<Frame<B::Data>, Error>>> {
        let this = self.project();
        // Checked before each frame, so that an endless stream ends.
        if let Some(error) = this.ctx.as_ref().and_then(Context::err)
            && !this.body.is_end_stream()
        {
            return Poll::Ready(Some(Err(Error::ended(error))));
        }
        match this.body.poll_frame(task) {
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Error::stream(error.into())))),
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(ctx) = this.ctx {
                    ctx.progress();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let Some(ctx) = this.ctx else { return Poll::Pending };
                let done = this.done.get_or_insert_with(|| ctx.done_owned());
                let error = ready!(Pin::new(done).poll(task));
                *this.done = None;
                Poll::Ready(Some(Err(Error::ended(error))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("ctx", &self.ctx).finish_non_exhaustive()
    }
}

pin_project! {
    /// The body of a response from a [`CallService`](super::CallService). If the client is not
    /// [trusted](ripcord_http::server::ContextLayer::trust), this body removes [`ripcord-cause`](ripcord_http::RemoteCause) from
    /// the trailers.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        body: B,
        // `None` if the request is not gRPC's.
        answer: Option<Answer>,
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn new(body: B, answer: Option<Answer>) -> Self {
        ResponseBody { body, answer }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let mut frame = ready!(this.body.poll_frame(task));
        if let (Some(Ok(frame)), Some(answer)) = (&mut frame, this.answer)
            && let Some(trailers) = frame.trailers_mut()
        {
            answer.trailers(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
