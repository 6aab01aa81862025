//! Groups of tasks under one context: Go's errgroup, with results.
//!
//! # Invariants
//!
//! 1. `unfinished` counts the accepted tasks that have not ended, including queued tasks. Each task is a `Child`, which
//!    is counted out exactly once: when its future ends, panics, or is dropped.
//! 2. `running` counts the tasks that were handed to the executor. It is at most the limit at the time of each handover.
//! 3. The first real error is written before the context is canceled, so no task can report the cancellation before that
//!    error. The same holds for the first success of `Join::First`.
//! 4. No lock is held while a future is polled or dropped, the executor is called, or a waker is woken.
//! 5. A thread that finds no unfinished task closes the group under the same lock. A task is accepted under that lock. So
//!    no task starts after `wait` has returned, even if handles still exist.

mod builder;
mod child;
mod error;
mod handle;
mod outcomes;
mod shared;

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use crate::canceler::Canceler;
use crate::cause::Cause;
use crate::context::Context;
use crate::task::TaskLists;
pub use builder::{GroupBuilder, Join};
pub use error::GroupError;
pub use handle::GroupHandle;
use outcomes::Outcomes;
use shared::{Executor, Shared, State};

/// The future of one task of a [`Group`]. The function that was passed to [`Group::with_executor`] or
/// [`GroupBuilder::executor`] receives the future, and must start it on a thread or an executor, which polls it until
/// it is ready.
pub type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs the tasks of one operation under one context. Go's `errgroup.Group`.
///
/// [`go`](Group::go) adds a task. A task is a future with the output `Result<T, E>`. [`wait`](Group::wait) returns when
/// all tasks have ended.
///
/// All tasks of a group share one context, the tasks' context, which is returned together with the group. By default,
/// the first error or panic of a task cancels the tasks' context. The end of this context does not drop running tasks:
/// each task must observe the context, for example with [`Context::run`].
///
/// In three cases, running tasks are dropped at their next poll:
///
/// - [`results`](Group::results) drops them when the tasks' context ends.
/// - [`Join::First`] drops them after the first success.
/// - Dropping the group, or the future of `wait` or another waiting method, drops them.
///
/// [`Group::new`] creates a group on the tokio runtime, [`Group::with_executor`] on any executor. [`Group::builder`]
/// creates a group that collects values, limits the number of running tasks, or uses another [`Join`] mode. The mode
/// determines how the first error or the first success affects the other tasks.
///
/// ```
/// use ripcord::{Cause, Context, Group};
/// # #[cfg(feature = "tokio")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
///
/// let (group, ctx) = Group::new(&Context::background());
/// for n in 1..=3 {
///     let ctx = ctx.clone();
///     group.go(async move {
///         if n == 2 {
///             return Err(Cause::from("the second one failed"));
///         }
///         Err(ctx.done().await.into()) // waits until the error of task 2 cancels `ctx`
///     });
/// }
/// let result = group.wait().await;
/// assert_eq!(result.unwrap_err().to_string(), "the second one failed");
/// # });
/// ```
#[doc(alias = "errgroup.Group")]
#[must_use = "a group that is dropped cancels its tasks at once"]
pub struct Group<T = ()> {
    shared: Arc<Shared<T>>,
    /// Cancels the tasks' context when dropped, with the line that created the group. `None` only during the drop.
    cancel: Option<Canceler>,
    /// Where the group was created.
    location: &'static Location<'static>,
}

impl Group {
    /// Creates a group that spawns its tasks on the current tokio runtime. Returns the group and the tasks' context, which
    /// is a child of `ctx`. The tasks return `Ok(())`. For tasks with a result, use [`Group::builder`].
    ///
    /// The tasks' context ends when `ctx` ends, when the first task fails or panics, when [`wait`](Group::wait) returns,
    /// or when the group is dropped. If a task is added outside of a runtime, it never runs, and its result is an error.
    #[cfg(feature = "tokio")]
    #[doc(alias = "errgroup.WithContext")]
    #[track_caller]
    pub fn new(ctx: &Context) -> (Group, Context) {
        Group::builder().build(ctx)
    }

    /// Creates a group that passes each task to `execute`. Returns the group and the tasks' context, which is a child of
    /// `ctx`.
    ///
    /// `execute` must start the task on a thread or an executor, which polls the task until it is ready. If the task is
    /// dropped before it is ready, its result is an error.
    ///
    /// The tasks' context ends when `ctx` ends, when the first task fails or panics, when [`wait`](Group::wait) returns,
    /// or when the group is dropped.
    ///
    /// ```
    /// use ripcord::{Context, Error, Group};
    ///
    /// // A thread for each task.
    /// let (group, ctx) = Group::with_executor(&Context::background(), |task| {
    ///     std::thread::spawn(move || futures::executor::block_on(task));
    /// });
    /// group.go(async move { ctx.check() });
    /// futures::executor::block_on(group.wait()).unwrap();
    /// ```
    #[track_caller]
    pub fn with_executor(ctx: &Context, execute: impl Fn(BoxFuture) + Send + Sync + 'static) -> (Group, Context) {
        Group::builder().executor(execute).build(ctx)
    }

