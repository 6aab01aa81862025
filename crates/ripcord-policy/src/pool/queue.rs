//! The queue of jobs that wait for a worker, and of workers that wait for a job.
//!
//! # Invariants
//!
//! 1. The queue owns the work of every waiting job. Code that takes a job out of the queue runs its work or resolves the job.
//! 2. A job waits only while no worker is idle. A push gives its job to an idle worker if there is one, and a worker becomes idle
//!    only when no job waits. A worker that was given a job runs it, even if there are too many workers.
//! 3. A job that is taken out to be resolved without running is counted until it is resolved. The queue is over when it is closed
//!    and empty, no worker exists, and no job is being resolved. It stays over.
//! 4. One lock guards the whole queue. No foreign code runs under it: work and outputs are dropped outside, and wakers are woken
//!    outside.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::Instant;

use super::JobId;
use super::job::{AnyJob, Work};
use super::stats::{WorkerState, WorkerStatus};
use super::submitter::SubmitterId;
use crate::sync::{Mutex, MutexGuard};

#[derive(Default)]
pub(super) struct Queue(Mutex<State>);

/// A job and its work.
pub(super) struct Queued {
    pub(super) job: Arc<dyn AnyJob>,
    pub(super) work: Work,
}

/// The number of a worker. Workers are numbered in the order in which they start.
pub(super) type WorkerId = u64;

#[derive(Default)]
struct State {
    waiting: BTreeMap<JobId, Queued>,
    /// The waiting jobs, sorted by submitter.
    by_submitter: BTreeSet<(SubmitterId, JobId)>,
    /// The workers that exist.
    workers: BTreeMap<WorkerId, Worker>,
    idle: Vec<(WorkerId, Waker)>,
    next_worker: WorkerId,
    /// The number of workers wanted.
    target: usize,
    /// The number of jobs that were taken out and are not resolved yet. (Invariant 3.)
    resolving: usize,
    is_closed: bool,
}

#[derive(Default)]
struct Worker {
    activity: Activity,
    finished: u64,
}

#[derive(Default)]
enum Activity {
    /// The worker is idle, or about to ask for a job.
    #[default]
    None,
    /// The worker was idle and has been given a job, but has not started it.
    Given(Queued),
    Runs {
        job: Arc<dyn AnyJob>,
        since: Instant,
    },
}

/// The outcome of a push.
pub(super) enum Pushed {
    GivenToWorker,
    Waiting,
    /// The queue is closed. Returns the job.
    Refused(Queued),
}

/// The next step of a worker.
pub(super) enum Next {
    Run(Queued),
    Wait,
    Leave,
}

impl Queue {
    /// Pushes a job. `count` is called before any worker can take the job.
    pub(super) fn push(&self, queued: Queued, count: impl FnOnce()) -> Pushed {
        let mut state = self.lock();
        if state.is_closed {
            return Pushed::Refused(queued);
        }
        count();
        // Invariant 2.
        let Some((id, waker)) = state.idle.pop() else {
            let core = queued.job.core();
            let (id, submitter) = (core.id, core.submitter.id);
            state.by_submitter.insert((submitter, id));
            state.waiting.insert(id, queued);
            return Pushed::Waiting;
        };
        state.worker(id).activity = Activity::Given(queued);
        drop(state);
        waker.wake();
        Pushed::GivenToWorker
    }

    /// Returns the next step of a worker, and records it. Keeps the worker's waker if the worker has to wait.
    pub(super) fn next(&self, id: WorkerId, waker: &Waker, now: impl FnOnce() -> Instant) -> Next {
        // Created before the lock is taken, so dropped after it is released.
        let waker = waker.clone();
        let mut state = self.lock();
        // The worker may be polled without having been woken. It becomes idle again only if it has to wait again.
        let replaced = state.remove_idle(id);
        let given = match std::mem::take(&mut state.worker(id).activity) {
            Activity::Given(queued) => Some(queued),
            Activity::None | Activity::Runs { .. } => None,
        };
        let is_surplus = state.workers.len() > state.target;
        let next = match given.or_else(|| if is_surplus { None } else { state.take_first() }) {
            Some(queued) => {
                state.worker(id).activity = Activity::Runs { job: Arc::clone(&queued.job), since: now() };
                Next::Run(queued)
            }
            None if is_surplus || state.is_closed => {
                state.workers.remove(&id);
                Next::Leave
            }
            None => {
                state.idle.push((id, waker));
                Next::Wait
            }
        };
        drop(state);
        drop(replaced);
        next
    }

