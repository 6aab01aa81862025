//! The workers.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::Duration;

use super::job::{AnyJob, Pending, Work};
use super::queue::Next;
use super::shared::{Shared, fail_ended};
use super::stats::{WorkerState, WorkerStatus};
use crate::Error;
use crate::panics::{CatchPanic, panicked, shielded};
use crate::sync::{Mutex, MutexGuard, give_way, run_blocking, thread_local};
use crate::timeline::Moment;

/// What can be seen of one worker.
pub(super) struct Worker {
    pool: u64,
    id: u64,
    state: Mutex<State>,
}

struct State {
    job: Option<(Arc<dyn AnyJob>, Moment)>,
    finished: u64,
    /// Of the present job.
    waits: usize,
}

impl Worker {
    pub(super) fn new(pool: u64, id: u64) -> Self {
        Self { pool, id, state: Mutex::new(State { job: None, finished: 0, waits: 0 }) }
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

    /// The number of the present job's turn, the first being 0.
    pub(super) fn turn(&self) -> u64 {
        self.lock().finished
    }

    /// Counts a wait of the present job. Gives its turn, and whether it is the first.
    pub(super) fn begin_wait(&self) -> (u64, bool) {
        let mut state = self.lock();
        state.waits += 1;
        (state.finished, state.waits == 1)
    }

    /// Counts the end of a wait of the job whose turn it was. True when it was the last one's of the present job.
    pub(super) fn end_wait(&self, turn: u64) -> bool {
        let mut state = self.lock();
        if state.finished != turn {
            return false;
        }
        state.waits -= 1;
        state.waits == 0
    }

    fn begin(&self, job: &Arc<dyn AnyJob>, now: Moment) {
        self.lock().job = Some((Arc::clone(job), now));
    }

    /// The present job has ended. True when it still waited for others.
    fn end(&self) -> bool {
        let mut state = self.lock();
        state.finished += 1;
        let was_waiting = std::mem::take(&mut state.waits) > 0;
        let job = state.job.take();
        drop(state);
        // May be the last owner of the task's output, whose drop is foreign code.
        shielded(|| drop(job));
        was_waiting
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// The worker that this thread is running.
    static CURRENT: RefCell<Option<Arc<Worker>>> = const { RefCell::new(None) };
}

/// The worker of the pool `id` that the calling code runs on.
pub(super) fn current(id: u64) -> Option<Arc<Worker>> {
    CURRENT.try_with(|current| current.borrow().as_ref().filter(|worker| worker.pool == id).cloned()).ok().flatten()
}

/// Whether the calling code runs on a worker of the pool `id`.
pub(super) fn is_worker_of(id: u64) -> bool {
    CURRENT.try_with(|current| current.borrow().as_ref().is_some_and(|worker| worker.pool == id)).unwrap_or(false)
}

/// A worker, which its thread is told of while it runs.
struct Running(Option<Arc<Worker>>);

impl Running {
    /// Runs `code` as part of what the worker runs.
    fn run<R>(&mut self, code: impl FnOnce() -> R) -> R {
        struct Swapped<'a>(&'a mut Option<Arc<Worker>>);
        impl Drop for Swapped<'_> {
            fn drop(&mut self) {
                swap(self.0);
            }
        }
        swap(&mut self.0);
        let _back = Swapped(&mut self.0);
        code()
    }
}

fn swap(worker: &mut Option<Arc<Worker>>) {
    // A thread past its thread-locals runs it untold.
    let _ = CURRENT.try_with(|current| std::mem::swap(&mut *current.borrow_mut(), worker));
}

pub(super) fn spawn(shared: &Arc<Shared>, worker: Arc<Worker>) {
    let leaving = Leaving { shared: Arc::clone(shared), worker: Arc::clone(&worker), told: false };
    shared.runtime.spawn(async move {
        let (mut work, mut running) = (pin!(work(leaving)), Running(Some(worker)));
        poll_fn(|cx| running.run(|| work.as_mut().poll(cx))).await;
    });
}

async fn work(mut leaving: Leaving) {
    let (shared, worker) = (Arc::clone(&leaving.shared), Arc::clone(&leaving.worker));
    // It may have been started for a job.
    let mut expected = true;
    loop {
        // Tasks that are always ready must not keep the runtime's other tasks from running.
        give_way().await;
        let begin = |job: &_| worker.begin(job, shared.time.recent());
        let next = poll_fn(|cx| match shared.queue.next(worker.id, expected, cx.waker(), begin) {
            Next::Run(job, pending) => Poll::Ready(Some((job, pending))),
            Next::Leave => Poll::Ready(None),
            Next::Wait => {
                expected = true;
                Poll::Pending
            }
        });
        let Some((job, pending)) = next.await else {
            leaving.told = true;
            return;
        };
        expected = false;
        drive(job, pending, &worker).await;
        if worker.end() {
            shared.queue.unblock();
        }
    }
}

/// Runs a job to its end. Whatever happens on the way, also that this future is dropped, the job is resolved and its
/// place is given back.
fn drive(job: Arc<dyn AnyJob>, pending: Pending, worker: &Arc<Worker>) -> impl Future<Output = ()> + Send + use<'_> {
    let finish = Finish { job, resolved: false };
    let work = finish.job.core().unlist(pending);
    async move {
        // Moved in whole: a closure would take a copy of the flag alone.
        let mut finish = finish;
        let job = &finish.job;
        match work {
            Work::Async(future) => match job.core().ctx.run(CatchPanic::new(future)).await {
                Ok(Ok(())) => finish.resolved = true,
                Ok(Err(payload)) => Arc::clone(job).fail(Error::from(panicked(payload))),
                Err(error) => Arc::clone(job).fail(error.into()),
            },
            Work::Blocking(work) => {
                if job.core().ctx.is_done() {
                    shielded(|| drop(work));
                } else {
                    let worker = Arc::clone(worker);
                    // It resolves the job itself, and catches its own panic.
                    run_blocking(move || Running(Some(worker)).run(work)).await;
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
    worker: Arc<Worker>,
    /// Whether the queue told it to leave, and so knows.
    told: bool,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if !self.told {
            // What its task waited for stays counted: with its runtime all workers go, and none is started any more.
            self.shared.queue.lost(self.worker.id);
        }
        self.shared.worker_left();
    }
}
