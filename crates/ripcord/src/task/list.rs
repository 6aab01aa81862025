//! The list of the tasks below one context.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::info::TaskInfo;
use super::wait::WaitForTasks;
use crate::background;
use crate::context::Context;
use crate::value::Value;

/// A list of the unfinished tasks that were started under one context. Use it to count the tasks, to show them, or to
/// wait for them. [`Context::with_tasks`] returns the list.
///
/// Clones refer to the same list. Dropping a clone has no effect on the tasks.
///
/// ```
/// use ripcord::{Context, block_on};
///
/// let (ctx, tasks) = Context::background().with_tasks();
/// let guard = ctx.with_name("compact").task_guard();
/// assert_eq!(tasks.list()[0].name(), Some("compact"));
/// drop(guard);
/// block_on(tasks.wait(&Context::background())).unwrap();
/// assert!(tasks.is_empty());
/// ```
#[derive(Clone)]
pub struct Tasks(Arc<List>);

/// The value through which tasks find the list.
struct Listing(Arc<List>);

impl Value for Listing {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tasks")
    }
}

/// A list of tasks.
pub(super) struct List(Mutex<State>);

/// The state of a list.
struct State {
    /// The tasks, in the order in which they were started.
    tasks: BTreeMap<u64, Arc<Entry>>,
    waiters: BTreeMap<u64, Waker>,
    /// The key of the next task or waiter. No key is used twice.
    next: u64,
}

/// One task. All lists above the task share this entry.
pub(super) struct Entry {
    pub(super) ctx: Context,
    pub(super) location: &'static Location<'static>,
    /// The time at which the task was started, in ticks of its context's clock.
    pub(super) start: i64,
}

// No user code runs under the lock (invariant 4).
impl UnwindSafe for List {}
impl RefUnwindSafe for List {}

impl Context {
    /// Returns a child context, and a list of the tasks that are started under the child.
    ///
    /// The list contains three kinds of work: tasks of `Context::spawn`, `spawn_blocking` and `spawn_with_grace`, tasks
    /// of a [`Group`](crate::Group), and work that holds a [`TaskGuard`](crate::TaskGuard). A task is in the list if its
    /// context is the child or was derived from the child, also through [`without_cancel`](Context::without_cancel) or
    /// [`merge`](Context::merge). A task can be in several lists.
    ///
    /// A task stays in the list until its future or blocking closure has been dropped, even if its context has ended or
    /// its handle was dropped.
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use ripcord::{Context, Error};
    ///
    /// let (ctx, tasks) = Context::background().with_tasks();
    /// ctx.with_name("import").spawn(|ctx| async move { ctx.check() }); // detached
    /// assert_eq!(tasks.list()[0].name(), Some("import"));
    /// tasks.wait(&Context::background()).await?;
    /// assert!(tasks.is_empty());
    /// # Ok::<(), Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn with_tasks(&self) -> (Context, Tasks) {
        let state = State { tasks: BTreeMap::new(), waiters: BTreeMap::new(), next: 0 };
        let list = Arc::new(List(Mutex::new(state)));
        (self.with_value(Listing(Arc::clone(&list))), Tasks(list))
    }

    /// Returns the lists at and above this context.
    pub(super) fn task_lists(&self) -> Vec<Arc<List>> {
        self.all_values::<Listing>().into_iter().map(|listing| Arc::clone(&listing.0)).collect()
    }
}

impl Tasks {
    /// Waits until the list is empty, or until `other` ends. The context `other` only limits the wait. The end of
    /// `other` has no effect on the tasks, unless their contexts were derived from `other`.
    ///
    /// The wait includes tasks that start during the wait. If the list is empty, the result is `Ok`, even if `other`
    /// has ended.
    ///
    /// # Errors
    ///
    /// Returns the error of `other` if `other` ended before the list was empty.
    ///
    /// # Cancel safety
    ///
    /// The returned future may be dropped at any time. This has no effect on the tasks.
    pub fn wait(&self, other: &Context) -> WaitForTasks {
        WaitForTasks::new(self.clone(), other)
    }

    /// Returns the number of tasks in the list.
    pub fn len(&self) -> usize {
        self.0.state().tasks.len()
    }

    /// Returns whether the list contains no task.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns a description of each task, in the order in which the tasks were started.
    pub fn list(&self) -> Vec<TaskInfo> {
        let entries: Vec<Arc<Entry>> = self.0.state().tasks.values().cloned().collect();
        // The contexts are queried without the lock (invariant 4).
        entries.iter().map(|entry| TaskInfo::new(entry)).collect()
    }

    /// Returns a description of each task together with the task's context, in the order in which the tasks were
    /// started.
    ///
    /// The [values](Context::with_value) of the context can show which request a task belongs to. A returned context
    /// keeps its values alive.
    ///
    /// ```
    /// use ripcord::{Context, Value};
    ///
    /// struct UserId(u64);
    /// impl Value for UserId {}
    ///
    /// let (ctx, tasks) = Context::background().with_tasks();
    /// let _guard = ctx.with_value(UserId(7)).with_name("export").task_guard();
    /// let (task, ctx) = tasks.list_with_contexts().remove(0);
    /// assert_eq!((task.name(), ctx.value::<UserId>().map(|user| user.0)), (Some("export"), Some(7)));
    /// ```
    pub fn list_with_contexts(&self) -> Vec<(TaskInfo, Context)> {
        let entries: Vec<Arc<Entry>> = self.0.state().tasks.values().cloned().collect();
        entries.iter().map(|entry| (TaskInfo::new(entry), entry.ctx.clone())).collect()
    }

    pub(super) fn inner(&self) -> &List {
        &self.0
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

impl List {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a task. Returns the key that removes the task.
    pub(super) fn add(&self, entry: Arc<Entry>) -> u64 {
        let mut state = self.state();
        let key = state.new_key();
        state.tasks.insert(key, entry);
        key
    }

    /// Removes a task. Wakes the waiters if the task was the last one (invariant 3).
    pub(super) fn remove(&self, key: u64) {
        let mut state = self.state();
        let removed = state.tasks.remove(&key);
        let waiters = if state.tasks.is_empty() { std::mem::take(&mut state.waiters) } else { BTreeMap::new() };
        drop(state);
        for waker in waiters.into_values() {
            background::shielded(|| waker.wake());
        }
        // The entry may hold the last reference to the user's values.
        background::shielded(|| drop(removed));
    }

    /// Stores `waker` in place of the waker under `key`. Returns false and stores nothing if there is no task (invariant 3).
    pub(super) fn add_waiter(&self, key: &mut Option<u64>, waker: &Waker) -> bool {
        let waker = waker.clone();
        let mut state = self.state();
        if state.tasks.is_empty() {
            drop(state);
            return false;
        }
        let key = *key.get_or_insert_with(|| state.new_key());
        let replaced = state.waiters.insert(key, waker);
        drop(state);
        drop(replaced);
        true
    }

    pub(super) fn remove_waiter(&self, key: u64) {
        let waker = self.state().waiters.remove(&key);
        drop(waker);
    }
}

impl State {
    fn new_key(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
