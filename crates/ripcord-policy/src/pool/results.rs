//! The stream of finished jobs.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};

use futures_core::Stream;
use ripcord::Context;

use super::JobId;
use super::job::{AnyJob, Job, JobOutcome};
use super::shared::Shared;
use crate::panics::wake;
use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use crate::{Error, Refused, SharedError};

/// A stream of the finished jobs of a [`WorkerPool`](super::WorkerPool), in the order in which they finish. Returned by
/// [`WorkerPool::results`](super::WorkerPool::results).
///
/// ```
/// use ripcord::Context;
/// use ripcord_policy::WorkerPool;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ctx = Context::background();
/// let pool = WorkerPool::builder().workers(1).build(&ctx)?;
/// let mut results = pool.results();
/// drop(pool.submit(&ctx, |_ctx| async { Ok::<_, std::io::Error>("done") }).await?);
///
/// let first = results.next(&ctx).await?.ok_or("the pool was shut down")?;
/// assert_eq!(first.take::<&str>().ok_or("another type")??, "done");
/// # Ok(())
/// # }
/// ```
///
/// Read the stream with [`next`](Results::next). If several streams are open, each finished job goes to one of these streams.
/// While a stream is open, finished jobs are kept in memory until they are read. While no stream is open, finished jobs are
/// not kept. The stream ends when the pool is closed, its workers have stopped, and all finished jobs have been read.
///
/// `Results` also implements [`Stream`]. A wait for the next item of the `Stream` takes no context, so it does not stop when a
/// context ends.
#[must_use = "an open stream keeps finished jobs until they are read"]
pub struct Results {
    shared: Arc<Shared>,
    reader: ReaderId,
}

/// The number of a reader. It is unique within a pool.
type ReaderId = u64;

/// A finished job of a [`WorkerPool`](super::WorkerPool). Returned by [`Results::next`]. Get the result of the job with
/// [`take`](Completion::take).
pub struct Completion {
    id: JobId,
    outcome: JobOutcome,
    job: Arc<dyn AnyJob>,
}

impl Results {
    pub(super) fn open(shared: Arc<Shared>) -> Self {
        let reader = shared.results.join();
        Self { shared, reader }
    }

    /// Waits for the next finished job. Returns `None` if the pool is closed, its workers have stopped, and all finished jobs
    /// have been read.
    ///
    /// # Errors
    ///
    /// `ctx` was canceled or its deadline passed before or during the wait ([`Refused::context_error`]). If a finished job is
    /// available at the moment when `ctx` ends, the job is returned instead, unless `ctx` had ended before the call.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no finished job is lost.
    pub async fn next(&mut self, ctx: &Context) -> Result<Option<Completion>, Refused> {
        Ok(ctx.run(std::future::poll_fn(|cx| self.poll(cx.waker()))).await?)
    }

    fn poll(&self, waker: &Waker) -> Poll<Option<Completion>> {
        let waker = waker.clone();
        let mut backlog = self.shared.results.lock();
        if let Some(completion) = backlog.items.pop_front() {
            return Poll::Ready(Some(completion));
        }
        if backlog.ended {
            return Poll::Ready(None);
        }
        // Each reader has one waker, even if several tasks await it.
        let old = backlog.wakers.insert(self.reader, waker);
        drop(backlog);
        drop(old);
        Poll::Pending
    }
}

impl Stream for Results {
    type Item = Completion;

    fn poll_next(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Completion>> {
        self.poll(cx.waker())
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        self.shared.results.leave(self.reader);
    }
}

impl Completion {
    /// Returns the number of the job in its pool.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Returns how the job ended: whether it succeeded, failed, panicked or was canceled.
    pub fn outcome(&self) -> JobOutcome {
        self.outcome
    }

    /// Takes the result of the job. `T` is the type of the value that the job returns. Returns `None` if the job returns
    /// another type, if the result was taken before, or if the job's [`JobHandle`](super::JobHandle) still exists.
    ///
    /// As long as the handle exists, only the handle can return the result. To read the result with this method, drop the
    /// handle.
    ///
    /// The result is an error if the job returned an error, panicked or was canceled: see [`JobHandle`](super::JobHandle).
    pub fn take<T: Send + 'static>(&self) -> Option<Result<T, Error<SharedError>>> {
        let job: &dyn Any = &*self.job;
        job.downcast_ref::<Job<T>>()?.take_detached()
    }
}

/// The finished jobs that no reader has read yet.
pub(super) struct ResultsQueue {
    /// Whether there are readers. This is only a hint: it avoids taking the lock.
    open: AtomicBool,
    backlog: Mutex<Backlog>,
}

#[derive(Default)]
struct Backlog {
    items: VecDeque<Completion>,
    wakers: HashMap<ReaderId, Waker>,
    readers: usize,
    next_reader: ReaderId,
    ended: bool,
}

impl ResultsQueue {
    pub(super) fn new() -> Self {
        let backlog = Backlog::default();
        Self { open: AtomicBool::new(false), backlog: Mutex::new(backlog) }
    }

    fn join(&self) -> ReaderId {
        let mut backlog = self.lock();
        backlog.readers += 1;
        backlog.next_reader += 1;
        self.open.store(true, Ordering::Release);
        backlog.next_reader
    }

    fn leave(&self, reader: ReaderId) {
        let mut backlog = self.lock();
        backlog.readers -= 1;
        self.open.store(backlog.readers > 0, Ordering::Release);
        let waker = backlog.wakers.remove(&reader);
        let unread = if backlog.readers == 0 { std::mem::take(&mut backlog.items) } else { VecDeque::new() };
        drop(backlog);
        drop((waker, unread));
    }

    pub(super) fn push(&self, outcome: JobOutcome, job: impl FnOnce() -> Arc<dyn AnyJob>) {
        // Usually there is no reader. A stream that is opened at this moment may miss this job, as if it had been opened later.
        if !self.open.load(Ordering::Acquire) {
            return;
        }
        let mut backlog = self.lock();
        if backlog.readers == 0 {
            return;
        }
        let job = job();
        backlog.items.push_back(Completion { id: job.core().id, outcome, job });
        let wakers = std::mem::take(&mut backlog.wakers);
        drop(backlog);
        wakers.into_values().for_each(wake);
    }

    pub(super) fn end(&self) {
        let mut backlog = self.lock();
        backlog.ended = true;
        let wakers = std::mem::take(&mut backlog.wakers);
        drop(backlog);
        wakers.into_values().for_each(wake);
    }

    fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results").field("unread", &self.shared.results.lock().items.len()).finish()
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").field("id", &self.id).field("outcome", &self.outcome).finish()
    }
}
