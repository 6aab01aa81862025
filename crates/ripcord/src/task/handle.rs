//! The handle of a spawned task.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{self, Poll};

use tokio::task::JoinHandle;

use super::error::{TaskError, TaskPanic};
use crate::cause::Cause;
use crate::context::Context;
use crate::error::Error;
use crate::future::DoneOwned;
use crate::raw::tree;

/// A handle to a spawned task. Awaiting the handle returns the task's output.
///
/// [`Context::spawn`], [`spawn_blocking`](Context::spawn_blocking) and [`spawn_with_grace`](Context::spawn_with_grace)
/// return it. Dropping the handle does not cancel the task, as with tokio's `JoinHandle`: the task continues as before,
/// and its output is lost. To cancel the task, call [`cancel`](Task::cancel).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ripcord::Context;
///
/// let task = Context::background().spawn(|_ctx| async { 7 });
/// assert_eq!(task.await.unwrap(), 7);
/// # });
/// ```
///
/// # Errors
///
/// Awaiting returns [`TaskError::Panicked`] if the task panicked, and [`TaskError::Ended`] if the task's context ended
/// first. A task from [`spawn_with_grace`](Context::spawn_with_grace) can still return its output during the grace period.
///
/// # Cancel safety
///
/// `(&mut task).await` may be dropped at any time: a later await of the handle still returns the output. An await of
/// a handle that has already returned a result waits forever.
#[doc(alias = "JoinHandle")]
pub struct Task<T> {
    /// The task's context. If the task was not started, a context that is done.
    ctx: Context,
    state: State<T>,
    /// Whether the result was returned. The closure of a blocking task may still be running at that time.
    is_returned: bool,
}

enum State<T> {
    Spawned {
        output: JoinHandle<Result<T, TaskError>>,
        /// The end of the context. The handle of a blocking task also waits for this end.
        ended: Option<DoneOwned>,
    },
    /// The task was never started.
    Never(Error),
}

impl<T> Task<T> {
    /// Creates a task that is ready when `output` is.
    pub(super) fn joined(ctx: Context, output: JoinHandle<Result<T, TaskError>>) -> Self {
        Task { ctx, state: State::Spawned { output, ended: None }, is_returned: false }
    }

    /// Creates a task that is ready when `output` is, or when its context ends.
    pub(super) fn until_end(ctx: Context, output: JoinHandle<Result<T, TaskError>>) -> Self {
        let ended = Some(ctx.done_owned());
        Task { ctx, state: State::Spawned { output, ended }, is_returned: false }
    }

    /// Creates a task that was not started, because its context is done.
    pub(super) fn never(ctx: Context, error: Error) -> Self {
        Task { ctx, state: State::Never(error), is_returned: false }
    }

    /// Cancels the task's context and all contexts derived from it. Has no effect if the context has already ended, or
    /// if the handle has already returned the task's result.
    ///
    /// The cancel wakes the task. The future of a task from [`Context::spawn`] is dropped at its next poll. The future
    /// of a task from [`spawn_with_grace`](Context::spawn_with_grace) may continue for the grace period. The closure of
    /// a task from [`spawn_blocking`](Context::spawn_blocking) continues until it returns.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use ripcord::Context;
    ///
    /// let task = Context::background().spawn(|_| std::future::pending::<()>());
    /// task.cancel();
    /// assert!(task.await.unwrap_err().is_ended());
    /// # });
    /// ```
    #[track_caller]
    pub fn cancel(&self) {
        self.end(Location::caller(), None);
    }

    /// Cancels the task's context like [`cancel`](Task::cancel), with `cause` as the [cause](Context::cause) of the
    /// context's end.
    #[track_caller]
    pub fn cancel_with(&self, cause: impl Into<Cause>) {
        self.end(Location::caller(), Some(cause.into()));
    }

    /// Returns whether the task has finished, which means that its future or blocking closure has been dropped.
    ///
    /// The end of the context does not finish a task from [`spawn_blocking`](Context::spawn_blocking): it is finished when its
    /// closure has returned, even if awaiting the handle has already returned [`TaskError::Ended`].
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use std::sync::mpsc;
    /// use ripcord::Context;
    ///
    /// let (finish, finished) = mpsc::channel::<()>();
    /// let (started, running) = mpsc::channel();
    /// let mut task = Context::background().spawn_blocking(move |_| {
    ///     started.send(()).unwrap();
    ///     finished.recv().unwrap(); // the closure does not check its context
    /// });
    /// running.recv().unwrap();
    /// task.cancel();
    /// assert!((&mut task).await.unwrap_err().is_ended());
    /// assert!(!task.is_finished());
    /// finish.send(()).unwrap();
    /// # while !task.is_finished() { std::thread::yield_now() }
    /// # });
    /// ```
    pub fn is_finished(&self) -> bool {
        match &self.state {
            State::Spawned { output, .. } => output.is_finished(),
            State::Never(_) => true,
        }
    }

    fn end(&self, location: &'static Location<'static>, cause: Option<Cause>) {
        // A task that was not started has its parent's context.
        if let State::Spawned { .. } = self.state
            && !self.is_returned
            && let Some(node) = self.ctx.node()
        {
            tree::cancel(node, location, cause);
        }
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.is_returned {
            return Poll::Pending;
        }
        let result = match &mut this.state {
            State::Spawned { output, ended } => match Pin::new(&mut *output).poll(task) {
                Poll::Ready(Ok(result)) => result,
                Poll::Ready(Err(error)) => Err(lost(error, &this.ctx)),
                Poll::Pending => {
                    let Some(ended) = ended else { return Poll::Pending };
                    match Pin::new(ended).poll(task) {
                        // If tokio's budget delays an output, the next poll returns the output.
                        Poll::Ready(error) if !output.is_finished() => Err(TaskError::Ended(error)),
                        _ => return Poll::Pending,
                    }
                }
            },
            State::Never(error) => Err(TaskError::Ended(error.clone())),
        };
        this.is_returned = true;
        Poll::Ready(result)
    }
}

/// Returns the error of a task without an output. Either the task panicked, or the runtime dropped the task and the drop ended
/// its context.
fn lost(error: tokio::task::JoinError, ctx: &Context) -> TaskError {
    match (error.try_into_panic(), ctx.err()) {
        (Ok(payload), _) => TaskError::Panicked(TaskPanic::new(payload, Location::caller())),
        (Err(_), Some(end)) => TaskError::Ended(end),
        (Err(_), None) => unreachable!("a task that is dropped before its end ends its context"),
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("ctx", &self.ctx).field("finished", &self.is_finished()).finish()
    }
}
