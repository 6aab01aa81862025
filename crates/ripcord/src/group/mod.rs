//! Structured tasks under one context: Go's errgroup.
//!
//! # Invariants
//!
//! 1. `unfinished` counts the tasks given to `go` that have not ended, queued ones too. Each is a `Child`, which counts itself
//!    out exactly once: when its future ends, panics, or is dropped.
//! 2. `running` counts those handed to the executor, and is at most the limit at the time each was.
//! 3. The first real error is written before the context is canceled, so no task can report the cancellation before it.
//! 4. No lock is held while a future is polled or dropped, the executor is called, or a waker is woken.

mod child;
mod error;

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::background;
use crate::canceler::{CancelHandle, Canceler};
use crate::cause::Cause;
use crate::context::Context;
use crate::error::Error;
use crate::future::FutureExt;
use crate::task::TaskLists;
use child::Child;
pub use error::GroupError;

/// A task as an executor gets it.
pub type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tasks that end together: the first error cancels the others, and [`wait`](Group::wait) returns when all have ended.
///
/// Go's `errgroup.Group`, structured: dropping the group, or the future of `wait`, cancels the context and drops the tasks, at
/// their next poll.
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
///         Err(ctx.done().await.into()) // the others are called off
///     });
/// }
/// let result = group.wait().await;
/// assert_eq!(result.unwrap_err().to_string(), "the second one failed");
/// # });
/// ```
#[doc(alias = "errgroup.Group")]
#[must_use = "a group that is dropped cancels its tasks at once"]
pub struct Group {
    shared: Arc<Shared>,
    /// Ends the tasks themselves, not only the context they were given: when the group is dropped.
    abort: (Context, Canceler),
    /// Cancels the tasks' context when dropped, with the line that created the group. None only while it is being dropped.
    cancel: Option<Canceler>,
    /// Where the group was created.
    location: &'static Location<'static>,
}

/// What the tasks share with their group.
struct Shared {
    /// The tasks' context.
    ctx: Context,
    cancel: CancelHandle,
    execute: Box<dyn Fn(BoxFuture) + Send + Sync>,
    /// The lists that its tasks are in.
    lists: TaskLists,
    state: Mutex<State>,
}

struct State {
    unfinished: usize,
    running: usize,
    limit: usize,
    queued: VecDeque<BoxFuture>,
    /// Somebody hands queued tasks to the executor: one at a time, since an executor may run a task within the call.
    starting: bool,
    /// Every error, in the order in which the tasks ended.
    errors: Vec<GroupError>,
    /// The place in `errors` of the one to report, and whether it is real.
    first: Option<(usize, bool)>,
    panic: Option<Box<dyn Any + Send>>,
    waiter: Option<Waker>,
}

// No users' code runs under its lock (invariant 4), and what a task left half done is the task's.
impl UnwindSafe for Shared {}
impl RefUnwindSafe for Shared {}

