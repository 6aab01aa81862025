//! The handle of one submitted task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use ripcord::Context;

use super::TaskId;
use super::blocked::Wait;
use super::job::{AnyJob, Job};
use crate::{Error, SharedError};

/// A submitted task. Awaiting it gives what the task returned.
///
/// The error is [`Error::Inner`] for the task's own, [`Error::Panicked`] for its panic, and [`Error::Context`] when its
/// context ended: the submitter's, the pool's, or by [`Task::cancel`].
///
/// A task may await tasks of its own pool, to any depth. While it does it counts as waiting, and not as one of the tasks
/// that the pool's workers run at once: another worker is started in its stead if all are busy and a task is queued. When
/// the wait is over, the next worker to have finished a task leaves, so that until then there may be one more.
///
/// # Cancel safety
///
/// Dropping it cancels nothing: the task runs on, detached, and what it returns can be read from
/// [`Results`](super::Results). To wait only as long as a context lives, use `ctx.run(task)`.
pub struct Task<T> {
    job: Arc<Job<T>>,
    /// While it is awaited on a worker of its pool.
    wait: Option<Wait>,
    /// Whether the result was given out.
    taken: bool,
}

impl<T: Send + 'static> Task<T> {
    pub(super) fn new(job: Arc<Job<T>>) -> Self {
        Self { job, wait: None, taken: false }
    }

    /// The task's number within its pool, as in results and statistics.
    pub fn id(&self) -> TaskId {
        self.job.core().id
    }

    /// The context the task runs under.
    pub fn context(&self) -> &Context {
        &self.job.core().ctx
    }

    /// Whether there is a result.
    pub fn is_finished(&self) -> bool {
        self.job.is_finished()
    }

    /// Cancels the task's context. One that waits for a worker is resolved at once; one that runs is dropped at its next
    /// suspension, and a blocking one learns of it from its context.
    pub fn cancel(&self) {
        self.job.core().cancel("the task was canceled by its handle");
        self.job.core().shared.call_off(Arc::clone(&self.job) as Arc<dyn AnyJob>);
    }
}

impl<T: Send + 'static> Future for Task<T> {
    type Output = Result<T, Error<SharedError>>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let polled = this.job.poll_output(cx.waker());
        if polled.is_ready() {
            this.taken = true;
            this.wait = None;
        } else {
            Wait::renew(&mut this.wait, &this.job.core().shared);
        }
        polled
    }
}

impl<T> Unpin for Task<T> {}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if !self.taken {
            self.job.detach();
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("id", &self.id()).field("finished", &self.is_finished()).finish()
    }
}
