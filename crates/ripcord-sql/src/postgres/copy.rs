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

/// A `COPY ... FROM STDIN` in progress: see [`Pool::copy_in`](super::Pool::copy_in).
///
/// Nothing is stored before [`finish`](CopyIn::finish) has succeeded. Dropping it before, or the end of its context, undoes the COPY. In
/// a transaction, the transaction is then aborted.
#[must_use = "nothing is copied before `finish`"]
pub struct CopyIn(pub(super) Lent<Pin<Box<CopyInSink<Bytes>>>>);

impl CopyIn {
    /// Sends a piece of the data, of any length. Waits while the server is slower than the caller.
    ///
    /// An error in the data is reported by [`finish`](CopyIn::finish).
    ///
    /// # Errors
    ///
    /// See [`Pool::query`](super::Pool::query).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the piece was not sent.
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

    /// Ends the data, and returns the number of rows that were stored.
    ///
    /// # Errors
    ///
    /// See [`Pool::query`](super::Pool::query).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the COPY in the background. It may have been stored.
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

/// The data of a `COPY ... TO STDOUT`, as it arrives: see [`Pool::copy_out`](super::Pool::copy_out).
///
/// The pieces are as the server cuts them: a row each, in text format.
///
/// It has a connection until it has been read to its end, or its context ends, even if nobody polls it then. Dropping it cancels the
/// statement in the background. In a transaction, dropping it skips the rest.
#[must_use = "streams do nothing unless polled"]
pub struct CopyOut(pub(super) Lent<Pin<Box<CopyOutStream>>>);

impl CopyOut {
    /// Returns the next piece, or `None` at the end.
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
