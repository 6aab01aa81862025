//! The workers: tasks of the runtime that run jobs one after the other.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use super::job::{AnyJob, Work};
use super::queue::{Next, Queued, WorkerId};
use super::shared::{Shared, resolve_ended};
use crate::Error;
use crate::panics::{CatchPanic, panicked, shielded};
use crate::sync::{give_way, run_blocking, thread_local};

thread_local! {
    /// The pool whose job this thread runs now, or zero.
    static CURRENT_POOL: Cell<u64> = const { Cell::new(0) };
}

/// Returns whether the calling code runs on a worker of the pool `id`.
pub(super) fn is_worker_of(id: u64) -> bool {
    CURRENT_POOL.with(Cell::get) == id
}

/// Runs `code` as part of a job of the pool `id`.
fn run_in_pool<R>(id: u64, code: impl FnOnce() -> R) -> R {
    struct Restore(u64);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT_POOL.with(|current| current.set(self.0));
        }
    }
    let _restore = Restore(CURRENT_POOL.with(|current| current.replace(id)));
    code()
}

pub(super) fn spawn(shared: &Arc<Shared>, id: WorkerId) {
    let (pool, leaving) = (shared.id, Leaving { shared: Arc::clone(shared), id, is_removed: false });
    shared.runtime.spawn(async move {
        let mut work = pin!(work(leaving));
        poll_fn(|cx| run_in_pool(pool, || work.as_mut().poll(cx))).await;
    });
}

async fn work(mut leaving: Leaving) {
    let (shared, id) = (Arc::clone(&leaving.shared), leaving.id);
    loop {
        // Jobs that are always ready must not prevent the runtime's other tasks from running.
        give_way().await;
        let next = poll_fn(|cx| match shared.queue.next(id, cx.waker(), || shared.clock.now()) {
            Next::Run(queued) => Poll::Ready(Some(queued)),
            Next::Leave => Poll::Ready(None),
            Next::Wait => Poll::Pending,
        });
        let Some(queued) = next.await else {
            leaving.is_removed = true;
            return;
        };
        drive(queued, shared.id).await;
        let job = shared.queue.finished(id);
        // The worker may be the last owner of the job's output, whose drop is foreign code.
        shielded(|| drop(job));
    }
}

/// Runs a job to its end. The job is resolved in any case, even if this future is dropped.
fn drive(Queued { job, work }: Queued, pool: u64) -> impl Future<Output = ()> + Send {
    let finish = Finish(job);
    async move {
        // The guard is moved into the future, so that it is dropped with the future.
        let finish = finish;
        let job = &finish.0;
        match work {
            Work::Async(future) => match job.core().ctx.run(CatchPanic::new(future)).await {
                // The work has resolved its job, or the job's context has ended.
                Ok(Ok(())) | Err(_) => {}
                Ok(Err(payload)) => Arc::clone(job).fail(Error::from(panicked(payload))),
            },
            // The work resolves its job and catches its own panic.
            Work::Blocking(work) => run_blocking(move || run_in_pool(pool, work)).await,
        }
    }
}

/// A drop guard that resolves a job at the end of its run.
struct Finish(Arc<dyn AnyJob>);

impl Drop for Finish {
    fn drop(&mut self) {
        if !self.0.core().is_resolved() {
            resolve_ended(Arc::clone(&self.0));
        }
    }
}

/// A drop guard that removes a worker from the queue, even if the worker's runtime drops it.
struct Leaving {
    shared: Arc<Shared>,
    id: WorkerId,
    /// Whether the queue has told the worker to leave. Then the queue has removed the worker already.
    is_removed: bool,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if !self.is_removed {
            self.shared.worker_is_lost(self.id);
        }
        self.shared.worker_left();
    }
}
