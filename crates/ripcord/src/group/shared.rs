//! What the tasks share with their group.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, Location, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::BoxFuture;
use super::builder::Join;
use super::child::{Child, Counted};
use super::outcomes::Outcomes;
use crate::background;
use crate::canceler::CancelHandle;
use crate::cause::Cause;
use crate::context::Context;
use crate::error::Error;
use crate::task::{TaskLists, TaskPanic};

/// What runs the tasks of a group.
#[derive(Default)]
pub(super) enum Executor {
    /// The tokio runtime that runs at the call, if there is one.
    #[default]
    Tokio,
    Function(Box<dyn Fn(BoxFuture) + Send + Sync>),
}

// What a panic leaves of the function is its user's to look after.
impl UnwindSafe for Executor {}
impl RefUnwindSafe for Executor {}

impl Executor {
    /// Starts a task, or drops it, which is an error that its group reports.
    fn start<F: Future<Output = ()> + Send + 'static>(&self, task: F) {
        match self {
            #[cfg(feature = "tokio")]
            Executor::Tokio => {
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    drop(runtime.spawn(task));
                }
            }
            #[cfg(not(feature = "tokio"))]
            Executor::Tokio => drop(task),
            Executor::Function(execute) => execute(Box::pin(task)),
        }
    }
}

/// What the tasks share with their group.
pub(super) struct Shared<T> {
    /// The tasks' context.
    pub(super) ctx: Context,
    pub(super) cancel: CancelHandle,
    /// Ends the tasks themselves, not only the context they were given.
    pub(super) abort: Context,
    pub(super) cancel_abort: CancelHandle,
    pub(super) executor: Executor,
    pub(super) join: Join,
    /// The lists that its tasks are in.
    pub(super) lists: TaskLists,
    pub(super) state: Mutex<State<T>>,
}

pub(super) struct State<T> {
    unfinished: usize,
    running: usize,
    pub(super) limit: usize,
    queued: VecDeque<BoxFuture>,
    /// Somebody hands queued tasks to the executor: one at a time, since an executor may run a task within the call.
    starting: bool,
    outcomes: Outcomes<T>,
    waiter: Option<Waker>,
    /// The group is waited for.
    waited: bool,
    /// The group takes no other task: all have ended and were waited for, or it was dropped (invariant 5).
    closed: bool,
}

// No users' code runs under its lock (invariant 4), and what a task left half done is the task's.
impl<T> UnwindSafe for Shared<T> {}
impl<T> RefUnwindSafe for Shared<T> {}

impl<T> State<T> {
    pub(super) fn new(join: Join, limit: usize) -> Self {
        State {
            unfinished: 0,
            running: 0,
            limit,
            queued: VecDeque::new(),
            starting: false,
            outcomes: Outcomes::new(join),
            waiter: None,
            waited: false,
            closed: false,
        }
    }

    pub(super) fn unfinished(&self) -> usize {
        self.unfinished
    }
}

impl<T> Drop for State<T> {
    fn drop(&mut self) {
        // Of a group that nobody waited for. Values, errors and panics are the user's, and so are their drops.
        let outcomes = self.outcomes.take();
        background::shielded(|| drop(outcomes));
    }
}

impl<T> Shared<T> {
    pub(super) fn state(&self) -> MutexGuard<'_, State<T>> {
        // Users' code does not run under it (invariant 4).
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a task, or queues it above the limit. False, and the task is dropped, if the group takes none anymore.
    pub(super) fn go<F, E>(shared: &Arc<Self>, task: F, location: &'static Location<'static>) -> bool
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        E: Into<Cause>,
        T: Send + 'static,
    {
        let mut state = shared.state();
        if state.closed {
            return false;
        }
        let number = state.outcomes.accept();
        state.unfinished += 1;
        if state.running < state.limit {
            state.running += 1;
            drop(state);
            shared.executor.start(Self::child(shared, task, number, location));
            return true;
        }
        drop(state);
        // Made without the lock: a task that panics when it is dropped would do so here.
        let child = Box::pin(Self::child(shared, task, number, location));
        let mut state = shared.state();
        if state.closed || state.limit == 0 && state.waited {
            // None will start. A dropped child counts itself out of those that run, too.
            let is_accepted = !state.closed;
            state.running += 1;
            drop(state);
            drop(child);
            return is_accepted;
        }
        state.queued.push_back(child);
        drop(state);
        // A place may have become free meanwhile.
        shared.start_queued();
        true
    }

    /// Starts a task unless the limit is reached.
    pub(super) fn try_go<F, E>(shared: &Arc<Self>, task: F, location: &'static Location<'static>) -> bool
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        E: Into<Cause>,
        T: Send + 'static,
    {
        let mut state = shared.state();
        if state.closed || state.running >= state.limit {
            return false;
        }
        let number = state.outcomes.accept();
        state.unfinished += 1;
        state.running += 1;
        drop(state);
        shared.executor.start(Self::child(shared, task, number, location));
        true
    }

