//! One task inside the pool: its work until somebody takes it, its output until somebody wants it.
//!
//! # Invariants
//!
//! 1. The work is taken once: by a worker, or by the cancellation that drops it. Whoever takes it sees to it that the job
//!    is resolved.
//! 2. A job is resolved once; the first wins, and only the first is counted and reported.
//! 3. The output belongs to the `Task`. Once that is dropped, it belongs to the results.
//! 4. Work, outputs and wakers are dropped, polled and woken under none of the locks here.

use std::any::{Any, TypeId};
use std::sync::{Arc, PoisonError};
use std::task::{Poll, Waker};

use ripcord::{Canceler, Cause, Context};

use super::TaskId;
use super::results::TaskOutcome;
use super::shared::Shared;
use super::submitter::Submitter;
use crate::panics::{BoxFuture, wake};
use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use crate::{Error, Outcome, SharedError};

/// What a job does. It resolves its job itself when it comes to its end.
pub(super) enum Work {
    Async(BoxFuture<()>),
    Blocking(Box<dyn FnOnce() + Send>),
}

/// The part of a job that does not depend on its output.
pub(super) struct Core {
    pub(super) id: TaskId,
    pub(super) ctx: Context,
    /// Given up when the job is dropped: the end of a task ends nothing that it began under its context.
    canceler: Option<Canceler>,
    /// A queued job and its pool own each other; the pool's close takes the queue apart.
    pub(super) shared: Arc<Shared>,
    pub(super) submitter: Arc<Submitter>,
    pending: Mutex<Option<Pending>>,
}

/// What a job holds while nobody has begun it.
pub(super) struct Pending {
    pub(super) work: Work,
    /// Where its submitter has it listed, while it waits for a worker.
    pub(super) listed: Option<usize>,
}

pub(super) struct Job<T> {
    core: Core,
    /// Set once there is a result, to spare those who look the clone of a waker.
    ready: AtomicBool,
    output: Mutex<Output<T>>,
}

struct Output<T> {
    state: State<T>,
    waker: Option<Waker>,
    /// Whether the `Task` was dropped. (Invariant 3.)
    detached: bool,
    /// Whether the job has a place in the pool, given back when it is resolved: before anybody can see the result.
    has_place: bool,
}

enum State<T> {
    Unresolved,
    /// Somebody is the first. (Invariant 2.)
    Resolving,
    Ready(Result<T, Error<SharedError>>),
    Taken,
}

/// A job whose output type is forgotten.
pub(super) trait AnyJob: Send + Sync {
    fn core(&self) -> &Core;

    /// Resolves the job with an error, unless it was resolved.
    fn fail(self: Arc<Self>, error: Error<SharedError>);

    /// Whether the job is resolved or just being so.
    fn is_resolved(&self) -> bool;

    /// The output, a boxed `Result<T, Error<SharedError>>`, if that is the `wanted` type, it is there, and it belongs to
    /// nobody else.
    fn take_detached(&self, wanted: TypeId) -> Option<Box<dyn Any + Send>>;
}

impl Core {
    pub(super) fn new(id: TaskId, shared: Arc<Shared>, submitter: Arc<Submitter>) -> Self {
        let (ctx, canceler) = submitter.ctx.with_cancel();
        Self { id, ctx, canceler: Some(canceler), shared, submitter, pending: Mutex::new(None) }
    }

    /// Ends the job's context.
    pub(super) fn cancel(&self, why: &'static str) {
        if let Some(canceler) = &self.canceler {
            canceler.cancel_with(why);
        }
    }

    pub(super) fn set_pending(&self, pending: Pending) {
        *self.lock() = Some(pending);
    }

    /// Takes the work, if nobody did yet. (Invariant 1.) The caller holds the queue's lock, and without it takes the job off
    /// its submitter's list.
    pub(super) fn take_pending(&self) -> Option<Pending> {
        self.lock().take()
    }

    /// Keeps the place on the submitter's list with the work. False when the work is gone already.
    pub(super) fn keep_listed(&self, place: usize) -> bool {
        self.lock().as_mut().map(|pending| pending.listed = Some(place)).is_some()
    }

