//! The tasks below requests and other entries.
//!
//! Every server and every watched entry has a list. Lists nest, so a task is taken from the nearest list above the task, and shown
//! with the nearest entry above the task.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use ripcord::{Context, TaskInfo, Tasks, Value};

use super::entry_guard::nearest;

/// A list of tasks. The tasks find their list by its ID.
#[derive(Clone)]
pub(super) struct TaskList {
    id: u64,
    tasks: Tasks,
}

/// The ID of the nearest list, as a context value.
struct Listed(u64);

impl Value for Listed {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listed({})", self.0)
    }
}

impl TaskList {
    /// Creates a list and a child of `ctx`. The list contains the tasks of this child.
    pub(super) fn new(ctx: &Context) -> (Context, TaskList) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let (ctx, tasks) = ctx.with_tasks();
        (ctx.with_value(Listed(id)), TaskList { id, tasks })
    }
}

/// The tasks by the ID of the nearest entry above, oldest first.
#[derive(Default)]
pub(super) struct TasksByEntry(HashMap<u64, Vec<TaskInfo>>);

impl TasksByEntry {
    /// Adds the tasks whose nearest list is `list`.
    pub(super) fn add(&mut self, list: &TaskList) {
        for (task, ctx) in list.tasks.list_with_contexts() {
            let is_nearest = ctx.value::<Listed>().is_some_and(|listed| listed.0 == list.id);
            if let Some(entry) = nearest(&ctx).filter(|_| is_nearest) {
                self.0.entry(entry.id).or_default().push(task);
            }
        }
    }

    pub(super) fn below(&self, entry: u64) -> &[TaskInfo] {
        self.0.get(&entry).map_or(&[], Vec::as_slice)
    }
}
