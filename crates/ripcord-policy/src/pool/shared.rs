//! What the handles of a pool and its workers share.

use std::sync::Arc;

use ripcord::{CancelHandle, Context};
use tokio::sync::Notify;

use super::TaskId;
use super::builder::Overflow;
use super::job::{AnyJob, Core, Pending};
use super::queue::{Pushed, Queue};
use super::results::{ResultsQueue, TaskOutcome};
use super::stats::{PoolStats, Tally, WorkerState};
use super::submitter::LastSubmitter;
use super::worker;
use crate::caller::end_of;
use crate::panics::shielded;
use crate::places::{NoPlace, Place, Places};
use crate::stats::Call;
use crate::sync::{AtomicU64, Ordering, Runtime};
use crate::timeline::Timeline;
use crate::{Error, Refused, SharedError};

pub(super) struct Shared {
    /// Tells pools apart within the process.
    pub(super) id: u64,
    pub(super) ctx: Context,
    pub(super) cancel: CancelHandle,
    pub(super) time: Timeline,
    pub(super) queue: Queue,
    pub(super) capacity: usize,
    pub(super) overflow: Overflow,
    /// One place for each in the queue and each worker: a task holds one from its submission to its end.
    places: Places,
    pub(super) results: ResultsQueue,
    pub(super) tally: Tally,
    pub(super) last_submitter: LastSubmitter,
    next_task: AtomicU64,
    pub(super) runtime: Runtime,
    /// Told when nothing runs any more.
    pub(super) stopped: Notify,
}

impl Shared {
    pub(super) fn new(
        ctx: Context,
        cancel: CancelHandle,
        capacity: usize,
        overflow: Overflow,
        runtime: Runtime,
    ) -> Self {
        static POOLS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let id = POOLS.fetch_add(1, Ordering::Relaxed);
        Self {
            id,
            time: Timeline::new(&ctx),
            ctx,
            cancel,
            queue: Queue::new(id),
            capacity,
            overflow,
            places: Places::new(capacity),
            results: ResultsQueue::new(),
            tally: Tally::new(),
            last_submitter: LastSubmitter::default(),
            next_task: AtomicU64::new(1),
            runtime,
            stopped: Notify::new(),
        }
    }

    pub(super) fn next_task_id(&self) -> TaskId {
        TaskId(self.next_task.fetch_add(1, Ordering::Relaxed))
    }

    /// Refuses when either context has ended; a pool that drains has no places to give. The caller's is looked at first.
    pub(super) fn check_open(&self, ctx: &Context) -> Result<(), Error<SharedError>> {
        if let Some(end) = end_of(ctx) {
            return Err(end.into());
        }
        if self.ctx.is_done() {
            return Err(Refused::closed("worker pool").into());
        }
        Ok(())
    }

