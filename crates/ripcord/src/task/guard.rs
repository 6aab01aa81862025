//! The guard that keeps a task in its lists.

use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use super::list::{Entry, List};
use crate::context::Context;

/// Keeps a task in the task lists of its context until the guard is dropped. [`Context::task_guard`] returns it.
///
/// A task list is a [`Tasks`](crate::Tasks), which [`Context::with_tasks`] returns.
#[must_use = "a guard that is dropped removes the task from its lists at once"]
pub struct TaskGuard {
    /// Each list with the key of the task in it.
    entries: Vec<(Arc<List>, u64)>,
    #[cfg(feature = "metrics")]
    _running: crate::metrics::RunningTask,
}

// The only use of a guard is its drop.
impl UnwindSafe for TaskGuard {}
impl RefUnwindSafe for TaskGuard {}

impl Context {
    /// Adds a task to every task list ([`with_tasks`](Context::with_tasks)) of this context and its ancestors. Dropping
    /// the returned guard removes the task.
    ///
    /// Use this method for work that neither `Context::spawn` nor a [`Group`](crate::Group) starts, such as a thread or a
    /// task of another executor. Move the guard into the thread or task. The lists show this context's
    /// [name](Context::name) and the line of this call.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (ctx, tasks) = Context::background().with_tasks();
    /// let guard = ctx.with_name("compact").task_guard();
    /// let thread = std::thread::spawn(move || drop(guard));
    /// thread.join().unwrap();
    /// assert!(tasks.is_empty());
    /// ```
    #[track_caller]
    pub fn task_guard(&self) -> TaskGuard {
        self.task_guard_at(Location::caller())
    }

    /// Adds a task like [`task_guard`](Context::task_guard), and records `location` as the line that started the task.
    ///
    /// This method is for libraries that start work on behalf of their users. Get the location from
    /// [`Location::caller`] in a `#[track_caller]` function that the user calls.
    pub fn task_guard_at(&self, location: &'static Location<'static>) -> TaskGuard {
        TaskLists::above(self).guard(self, location)
    }
}

/// The lists at and above a context, found once for many tasks.
pub(crate) struct TaskLists(Vec<Arc<List>>);

impl TaskLists {
    pub(crate) fn above(ctx: &Context) -> Self {
        TaskLists(ctx.task_lists())
    }

    /// Adds a task of this context that was started at `location`.
    pub(crate) fn guard(&self, ctx: &Context, location: &'static Location<'static>) -> TaskGuard {
        let mut entries = Vec::new();
        if !self.0.is_empty() {
            let entry = Arc::new(Entry { ctx: ctx.clone(), location, start: ctx.clock_ref().ticks() });
            entries.extend(self.0.iter().map(|list| (Arc::clone(list), list.add(Arc::clone(&entry)))));
        }
        TaskGuard {
            entries,
            #[cfg(feature = "metrics")]
            _running: crate::metrics::RunningTask::new(ctx),
        }
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        for (list, key) in self.entries.drain(..) {
            list.remove(key);
        }
    }
}

impl fmt::Debug for TaskGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskGuard").field("lists", &self.entries.len()).finish()
    }
}
