//! Structured tasks under one context: Go's errgroup, with results.
//!
//! # Invariants
//!
//! 1. `unfinished` counts the tasks given to the group that have not ended, queued ones too. Each is a `Child`, which counts
//!    itself out exactly once: when its future ends, panics, or is dropped.
//! 2. `running` counts those handed to the executor, and is at most the limit at the time each was.
//! 3. The first real error is written before the context is canceled, so no task can report the cancellation before it. So is
//!    the first success of `Join::First`.
//! 4. No lock is held while a future is polled or dropped, the executor is called, or a waker is woken.
//! 5. Whoever sees under the lock that no task is unfinished closes the group under the same lock. A task is accepted under that
//!    lock. So no task starts after `wait` has returned, whoever holds a handle.

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

/// A task as an executor gets it.
pub type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tasks that end together: the first error cancels the others, and [`wait`](Group::wait) returns when all have ended.
///
/// Go's `errgroup.Group`, structured: dropping the group, or the future of `wait`, cancels the context and drops the tasks, at
/// their next poll. [`values`](Group::values) and [`results`](Group::results) return the results of the tasks, and a [`Join`] says
/// what the first error or success means for the others.
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
///         Err(ctx.done().await.into()) // the others are canceled
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
    /// Cancels the tasks' context when dropped, with the line that created the group. None only while it is being dropped.
    cancel: Option<Canceler>,
    /// Where the group was created.
    location: &'static Location<'static>,
}

impl Group {
    /// Creates a group that spawns its tasks on the current tokio runtime. Returns the group and the context for its tasks, a child
    /// of `ctx`.
    ///
    /// A task given to it outside of a runtime ends at once, with an error that says so.
    #[cfg(feature = "tokio")]
    #[doc(alias = "errgroup.WithContext")]
    #[track_caller]
    pub fn new(ctx: &Context) -> (Group, Context) {
        Group::builder().build(ctx)
    }

    /// Creates a group on any executor: `execute` receives each task and must run it to its end. A task that it drops fails with an
    /// error.
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

    /// Returns a builder for a group with results, a limit, a [`Join`] or an executor.
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

    /// Starts a task. Above the limit the task is queued, and starts when another task has ended. Never blocks.
    ///
    /// Once the group's context is done, nothing starts: the future is dropped without a poll, and its result is the context's
    /// error. Unless another [`Join`] was chosen, the first error or panic of a task ends that context, permanently: every later
    /// `go` drops its task, and [`wait`](Group::wait) reports why. For background jobs that must not affect each other, choose
    /// [`Join::All`].
    ///
    /// The line of this call is the line that the context's error reports if this task's error or panic ends the group.
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

    /// Starts a task, and returns `true`, unless the limit is reached or the context is done. Otherwise the task is dropped and
    /// has no result.
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

    /// Sets how many tasks may run at a time, from now on. Running tasks are not affected. With zero, no task starts, and tasks
    /// that are still queued when the group is waited for fail with an error.
    #[doc(alias = "errgroup.Group.SetLimit")]
    pub fn set_limit(&self, limit: usize) {
        self.shared.state().limit = limit;
        self.shared.start_queued();
    }

    /// Waits until every task has ended.
    ///
    /// # Errors
    ///
    /// The first error of a task. A task's own error takes precedence over errors of cancellation. With [`Join::First`], there is
    /// an error only if no task succeeded: the last task's own error.
    ///
    /// # Panics
    ///
    /// With the panic of a task, after all have ended; with [`Join::First`] only if no task succeeded.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the group: the context is canceled and the tasks are dropped at their next poll.
    #[doc(alias = "errgroup.Group.Wait")]
    pub async fn wait(self) -> Result<(), GroupError> {
        let mut outcomes = self.ended(false).await.resume_panic();
        outcomes.error().map_or(Ok(()), Err)
    }

    /// Waits as [`wait`](Group::wait) does, and returns the values in the order of the `go` calls; with [`Join::First`] only
    /// that of the task that succeeded first.
    ///
    /// # Errors
    ///
    /// As `wait`. The values are dropped then.
    ///
    /// # Panics
    ///
    /// As `wait`.
    ///
    /// # Cancel safety
    ///
    /// As `wait`.
    pub async fn values(self) -> Result<Vec<T>, GroupError> {
        let mut outcomes = self.ended(false).await.resume_panic();
        match outcomes.error() {
            Some(error) => Err(error),
            None => Ok(outcomes.into_values()),
        }
    }

    /// Waits until every task has ended, or until the group's context ends, and returns one result for each task that the group
    /// has accepted, in the order of the `go` calls.
    ///
    /// When the group's context ends, by its parent, by an error or by a success, the tasks that have not ended are dropped at
    /// their next poll, and the error of the context is their result: so the results are partial. A value that is ready at that
    /// poll counts. A panic is an error too: [`GroupError::panic`] returns it.
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use std::time::Duration;
    /// use ripcord::{Context, Error, Group, Join};
    ///
    /// let request = Context::background().with_timeout(Duration::from_millis(5));
    /// let (group, ctx) = Group::builder().join(Join::All).build(&request);
    /// group.go(async { Ok::<_, Error>("fast") });
    /// group.go(async move { ctx.without_cancel().sleep(Duration::from_secs(60)).await.map(|()| "slow") });
    /// let results = group.results().await;
    /// assert_eq!(results[0].as_ref().unwrap(), &"fast");
    /// assert_eq!(results[1].as_ref().unwrap_err().to_string(), "context deadline exceeded");
    /// # });
    /// ```
    ///
    /// # Cancel safety
    ///
    /// As [`wait`](Group::wait).
    pub async fn results(self) -> Vec<Result<T, GroupError>> {
        self.ended(true).await.into_results()
    }

    /// Returns a handle that adds tasks to this group, also from its own tasks.
    pub fn handle(&self) -> GroupHandle<T> {
        GroupHandle::new(Arc::clone(&self.shared))
    }

    /// As [`wait`](Group::wait), with every error, in the order in which the tasks ended.
    ///
    /// # Panics
    ///
    /// As `wait`.
    ///
    /// # Cancel safety
    ///
    /// As `wait`.
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
        // Before the tasks are dropped, so that they see their context done.
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
