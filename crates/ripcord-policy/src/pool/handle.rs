//! The handle of one submitted task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use ripcord::Context;

use super::TaskId;
use super::job::Job;
use crate::{Error, SharedError};

/// A submitted task. Await it for the task's result.
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
/// * The task's own error: [`Error::last`].
/// * The task panicked: [`Error::is_panicked`].
/// * The task's context ended: with the submitter's context, with the pool's, or by [`cancel`](JobHandle::cancel). See
///   [`Error::end`]. If the task then returned an error, this is the [`last`](Error::last) error.
///
/// # Tasks that await tasks of their own pool
///
/// A task that awaits another task of the same pool keeps its worker meanwhile. When every worker runs such a task, no worker is
/// left for the awaited tasks. Then each of them waits until its context ends. So give such tasks a deadline, or use another pool
/// for the awaited tasks.
///
/// # Cancel safety
///
/// Dropping the handle does not cancel the task. The task continues, and its result can be read from [`Results`](super::Results).
/// To wait only until a context ends, use `ctx.run(handle)`.
pub struct JobHandle<T> {
    job: Arc<Job<T>>,
}

impl<T: Send + 'static> JobHandle<T> {
    pub(super) fn new(job: Arc<Job<T>>) -> Self {
        Self { job }
    }

    /// Returns the task's number in its pool, as in results and statistics.
    pub fn id(&self) -> TaskId {
        self.job.core().id
    }

    /// Returns the context that the task runs under.
    pub fn context(&self) -> &Context {
        &self.job.core().ctx
    }

    /// Returns whether the task has a result.
    pub fn is_finished(&self) -> bool {
        self.job.is_finished()
    }

    /// Cancels the task's context, with this line of code as its origin.
    ///
    /// A task that waits for a worker is resolved at once. A running async task is dropped at its next suspension. A running
    /// blocking task continues until it checks its context.
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
