//! The settings of a group.

use std::fmt;
use std::panic::Location;

use super::shared::Executor;
use super::{BoxFuture, Group};
use crate::context::Context;

/// Determines how the first error or the first success of a task affects the other tasks of a [`Group`].
///
/// The tasks' context is the context that [`GroupBuilder::build`] returns with the group.
///
/// ```
/// use ripcord::{Context, Group, Join};
///
/// let (group, ctx): (Group<u32>, Context) = Group::builder().join(Join::First).build(&Context::background());
/// assert!(!ctx.is_done());
/// # drop(group);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Join {
    /// The first error or panic cancels the tasks' context. Running tasks must observe the context to stop early. This is
    /// the default, and the behavior of Go's errgroup.
    #[default]
    FailFast,
    /// An error or panic cancels no task. All tasks run to their end.
    All,
    /// The first success cancels the tasks' context and drops the other tasks at their next poll. An error or panic
    /// cancels no task.
    ///
    /// If no task succeeds, [`Group::wait`] resumes the first panic. If no task panicked either, it returns the last
    /// error. An error that only reports the end of the tasks' context is returned only if there is no other error.
    First,
}

/// Builds a [`Group`] with a limit of running tasks, a [`Join`] mode or an executor. [`Group::builder`] returns it.
///
/// ```
/// # #[cfg(feature = "tokio")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ripcord::{Context, Error, Group, Join};
///
/// let (group, _ctx) = Group::builder().limit(2).join(Join::All).build(&Context::background());
/// group.go(async { Ok::<_, Error>("done") });
/// assert_eq!(group.values().await.unwrap(), ["done"]);
/// # });
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct GroupBuilder {
    limit: usize,
    join: Join,
    executor: Executor,
}

impl GroupBuilder {
    pub(super) fn new() -> Self {
        GroupBuilder { limit: usize::MAX, join: Join::default(), executor: Executor::default() }
    }

    /// Sets the maximum number of tasks that run at the same time. Further tasks wait in a queue. Default: no limit.
    ///
    /// With a limit of zero, no task starts: see [`Group::set_limit`].
    pub fn limit(self, limit: usize) -> Self {
        GroupBuilder { limit, ..self }
    }

    /// Sets how the first error or the first success of a task affects the other tasks. Default: [`Join::FailFast`].
    pub fn join(self, join: Join) -> Self {
        GroupBuilder { join, ..self }
    }

    /// Sets the function that runs the tasks. `execute` receives each task, and must start it on a thread or an
    /// executor, which polls the task until it is ready. If a task is dropped before it is ready, its result is an
    /// error.
    ///
    /// Default: each task is spawned on the tokio runtime that is current when the task starts. If there is no current
    /// runtime, or if the feature `tokio` is off, the task's result is an error.
    pub fn executor(self, execute: impl Fn(BoxFuture) + Send + Sync + 'static) -> Self {
        GroupBuilder { executor: Executor::Function(Box::new(execute)), ..self }
    }

    /// Creates the group. Returns the group and the tasks' context, which is a child of `ctx`. Give each task a clone
    /// of the tasks' context, so that the task can stop when this context ends.
    ///
    /// The tasks' context ends when `ctx` ends, when [`wait`](Group::wait) or another waiting method returns, or when the group
    /// is dropped. Depending on the [`Join`] mode, the first error or the first success of a task also ends it.
    ///
    /// Each task returns a `Result<T, E>`: `T` is the type of the values that the group collects.
    #[track_caller]
    pub fn build<T>(self, ctx: &Context) -> (Group<T>, Context) {
        Group::with(ctx, self.executor, self.join, self.limit, Location::caller())
    }
}

impl fmt::Debug for GroupBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupBuilder").field("limit", &self.limit).field("join", &self.join).finish_non_exhaustive()
    }
}
