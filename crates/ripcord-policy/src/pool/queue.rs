//! Who waits for whom: jobs for a worker, or workers for a job.
//!
//! # Invariants
//!
//! 1. A job in the queue whose work was taken by somebody else is *void*. Void jobs are skipped when popped, and
//!    thrown out when they outnumber the others, so that memory is bounded by the jobs that are due.
//! 2. A worker is listed as idle only while the queue is empty or it is the one woken for what is in it: a push wakes
//!    one, a worker that leaves with jobs left wakes another.
//! 3. Lock order: this lock, then a job's or a worker's. Nothing foreign runs under it.
//! 4. A job that a worker takes is its present job before this lock is released, and a worker is listed from before it is
//!    started until it takes no more jobs. So whoever drains the queue finds what was taken before with a worker.
//! 5. A worker whose job waits for another job of the pool is *blocked*; one that was woken or started and has not come yet
//!    to ask what is to do is *coming*. There ought to be as many workers as were asked for, and one for each blocked. While
//!    more jobs wait than workers are coming there are that many. So one of them is not blocked, and jobs that wait for each
//!    other are never stuck for want of a worker.
//! 6. What is taken out to be resolved without having run is counted until it is. The queue is over when it is closed and
//!    empty, no worker lives and nothing is being resolved; it stays so.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::task::Waker;

use super::job::{AnyJob, Pending};
use super::worker::Worker;
use crate::panics::shielded;
use crate::sync::{Mutex, MutexGuard};

/// Void jobs tolerated whatever the length of the queue.
const VOID_ANYWAY: usize = 64;

pub(super) struct Queue {
    pool: u64,
    state: Mutex<State>,
}

struct State {
    jobs: VecDeque<Arc<dyn AnyJob>>,
    void: usize,
    idle: Vec<(u64, Waker)>,
    /// Workers that live, in the order they were started, and how many were asked for.
    workers: Vec<Arc<Worker>>,
    next_worker: u64,
    target: usize,
    /// Workers whose job waits for another. (Invariant 5.)
    blocked: usize,
    coming: usize,
    /// Jobs taken out to be resolved. (Invariant 6.)
    resolving: usize,
    closed: bool,
}

/// Void jobs, to be let go of without the lock.
#[derive(Default)]
struct Void(Vec<Arc<dyn AnyJob>>);

/// What became of a job that was put in.
pub(super) enum Pushed {
    /// An idle worker was woken for it.
    Begun,
    /// This worker is to be started for it.
    Start(Arc<Worker>),
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
    /// For the pool of that number.
    pub(super) fn new(pool: u64) -> Self {
        let state = State {
            jobs: VecDeque::new(),
            void: 0,
            idle: Vec::new(),
            workers: Vec::new(),
            next_worker: 1,
            target: 0,
            blocked: 0,
            coming: 0,
            resolving: 0,
            closed: false,
        };
        Self { pool, state: Mutex::new(state) }
    }

    /// Puts a job in, unless the queue is closed. `count` is called before anybody can take it.
    pub(super) fn push(&self, job: Arc<dyn AnyJob>, count: impl FnOnce()) -> Pushed {
        let mut state = self.lock();
        if state.closed {
            return Pushed::Refused;
        }
        count();
        state.jobs.push_back(job);
        if let Some(waker) = state.wake_idle() {
            drop(state);
            waker.wake();
            return Pushed::Begun;
        }
        match state.hire(self.pool) {
            Some(worker) => Pushed::Start(worker),
            None => Pushed::Waiting,
        }
    }

    /// What worker `id` is to do next; its waker is kept when that is to wait. `begin` is told of a job that is to be run.
    /// (Invariant 4.)
    ///
    /// One that is `expected` may have been woken or started for a job, which is not watched then: it takes one before it
    /// leaves.
    pub(super) fn next(&self, id: u64, expected: bool, waker: &Waker, begin: impl FnOnce(&Arc<dyn AnyJob>)) -> Next {
        // What is declared before the lock is dropped after it.
        let waker = waker.clone();
        let mut void = Void::default();
        let mut state = self.lock();
        let listed = if expected { state.idle.iter().position(|(idle, _)| *idle == id) } else { None };
        if expected && listed.is_none() {
            state.coming -= 1;
        }
        if state.has_too_many() && !expected {
            let other = if state.jobs.is_empty() { None } else { state.wake_idle() };
            state.leave(id);
            drop(state);
            if let Some(waker) = other {
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
                    void.0.push(job);
                }
            }
        }
        if state.closed || state.has_too_many() {
            state.leave(id);
            return Next::Leave;
        }
        let old = match listed.map(|place| &mut state.idle[place]) {
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

    /// Takes a job's work away from the workers, leaving the job void. To be [`resolved`](Self::resolved) by the caller.
    pub(super) fn take_out(&self, job: &dyn AnyJob) -> Option<Pending> {
        let mut state = self.lock();
        let pending = job.core().take_pending()?;
        state.resolving += 1;
        state.void += 1;
        let thrown_out = state.throw_out_void();
        drop(state);
        drop(thrown_out);
        Some(pending)
    }

    /// Takes everything that waits. To be [`resolved`](Self::resolved) by the caller.
    pub(super) fn drain(&self) -> Vec<(Arc<dyn AnyJob>, Pending)> {
        let mut state = self.lock();
        state.void = 0;
        let jobs = std::mem::take(&mut state.jobs);
        // Under the lock: a worker must not pop what is being drained.
        let (taken, void): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| (job.core().take_pending(), job)).partition(|(pending, _)| pending.is_some());
        state.resolving += taken.len();
        drop(state);
        drop(Void(void.into_iter().map(|(_, job)| job).collect()));
        taken.into_iter().filter_map(|(pending, job)| pending.map(|pending| (job, pending))).collect()
    }

