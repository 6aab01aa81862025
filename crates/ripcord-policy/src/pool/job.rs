//! A job inside the pool: its context, and its output until the owner takes it.
//!
//! # Invariants
//!
//! 1. A job is resolved once. The first resolver counts the job and releases its permit before the output is visible.
//! 2. The output belongs to the [`JobHandle`](super::JobHandle). When the handle is dropped, the output belongs to the results.
//! 3. No lock is held while an output is dropped or a waker is woken or dropped.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::task::{Poll, Waker};

use ripcord::{CancelHandle, Cause, Context};

use super::JobId;
use super::shared::Shared;
use super::submitter::Submitter;
use crate::panics::{BoxFuture, panicked, shielded, wake};
use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use crate::{Error, Outcome, SharedError};

/// The way in which a job of a [`WorkerPool`](super::WorkerPool) ended. This enum is exhaustive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobOutcome {
    /// The job returned `Ok`.
    Succeeded,
    /// The job returned `Err` before its context ended.
    Failed,
    /// The job panicked.
    Panicked,
    /// The context of the job was canceled or passed its deadline, and the job ended without returning `Ok`.
    Canceled,
}

/// The work of a job. It resolves its job when it runs to its end.
pub(super) enum Work {
    Async(BoxFuture<()>),
    Blocking(Box<dyn FnOnce() + Send>),
}

/// The part of a job that does not depend on its output.
pub(super) struct Core {
    pub(super) id: JobId,
    pub(super) ctx: Context,
    cancel: CancelHandle,
    pub(super) shared: Arc<Shared>,
    pub(super) submitter: Arc<Submitter>,
    is_resolved: AtomicBool,
}

pub(super) struct Job<T> {
    core: Core,
    output: Mutex<Output<T>>,
}

struct Output<T> {
    state: State<T>,
    waker: Option<Waker>,
    /// Whether the handle has been dropped. (Invariant 2.)
    is_detached: bool,
}

enum State<T> {
    Unresolved,
    Ready(Result<T, Error<SharedError>>),
    Taken,
}

/// A job of any output type.
pub(super) trait AnyJob: Any + Send + Sync {
    fn core(&self) -> &Core;

    /// Resolves the job with an error, unless the job is already resolved.
    fn fail(self: Arc<Self>, error: Error<SharedError>);
}

