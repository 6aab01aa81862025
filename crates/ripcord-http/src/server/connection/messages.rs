//! The bodies of a connection's requests and responses.

use std::{
    pin::Pin,
    task::{self, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use ripcord::Context;

use super::peer::{OnPeer, Peer};
use crate::server::{BoxError, on_connection::Upload};

/// The maximum size of an unread rest of a body that hyper reads before it answers, to keep the connection. If the rest is
/// larger, hyper closes the connection.
const SMALL: u64 = 8 << 10;

/// The maximum part of an HTTP/2 response that is passed on at once. hyper takes a whole part when its client has room for one
/// byte. From then on, the executor cannot control when the stream is reset.
const PART: usize = 16 << 10;

pin_project! {
    /// The body of a request on a watched connection.
    ///
    /// Reading a chunk restarts the [idle timeout](crate::server::ContextLayer::idle_timeout) of the request.
    ///
    /// On HTTP/1, if the handler does not read the whole body, the connection is closed after the response. There is one exception:
    /// if the length of the body is known and at most 8 KiB are left, the server reads and drops them. The connection stays open if
    /// this rest has already arrived. Otherwise it is closed.
    ///
    /// If the client resets an HTTP/2 stream before the end of the body, reading returns an error.
    #[derive(Debug)]
    pub struct RequestBody<B>
    where
        B: Body,
    {
        #[pin]
        body: B,
        // `None` once the body is at its end.
        peer: Option<Peer>,
        is_http2: bool,
        // `None` if the request has no body.
        upload: Option<Upload>,
        // The contexts that the layers added to `upload`.
        idle: Vec<Context>,
    }

    impl<B> PinnedDrop for RequestBody<B>
    where
        B: Body,
    {
        fn drop(this: Pin<&mut Self>) {
            if let Some(peer) = &this.peer {
                let left = this.body.size_hint();
                let is_small = left.upper().is_some_and(|left| left <= SMALL);
                if !is_small && !this.body.is_end_stream() {
                    peer.traffic().set_unread_body(true);
                }
            }
        }
    }
}

impl<B: Body> RequestBody<B> {
    pub(super) fn new(body: B, peer: Option<Peer>, is_http2: bool, upload: Option<Upload>) -> Self {
        let peer = peer.filter(|_| !body.is_end_stream());
        RequestBody { body, peer, is_http2, upload, idle: Vec::new() }
    }
}

impl<B: Body<Error: Into<BoxError>>> Body for RequestBody<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(task));
        if let (Some(Ok(_)), Some(upload)) = (&frame, this.upload) {
            upload.take(this.idle);
            for ctx in &*this.idle {
                ctx.progress();
            }
        }
        if frame.is_none() {
            *this.peer = None;
            // hyper's body knows whether it has seen the flag END_STREAM.
            if *this.is_http2 && !this.body.is_end_stream() {
                return Poll::Ready(Some(Err("the client has reset the stream".into())));
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project! {
    /// The body of a response from a [`WatchedService`](super::WatchedService). The request counts as in flight on its connection
    /// until this body is dropped.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        body: B,
        request: OnPeer,
        // The rest of the last frame. Used only on HTTP/2.
        rest: Bytes,
        is_http2: bool,
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn new(body: B, request: OnPeer, is_http2: bool) -> Self {
        ResponseBody { body, request, rest: Bytes::new(), is_http2 }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        if !this.rest.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(part(this.rest)))));
        }
        let frame = ready!(this.body.poll_frame(task));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|mut data| {
                    let data = data.copy_to_bytes(data.remaining());
                    if !*this.is_http2 {
                        return data;
                    }
                    *this.rest = data;
                    part(this.rest)
                })
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower().saturating_add(rest));
        if let Some(upper) = hint.upper().and_then(|upper| upper.checked_add(rest)) {
            whole.set_upper(upper);
        }
        whole
    }
}

fn part(rest: &mut Bytes) -> Bytes {
    rest.split_to(rest.len().min(PART))
}
