//! The handle of one submitted job.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use ripcord::Context;

use super::JobId;
use super::job::Job;
use crate::{Error, SharedError};

/// The handle of a job submitted to a [`WorkerPool`](super::WorkerPool). Await the handle to get the job's result. Returned
/// by [`submit`](super::WorkerPool::submit) and similar methods.
///
/// ```
/// use ripcord::Context;
/// use ripcord_policy::WorkerPool;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ctx = Context::background();
/// let pool = WorkerPool::builder().workers(4).build(&ctx)?;
///
/// let sum = pool.submit(&ctx, |_ctx| async { Ok::<_, std::io::Error>(1 + 2) }).await?;
/// assert_eq!(sum.await?, 3);
///
/// let endless = pool.submit(&ctx, |_ctx| std::future::pending::<Result<(), std::io::Error>>()).await?;
/// endless.cancel();
/// assert!(endless.await.unwrap_err().is_canceled());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// * The job returned an error ([`Error::last`]).
/// * The job panicked ([`Error::is_panicked`]).
/// * The job was canceled: the context passed to [`submit`](super::WorkerPool::submit) ended, the [pool
///   ended](super::WorkerPool#how-a-pool-ends), or [`cancel`](JobHandle::cancel) was called. [`Error::context_error`] names the
///   reason. If the job returned an error after its context had ended, [`Error::last`] returns the job's error.
///
/// # Jobs that await jobs of their own pool
///
/// A job that awaits another job of the same pool occupies its worker during the wait. If every worker runs such a job, no
/// worker is left for the awaited jobs, and all these jobs wait until their contexts end. So give the jobs a deadline, or
/// use another pool for the awaited jobs.
///
/// # Cancel safety
///
/// Dropping the handle does not cancel the job. The job continues, and its result can be read from
/// [`Results`](super::Results). To stop waiting when the context `ctx` ends, await [`ctx.run(handle)`](Context::run).
pub struct JobHandle<T> {
    job: Arc<Job<T>>,
}

impl<T: Send + 'static> JobHandle<T> {
    pub(super) fn new(job: Arc<Job<T>>) -> Self {
        Self { job }
    }

    /// Returns the number of the job in its pool. [`Completion::id`](super::Completion::id) and
    /// [`WorkerState::Running`](super::WorkerState::Running) contain the same number.
    pub fn id(&self) -> JobId {
        self.job.core().id
    }

    /// Returns the job's own context, which the pool passes to the job. This context does not end when the job returns. It
    /// ends when the context passed to [`submit`](super::WorkerPool::submit) ends, when the [pool
    /// ends](super::WorkerPool#how-a-pool-ends), or by [`cancel`](JobHandle::cancel).
    pub fn context(&self) -> &Context {
        &self.job.core().ctx
    }

    /// Returns whether the job has ended. The handle then returns the result without a wait.
    pub fn is_finished(&self) -> bool {
        self.job.is_finished()
    }

    /// Cancels the job and its context. The error of the job names the line that called `cancel`. If the job has ended
    /// already, this method only cancels its context.
    ///
    /// If the job still waits for a worker, it leaves the queue and never runs, and this handle returns the error
    /// immediately. A running async job is dropped as soon as it waits at an `.await`. A running blocking job continues
    /// until it returns, so it must check its context.
    #[track_caller]
    pub fn cancel(&self) {
        let core = self.job.core();
        core.cancel();
        core.shared.take_and_resolve(core.id);
    }
}

impl<T: Send + 'static> Future for JobHandle<T> {
    type Output = Result<T, Error<SharedError>>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.job.poll_output(cx.waker())
    }
}

impl<T> Unpin for JobHandle<T> {}

impl<T> Drop for JobHandle<T> {
    fn drop(&mut self) {
        self.job.detach();
    }
}

impl<T: Send + 'static> fmt::Debug for JobHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle").field("id", &self.id()).field("finished", &self.is_finished()).finish()
    }
}