/// Returns the work of an async job. The work resolves its job.
pub(super) fn async_work<Fut, T, E>(job: &Arc<Job<T>>, run: impl FnOnce(Context) -> Fut + Send + 'static) -> Work
where
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Into<Cause> + 'static,
{
    let job = Arc::clone(job);
    Work::Async(Box::pin(async move {
        let result = run(job.core().ctx.clone()).await.map_err(Into::into);
        job.complete(result);
    }))
}

/// Returns the work of a blocking job. The work resolves its job.
pub(super) fn blocking_work<T, E>(
    job: &Arc<Job<T>>,
    run: impl FnOnce(&Context) -> Result<T, E> + Send + 'static,
) -> Work
where
    T: Send + 'static,
    E: Into<Cause> + 'static,
{
    let job = Arc::clone(job);
    Work::Blocking(Box::new(move || {
        // The context may have ended while the job waited for a thread.
        if let Some(end) = job.core().ctx.err() {
            shielded(|| drop(run));
            return job.fail(Error::ended(end, None));
        }
        match catch_unwind(AssertUnwindSafe(|| run(&job.core().ctx).map_err(Into::into))) {
            Ok(result) => job.complete(result),
            Err(payload) => job.fail(Error::from(panicked(payload))),
        }
    }))
}

impl Core {
    pub(super) fn new(id: JobId, shared: Arc<Shared>, submitter: Arc<Submitter>) -> Self {
        let (ctx, canceler) = submitter.ctx.with_cancel();
        let cancel = canceler.handle();
        // The end of a job must not cancel work that the job started under its context.
        canceler.detach();
        Self { id, ctx, cancel, shared, submitter, is_resolved: AtomicBool::new(false) }
    }

    /// Ends the job's context.
    #[track_caller]
    pub(super) fn cancel(&self) {
        self.cancel.cancel_with("the job was canceled through its handle");
    }

    pub(super) fn is_resolved(&self) -> bool {
        self.is_resolved.load(Ordering::Acquire)
    }
}

impl<T: Send + 'static> Job<T> {
    pub(super) fn new(core: Core) -> Arc<Self> {
        let output = Output { state: State::Unresolved, waker: None, is_detached: false };
        Arc::new(Self { core, output: Mutex::new(output) })
    }

    /// Resolves the job with the result of its job.
    pub(super) fn complete(self: Arc<Self>, result: Result<T, Cause>) {
        match result {
            Ok(value) => self.resolve(Ok(value), JobOutcome::Succeeded),
            // An error under a context that has ended is not a failure of the job.
            Err(cause) => match self.core.ctx.err() {
                Some(end) => self.fail(Error::ended(end, Some(SharedError::from(cause)))),
                None => self.fail(Error::new(SharedError::from(cause))),
            },
        }
    }

    fn resolve(self: Arc<Self>, result: Result<T, Error<SharedError>>, outcome: JobOutcome) {
        // Invariant 1.
        if self.core.is_resolved.swap(true, Ordering::AcqRel) {
            return;
        }
        self.core.shared.give_back_permit();
        outcome.count(&self.core.shared.tally);

        let mut output = self.lock();
        output.state = State::Ready(result);
        let waker = output.waker.take();
        drop(output);
        self.core.shared.results.push(outcome, || Arc::clone(&self) as Arc<dyn AnyJob>);
        if let Some(waker) = waker {
            wake(waker);
        }
    }

    /// Returns the output to the handle, or keeps `waker` until the job is resolved.
    pub(super) fn poll_output(&self, waker: &Waker) -> Poll<Result<T, Error<SharedError>>> {
        // Cloned before the lock is taken and dropped after it is released, because both run foreign code.
        let waker = waker.clone();
        let mut output = self.lock();
        match std::mem::replace(&mut output.state, State::Taken) {
            State::Ready(result) => {
                drop(output);
                Poll::Ready(result)
            }
            State::Unresolved => {
                output.state = State::Unresolved;
                let replaced = output.waker.replace(waker);
                drop(output);
                drop(replaced);
                Poll::Pending
            }
            // The handle was polled again after it was ready.
            State::Taken => Poll::Pending,
        }
    }
}

impl<T> Job<T> {
    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    pub(super) fn is_finished(&self) -> bool {
        !matches!(self.lock().state, State::Unresolved)
    }

    /// Returns the output of a resolved job if the handle has been dropped and the output has not been taken.
    pub(super) fn take_detached(&self) -> Option<Result<T, Error<SharedError>>> {
        let mut output = self.lock();
        if !output.is_detached {
            return None;
        }
        match std::mem::replace(&mut output.state, State::Taken) {
            State::Ready(result) => Some(result),
            State::Unresolved | State::Taken => None,
        }
    }

    pub(super) fn detach(&self) {
        let mut output = self.lock();
        output.is_detached = true;
        let waker = output.waker.take();
        drop(output);
        drop(waker);
    }

    fn lock(&self) -> MutexGuard<'_, Output<T>> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> AnyJob for Job<T> {
    fn core(&self) -> &Core {
        &self.core
    }

    fn fail(self: Arc<Self>, error: Error<SharedError>) {
        let outcome = match error.outcome() {
            _ if error.is_panicked() => JobOutcome::Panicked,
            Outcome::Failure => JobOutcome::Failed,
            Outcome::Success | Outcome::Neutral => JobOutcome::Canceled,
        };
        self.resolve(Err(error), outcome);
    }
}
