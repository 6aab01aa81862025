//! The body of a response.

use std::{
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    task::{self, Poll},
};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{
    BoxError,
    content::{Content, ContentProject},
    panic_message,
    request::InFlight,
};

pin_project! {
    /// The body of a response from a [`ContextService`](super::ContextService). The request's context ends when the server has read
    /// the last byte of this body.
    ///
    /// If the context ends before the body is complete, reading the body returns the [`ripcord::Error`] of the context, and the
    /// client sees an aborted stream. A gRPC client receives trailers with the status code instead. In two cases, frames are still
    /// sent after the end of the context:
    ///
    /// - The last frame is sent if it is ready when the context ends.
    /// - If the context ended before the head was sent, all frames that are ready are sent. The body is cut short at the first
    ///   frame that is not ready.
    ///
    /// Dropping the body before its end cancels the request's context with the cause
    /// [`ClientDisconnected`](super::ClientDisconnected).
    #[derive(Debug)]
    pub struct ContextBody<B>
    where
        B: Body,
    {
        // `None` once the request is over.
        request: Option<InFlight>,
        // Whether the context ended before the head was sent.
        is_last_word: bool,
        // The number of bytes left to pass on. Zero if the body will not be sent: then its drop does not mean a disconnect.
        left: Option<u64>,
        #[pin]
        content: Content<B>,
    }

    impl<B> PinnedDrop for ContextBody<B>
    where
        B: Body,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            // hyper drops a body that is known to be at its end without polling it again.
            if (*this.left == Some(0) || this.content.is_end_stream())
                && let Some(request) = this.request.take()
            {
                request.finish();
            }
        }
    }
}

impl<B: Body> ContextBody<B> {
    pub(super) fn new(mut request: InFlight, left: Option<u64>, content: Content<B>) -> Self {
        let is_last_word = request.err().is_some();
        let left = left.or_else(|| content.size_hint().exact());
        ContextBody { request: Some(request), is_last_word, left, content }
    }

    /// Creates the body of a response whose request is stored elsewhere.
    pub(super) fn without_request(content: Content<B>) -> Self {
        ContextBody { request: None, is_last_word: false, left: Some(0), content }
    }
}

impl<B> Body for ContextBody<B>
where
    B: Body<Data: From<Bytes>, Error: Into<BoxError>>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        // As with the handler, the end of the context is read before the body is polled, and handled after it.
        let mut ended = this.request.as_mut().and_then(InFlight::err);
        let cut = loop {
            let polled = match this.content.as_mut().project() {
                ContentProject::Ours { text } => Ok(Poll::Ready(text.take().map(|text| Ok(Frame::data(text.into()))))),
                // Unwind safe: after a panic the body is not polled again.
                ContentProject::Theirs { body } => panic::catch_unwind(AssertUnwindSafe(|| body.poll_frame(task))),
            };
            match polled {
                Ok(Poll::Ready(Some(Ok(mut frame)))) => {
                    // Trailers are the last frame, and hyper does not poll after them.
                    let is_last = frame.is_trailers() || this.content.is_end_stream();
                    if let Some(error) = ended
                        && !is_last
                        && !*this.is_last_word
                    {
                        break Cut::Ended(error);
                    }
                    if let (Some(data), Some(left)) = (frame.data_ref(), &mut *this.left) {
                        *left = left.saturating_sub(data.remaining() as u64);
                    }
                    if let Some(request) = &this.request {
                        request.progress();
                    }
                    if is_last && let Some(request) = this.request.take() {
                        if let Some(trailers) = frame.trailers_mut() {
                            request.note_grpc_end(trailers);
                        }
                        request.finish();
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(Poll::Ready(None)) => {
                    if let Some(request) = this.request.take() {
                        request.finish();
                    }
                    return Poll::Ready(None);
                }
                Ok(Poll::Ready(Some(Err(error)))) => break Cut::Failed(error.into()),
                Err(panic) => break Cut::Panicked(panic_message(&*panic)),
                Ok(Poll::Pending) => {}
            }
            if let Some(error) = ended {
                break Cut::Ended(error);
            }
            let Some(request) = this.request.as_mut() else { return Poll::Pending };
            match request.poll_err(task) {
                // The context has ended since the last check, so the body is polled once more.
                Poll::Ready(error) => ended = Some(error),
                Poll::Pending => return Poll::Pending,
            }
        };
        this.content.set(Content::Ours { text: None });
        let request = this.request.take();
        let trailers = match &cut {
            Cut::Ended(error) => request.as_ref().and_then(|request| request.trailers(error)),
            _ => None,
        };
        let error = cut.settle(request);
        Poll::Ready(Some(trailers.map(Frame::trailers).ok_or(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}

/// The reason why a body is cut short.
enum Cut {
    Ended(ripcord::Error),
    Failed(BoxError),
    Panicked(String),
}

impl Cut {
    /// Records the outcome of the request, and returns the error with which its body ends.
    fn settle(self, request: Option<InFlight>) -> BoxError {
        if let Some(mut request) = request {
            match &self {
                Cut::Ended(error) => request.ended(error.clone()),
                Cut::Failed(_) => request.failed(),
                Cut::Panicked(message) => request.panicked(message.clone()),
            }
        }
        match self {
            Cut::Ended(error) => error.into(),
            Cut::Failed(error) => error,
            Cut::Panicked(message) => format!("body panicked: {message}").into(),
        }
    }
}
