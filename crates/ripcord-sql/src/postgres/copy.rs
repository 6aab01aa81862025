//! COPY, in both directions.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::Sink as _;
use tokio_postgres::{CopyInSink, CopyOutStream};

use super::checkout::{AfterEnd, Phase};
use super::lent::{Held, Lent};
use crate::Error;

/// A `COPY ... FROM STDIN` in progress. Returned by `copy_in` of [`Pool`](super::Pool::copy_in) and
/// [`Transaction`](super::Transaction::copy_in).
///
/// The data is stored when [`finish`](CopyIn::finish) succeeds. If the `CopyIn` is dropped or its context ends before that, the
/// server stores nothing. In a transaction, later statements then fail, and the transaction can only be rolled back.
#[must_use = "nothing is copied before `finish`"]
pub struct CopyIn(pub(super) Lent<Pin<Box<CopyInSink<Bytes>>>>);

impl CopyIn {
    /// Sends a part of the data. A part may have any length and may end in the middle of a row. Waits while the connection cannot
    /// accept more data.
    ///
    /// If the data is malformed, [`finish`](CopyIn::finish) returns the server's error.
    ///
    /// # Errors
    ///
    /// Returns an error if the context has ended or the connection is lost. The COPY has then failed, and nothing is stored.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, `data` was not sent.
    pub fn write(&mut self, data: impl Into<Bytes>) -> impl Future<Output = Result<(), Error>> + Send {
        let mut data = Some(data.into());
        poll_fn(move |task| {
            let written = ready!(self.0.poll(task, |sink, task| {
                ready!(sink.as_mut().poll_ready(task))?;
                Poll::Ready(sink.as_mut().start_send(data.take().unwrap_or_default()))
            }))?;
            Poll::Ready(written.map_err(|error| self.0.fail_with(error)))
        })
    }

    /// Ends the data, waits until the server has stored the data, and returns the number of rows.
    ///
    /// If the context ends in the meantime, the COPY is canceled in the server. The future waits for the outcome, but not longer
    /// than the [grace period](super::PoolBuilder::grace).
    ///
    /// # Errors
    ///
    /// Returns an error if the server refuses the data, the context has ended, or the connection is lost. If
    /// [`Error::is_outcome_unknown`] is `true`, the data may have been stored.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the COPY in the background. The data may have been stored.
    pub async fn finish(mut self) -> Result<u64, Error> {
        let Held { mut stream, mut checkout } = self.0.take()?;
        let rest = if checkout.home.is_some() { Phase::Open } else { Phase::Clean };
        checkout.phase = rest;
        let finish = poll_fn(|task| stream.as_mut().poll_finish(task));
        let ctx = self.0.ctx.clone();
        match checkout.send(&ctx, "", None, Phase::Busy, AfterEnd::Wait, finish).await {
            Ok(rows) => {
                // The last message of the answer has not been read.
                checkout.phase = Phase::Open;
                checkout.give_back();
                self.0.end();
                Ok(rows)
            }
            Err(kind) => {
                drop(stream);
                checkout.phase = Phase::Open;
                checkout.give_back();
                Err(self.0.fail(kind))
            }
        }
    }
}

/// A stream of the data of a `COPY ... TO STDOUT`. Returned by `copy_out` of [`Pool`](super::Pool::copy_out) and
/// [`Transaction`](super::Transaction::copy_out).
///
/// The server divides the data into chunks. In the text format, each chunk is one row.
///
/// The stream uses a connection until the last chunk has been read, the stream is dropped, or its context ends. When its context
/// ends, the COPY is canceled in the background, even if no task polls the stream. The next poll returns an error, and later polls
/// return `None`.
///
/// Dropping the stream cancels the COPY in the background. In a transaction, dropping the stream skips the remaining data, and the
/// transaction continues. If the context of a stream in a transaction ends, the transaction is rolled back.
#[must_use = "streams do nothing unless polled"]
pub struct CopyOut(pub(super) Lent<Pin<Box<CopyOutStream>>>);

impl CopyOut {
    /// Returns the next chunk. Returns `None` after the last chunk, and after an error.
    ///
    /// # Errors
    ///
    /// The chunk is an error if the context has ended, the server reports an error, or the connection is lost.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no data.
    #[expect(clippy::should_implement_trait, reason = "streams have a method of this name")]
    pub fn next(&mut self) -> impl Future<Output = Option<Result<Bytes, Error>>> + Send {
        poll_fn(|task| Pin::new(&mut *self).poll_next(task))
    }
}

impl Stream for CopyOut {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        let lent = &mut self.get_mut().0;
        if lent.is_over() {
            return Poll::Ready(None);
        }
        match lent.poll(task, |data, task| data.as_mut().poll_next(task)) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Some(Ok(data)))) => Poll::Ready(Some(Ok(data))),
            Poll::Ready(Ok(Some(Err(error)))) => Poll::Ready(Some(Err(lent.fail_with(error)))),
            Poll::Ready(Ok(None)) => {
                // The last messages of the answer have not been read.
                lent.finish(Phase::Open);
                Poll::Ready(None)
            }
            Poll::Ready(Err(end)) => Poll::Ready(Some(Err(end))),
        }
    }
}

impl fmt::Debug for CopyIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyIn").finish_non_exhaustive()
    }
}

impl fmt::Debug for CopyOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyOut").finish_non_exhaustive()
    }
}