    fn child<F: Future>(
        shared: &Arc<Self>,
        task: F,
        number: usize,
        location: &'static Location<'static>,
    ) -> Child<F, T> {
        let guard = Some(shared.lists.guard(&shared.ctx, location));
        Child::new(task, Counted { shared: Arc::clone(shared), number, location, guard })
    }

    /// Hands queued tasks to the executor, up to the limit. One that comes after the end sees so at its first poll.
    pub(super) fn start_queued(&self) {
        let mut state = self.state();
        if state.starting {
            // Whoever starts looks again after each task.
            return;
        }
        while state.running < state.limit
            && let Some(task) = state.queued.pop_front()
        {
            state.running += 1;
            state.starting = true;
            drop(state);
            // An executor that panics has dropped the task, which reports itself.
            background::shielded(|| self.executor.start(task));
            state = self.state();
            state.starting = false;
        }
    }

    /// Drops the tasks that have not been started.
    pub(super) fn drop_queued(&self) {
        let mut state = self.state();
        let queued = std::mem::take(&mut state.queued);
        // A dropped child counts itself out of those that run, too.
        state.running += queued.len();
        drop(state);
        drop(queued);
    }

    /// Takes no task from now on, and drops those that have not been started.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.drop_queued();
    }

    /// The group is waited for from now on: what no limit will let start is dropped.
    pub(super) fn begin_wait(&self) {
        let mut state = self.state();
        state.waited = true;
        let none_starts = state.limit == 0;
        drop(state);
        if none_starts {
            self.drop_queued();
        }
    }

    /// Ready, with what the tasks have come to, when all have ended. No task is taken from then on (invariant 5).
    pub(super) fn poll_ended(&self, task: &mut std::task::Context<'_>) -> Poll<Outcomes<T>> {
        // Cloned and dropped without the lock: users' code.
        let mut waker = None;
        loop {
            let mut state = self.state();
            if state.unfinished == 0 {
                state.closed = true;
                return Poll::Ready(state.outcomes.take());
            }
            if state.waiter.as_ref().is_some_and(|known| known.will_wake(task.waker())) {
                return Poll::Pending;
            }
            if let Some(waker) = waker.take() {
                let replaced = state.waiter.replace(waker);
                drop(state);
                drop(replaced);
                return Poll::Pending;
            }
            drop(state);
            waker = Some(task.waker().clone());
        }
    }

    /// A task that was started at `location` has ended (invariant 1).
    pub(super) fn finish(&self, number: usize, result: Result<T, Cause>, location: &'static Location<'static>) {
        match result {
            Ok(value) => {
                let is_first = self.state().outcomes.succeeded(number, value);
                // Only now, as with an error (invariant 3).
                if is_first && self.join == Join::First {
                    self.cancel.cancel_at("another task of the group has succeeded", location);
                    self.cancel_abort.cancel_at("another task of the group has succeeded", location);
                }
                self.count_out();
            }
            Err(cause) => {
                // An error is the user's: what it panics with when it is asked or dropped is the task's panic.
                let recorded = catch_unwind(AssertUnwindSafe(|| self.record(number, &cause, location)));
                background::shielded(|| drop(cause));
                match recorded {
                    Ok(()) => self.count_out(),
                    Err(panic) => self.finish_panicked(number, panic, location),
                }
            }
        }
    }

    fn record(&self, number: usize, cause: &Cause, location: &'static Location<'static>) {
        // A cancellation from above, or the one that the first error caused, is no error of the task's own.
        let is_real = !(self.ctx.is_done() && is_context_error(cause));
        self.state().outcomes.failed(number, cause.clone(), is_real);
        // Only now: no task can report the cancellation before the error that caused it (invariant 3).
        if is_real && self.join == Join::FailFast {
            self.cancel.end(location, Some(cause.clone()));
        }
    }

    /// A task has panicked. The first panic is carried to `wait`.
    pub(super) fn finish_panicked(
        &self,
        number: usize,
        panic: Box<dyn Any + Send>,
        location: &'static Location<'static>,
    ) {
        let panic = TaskPanic::new(panic, location);
        self.state().outcomes.panicked(number, panic);
        if self.join == Join::FailFast {
            self.cancel.cancel_at("a task of the group panicked", location);
        }
        self.count_out();
    }

    /// A task has ended, started or not (invariants 1 and 2).
    fn count_out(&self) {
        let mut state = self.state();
        state.unfinished -= 1;
        state.running = state.running.saturating_sub(1);
        let waiter = if state.unfinished == 0 { state.waiter.take() } else { None };
        drop(state);
        if let Some(waiter) = waiter {
            // It may panic, and this may be a drop.
            background::shielded(|| waiter.wake());
        } else {
            self.start_queued();
        }
    }
}

/// Whether the error is, or comes from, the end of a context.
fn is_context_error(cause: &Cause) -> bool {
    let mut error: Option<&(dyn std::error::Error + 'static)> = Some(cause.as_error());
    while let Some(at) = error {
        if at.is::<Error>() {
            return true;
        }
        error = at.source();
    }
    false
}
