//! The state that the tasks share with their group.

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

/// The executor that runs the tasks of a group.
#[derive(Default)]
pub(super) enum Executor {
    /// The tokio runtime that is running at the time of the call, if there is one.
    #[default]
    Tokio,
    Function(Box<dyn Fn(BoxFuture) + Send + Sync>),
}

// The user is responsible for the state of the function after a panic.
impl UnwindSafe for Executor {}
impl RefUnwindSafe for Executor {}

impl Executor {
    /// Starts a task, or drops the task. The group reports a dropped task as an error.
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

/// The state that the tasks share with their group.
pub(super) struct Shared<T> {
    /// The tasks' context.
    pub(super) ctx: Context,
    pub(super) cancel: CancelHandle,
    /// Ends the tasks themselves, and not only the context that they received.
    pub(super) abort: Context,
    pub(super) cancel_abort: CancelHandle,
    pub(super) executor: Executor,
    pub(super) join: Join,
    /// The lists that contain the group's tasks.
    pub(super) lists: TaskLists,
    pub(super) state: Mutex<State<T>>,
}

pub(super) struct State<T> {
    unfinished: usize,
    running: usize,
    pub(super) limit: usize,
    queued: VecDeque<BoxFuture>,
    /// Whether a thread is handing queued tasks to the executor. The thread hands over one task at a time, because an executor
    /// may run a task within the call.
    starting: bool,
    outcomes: Outcomes<T>,
    waiter: Option<Waker>,
    /// Whether a caller waits for the group.
    waited: bool,
    /// Whether the group refuses new tasks: all tasks have ended and were waited for, or the group was dropped (invariant 5).
    closed: bool,
}

// No user code runs under the lock (invariant 4). A task is responsible for its own state after its panic.
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
        // These are the outcomes of a group that no caller waited for. The drops of values, errors and panics are user code.
        let outcomes = self.outcomes.take();
        background::shielded(|| drop(outcomes));
    }
}

impl<T> Shared<T> {
    pub(super) fn state(&self) -> MutexGuard<'_, State<T>> {
        // No user code runs under the lock (invariant 4).
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a task, or queues the task if the limit is reached. Returns false and drops the task if the group is closed.
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
        // The child is created without the lock, because a task may panic when it is dropped here.
        let child = Box::pin(Self::child(shared, task, number, location));
        let mut state = shared.state();
        if state.closed || state.limit == 0 && state.waited {
            // The task will not start. The drop of its child also decrements `running`.
            let is_accepted = !state.closed;
            state.running += 1;
            drop(state);
            drop(child);
            return is_accepted;
        }
        state.queued.push_back(child);
        drop(state);
        // A running task may have ended meanwhile.
        shared.start_queued();
        true
    }

    /// Starts a task unless the limit is reached. Returns whether the task was started.
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

    /// Hands queued tasks to the executor, up to the limit. A task that is handed over after the end of the context sees the
    /// end at its first poll.
    pub(super) fn start_queued(&self) {
        let mut state = self.state();
        if state.starting {
            // The thread that starts tasks looks at the queue again after each task.
            return;
        }
        while state.running < state.limit
            && let Some(task) = state.queued.pop_front()
        {
            state.running += 1;
            state.starting = true;
            drop(state);
            // An executor that panics has dropped the task. The drop of the task records its end.
            background::shielded(|| self.executor.start(task));
            state = self.state();
            state.starting = false;
        }
    }

    /// Drops the tasks that have not been started.
    pub(super) fn drop_queued(&self) {
        let mut state = self.state();
        let queued = std::mem::take(&mut state.queued);
        // The drop of a child also decrements `running`.
        state.running += queued.len();
        drop(state);
        drop(queued);
    }

    /// Closes the group. The group accepts no further task, and the tasks that have not started are dropped.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.drop_queued();
    }

    /// Records that a caller waits for the group. Drops the queued tasks if the limit of 0 never lets them start.
    pub(super) fn begin_wait(&self) {
        let mut state = self.state();
        state.waited = true;
        let none_starts = state.limit == 0;
        drop(state);
        if none_starts {
            self.drop_queued();
        }
    }

    /// Returns ready, with the outcomes of the tasks, when all tasks have ended. After that, the group accepts no task
    /// (invariant 5).
    pub(super) fn poll_ended(&self, task: &mut std::task::Context<'_>) -> Poll<Outcomes<T>> {
        // The waker is cloned and dropped without the lock, because both are user code.
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

    /// Records the result of a task that was started at `location` and has ended (invariant 1).
    pub(super) fn finish(&self, number: usize, result: Result<T, Cause>, location: &'static Location<'static>) {
        match result {
            Ok(value) => {
                let mut state = self.state();
                let is_first = state.outcomes.succeeded(number, value);
                // The cancel comes after the record, as with an error (invariant 3).
                if is_first && self.join == Join::First {
                    drop(state);
                    self.cancel.cancel_at("another task of the group has succeeded", location);
                    self.cancel_abort.cancel_at("another task of the group has succeeded", location);
                    state = self.state();
                }
                self.count_out(state);
            }
            Err(cause) => {
                // The error is user code. If a method or the drop of the error panics, that panic is the task's panic.
                let recorded = catch_unwind(AssertUnwindSafe(|| self.record(number, &cause, location)));
                background::shielded(|| drop(cause));
                match recorded {
                    Ok(()) => self.count_out(self.state()),
                    Err(panic) => self.finish_panicked(number, panic, location),
                }
            }
        }
    }

    fn record(&self, number: usize, cause: &Cause, location: &'static Location<'static>) {
        // An error is not the task's own error if it comes from a cancellation above, or from the cancellation by the first
        // error.
        let is_real = !(self.ctx.is_done() && is_context_error(cause));
        self.state().outcomes.failed(number, cause.clone(), is_real);
        // The cancel comes after the record, so no task can report the cancellation before the error that caused it (invariant
        // 3).
        if is_real && self.join == Join::FailFast {
            self.cancel.end(location, Some(cause.clone()));
        }
    }

    /// Records that a task has panicked. `wait` resumes the first panic.
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
        self.count_out(self.state());
    }

    /// Counts out a task that has ended, whether it was started or not (invariants 1 and 2).
    fn count_out(&self, mut state: MutexGuard<'_, State<T>>) {
        state.unfinished -= 1;
        state.running = state.running.saturating_sub(1);
        let waiter = if state.unfinished == 0 { state.waiter.take() } else { None };
        let is_queue_empty = state.queued.is_empty();
        drop(state);
        if let Some(waiter) = waiter {
            // The waker may panic, and this function may run inside a drop.
            background::shielded(|| waiter.wake());
        } else if !is_queue_empty {
            self.start_queued();
        }
    }
}

/// Returns whether the error is a context's error, or has a context's error as a source.
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