    /// Returns a builder for a group that collects the values of its tasks, or that has a limit of running tasks, a
    /// [`Join`] mode or an executor.
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use ripcord::{Context, Error, Group, Join};
    ///
    /// let (group, _ctx): (Group<u32>, Context) =
    ///     Group::builder().limit(2).join(Join::All).build(&Context::background());
    /// for n in 1..=3 {
    ///     group.go(async move { Ok::<_, Error>(n * n) });
    /// }
    /// assert_eq!(group.values().await.unwrap(), [1, 4, 9]);
    /// # });
    /// ```
    pub fn builder() -> GroupBuilder {
        GroupBuilder::new()
    }
}

impl<T> Group<T> {
    fn with(
        ctx: &Context,
        executor: Executor,
        join: Join,
        limit: usize,
        location: &'static Location<'static>,
    ) -> (Group<T>, Context) {
        let (ctx, cancel) = ctx.cancelable_at(location);
        let (abort, cancel_abort) = Context::background().cancelable_at(location);
        let shared = Shared {
            ctx: ctx.clone(),
            cancel: cancel.handle(),
            abort,
            cancel_abort: cancel_abort.handle(),
            executor,
            join,
            lists: TaskLists::above(&ctx),
            state: Mutex::new(State::new(join, limit)),
        };
        cancel_abort.detach();
        (Group { shared: Arc::new(shared), cancel: Some(cancel), location }, ctx)
    }

    /// Adds a task and starts it. `E` is any error type that converts into a [`Cause`]. The call never blocks.
    ///
    /// If the [limit](Group::set_limit) of running tasks is reached, the task waits in a queue until another task has
    /// ended.
    ///
    /// If the [tasks' context](GroupBuilder::build) has ended, the task is dropped without a poll, and its result is
    /// the context's error. By default, this happens to all tasks that are added after the first error or panic of a
    /// task. For background jobs that must not affect each other, use [`Join::All`].
    ///
    /// The end of the tasks' context does not drop a running task, except in the cases that [`Group`] lists. So the task
    /// must observe the context.
    ///
    /// If an error or panic of this task cancels the tasks' context, the context's error reports the line of this call.
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use ripcord::{Context, Error, Group};
    ///
    /// let (group, ctx) = Group::new(&Context::background());
    /// group.set_limit(2);
    /// for _ in 0..10 {
    ///     let ctx = ctx.clone();
    ///     group.go(async move {
    ///         ctx.check()?;
    ///         Ok::<_, Error>(())
    ///     });
    /// }
    /// assert!(group.wait().await.is_ok());
    /// # });
    /// ```
    #[doc(alias = "errgroup.Group.Go")]
    #[track_caller]
    pub fn go<F, E>(&self, task: F)
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        E: Into<Cause>,
        T: Send + 'static,
    {
        Shared::go(&self.shared, task, Location::caller());
    }

    /// Adds a task like [`go`](Group::go), but only if it can start immediately. Returns whether the task was started.
    ///
    /// If the [limit](Group::set_limit) of running tasks is reached or the [tasks' context](GroupBuilder::build) has
    /// ended, the task is dropped and has no result.
    #[doc(alias = "errgroup.Group.TryGo")]
    #[track_caller]
    pub fn try_go<F, E>(&self, task: F) -> bool
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        E: Into<Cause>,
        T: Send + 'static,
    {
        !self.shared.ctx.is_done() && Shared::try_go(&self.shared, task, Location::caller())
    }

    /// Sets the maximum number of tasks that run at the same time. Default: no limit. A lower limit does not affect tasks
    /// that are already running.
    ///
    /// With a limit of zero, no task starts, and tasks wait in the queue until a higher limit is set. If the limit is zero
    /// when [`wait`](Group::wait) or another waiting method is called, the queued tasks are dropped, and their results are
    /// errors.
    #[doc(alias = "errgroup.Group.SetLimit")]
    pub fn set_limit(&self, limit: usize) {
        self.shared.state().limit = limit;
        self.shared.start_queued();
    }

