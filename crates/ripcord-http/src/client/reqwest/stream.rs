//! A body as a stream of chunks.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use http_body::Body as _;

use super::Response;
use super::response::read_error;
use crate::client::Error;
use crate::client::call::Call;

/// A stream of the chunks of a response's body. Created by [`Response::bytes_stream`].
///
/// If the context of the request ends, the stream returns an error. The stream ends after the first error. Dropping the stream
/// cancels the transfer.
#[must_use = "streams do nothing unless polled"]
pub struct BytesStream {
    // `None` after an error.
    body: Option<reqwest::Body>,
    call: Call,
}

impl BytesStream {
    pub(super) fn new(response: Response) -> Self {
        let Response { response, call } = response;
        BytesStream { body: Some(http::Response::from(response).into_body()), call }
    }
}

impl Stream for BytesStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(body) = &mut this.body else { return Poll::Ready(None) };
            match ready!(Pin::new(body).poll_frame(task)) {
                // Trailers contain no data.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Poll::Ready(Some(Ok(data))),
                    Err(_) => continue,
                },
                Some(Err(error)) => {
                    this.body = None;
                    return Poll::Ready(Some(Err(read_error(error, this.call.clone()))));
                }
                None => return Poll::Ready(None),
            }
        }
    }
}

impl fmt::Debug for BytesStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BytesStream").field("call", &self.call).finish_non_exhaustive()
    }
}
