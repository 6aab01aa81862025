//! The settings of a group.

use std::fmt;
use std::panic::Location;

use super::shared::Executor;
use super::{BoxFuture, Group};
use crate::context::Context;

/// What happens to the other tasks of a group after the first error or the first success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Join {
    /// The first error or panic cancels the group's context. This is the default, and what Go's errgroup does.
    #[default]
    FailFast,
    /// All tasks run to their end: an error or panic cancels no task.
    All,
    /// The first success ends the other tasks. If all tasks fail, the result is the last error that was not caused by the end of
    /// the group's context. A panic is one failure, and is resumed if no task succeeds.
    First,
}

/// Builds a [`Group`]: see [`Group::builder`].
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

    /// Sets how many tasks run at a time; later ones wait in a queue. Default: no limit. See [`Group::set_limit`] for zero.
    pub fn limit(self, limit: usize) -> Self {
        GroupBuilder { limit, ..self }
    }

    /// Sets what the first error or success means for the other tasks. Default: [`Join::FailFast`].
    pub fn join(self, join: Join) -> Self {
        GroupBuilder { join, ..self }
    }

    /// Sets what runs the tasks: `execute` receives each task and runs it to its end. A task that it drops instead has ended
    /// with an error.
    ///
    /// Default: the tokio runtime that runs at the call of `go`. Without the feature `tokio`, tasks end with an error if no
    /// executor is set.
    pub fn executor(self, execute: impl Fn(BoxFuture) + Send + Sync + 'static) -> Self {
        GroupBuilder { executor: Executor::Function(Box::new(execute)), ..self }
    }

    /// Returns the group and the context for its tasks, a child of `ctx`.
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
