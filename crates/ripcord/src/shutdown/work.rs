//! The list of the work in flight that is not a task.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as Task, Poll, Waker};

use crate::background;

/// Work that a [`Report`](crate::Report) names: a guard, a task, or a phase that could not be dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Work {
    name: Cow<'static, str>,
    location: &'static Location<'static>,
}

impl Work {
    pub(super) fn new(name: Cow<'static, str>, location: &'static Location<'static>) -> Self {
        Work { name, location }
    }

    /// Returns the name of the work.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the line of code that started the work.
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (started at {})", self.name, self.location)
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Counts as work in flight until it is dropped: see [`Shutdown::guard`](crate::Shutdown::guard).
#[must_use = "the work is in flight only while its guard lives"]
pub struct WorkGuard {
    list: Arc<WorkList>,
    key: u64,
}

impl fmt::Debug for WorkGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorkGuard").field(&self.list.lock().entries.get(&self.key)).finish()
    }
}

impl Drop for WorkGuard {
    fn drop(&mut self) {
        let mut state = self.list.lock();
        let removed = state.entries.remove(&self.key);
        let waiter = if state.entries.is_empty() { state.waiter.take() } else { None };
        drop(state);
        drop(removed);
        if let Some(waiter) = waiter {
            background::shielded(|| waiter.wake());
        }
    }
}

#[derive(Default)]
pub(super) struct WorkList {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order in which the work began.
    entries: BTreeMap<u64, Work>,
    next: u64,
    /// The one driver that waits for the list to be empty.
    waiter: Option<Waker>,
}

impl WorkList {
    pub(super) fn add(self: &Arc<Self>, work: Work) -> WorkGuard {
        let mut state = self.lock();
        let key = state.next;
        state.next += 1;
        state.entries.insert(key, work);
        WorkGuard { list: Arc::clone(self), key }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().entries.is_empty()
    }

    pub(super) fn snapshot(&self) -> Vec<Work> {
        self.lock().entries.values().cloned().collect()
    }

    /// Ready when the list is empty.
    pub(super) fn poll_empty(&self, task: &mut Task<'_>) -> Poll<()> {
        // Cloned before the lock is taken: it is user code.
        let waker = task.waker().clone();
        let mut state = self.lock();
        if state.entries.is_empty() {
            return Poll::Ready(());
        }
        let before = state.waiter.replace(waker);
        drop(state);
        drop(before);
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