    /// Waits until all tasks have ended, and then cancels the [tasks' context](GroupBuilder::build). The values of the
    /// tasks are dropped.
    ///
    /// The end of the tasks' context does not end the wait: the method waits until each task has noticed the end and
    /// returned.
    ///
    /// # Errors
    ///
    /// Returns the error of the task that failed first. After the tasks' context has ended, a task may fail with the
    /// context's error. Such an error is returned only if there is no other error.
    ///
    /// With [`Join::First`], returns an error only if no task succeeded: the last error that is not the context's error,
    /// or else the context's error.
    ///
    /// # Panics
    ///
    /// Resumes the first panic of a task, after all tasks have ended. With [`Join::First`], resumes the panic only if
    /// no task succeeded.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future drops the group: the tasks' context is canceled, and the tasks are dropped at their
    /// next poll.
    #[doc(alias = "errgroup.Group.Wait")]
    pub async fn wait(self) -> Result<(), GroupError> {
        let mut outcomes = self.ended(false).await.resume_panic();
        outcomes.error().map_or(Ok(()), Err)
    }

    /// Waits until all tasks have ended, like [`wait`](Group::wait). Returns the values of the tasks in the order of
    /// the [`go`](Group::go) calls.
    ///
    /// With [`Join::First`], returns only the value of the task that succeeded first. To get the values of the
    /// successful tasks even if other tasks have failed, use [`results`](Group::results).
    ///
    /// # Errors
    ///
    /// Returns the same error as [`wait`](Group::wait). All values are dropped.
    ///
    /// # Panics
    ///
    /// Resumes the first panic of a task, like [`wait`](Group::wait).
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future drops the group, like [`wait`](Group::wait).
    pub async fn values(self) -> Result<Vec<T>, GroupError> {
        let mut outcomes = self.ended(false).await.resume_panic();
        match outcomes.error() {
            Some(error) => Err(error),
            None => Ok(outcomes.into_values()),
        }
    }

    /// Waits until all tasks have ended, or until the [tasks' context](GroupBuilder::build) ends. Returns one result for
    /// each task, in the order of the [`go`](Group::go) calls.
    ///
    /// If the context ends first, the tasks that are still running are dropped at their next poll, and their results
    /// are the context's error. A task that is ready at this poll keeps its result. The list also contains the values
    /// and errors of the tasks that have already finished, so it is a partial result.
    ///
    /// The context ends when its parent ends, or, depending on the [`Join`] mode, when a task fails or succeeds. A task
    /// that panicked has an error in the list, whose [`panic`](GroupError::panic) method returns the panic.
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use std::future::pending;
    /// use ripcord::{Context, Error, Group, Join};
    ///
    /// let (request, cancel) = Context::background().with_cancel();
    /// let (group, _ctx) = Group::builder().join(Join::All).build(&request);
    /// group.go(async { Ok::<_, Error>("fast") });
    /// group.go(async move {
    ///     cancel.cancel(); // the caller gives up
    ///     pending::<Result<&str, Error>>().await
    /// });
    /// let results = group.results().await;
    /// assert_eq!(results[0].as_ref().unwrap(), &"fast");
    /// assert_eq!(results[1].as_ref().unwrap_err().to_string(), "context canceled");
    /// # });
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future drops the group, like [`wait`](Group::wait).
    pub async fn results(self) -> Vec<Result<T, GroupError>> {
        self.ended(true).await.into_results()
    }

    /// Returns a cloneable handle that adds tasks to this group. A task of the group can own a handle and add further
    /// tasks with it.
    pub fn handle(&self) -> GroupHandle<T> {
        GroupHandle::new(Arc::clone(&self.shared))
    }

    /// Waits until all tasks have ended, like [`wait`](Group::wait). Returns the errors of all tasks that failed, in the
    /// order in which the tasks ended. The list is empty if no task failed.
    ///
    /// # Panics
    ///
    /// Resumes the first panic of a task, like [`wait`](Group::wait).
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future drops the group, like [`wait`](Group::wait).
    pub async fn wait_all(self) -> Vec<GroupError> {
        self.ended(false).await.resume_panic().into_errors()
    }

    /// Waits until all tasks have ended. If `partial`, tasks that have not ended with the group's context are dropped.
    async fn ended(self, partial: bool) -> Outcomes<T> {
        let shared = &self.shared;
        shared.begin_wait();
        let mut done = partial.then(|| shared.ctx.done_owned());
        let outcomes = std::future::poll_fn(|task| {
            if done.as_mut().is_some_and(|done| Pin::new(done).poll(task).is_ready()) {
                done = None;
                shared.cancel_abort.cancel_at("the group's context has ended", self.location);
                shared.drop_queued();
            }
            shared.poll_ended(task)
        })
        .await;
        // As in Go, the context ends with the group.
        shared.cancel.cancel_at("the group's tasks have ended", self.location);
        outcomes
    }
}

impl<T> Drop for Group<T> {
    fn drop(&mut self) {
        // This precedes the drop of the tasks, so that the tasks see their context done.
        drop(self.cancel.take());
        self.shared.cancel_abort.cancel_at("the group was dropped", self.location);
        self.shared.close();
    }
}

impl<T> fmt::Debug for Group<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("ctx", &self.shared.ctx)
            .field("unfinished", &self.shared.state().unfinished())
            .finish_non_exhaustive()
    }
}
