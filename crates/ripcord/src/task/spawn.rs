//! Spawning a future under a context.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::runtime::Handle;

use super::error::{TaskError, TaskPanic};
use super::guard::{TaskGuard, TaskLists};
use super::handle::Task;
use crate::background;
use crate::canceler::Canceler;
use crate::context::Context;
use crate::future::Ending;

/// The future of a task, in the `tracing` span of the code that spawned the task.
#[cfg(feature = "tracing")]
type InSpan<F> = tracing::instrument::Instrumented<F>;
#[cfg(not(feature = "tracing"))]
type InSpan<F> = F;

#[cfg(feature = "tracing")]
fn in_span<F>(future: F) -> InSpan<F> {
    tracing::Instrument::in_current_span(future)
}
#[cfg(not(feature = "tracing"))]
fn in_span<F>(future: F) -> InSpan<F> {
    future
}

impl Context {
    /// Spawns a task on the current tokio runtime. `make` receives the task's context, which is a child of this context,
    /// and returns the task's future.
    ///
    /// When the task's context ends, the future is dropped, and awaiting the [`Task`] returns [`TaskError::Ended`]. If
    /// the future is ready at the poll that notices the end, awaiting the [`Task`] returns the output of the future.
    ///
    /// If this context has already ended, or outside of a runtime, `make` is not called, and awaiting the [`Task`]
    /// returns [`TaskError::Ended`]. On a runtime that is shutting down, awaiting the [`Task`] returns the same error.
    ///
    /// The task appears in every task list ([`with_tasks`](Context::with_tasks)) of this context and its ancestors, under
    /// this context's [name](Context::name). With the feature `tracing`, the task runs inside the caller's `tracing` span.
    ///
    /// The task's context does not end when the future returns its output. If the future has spawned other tasks under
    /// the task's context, they continue.
    ///
    /// # Panics
    ///
    /// Panics if `make` panics. If the future panics, awaiting the [`Task`] returns [`TaskError::Panicked`]. If the
    /// [`Task`] was dropped, only the panic hook reports the future's panic.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use std::time::Duration;
    /// use ripcord::Context;
    ///
    /// let ctx = Context::background().with_timeout(Duration::from_millis(1));
    /// let task = ctx.with_name("import").spawn(|ctx| async move { ctx.sleep(Duration::from_millis(1)).await.is_ok() });
    /// match task.await {
    ///     Ok(is_complete) => println!("complete: {is_complete}"),
    ///     Err(error) => assert!(error.is_ended() || error.is_panicked()),
    /// }
    /// # });
    /// ```
    #[track_caller]
    pub fn spawn<F, Fut>(&self, make: F) -> Task<Fut::Output>
    where
        F: FnOnce(Context) -> Fut,
        Fut: Future + Send + 'static,
        Fut::Output: Send + 'static,
    {
        self.spawn_until(Context::clone, make)
    }

    /// Spawns a task like [`spawn`](Context::spawn), whose future may continue for up to `grace` after the task's context
    /// has ended.
    ///
    /// `make` receives the task's context and returns the future. The future must notice the end of the context, for
    /// example with [`done`](Context::done), clean up, and return. If the future is not ready when the grace period is
    /// over, it is dropped, and awaiting the [`Task`] returns [`TaskError::Ended`].
    /// [`run_with_grace`](Context::run_with_grace) describes the grace period.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use std::time::Duration;
    /// use ripcord::Context;
    ///
    /// let task = Context::background().spawn_with_grace(Duration::from_secs(5), |ctx| async move {
    ///     ctx.done().await;
    ///     tokio::task::yield_now().await; // cleanup
    ///     "cleaned up"
    /// });
    /// tokio::task::yield_now().await;
    /// task.cancel();
    /// assert_eq!(task.await.unwrap(), "cleaned up");
    /// # });
    /// ```
    #[track_caller]
    pub fn spawn_with_grace<F, Fut>(&self, grace: Duration, make: F) -> Task<Fut::Output>
    where
        F: FnOnce(Context) -> Fut,
        Fut: Future + Send + 'static,
        Fut::Output: Send + 'static,
    {
        self.spawn_until(|ctx| ctx.shielded(grace), make)
    }