    /// Takes the job off its submitter's list, and gives the work.
    pub(super) fn unlist(&self, pending: Pending) -> Work {
        if let Some(place) = pending.listed {
            self.submitter.unlist(place);
        }
        pending.work
    }

    pub(super) fn is_pending(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some(canceler) = self.canceler.take() {
            canceler.detach();
        }
    }
}

impl<T: Send + 'static> Job<T> {
    pub(super) fn new(core: Core) -> Arc<Self> {
        let output = Output { state: State::Unresolved, waker: None, detached: false, has_place: true };
        Arc::new(Self { core, ready: AtomicBool::new(false), output: Mutex::new(output) })
    }

    /// Resolves the job with what its task returned.
    pub(super) fn complete(self: Arc<Self>, result: Result<T, Cause>) {
        match result {
            Ok(value) => self.resolve(Ok(value), TaskOutcome::Succeeded),
            Err(cause) => {
                // What a task returns once it was called off is nobody's failure.
                let end = self.core.ctx.err();
                let outcome = if end.is_some() { TaskOutcome::Canceled } else { TaskOutcome::Failed };
                let error = match end {
                    Some(end) => Error::ended(end, Some(SharedError::from(cause))),
                    None => Error::new(SharedError::from(cause)),
                };
                self.resolve(Err(error), outcome);
            }
        }
    }

    fn resolve(self: Arc<Self>, result: Result<T, Error<SharedError>>, outcome: TaskOutcome) {
        let mut output = self.lock();
        if !matches!(output.state, State::Unresolved) {
            drop(output);
            return;
        }
        output.state = State::Resolving;
        let had_place = std::mem::take(&mut output.has_place);
        drop(output);
        // Before the result can be seen: who sees it finds it in the stats and the place free. Not under the lock, for
        // this wakes whoever waits for the place.
        if had_place {
            self.core.shared.give_back();
        }
        self.core.shared.count(outcome);

        let mut output = self.lock();
        output.state = State::Ready(result);
        self.ready.store(true, Ordering::Release);
        let waker = output.waker.take();
        drop(output);
        self.core.shared.results.push(outcome, || Arc::clone(&self) as Arc<dyn AnyJob>);
        if let Some(waker) = waker {
            wake(waker);
        }
    }

    /// The output for the `Task`, whose waker is kept until there is one.
    pub(super) fn poll_output(&self, waker: &Waker) -> Poll<Result<T, Error<SharedError>>> {
        // Cloned before the lock and dropped after it: a waker's clone and drop are foreign code.
        let waker = if self.ready.load(Ordering::Acquire) { None } else { Some(waker.clone()) };
        let mut output = self.lock();
        match std::mem::replace(&mut output.state, State::Taken) {
            State::Ready(result) => Poll::Ready(result),
            unfinished @ (State::Unresolved | State::Resolving) => {
                output.state = unfinished;
                let old = std::mem::replace(&mut output.waker, waker);
                drop(output);
                drop(old);
                Poll::Pending
            }
            // Polled again after it was ready.
            State::Taken => Poll::Pending,
        }
    }
}

impl<T> Job<T> {
    pub(super) fn is_finished(&self) -> bool {
        matches!(self.lock().state, State::Ready(_) | State::Taken)
    }

    pub(super) fn detach(&self) {
        let mut output = self.lock();
        output.detached = true;
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
            _ if error.is_panicked() => TaskOutcome::Panicked,
            Outcome::Failure => TaskOutcome::Failed,
            Outcome::Success | Outcome::Neutral => TaskOutcome::Canceled,
        };
        self.resolve(Err(error), outcome);
    }

    fn is_resolved(&self) -> bool {
        !matches!(self.lock().state, State::Unresolved)
    }

    fn take_detached(&self, wanted: TypeId) -> Option<Box<dyn Any + Send>> {
        let mut output = self.lock();
        if wanted != TypeId::of::<Result<T, Error<SharedError>>>()
            || !output.detached
            || !matches!(output.state, State::Ready(_))
        {
            return None;
        }
        match std::mem::replace(&mut output.state, State::Taken) {
            State::Ready(result) => {
                drop(output);
                Some(Box::new(result))
            }
            _ => None,
        }
    }
}
