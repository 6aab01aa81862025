//! The stream of finished tasks.

use std::any::TypeId;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};

use futures_core::Stream;
use ripcord::Context;

use super::TaskId;
use super::job::AnyJob;
use super::shared::Shared;
use crate::panics::wake;
use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use crate::{Error, SharedError};

/// How a task ended. This enum is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskOutcome {
    /// It returned `Ok`.
    Succeeded,
    /// It returned `Err`.
    Failed,
    /// It panicked.
    Panicked,
    /// Its context ended, before a worker began it or while it ran; or the pool was shut down.
    Canceled,
}

/// Tasks as they finish, in that order: a Go program's `Results()`. From
/// [`WorkerPool::results`](super::WorkerPool::results).
///
/// If several are open, each finished task goes to one of them. What finishes while one is open is kept until
/// it is read; with none open nothing is kept. It ends when the pool has been shut down and everything was read.
///
/// It is a [`Stream`] too, which is not bound to any context.
#[must_use = "an open stream keeps what finishes until it is read"]
pub struct Results {
    shared: Arc<Shared>,
    reader: ReaderId,
}

/// Tells the readers of a pool apart.
type ReaderId = u64;

/// One finished task.
pub struct Completion {
    id: TaskId,
    outcome: TaskOutcome,
    job: Arc<dyn AnyJob>,
}

impl Results {
    pub(super) fn open(shared: Arc<Shared>) -> Self {
        let reader = shared.results.join();
        Self { shared, reader }
    }

    /// The next finished task; `None` when the pool is shut down and there will be no more.
    ///
    /// # Errors
    ///
    /// The caller's context has ended; a finished task that is there at the same moment wins, unless the context had ended
    /// before the call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no finished task.
    pub async fn next(&mut self, ctx: &Context) -> Result<Option<Completion>, Error<SharedError>> {
        Ok(ctx.run(std::future::poll_fn(|cx| self.poll(cx.waker()))).await?)
    }

    fn poll(&self, waker: &Waker) -> Poll<Option<Completion>> {
        let waker = waker.clone();
        let mut backlog = self.shared.results.lock();
        if let Some(completion) = backlog.items.pop_front() {
            return Poll::Ready(Some(completion));
        }
        if backlog.ended {
            return Poll::Ready(None);
        }
        // One for each reader, whichever tasks it is awaited in: those that gave up do not pile up.
        let old = backlog.wakers.insert(self.reader, waker);
        drop(backlog);
        drop(old);
        Poll::Pending
    }
}

impl Stream for Results {
    type Item = Completion;

    fn poll_next(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Completion>> {
        self.poll(cx.waker())
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        self.shared.results.leave(self.reader);
    }
}

impl Completion {
    /// Which task it was.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// How it ended.
    pub fn outcome(&self) -> TaskOutcome {
        self.outcome
    }

    /// What the task returned, if its output is a `T` and nobody else is entitled to it: it belongs to the
    /// [`Task`](super::Task) as long as that exists, so drop that to read results here.
    pub fn take<T: Send + 'static>(&self) -> Option<Result<T, Error<SharedError>>> {
        let output = self.job.take_detached(TypeId::of::<Result<T, Error<SharedError>>>())?;
        output.downcast::<Result<T, Error<SharedError>>>().ok().map(|output| *output)
    }
}

/// Finished tasks that nobody has read yet.
pub(super) struct ResultsQueue {
    /// Whether there are readers: a hint that spares the lock.
    open: AtomicBool,
    backlog: Mutex<Backlog>,
}

#[derive(Default)]
struct Backlog {
    items: VecDeque<Completion>,
    wakers: HashMap<ReaderId, Waker>,
    readers: usize,
    next_reader: ReaderId,
    ended: bool,
}

impl ResultsQueue {
    pub(super) fn new() -> Self {
        let backlog = Backlog::default();
        Self { open: AtomicBool::new(false), backlog: Mutex::new(backlog) }
    }

    fn join(&self) -> ReaderId {
        let mut backlog = self.lock();
        backlog.readers += 1;
        backlog.next_reader += 1;
        self.open.store(true, Ordering::Release);
        backlog.next_reader
    }

    fn leave(&self, reader: ReaderId) {
        let mut backlog = self.lock();
        backlog.readers -= 1;
        self.open.store(backlog.readers > 0, Ordering::Release);
        let waker = backlog.wakers.remove(&reader);
        let unread = if backlog.readers == 0 { std::mem::take(&mut backlog.items) } else { VecDeque::new() };
        drop(backlog);
        drop((waker, unread));
    }

    pub(super) fn push(&self, outcome: TaskOutcome, job: impl FnOnce() -> Arc<dyn AnyJob>) {
        // Nearly always nobody reads. Who opens the stream meanwhile may miss this one, as if it had come a moment later.
        if !self.open.load(Ordering::Acquire) {
            return;
        }
        let mut backlog = self.lock();
        if backlog.readers == 0 {
            return;
        }
        let job = job();
        backlog.items.push_back(Completion { id: job.core().id, outcome, job });
        let wakers = std::mem::take(&mut backlog.wakers);
        drop(backlog);
        wake_all(wakers);
    }

    pub(super) fn end(&self) {
        let mut backlog = self.lock();
        backlog.ended = true;
        let wakers = std::mem::take(&mut backlog.wakers);
        drop(backlog);
        wake_all(wakers);
    }

    fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A waker that panics keeps none of the others from being woken.
fn wake_all(wakers: HashMap<ReaderId, Waker>) {
    wakers.into_values().for_each(wake);
}

impl fmt::Debug for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results").field("unread", &self.shared.results.lock().items.len()).finish()
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").field("id", &self.id).field("outcome", &self.outcome).finish()
    }
}