impl Group {
    /// A group whose tasks are spawned on the tokio runtime that runs when they are given to it, and the context for them: a
    /// child of `ctx`.
    ///
    /// A task given to it outside of a runtime ends at once, with an error that says so.
    #[cfg(feature = "tokio")]
    #[doc(alias = "errgroup.WithContext")]
    #[track_caller]
    pub fn new(ctx: &Context) -> (Group, Context) {
        Group::with_executor(ctx, |task| {
            // Without a runtime the task is dropped, which is an error that its group reports.
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                drop(runtime.spawn(task));
            }
        })
    }

    /// A group on any executor: `execute` is handed each task and runs it to its end. One that it drops instead has ended
    /// with an error.
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
        let (ctx, cancel) = ctx.with_cancel();
        let state = State {
            unfinished: 0,
            running: 0,
            limit: usize::MAX,
            queued: VecDeque::new(),
            starting: false,
            errors: Vec::new(),
            first: None,
            panic: None,
            waiter: None,
        };
        let shared = Shared {
            ctx: ctx.clone(),
            cancel: cancel.handle(),
            execute: Box::new(execute),
            lists: TaskLists::above(&ctx),
            state: Mutex::new(state),
        };
        let abort = Context::background().with_cancel();
        let location = Location::caller();
        (Group { shared: Arc::new(shared), abort, cancel: Some(cancel), location }, ctx)
    }

    /// Starts a task. Above the limit the task is queued, and starts when another task has ended. Never blocks.
    ///
    /// Once the group's context is done, nothing starts: the future is dropped without a poll, and its result is the context's
    /// error. The first error or panic of a task ends that context, permanently: every later `go` drops its task, and
    /// [`wait`](Group::wait) reports why. For background jobs that must not affect each other, create one group per job.
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
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Cause>,
    {
        let task = self.child(task, Location::caller());
        let mut state = self.shared.state();
        state.unfinished += 1;
        if state.running < state.limit {
            state.running += 1;
            drop(state);
            (self.shared.execute)(task);
        } else {
            state.queued.push_back(task);
        }
    }

    /// Starts a task unless the limit is reached or the context is done. Says whether it did; else the task is dropped and
    /// has no result.
    #[doc(alias = "errgroup.Group.TryGo")]
    #[track_caller]
    pub fn try_go<F, E>(&self, task: F) -> bool
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Cause>,
    {
        if self.shared.ctx.is_done() {
            return false;
        }
        let mut state = self.shared.state();
        if state.running >= state.limit {
            return false;
        }
        state.unfinished += 1;
        state.running += 1;
        drop(state);
        (self.shared.execute)(self.child(task, Location::caller()));
        true
    }

    /// How many tasks run at a time, from now on; those that run go on. Zero lets none start: what is still queued then when
    /// the group is waited for ends with an error.
    #[doc(alias = "errgroup.Group.SetLimit")]
    pub fn set_limit(&self, limit: usize) {
        self.shared.state().limit = limit;
        self.shared.start_queued();
    }

    /// Waits until every task has ended.
    ///
    /// # Errors
    ///
    /// The first error that a task ended with. A real one beats the cancellation it caused, and also one that came from above
    /// before it.
    ///
    /// # Panics
    ///
    /// With what a task panicked with, after all have ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the group: the context is canceled and the tasks are dropped at their next poll.
    #[doc(alias = "errgroup.Group.Wait")]
    pub async fn wait(self) -> Result<(), GroupError> {
        let (mut errors, first) = self.ended().await;
        match first {
            None => Ok(()),
            Some((at, _)) => Err(errors.swap_remove(at)),
        }
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
        self.ended().await.0
    }

    async fn ended(self) -> (Vec<GroupError>, Option<(usize, bool)>) {
        self.shared.drop_queued_at_limit_zero();
        let shared = &self.shared;
        std::future::poll_fn(|task| {
            let state = shared.state();
            if state.unfinished == 0 {
                return Poll::Ready(());
            }
            if state.waiter.as_ref().is_some_and(|waker| waker.will_wake(task.waker())) {
                return Poll::Pending;
            }
            drop(state);
            // Cloned and dropped without the lock: users' code.
            let waker = task.waker().clone();
            let mut state = shared.state();
            if state.unfinished == 0 {
                return Poll::Ready(());
            }
            let replaced = state.waiter.replace(waker);
            drop(state);
            drop(replaced);
            Poll::Pending
        })
        .await;
        let mut state = shared.state();
        let panic = state.panic.take();
        let (errors, first) = (std::mem::take(&mut state.errors), state.first);
        drop(state);
        // As in Go, the context ends with the group.
        shared.cancel.cancel_at("the group's tasks have ended", self.location);
        if let Some(panic) = panic {
            std::panic::resume_unwind(panic);
        }
        (errors, first)
    }

    fn child<F, E>(&self, task: F, location: &'static Location<'static>) -> BoxFuture
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Cause>,
    {
        let task = task.with_context(&self.abort.0);
        Box::pin(Child::new(Arc::clone(&self.shared), location, async move {
            match task.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(error.into()),
                Err(aborted) => Err(Cause::from(aborted)),
            }
        }))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Before the tasks are dropped, so that they see their context done.
        drop(self.cancel.take());
        self.abort.1.cancel_at("the group was dropped", self.location);
        let queued = std::mem::take(&mut self.shared.state().queued);
        drop(queued);
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state();
        f.debug_struct("Group")
            .field("ctx", &self.shared.ctx)
            .field("unfinished", &state.unfinished)
            .finish_non_exhaustive()
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // Of a group that nobody waited for. Dropping what a task panicked with may panic too.
        let panic = self.panic.take();
        background::shielded(|| drop(panic));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Users' code does not run under it (invariant 4).
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands queued tasks to the executor, up to the limit. One that comes after the end sees so at its first poll.
    fn start_queued(&self) {
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
            background::shielded(|| (self.execute)(task));
            state = self.state();
            state.starting = false;
        }
    }

    fn drop_queued_at_limit_zero(&self) {
        let mut state = self.state();
        if state.limit == 0 {
            let queued = std::mem::take(&mut state.queued);
            // A dropped child counts itself out of those that run, too.
            state.running += queued.len();
            drop(state);
            drop(queued);
        }
    }

    /// A task that was started at `location` has ended (invariant 1).
    fn finish(&self, result: Result<(), Cause>, location: &'static Location<'static>) {
        // An error is the user's: what it panics with when it is asked or dropped is the task's panic.
        let recorded = catch_unwind(AssertUnwindSafe(|| self.record(&result, location)));
        background::shielded(|| drop(result));
        match recorded {
            Ok(()) => self.count_out(),
            Err(panic) => self.finish_panicked(panic, location),
        }
    }

    fn record(&self, result: &Result<(), Cause>, location: &'static Location<'static>) {
        let Err(cause) = result else { return };
        // A cancellation from above, or the one that the first error caused, is no error of the task's own.
        let is_real = !(self.ctx.is_done() && is_context_error(cause));
        let mut state = self.state();
        let at = state.errors.len();
        state.errors.push(GroupError::new(cause.clone()));
        if state.first.is_none_or(|(_, known)| !known && is_real) {
            state.first = Some((at, is_real));
        }
        drop(state);
        // Only now: no task can report the cancellation before the error that caused it (invariant 3).
        if is_real {
            self.cancel.end(location, Some(cause.clone()));
        }
    }

    /// A task has panicked. The first panic is carried to `wait`.
    fn finish_panicked(&self, panic: Box<dyn Any + Send>, location: &'static Location<'static>) {
        let mut state = self.state();
        let surplus = if state.panic.is_none() { state.panic.replace(panic) } else { Some(panic) };
        drop(state);
        background::shielded(|| drop(surplus));
        self.cancel.cancel_at("a task of the group panicked", location);
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
