//! The handle of one submitted task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};

use ripcord::Context;

use super::TaskId;
use super::inline::Inline;
use super::job::{AnyJob, Job};
use super::worker::is_inside;
use crate::{Error, SharedError};

/// A submitted task. Awaiting it gives what the task returned.
///
/// The error is [`Error::Inner`] for the task's own, [`Error::Panicked`] for its panic, and [`Error::Context`] when its
/// context ended: the submitter's, the pool's, or by [`Task::cancel`].
///
/// A task awaited on a worker of its own pool, with no other worker to run it, is run right there: a task may wait for
/// tasks it submitted to its own pool.
///
/// # Cancel safety
///
/// Dropping it cancels nothing: the task runs on, detached, and what it returns can be read from
/// [`Results`](super::Results). To wait only as long as a context lives, use `ctx.run(task)`.
pub struct Task<T> {
    job: Arc<Job<T>>,
    /// The task itself, when it runs in place. The mutex is never locked: it makes the handle `Sync`, which the future need
    /// not be.
    inline: Mutex<Option<Inline>>,
    /// Whether the result was given out.
    taken: bool,
}

impl<T: Send + 'static> Task<T> {
    pub(super) fn new(job: Arc<Job<T>>) -> Self {
        Self { job, inline: Mutex::new(None), taken: false }
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

    /// Takes the work over, if this runs on a worker of its pool and no other has begun it.
    fn take_over(&mut self) -> bool {
        if !is_inside(self.job.core().shared.id) {
            return false;
        }
        *self.inline() = Inline::begin(Arc::clone(&self.job) as Arc<dyn AnyJob>);
        self.inline().is_some()
    }
}

impl<T> Task<T> {
    fn inline(&mut self) -> &mut Option<Inline> {
        self.inline.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Future for Task<T> {
    type Output = Result<T, Error<SharedError>>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            let inline = this.inline();
            if let Some(running) = inline
                && Pin::new(running).poll(cx).is_ready()
            {
                *inline = None;
            }
            if let Poll::Ready(result) = this.job.poll_output(cx.waker()) {
                this.taken = true;
                return Poll::Ready(result);
            }
            if this.inline().is_some() || !this.take_over() {
                return Poll::Pending;
            }
        }
    }
}

impl<T> Unpin for Task<T> {}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(inline) = self.inline().take() {
            // Begun here, so nobody else will end it.
            inline.detach();
        }
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