    /// Spawns a task that runs until the end of the context that `until` derives from the task's own context.
    #[track_caller]
    fn spawn_until<F, Fut>(&self, until: impl FnOnce(&Context) -> Context, make: F) -> Task<Fut::Output>
    where
        F: FnOnce(Context) -> Fut,
        Fut: Future + Send + 'static,
        Fut::Output: Send + 'static,
    {
        let location = Location::caller();
        let start = match Start::new(self, location) {
            Ok(start) => start,
            Err(task) => return task,
        };
        let Start { runtime, ctx, ending } = start;
        let future = TaskFuture {
            future: Some(in_span(make(ctx.clone()))),
            until: Ending::new(until(&ctx)),
            ending: Some(ending),
            location,
        };
        Task::joined(ctx, runtime.spawn(future))
    }
}

/// The parts that every task needs before it is started.
pub(super) struct Start {
    pub(super) runtime: Handle,
    /// The task's context.
    pub(super) ctx: Context,
    pub(super) ending: EndOfTask,
}

impl Start {
    /// Returns the parts of a new task, spawned at `location`. Outside of a runtime, or if the context is done, the error is a
    /// task that never runs.
    pub(super) fn new<T>(parent: &Context, location: &'static Location<'static>) -> Result<Start, Task<T>> {
        if let Some(error) = parent.err() {
            return Err(Task::never(parent.clone(), error));
        }
        let (ctx, canceler) = parent.cancelable_at(location);
        let Ok(runtime) = Handle::try_current() else {
            canceler.cancel_at("a task was spawned outside of a tokio runtime", location);
            return Err(match ctx.err() {
                Some(error) => Task::never(ctx, error),
                None => unreachable!("the context was canceled above"),
            });
        };
        let guard = TaskLists::above(&ctx).guard(&ctx, location);
        Ok(Start { runtime, ctx, ending: EndOfTask { canceler, guard, location } })
    }
}

/// Removes a task from its lists (invariant 2) once the task has ended.
pub(super) struct EndOfTask {
    canceler: Canceler,
    guard: TaskGuard,
    location: &'static Location<'static>,
}

impl EndOfTask {
    /// Ends a task that has an output, an error or a panic. The tasks that it has started continue.
    pub(super) fn complete(self) {
        self.canceler.detach();
        drop(self.guard);
    }

    /// Ends a task that the runtime drops. The task's context ends first, so that `task` sees the end in its drop. That drop
    /// may panic.
    pub(super) fn abort(self, task: impl FnOnce()) {
        self.canceler.cancel_at("the tokio runtime dropped the task before its end", self.location);
        background::shielded(task);
        drop(self.guard);
    }
}

pin_project! {
    /// The future of a task. It ends with a context. Its panic is returned as an error.
    struct TaskFuture<F> {
        // `None` once the future was dropped.
        #[pin]
        future: Option<InSpan<F>>,
        until: Ending<Context>,
        // `None` once the task was removed from its lists.
        ending: Option<EndOfTask>,
        location: &'static Location<'static>,
    }

    impl<F> PinnedDrop for TaskFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if let Some(ending) = this.ending.take() {
                ending.abort(|| this.future.set(None));
            }
        }
    }
}

impl<F: Future> Future for TaskFuture<F> {
    type Output = Result<F::Output, TaskError>;

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let location = *this.location;
        let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Pending };
        let panicked = |payload| TaskError::Panicked(TaskPanic::new(payload, location));
        let mut result = match catch_unwind(AssertUnwindSafe(|| this.until.poll(future, task))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => result.map_err(TaskError::Ended),
            Err(payload) => Err(panicked(payload)),
        };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| this.future.set(None)))
            && !result.as_ref().is_err_and(TaskError::is_panicked)
        {
            let replaced = std::mem::replace(&mut result, Err(panicked(payload)));
            background::shielded(|| drop(replaced));
        }
        if let Some(ending) = this.ending.take() {
            ending.complete();
        }
        Poll::Ready(result)
    }
}
