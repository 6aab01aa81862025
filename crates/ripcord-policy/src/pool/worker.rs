//! The workers.

use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use super::inline::Inline;
use super::job::{AnyJob, Pending, Work};
use super::queue::Next;
use super::shared::{Shared, fail_ended};
use super::stats::{WorkerState, WorkerStatus};
use crate::Error;
use crate::panics::{CatchPanic, panicked};
use crate::timeline::Moment;

tokio::task_local! {
    /// The pool whose worker this code runs on.
    static POOL: u64;
}

/// Whether the calling code runs on a worker of the pool `id`.
pub(super) fn is_inside(id: u64) -> bool {
    POOL.try_with(|pool| *pool == id).unwrap_or(false)
}

/// Runs a blocking closure so that it counts as running on a worker of the pool.
pub(super) fn inside<R>(id: u64, f: impl FnOnce() -> R) -> R {
    POOL.sync_scope(id, f)
}

pub(super) fn spawn(shared: &Arc<Shared>, cell: Arc<Cell>) {
    let leaving = Leaving { shared: Arc::clone(shared), id: cell.id, told: false };
    shared.runtime.spawn(POOL.scope(shared.id, work(leaving, cell)));
}

/// Lets a task that ran in place run on. It still counts as running on a worker: it may not wait for room in its pool.
pub(super) fn spawn_inline(shared: &Shared, inline: Inline) {
    shared.runtime.spawn(POOL.scope(shared.id, inline));
}

async fn work(mut leaving: Leaving, cell: Arc<Cell>) {
    let shared = Arc::clone(&leaving.shared);
    loop {
        // Tasks that are always ready must not keep the runtime's other tasks from running.
        tokio::task::coop::consume_budget().await;
        let mut has_waited = false;
        let begin = |job: &_| cell.begin(job, shared.time.recent());
        let next = poll_fn(|cx| match shared.queue.next(cell.id, has_waited, cx.waker(), begin) {
            Next::Run(job, pending) => Poll::Ready(Some((job, pending))),
            Next::Leave => Poll::Ready(None),
            Next::Wait => {
                has_waited = true;
                Poll::Pending
            }
        });
        let Some((job, pending)) = next.await else {
            leaving.told = true;
            return;
        };
        drive(job, pending).await;
        cell.end();
    }
}

/// Runs a job to its end. Whatever happens on the way, also that this future is dropped, the job is resolved and its
/// place is given back.
pub(super) fn drive(job: Arc<dyn AnyJob>, pending: Pending) -> impl Future<Output = ()> + Send + use<> {
    let finish = Finish { job, resolved: false };
    let work = finish.job.core().unlist(pending);
    async move {
        // Moved in whole: a closure would take a copy of the flag alone.
        let mut finish = finish;
        let job = &finish.job;
        match work {
            Work::Async(future) => match job.core().ctx.run(CatchPanic::new(future)).await {
                Ok(Ok(())) => finish.resolved = true,
                Ok(Err(payload)) => Arc::clone(job).fail(Error::Panicked(panicked(payload))),
                Err(error) => Arc::clone(job).fail(Error::Context(error)),
            },
            Work::Blocking(work) => {
                if job.core().ctx.is_done() {
                    crate::panics::run_hook(|| drop(work));
                } else {
                    // It resolves the job itself, and catches its own panic.
                    drop(tokio::task::spawn_blocking(work).await);
                }
            }
        }
    }
}

/// What is done at the end of each job.
struct Finish {
    job: Arc<dyn AnyJob>,
    /// Known to be, because the work came to its own end.
    resolved: bool,
}

impl Drop for Finish {
    fn drop(&mut self) {
        if !self.resolved && !self.job.is_resolved() {
            fail_ended(Arc::clone(&self.job));
        }
    }
}

/// Signs a worker off, also when its runtime drops it.
struct Leaving {
    shared: Arc<Shared>,
    id: u64,
    /// Whether the queue told it to leave, and so knows.
    told: bool,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if !self.told {
            self.shared.queue.lost(self.id);
        }
        self.shared.worker_left(self.id);
    }
}

/// What can be seen of one worker.
pub(super) struct Cell {
    id: u64,
    state: Mutex<CellState>,
}

struct CellState {
    job: Option<(Arc<dyn AnyJob>, Moment)>,
    finished: u64,
}

impl Cell {
    pub(super) fn new(id: u64) -> Self {
        Self { id, state: Mutex::new(CellState { job: None, finished: 0 }) }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn job(&self) -> Option<Arc<dyn AnyJob>> {
        self.lock().job.as_ref().map(|(job, _)| Arc::clone(job))
    }

    pub(super) fn status(&self, now: Moment) -> WorkerStatus {
        let state = self.lock();
        let doing = match &state.job {
            None => WorkerState::Idle,
            Some((job, since)) => {
                let elapsed = Duration::from_nanos(now.saturating_sub(*since));
                WorkerState::Running { task: job.core().id, elapsed }
            }
        };
        WorkerStatus { id: self.id, state: doing, finished: state.finished }
    }

    fn begin(&self, job: &Arc<dyn AnyJob>, now: Moment) {
        self.lock().job = Some((Arc::clone(job), now));
    }

    fn end(&self) {
        let mut state = self.lock();
        state.finished += 1;
        let job = state.job.take();
        drop(state);
        // May be the last owner of the task's output, whose drop is foreign code.
        crate::panics::run_hook(|| drop(job));
    }

    fn lock(&self) -> MutexGuard<'_, CellState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
