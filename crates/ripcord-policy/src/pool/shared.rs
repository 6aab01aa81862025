//! The state that the handles of a pool and its workers share.

use std::panic::Location;
use std::sync::Arc;

use ripcord::{CancelHandle, Clock, Context};
use tokio::sync::Notify;

use super::JobId;
use super::builder::Settings;
use super::job::AnyJob;
use super::queue::{Pushed, Queue, Queued, WorkerId};
use super::results::ResultsQueue;
use super::stats::{Counters, WorkerPoolStats};
use super::submitter::{LastSubmitter, SubmitterId};
use super::worker;
use crate::panics::shielded;
use crate::semaphore::{NoPermit, Permit, Semaphore};
use crate::stats::Call;
use crate::sync::{AtomicU64, Ordering, Runtime};
use crate::{Error, Refused};

/// The cause of the close of a pool whose runtime has dropped the workers.
const NO_WORKERS: &str = "the worker pool has no workers any more";
/// The cause of the close of a pool that was shut down, and of the end of its jobs' contexts.
pub(super) const SHUT_DOWN: &str = "WorkerPool::shutdown was called";

pub(super) struct Shared {
    /// The number of the pool, unique in the process. Not zero.
    pub(super) id: u64,
    name: Option<Arc<str>>,
    pub(super) settings: Settings,
    pub(super) ctx: Context,
    cancel: CancelHandle,
    /// The context that ends when the pool is closed to new jobs. Its error says why.
    accepting: Context,
    stop_accepting: CancelHandle,
    pub(super) clock: Clock,
    pub(super) queue: Queue,
    /// The permits: one for each place in the queue and each worker. A job holds a permit from its submission to its end.
    permits: Semaphore,
    pub(super) results: ResultsQueue,
    pub(super) tally: Counters,
    pub(super) last_submitter: LastSubmitter,
    next_job: AtomicU64,
    pub(super) runtime: Runtime,
    /// Notified when the queue is over.
    over: Notify,
}

impl Shared {
    pub(super) fn new(
        ctx: Context,
        cancel: CancelHandle,
        name: Option<Arc<str>>,
        clock: Clock,
        settings: Settings,
        runtime: Runtime,
    ) -> Self {
        static POOLS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let (accepting, canceler) = ctx.with_cancel();
        let stop_accepting = canceler.handle();
        canceler.detach();
        Self {
            id: POOLS.fetch_add(1, Ordering::Relaxed),
            permits: Semaphore::new(settings.capacity),
            name,
            settings,
            clock,
            ctx,
            cancel,
            accepting,
            stop_accepting,
            queue: Queue::default(),
            results: ResultsQueue::new(),
            tally: Counters::new(),
            last_submitter: LastSubmitter::new(),
            next_job: AtomicU64::new(JobId::FIRST.0),
            runtime,
            over: Notify::new(),
        }
    }

    pub(super) fn next_job_id(&self) -> JobId {
        JobId(self.next_job.fetch_add(1, Ordering::Relaxed))
    }

    /// Fails if the caller's context or the pool's has ended. The caller's context is checked first.
    pub(super) fn check_open(&self, ctx: &Context) -> Result<(), Refused> {
        if let Err(end) = ctx.check() {
            return Err(Refused::ended(end));
        }
        if self.is_closed() { Err(self.closed()) } else { Ok(()) }
    }

    /// Returns whether the pool is closed to new jobs.
    pub(super) fn is_closed(&self) -> bool {
        self.accepting.is_done()
    }

    pub(super) fn closed(&self) -> Refused {
        Refused::closed_by("worker pool", self.accepting.err())
    }

