//! Spawning a blocking closure under a context.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use super::error::{TaskError, TaskPanic};
use super::handle::Task;
use super::spawn::{EndOfTask, Start};
use crate::context::Context;

impl Context {
    /// Calls `run`, a blocking closure, on a thread of the current tokio runtime. `run` receives the task's context, which
    /// is a child of this context.
    ///
    /// The end of the task's context does not stop a running closure. To stop early, the closure must
    /// [check](Context::check) the context. If the context ends before the closure has started, the closure never starts.
    ///
    /// The [`Task`] is ready when the closure has returned, or when the task's context has ended. If both are true at
    /// the same poll, the closure's value is returned. A closure that continues after the end of the context stays in
    /// the task lists of [`with_tasks`](Context::with_tasks) until it returns.
    ///
    /// If the closure panics, awaiting the [`Task`] returns [`TaskError::Panicked`]. If the closure panics after the end
    /// of the task's context, or after the [`Task`] was dropped, only the panic hook reports the panic.
    ///
    /// As with [`spawn`](Context::spawn), the task appears in the task lists under this context's [name](Context::name)
    /// and, with the feature `tracing`, runs inside the caller's `tracing` span. Outside of a runtime, and on a runtime
    /// that is shutting down, the closure is not called, and awaiting the [`Task`] returns [`TaskError::Ended`].
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use ripcord::{Context, Error};
    ///
    /// let sum = Context::background().spawn_blocking(|ctx| {
    ///     let mut sum = 0;
    ///     for number in 0..1000 {
    ///         ctx.check()?;
    ///         sum += number;
    ///     }
    ///     Ok::<_, Error>(sum)
    /// });
    /// assert_eq!(sum.await.unwrap().unwrap(), 499_500);
    /// # });
    /// ```
    #[track_caller]
    pub fn spawn_blocking<F, T>(&self, run: F) -> Task<T>
    where
        F: FnOnce(Context) -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_blocking_at(Location::caller(), run)
    }

    /// Calls a blocking closure like [`spawn_blocking`](Context::spawn_blocking), and records `location` as the line that started
    /// the task.
    ///
    /// This method is for libraries that start work on behalf of their users. Get the location from
    /// [`Location::caller`] in a `#[track_caller]` function that the user calls.
    pub fn spawn_blocking_at<F, T>(&self, location: &'static Location<'static>, run: F) -> Task<T>
    where
        F: FnOnce(Context) -> T + Send + 'static,
        T: Send + 'static,
    {
        let Start { runtime, ctx, ending } = match Start::new(self, location) {
            Ok(start) => start,
            Err(task) => return task,
        };
        #[cfg(feature = "tracing")]
        let run = {
            let span = tracing::Span::current();
            move |ctx| span.in_scope(|| run(ctx))
        };
        let job = Job { parts: Some((run, ctx.clone(), ending)), location };
        Task::until_end(ctx, runtime.spawn_blocking(|| job.run()))
    }
}

/// A blocking task that waits for a thread.
struct Job<F> {
    /// `None` once the job has been run.
    parts: Option<(F, Context, EndOfTask)>,
    location: &'static Location<'static>,
}

impl<F> Job<F> {
    fn run<T>(mut self) -> Result<T, TaskError>
    where
        F: FnOnce(Context) -> T,
    {
        let Some((run, ctx, ending)) = self.parts.take() else { unreachable!("a job is run once") };
        let result = match ctx.err() {
            Some(error) => {
                let dropped = catch_unwind(AssertUnwindSafe(|| drop(run)));
                dropped.map(|()| Err(TaskError::Ended(error)))
            }
            None => catch_unwind(AssertUnwindSafe(|| Ok(run(ctx)))),
        };
        ending.complete();
        result.unwrap_or_else(|payload| Err(TaskError::Panicked(TaskPanic::new(payload, self.location))))
    }
}

impl<F> Drop for Job<F> {
    fn drop(&mut self) {
        if let Some((run, _ctx, ending)) = self.parts.take() {
            ending.abort(|| drop(run));
        }
    }
}
