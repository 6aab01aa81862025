//! The handle that adds tasks to a group.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use super::shared::Shared;
use crate::cause::Cause;

/// A cloneable handle that adds tasks to a [`Group`](crate::Group), for example from a task of the group.
/// [`Group::handle`](crate::Group::handle) returns it.
///
/// [`Group::wait`](crate::Group::wait) does not wait for handles: it returns when all tasks have ended, even if handles
/// still exist.
pub struct GroupHandle<T = ()>(Arc<Shared<T>>);

impl<T> GroupHandle<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        GroupHandle(shared)
    }

    /// Adds a task like [`Group::go`](crate::Group::go). Returns `true` if the task was added. The call never blocks.
    ///
    /// Returns `false` and drops the task in two cases: if the [tasks' context](crate::GroupBuilder::build) has ended, or
    /// if [`Group::wait`](crate::Group::wait) or another waiting method has returned. Such a task has no result.
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use ripcord::{Context, Error, Group, GroupHandle};
    ///
    /// fn visit(group: &GroupHandle<u32>, depth: u32) {
    ///     let handle = group.clone();
    ///     group.go(async move {
    ///         if depth < 3 {
    ///             visit(&handle, depth + 1);
    ///         }
    ///         Ok::<_, Error>(depth)
    ///     });
    /// }
    /// let (group, _ctx) = Group::builder().build(&Context::background());
    /// visit(&group.handle(), 0);
    /// assert_eq!(group.values().await.unwrap(), [0, 1, 2, 3]);
    /// # });
    /// ```
    #[track_caller]
    pub fn go<F, E>(&self, task: F) -> bool
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        E: Into<Cause>,
        T: Send + 'static,
    {
        !self.0.ctx.is_done() && Shared::go(&self.0, task, Location::caller())
    }
}

impl<T> Clone for GroupHandle<T> {
    fn clone(&self) -> Self {
        GroupHandle(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for GroupHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupHandle").field("ctx", &self.0.ctx).finish_non_exhaustive()
    }
}