    /// A place for a task, without waiting.
    pub(super) fn try_place(&self) -> Result<Place<'_>, Error<SharedError>> {
        self.places.try_take().map_err(|none| self.no_place(none))
    }

    /// A place for a task, in the order of asking.
    pub(super) async fn place(&self) -> Result<Place<'_>, Error<SharedError>> {
        self.places.take().await.map_err(|none| self.no_place(none))
    }

    fn no_place(&self, none: NoPlace) -> Error<SharedError> {
        match none {
            NoPlace::Full => Refused::pool_full(self.capacity),
            NoPlace::Closed => Refused::closed("worker pool"),
        }
        .into()
    }

    /// Puts a job in the queue; one that is refused gives its place back.
    pub(super) fn enqueue(self: &Arc<Self>, job: &Arc<impl AnyJob + 'static>) -> Result<(), Error<SharedError>> {
        match self.queue.push(Arc::clone(job) as Arc<dyn AnyJob>, || self.tally.count(Call::Started)) {
            Pushed::Begun => {}
            Pushed::Start(worker) => worker::spawn(self, worker),
            Pushed::Waiting => self.watch(job),
            Pushed::Refused => {
                if let Some(pending) = job.core().take_pending() {
                    release(job.core(), pending);
                }
                self.give_back();
                // The submitter may have been noted after the close that forgot the last one.
                self.last_submitter.forget();
                return Err(Refused::closed("worker pool").into());
            }
        }
        Ok(())
    }

    /// Has a job leave the queue when its context ends. Only for jobs that have to wait: the others pay nothing for it.
    fn watch(&self, job: &Arc<impl AnyJob + 'static>) {
        let core = job.core();
        let job = Arc::clone(job) as Arc<dyn AnyJob>;
        let place = core.submitter.list(Arc::clone(&job));
        if !core.keep_listed(place) {
            core.submitter.unlist(place);
        } else if core.ctx.is_done() {
            // It may have ended before the job was listed.
            self.call_off(job);
        }
    }

    /// Resolves a job whose context has ended, if nobody has begun it.
    pub(super) fn call_off(&self, job: Arc<dyn AnyJob>) {
        if let Some(pending) = self.queue.take_out(&*job) {
            self.resolve(vec![(job, pending)]);
        }
    }

    /// Gives back a job's place.
    pub(super) fn give_back(&self) {
        self.places.give_back();
    }

    /// Changes the number of workers, and of places with it.
    pub(super) fn resize(self: &Arc<Self>, workers: usize) -> bool {
        let Some((starting, old)) = self.queue.set_target(workers) else {
            return false;
        };
        starting.into_iter().for_each(|worker| worker::spawn(self, worker));
        self.places.resize(old, workers);
        true
    }

    /// A worker's task waits for another of this pool: another worker may run meanwhile.
    pub(super) fn block(self: &Arc<Self>) {
        if let Some(worker) = self.queue.block() {
            worker::spawn(self, worker);
        }
    }

    /// Takes no more tasks; those accepted are still run.
    pub(super) fn close(&self) {
        self.queue.close();
        self.places.close();
        self.last_submitter.forget();
    }

    /// The pool's context has ended: nothing that waits is begun any more.
    pub(super) fn close_now(&self) {
        self.close();
        self.resolve(self.queue.drain());
    }

    /// Ends the pool's context and resolves everything, also tasks that do not look at theirs. When this returns each is
    /// resolved, or just being so by the thread that ran it.
    pub(super) fn abort(&self, why: impl Into<ripcord::Cause>) {
        self.close();
        // Taken out before the context ends: what its end sets off in other threads finds nothing left to do, and when
        // this returns they are resolved.
        let waiting = self.queue.drain();
        self.cancel.cancel_with(why);
        self.resolve(waiting);
        // What was taken from the queue before is with a worker. (Invariant 4 of the queue.)
        self.queue.workers().iter().filter_map(|worker| worker.job()).for_each(fail_ended);
    }

    /// Counts a job that was resolved.
    pub(super) fn count(&self, outcome: TaskOutcome) {
        match outcome {
            TaskOutcome::Succeeded => self.tally.count(Call::Succeeded),
            TaskOutcome::Failed => self.tally.count(Call::Failed),
            TaskOutcome::Panicked => {
                self.tally.count(Call::Failed);
                self.tally.count_panic();
            }
            TaskOutcome::Canceled => self.tally.count(Call::Canceled),
        }
    }

    /// A worker is gone. Without any nothing that waits is ever begun.
    pub(super) fn worker_left(&self) {
        if self.queue.workers().is_empty() {
            self.close_now();
        }
        self.end_when_over();
    }

    /// Resolves jobs that were taken out of the queue and are not going to run. (Invariant 6 of the queue.)
    fn resolve(&self, jobs: Vec<(Arc<dyn AnyJob>, Pending)>) {
        if jobs.is_empty() {
            return;
        }
        let count = jobs.len();
        for (job, pending) in jobs {
            release(job.core(), pending);
            fail_ended(job);
        }
        self.queue.resolved(count);
        self.end_when_over();
    }

    /// Tells whoever waits for the end of the pool, if this is it.
    fn end_when_over(&self) {
        if self.queue.is_over() {
            self.cancel.cancel_with(Refused::closed("worker pool"));
            self.results.end();
            self.stopped.notify_waiters();
        }
    }

    pub(super) fn stats(&self) -> PoolStats {
        let now = self.time.now();
        let workers: Vec<_> = self.queue.workers().iter().map(|worker| worker.status(now)).collect();
        let running = workers.iter().filter(|worker| worker.state != WorkerState::Idle).count();
        self.tally.stats(self.queue.waiting(), running, workers)
    }
}

/// Lets go of the work of a job that is not going to run.
fn release(core: &Core, pending: Pending) {
    let work = core.unlist(pending);
    shielded(|| drop(work));
}

/// Resolves a job with the error of its context. One that has not ended yet is about to: the pool is being closed.
pub(super) fn fail_ended(job: Arc<dyn AnyJob>) {
    let error = match job.core().ctx.err() {
        Some(error) => error.into(),
        None => Refused::closed("worker pool").into(),
    };
    job.fail(error);
}