    /// Records that a worker has finished its job. Returns the job, which the caller drops without the lock.
    #[must_use]
    pub(super) fn finished(&self, id: WorkerId) -> Option<Arc<dyn AnyJob>> {
        let mut state = self.lock();
        let worker = state.worker(id);
        worker.finished += 1;
        match std::mem::take(&mut worker.activity) {
            Activity::Runs { job, .. } => Some(job),
            Activity::None | Activity::Given(_) => None,
        }
    }

    /// Takes out a job that no worker has started. The caller resolves the job: see [`resolved`](Self::resolved).
    pub(super) fn take(&self, id: JobId) -> Option<Queued> {
        let mut state = self.lock();
        let queued = state.remove(id).or_else(|| state.take_given(|job| job.core().id == id))?;
        state.resolving += 1;
        Some(queued)
    }

    /// Takes out all waiting jobs of a submitter. The caller resolves the jobs: see [`resolved`](Self::resolved).
    pub(super) fn take_all_of(&self, submitter: SubmitterId) -> Vec<Queued> {
        let mut state = self.lock();
        let first = Bound::Included((submitter, JobId::FIRST));
        let ids: Vec<_> = state
            .by_submitter
            .range((first, Bound::Unbounded))
            .map_while(|(of, id)| (*of == submitter).then_some(*id))
            .collect();
        let taken: Vec<_> = ids.into_iter().filter_map(|id| state.remove(id)).collect();
        state.resolving += taken.len();
        taken
    }

    /// Takes out all jobs that no worker has started. The caller resolves the jobs: see [`resolved`](Self::resolved).
    pub(super) fn take_all(&self) -> Vec<Queued> {
        let mut state = self.lock();
        state.by_submitter.clear();
        let mut taken: Vec<_> = std::mem::take(&mut state.waiting).into_values().collect();
        while let Some(given) = state.take_given(|_| true) {
            taken.push(given);
        }
        state.resolving += taken.len();
        taken
    }

    /// Records that jobs that were taken out are resolved.
    pub(super) fn resolved(&self, jobs: usize) {
        self.lock().resolving -= jobs;
    }

    /// Closes the queue to new jobs. Idle workers wake up and leave.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        idle.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Returns whether no job runs or will run, and every job is resolved. (Invariant 3.)
    pub(super) fn is_over(&self) -> bool {
        let state = self.lock();
        state.is_closed && state.workers.is_empty() && state.resolving == 0 && state.waiting.is_empty()
    }

    /// Sets the number of workers wanted. Returns the workers to start and the previous number, or `None` if the queue is closed.
    pub(super) fn set_target(&self, target: usize) -> Option<(Vec<WorkerId>, usize)> {
        let mut state = self.lock();
        if state.is_closed {
            return None;
        }
        let old = std::mem::replace(&mut state.target, target);
        let missing = target.saturating_sub(state.workers.len());
        let starting = (0..missing).map(|_| state.add_worker()).collect();
        let excess = state.workers.len().saturating_sub(target).min(state.idle.len());
        let stay = state.idle.len() - excess;
        let leaving = state.idle.split_off(stay);
        drop(state);
        leaving.into_iter().for_each(|(_, waker)| waker.wake());
        Some((starting, old))
    }

