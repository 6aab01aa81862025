//! Rows as they arrive.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context as Task, Poll};

use futures_core::Stream;
use tokio_postgres::Row;

use super::checkout::Phase;
use super::lent::Lent;
use crate::Error;

/// A stream of the rows of a statement. Returned by `query_stream` of [`Pool`](super::Pool::query_stream) and
/// [`Transaction`](super::Transaction::query_stream).
///
/// The stream uses a connection until the last row has been read, the stream is dropped, or its context ends. When its context
/// ends, the statement is canceled in the background, even if no task polls the stream. The next poll returns an error, and later
/// polls return `None`.
///
/// Dropping the stream cancels the statement in the background. In a transaction, dropping the stream skips the remaining rows, and
/// the transaction continues. If the context of a stream in a transaction ends, the transaction is rolled back.
#[must_use = "streams do nothing unless polled"]
pub struct RowStream(pub(super) Lent<Pin<Box<tokio_postgres::RowStream>>>);

impl RowStream {
    /// Returns the next row. Returns `None` after the last row, and after an error.
    ///
    /// # Errors
    ///
    /// The row is an error if the context has ended, the server reports an error, or the connection is lost.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no row.
    #[expect(clippy::should_implement_trait, reason = "streams have a method of this name")]
    pub fn next(&mut self) -> impl Future<Output = Option<Result<Row, Error>>> + Send {
        poll_fn(|task| Pin::new(&mut *self).poll_next(task))
    }
}

impl Stream for RowStream {
    type Item = Result<Row, Error>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        let lent = &mut self.get_mut().0;
        if lent.is_over() {
            return Poll::Ready(None);
        }
        match lent.poll(task, |rows, task| rows.as_mut().poll_next(task)) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Some(Ok(row)))) => Poll::Ready(Some(Ok(row))),
            Poll::Ready(Ok(Some(Err(error)))) => Poll::Ready(Some(Err(lent.fail_with(error)))),
            Poll::Ready(Ok(None)) => {
                lent.finish(Phase::Clean);
                Poll::Ready(None)
            }
            Poll::Ready(Err(end)) => Poll::Ready(Some(Err(end))),
        }
    }
}

impl fmt::Debug for RowStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStream").finish_non_exhaustive()
    }
}