    /// Says that jobs taken out are resolved.
    pub(super) fn resolved(&self, jobs: usize) {
        self.lock().resolving -= jobs;
    }

    /// No more jobs are to come: idle workers wake up and leave.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let idle = std::mem::take(&mut state.idle);
        state.coming += idle.len();
        drop(state);
        idle.into_iter().for_each(|(_, waker)| waker.wake());
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Whether nothing runs any more, nor ever will, and everything is resolved. (Invariant 6.)
    pub(super) fn is_over(&self) -> bool {
        let state = self.lock();
        state.closed && state.workers.is_empty() && state.resolving == 0 && state.live() == 0
    }

    /// Says that a worker is blocked. Gives one that is to be started for what waits.
    pub(super) fn block(&self) -> Option<Arc<Worker>> {
        let mut state = self.lock();
        state.blocked += 1;
        state.hire(self.pool)
    }

    /// Says that a worker is not blocked any more. If there are too many now, an idle one leaves, or else the next that has
    /// finished its job.
    pub(super) fn unblock(&self) {
        let mut state = self.lock();
        state.blocked -= 1;
        let leaving = if state.has_too_many() { state.wake_idle() } else { None };
        drop(state);
        if let Some(waker) = leaving {
            waker.wake();
        }
    }

    /// Sets how many workers were asked for. Gives those that are to be started, and how many were asked for before.
    pub(super) fn set_target(&self, target: usize) -> Option<(Vec<Arc<Worker>>, usize)> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        let old = std::mem::replace(&mut state.target, target);
        let missing = state.wanted().saturating_sub(state.workers.len());
        let starting = (0..missing).map(|_| state.list_worker(self.pool)).collect();
        let excess = state.workers.len().saturating_sub(state.wanted());
        let from = state.idle.len() - excess.min(state.idle.len());
        let leaving = state.idle.split_off(from);
        state.coming += leaving.len();
        drop(state);
        leaving.into_iter().for_each(|(_, waker)| waker.wake());
        Some((starting, old))
    }

    /// Says that a worker is gone without having been told to leave: its runtime dropped it.
    pub(super) fn lost(&self, id: u64) {
        self.lock().leave(id);
    }

    /// Workers that live, in the order they were started.
    pub(super) fn workers(&self) -> Vec<Arc<Worker>> {
        self.lock().workers.clone()
    }

    /// Jobs that wait for a worker.
    pub(super) fn waiting(&self) -> usize {
        self.lock().live()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How many workers there ought to be. (Invariant 5.)
    fn wanted(&self) -> usize {
        self.target + self.blocked
    }

    fn has_too_many(&self) -> bool {
        self.workers.len() > self.wanted()
    }

    /// One more worker, which is to be started, if there are too few for what waits.
    fn hire(&mut self, pool: u64) -> Option<Arc<Worker>> {
        (self.live() > self.coming && self.workers.len() < self.wanted()).then(|| self.list_worker(pool))
    }

    fn list_worker(&mut self, pool: u64) -> Arc<Worker> {
        let worker = Arc::new(Worker::new(pool, self.next_worker));
        self.next_worker += 1;
        self.coming += 1;
        self.workers.push(Arc::clone(&worker));
        worker
    }

    /// An idle worker, which is to be woken.
    fn wake_idle(&mut self) -> Option<Waker> {
        let (_, waker) = self.idle.pop()?;
        self.coming += 1;
        Some(waker)
    }

    /// Jobs that are due.
    fn live(&self) -> usize {
        self.jobs.len() - self.void
    }

    fn leave(&mut self, id: u64) {
        // The worker's task has it still: its present job is not dropped here.
        self.workers.retain(|worker| worker.id() != id);
        self.idle.retain(|(idle, _)| *idle != id);
    }

    fn throw_out_void(&mut self) -> Void {
        if self.void <= VOID_ANYWAY || self.void * 2 <= self.jobs.len() {
            return Void::default();
        }
        self.void = 0;
        let (live, void) =
            std::mem::take(&mut self.jobs).into_iter().partition::<Vec<_>, _>(|job| job.core().is_pending());
        self.jobs = live.into();
        Void(void)
    }
}

impl Drop for Void {
    fn drop(&mut self) {
        for job in self.0.drain(..) {
            // May be the last owner of the task's output, whose drop is foreign code.
            shielded(|| drop(job));
        }
    }
}