    /// Removes a worker that its runtime dropped. Returns the worker's waker, and the job that it was given and has not started.
    /// The caller resolves the job: see [`resolved`](Self::resolved).
    pub(super) fn remove_worker(&self, id: WorkerId) -> (Option<Waker>, Option<Queued>) {
        let mut state = self.lock();
        let given = match state.workers.remove(&id).map(|worker| worker.activity) {
            Some(Activity::Given(queued)) => Some(queued),
            _ => None,
        };
        state.resolving += usize::from(given.is_some());
        (state.remove_idle(id), given)
    }

    pub(super) fn has_workers(&self) -> bool {
        !self.lock().workers.is_empty()
    }

    pub(super) fn running(&self) -> Vec<Arc<dyn AnyJob>> {
        let running = |worker: &Worker| match &worker.activity {
            Activity::Runs { job, .. } => Some(Arc::clone(job)),
            Activity::None | Activity::Given(_) => None,
        };
        self.lock().workers.values().filter_map(running).collect()
    }

    /// Returns the number of waiting jobs and the state of each worker.
    pub(super) fn status(&self, now: Instant) -> (usize, Vec<WorkerStatus>) {
        let state = self.lock();
        let status = |(id, worker): (&WorkerId, &Worker)| {
            let running = |job: &Arc<dyn AnyJob>, since| {
                let elapsed = now.saturating_duration_since(since);
                WorkerState::Running { job: job.core().id, elapsed }
            };
            let state = match &worker.activity {
                Activity::None => WorkerState::Idle,
                Activity::Given(queued) => running(&queued.job, now),
                Activity::Runs { job, since } => running(job, *since),
            };
            WorkerStatus { id: *id, state, finished: worker.finished }
        };
        (state.waiting.len(), state.workers.iter().map(status).collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add_worker(&mut self) -> WorkerId {
        self.next_worker += 1;
        self.workers.insert(self.next_worker, Worker::default());
        self.next_worker
    }

    /// Returns the worker `id`. The worker exists while it is idle, has a job, or asks for a job.
    fn worker(&mut self, id: WorkerId) -> &mut Worker {
        self.workers.get_mut(&id).expect("a worker that leaves is not idle and asks for nothing")
    }

    fn remove_idle(&mut self, id: WorkerId) -> Option<Waker> {
        let position = self.idle.iter().position(|(idle, _)| *idle == id)?;
        Some(self.idle.swap_remove(position).1)
    }

    fn take_first(&mut self) -> Option<Queued> {
        let (id, _) = self.waiting.first_key_value()?;
        self.remove(*id)
    }

    fn remove(&mut self, id: JobId) -> Option<Queued> {
        let queued = self.waiting.remove(&id)?;
        self.by_submitter.remove(&(queued.job.core().submitter.id, id));
        Some(queued)
    }

    /// Takes back a job that a worker was given and has not started. The worker then asks for another job.
    fn take_given(&mut self, wanted: impl Fn(&Arc<dyn AnyJob>) -> bool) -> Option<Queued> {
        let is_wanted = |worker: &&mut Worker| match &worker.activity {
            Activity::Given(queued) => wanted(&queued.job),
            Activity::None | Activity::Runs { .. } => false,
        };
        let worker = self.workers.values_mut().find(is_wanted)?;
        match std::mem::take(&mut worker.activity) {
            Activity::Given(queued) => Some(queued),
            Activity::None | Activity::Runs { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A regression test. A job may be polled without having been woken. In an earlier version, the worker then left but was
    /// still listed as idle. The next job was given to this worker and never ran.
    #[test]
    fn surplus_worker_polled_without_a_wake_up_leaves_the_idle_ones() {
        let queue = Queue::default();
        let (ids, _) = queue.set_target(2).unwrap();
        let next = |id| queue.next(id, Waker::noop(), Instant::now);
        assert!(ids.iter().all(|id| matches!(next(*id), Next::Wait)));
        assert!(queue.set_target(1).is_some());
        assert!(matches!(next(ids[0]), Next::Leave));
        assert!(queue.lock().idle.is_empty());
        assert!(matches!(next(ids[1]), Next::Wait), "the other one stays");
    }
}