    /// Takes a permit for a job without waiting.
    pub(super) fn try_permit(&self) -> Result<Permit<'_>, Refused> {
        self.permits.try_acquire().map_err(|none| self.no_permit(none))
    }

    /// Waits for a permit for a job. Callers are served in the order of their calls.
    pub(super) async fn permit(&self) -> Result<Permit<'_>, Refused> {
        self.permits.acquire().await.map_err(|none| self.no_permit(none))
    }

    fn no_permit(&self, none: NoPermit) -> Refused {
        match none {
            NoPermit::Full => Refused::pool_full(self.name.clone(), self.settings.capacity, self.settings.location),
            NoPermit::Closed => self.closed(),
        }
    }

    pub(super) fn give_back_permit(&self) {
        self.permits.release();
    }

    /// Pushes a job that has a permit.
    pub(super) fn push(self: &Arc<Self>, queued: Queued) -> Result<(), Refused> {
        let job = Arc::clone(&queued.job);
        match self.queue.push(queued, || self.tally.count(Call::Started)) {
            Pushed::GivenToWorker => {}
            Pushed::Waiting => {
                let core = job.core();
                core.submitter.watch(self);
                // The context may have ended before the job was in the queue.
                if core.ctx.is_done() {
                    self.take_and_resolve(core.id);
                }
            }
            Pushed::Refused(queued) => {
                shielded(|| drop(queued));
                self.give_back_permit();
                // `close` may have cleared the last submitter before this submitter was stored.
                self.last_submitter.forget();
                return Err(self.closed());
            }
        }
        Ok(())
    }

    /// Resolves a job whose context has ended, if no worker has started the job.
    pub(super) fn take_and_resolve(&self, id: JobId) {
        if let Some(queued) = self.queue.take(id) {
            self.resolve(vec![queued]);
        }
    }

    /// Resolves the waiting jobs of a submitter whose context has ended.
    pub(super) fn end_submitter(&self, id: SubmitterId) {
        self.resolve(self.queue.take_all_of(id));
    }

    /// Changes the number of workers, and the number of permits with it. Returns `false` if the pool is closed.
    pub(super) fn resize(self: &Arc<Self>, workers: usize) -> bool {
        let Some((starting, old)) = self.queue.set_target(workers) else {
            return false;
        };
        starting.into_iter().for_each(|worker| worker::spawn(self, worker));
        self.permits.resize(old, workers);
        true
    }

    /// Closes the pool to new jobs. Accepted jobs still run. Later submitters get the cause `why` with `location`.
    pub(super) fn close(&self, why: &'static str, location: &'static Location<'static>) {
        // This is done first, so that a submitter that finds the queue closed also finds the cause.
        self.stop_accepting.cancel_at(why, location);
        self.queue.close();
        self.permits.close();
        self.last_submitter.forget();
    }

    /// Closes the pool and resolves the jobs that no worker has started. Called when the pool's context has ended or no worker
    /// is left.
    pub(super) fn close_now(&self) {
        self.close(NO_WORKERS, self.settings.location);
        self.resolve(self.queue.take_all());
    }

    /// Ends the pool's context and resolves every job, including jobs that do not check their contexts.
    pub(super) fn abort(&self, why: &'static str, location: &'static Location<'static>) {
        self.close(why, location);
        // The waiting jobs are taken out first. Then the callbacks of the context's end find no job to resolve in other threads,
        // so all jobs are resolved when this method returns.
        let waiting = self.queue.take_all();
        self.cancel.cancel_at(why, location);
        self.resolve(waiting);
        self.queue.running().into_iter().for_each(resolve_ended);
    }

    /// Waits until no job and no worker is left.
    pub(super) async fn drained(&self) {
        loop {
            let mut over = std::pin::pin!(self.over.notified());
            // The notification is registered before the check, so that an end after the check is not missed.
            over.as_mut().enable();
            if self.queue.is_over() {
                return;
            }
            over.await;
        }
    }

    /// Ends the context of a drained pool, with the cause of the pool's close.
    pub(super) fn end_context(&self) {
        if let Some(closed) = self.accepting.err()
            && let Some(why) = closed.cause()
        {
            self.cancel.cancel_at(why.clone(), closed.origin().location());
        }
    }

    /// Handles the loss of a worker that its runtime dropped.
    pub(super) fn worker_is_lost(&self, id: WorkerId) {
        let (waker, given) = self.queue.remove_worker(id);
        drop(waker);
        self.resolve(given.into_iter().collect());
    }

    /// Handles the end of a worker. Without workers, no waiting job would ever start, so the pool is closed.
    pub(super) fn worker_left(&self) {
        if !self.queue.has_workers() {
            self.close_now();
        }
        self.end_when_over();
    }

    /// Resolves jobs that were taken out of the queue and will not run.
    fn resolve(&self, jobs: Vec<Queued>) {
        if jobs.is_empty() {
            return;
        }
        let count = jobs.len();
        for Queued { job, work } in jobs {
            shielded(|| drop(work));
            resolve_ended(job);
        }
        self.queue.resolved(count);
        self.end_when_over();
    }

    fn end_when_over(&self) {
        if self.queue.is_over() {
            self.end_context();
            self.results.end();
            self.over.notify_waiters();
        }
    }

    pub(super) fn stats(&self) -> WorkerPoolStats {
        let (queued, workers) = self.queue.status(self.clock.now());
        WorkerPoolStats::new(&self.tally, queued, workers)
    }
}

/// Resolves a job with the end of its context. If the context has not ended, the pool is closed and the context is about to end.
pub(super) fn resolve_ended(job: Arc<dyn AnyJob>) {
    let core = job.core();
    let error = match core.ctx.err() {
        Some(end) => Error::ended(end, None),
        None => core.shared.closed().into(),
    };
    job.fail(error);
}
