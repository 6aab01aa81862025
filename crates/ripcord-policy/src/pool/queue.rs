//! Who waits for whom: jobs for a worker, or workers for a job.
//!
//! # Invariants
//!
//! 1. A job in the queue whose work was taken by somebody else is *void*. Void jobs are skipped when popped, and
//!    thrown out when they outnumber the others, so that memory is bounded by the jobs that are due.
//! 2. A worker is listed as idle only while the queue is empty or it is the one woken for what is in it: a push wakes
//!    one, a worker that leaves with jobs left wakes another.
//! 3. Lock order: this lock, then a job's or that of a worker's cell. Nothing foreign runs under it.
//! 4. A job that a worker takes is in that worker's cell before this lock is released. So whoever drains the queue finds
//!    what was taken before: with a worker or, by the invariants of `inline`, in place.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::job::{AnyJob, Pending};

/// Void jobs tolerated whatever the length of the queue.
const VOID_ANYWAY: usize = 64;

pub(super) struct Queue {
    state: Mutex<State>,
}

struct State {
    jobs: VecDeque<Arc<dyn AnyJob>>,
    void: usize,
    idle: Vec<(u64, Waker)>,
    /// Workers that live, and how many there ought to be.
    workers: usize,
    target: usize,
    closed: bool,
}

/// What became of a job that was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// An idle worker was woken for it.
    Begun,
    /// All workers are busy.
    Waiting,
    /// The queue is closed.
    Refused,
}

/// What a worker is to do next.
pub(super) enum Next {
    Run(Arc<dyn AnyJob>, Pending),
    Wait,
    Leave,
}

impl Queue {
    pub(super) fn new() -> Self {
        let state = State { jobs: VecDeque::new(), void: 0, idle: Vec::new(), workers: 0, target: 0, closed: false };
        Self { state: Mutex::new(state) }
    }

    /// Puts a job in, unless the queue is closed.
    pub(super) fn push(&self, job: Arc<dyn AnyJob>) -> Pushed {
        let mut state = self.lock();
        if state.closed {
            return Pushed::Refused;
        }
        state.jobs.push_back(job);
        let idle = state.idle.pop();
        drop(state);
        match idle {
            Some((_, waker)) => {
                waker.wake();
                Pushed::Begun
            }
            None => Pushed::Waiting,
        }
    }

    /// What worker `id` is to do next; its waker is kept when that is to wait. `begin` is told of a job that is to be run.
    /// (Invariant 4.)
    ///
    /// One that `has_waited` may have been woken for a job, which is not watched then: it takes one before it leaves.
    pub(super) fn next(&self, id: u64, has_waited: bool, waker: &Waker, begin: impl FnOnce(&Arc<dyn AnyJob>)) -> Next {
        // What is declared before the lock is dropped after it.
        let waker = waker.clone();
        let mut void = Vec::new();
        let mut state = self.lock();
        if state.workers > state.target && !has_waited {
            let other = if state.jobs.is_empty() { None } else { state.idle.pop() };
            state.leave(id);
            drop(state);
            if let Some((_, waker)) = other {
                waker.wake();
            }
            return Next::Leave;
        }
        while let Some(job) = state.jobs.pop_front() {
            match job.core().take_pending() {
                Some(pending) => {
                    begin(&job);
                    return Next::Run(job, pending);
                }
                None => {
                    state.void -= 1;
                    void.push(job);
                }
            }
        }
        if state.closed || state.workers > state.target {
            state.leave(id);
            return Next::Leave;
        }
        let old = match state.idle.iter_mut().find(|(idle, _)| *idle == id) {
            Some((_, old)) => Some(std::mem::replace(old, waker)),
            None => {
                state.idle.push((id, waker));
                None
            }
        };
        drop(state);
        drop(old);
        Next::Wait
    }

    /// Takes a job's work away from the workers, leaving the job void.
    pub(super) fn steal(&self, job: &dyn AnyJob) -> Option<Pending> {
        let mut state = self.lock();
        let pending = job.core().take_pending()?;
        state.void += 1;
        let thrown_out = state.throw_out_void();
        drop(state);
        drop(thrown_out);
        Some(pending)
    }

    /// Takes everything that waits.
    pub(super) fn drain(&self) -> Vec<(Arc<dyn AnyJob>, Pending)> {
        let mut state = self.lock();
        state.void = 0;
        let jobs = std::mem::take(&mut state.jobs);
        // Under the lock: a worker must not pop what is being drained.
        let taken: Vec<_> = jobs.into_iter().map(|job| (job.core().take_pending(), job)).collect();
        drop(state);
        taken.into_iter().filter_map(|(pending, job)| pending.map(|pending| (job, pending))).collect()
    }

    /// No more jobs are to come: idle workers wake up and leave.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        idle.into_iter().for_each(|(_, waker)| waker.wake());
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Sets how many workers there ought to be. Returns how many are to be started, which then count as living, and what
    /// the target was.
    pub(super) fn set_target(&self, target: usize) -> Option<(usize, usize)> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        let old = std::mem::replace(&mut state.target, target);
        let missing = target.saturating_sub(state.workers);
        state.workers += missing;
        let excess = state.workers.saturating_sub(target);
        let from = state.idle.len() - excess.min(state.idle.len());
        let leaving = state.idle.split_off(from);
        drop(state);
        leaving.into_iter().for_each(|(_, waker)| waker.wake());
        Some((missing, old))
    }

    /// Says that a worker is gone without having been told to leave: its runtime dropped it.
    pub(super) fn lost(&self, id: u64) {
        self.lock().leave(id);
    }

    /// Workers that live.
    pub(super) fn workers(&self) -> usize {
        self.lock().workers
    }

    /// Jobs that wait for a worker.
    pub(super) fn waiting(&self) -> usize {
        let state = self.lock();
        state.jobs.len() - state.void
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn leave(&mut self, id: u64) {
        self.workers -= 1;
        self.idle.retain(|(idle, _)| *idle != id);
    }

    fn throw_out_void(&mut self) -> Vec<Arc<dyn AnyJob>> {
        if self.void <= VOID_ANYWAY || self.void * 2 <= self.jobs.len() {
            return Vec::new();
        }
        self.void = 0;
        let (live, void) =
            std::mem::take(&mut self.jobs).into_iter().partition::<Vec<_>, _>(|job| job.core().is_pending());
        self.jobs = live.into();
        void
    }
}
