//! A worker pool controlled and watched through contexts.
//!
//! A fixed number of workers runs submitted tasks, async ones and blocking ones; a bounded queue holds those that wait.
//! A task runs under a context that ends when its submitter's does, when the pool's does, or when its [`Task`] is
//! canceled. When it ends:
//!
//! * a task that waits for a worker leaves the queue and is resolved at once, whether anybody polls it or not;
//! * an async task that runs is dropped at its next suspension, as by [`Context::run`]; what has to be done all the same
//!   is done under [`Context::without_cancel`] in a task of its own;
//! * a blocking task cannot be interrupted: it looks at its context, and is resolved when it returns.
//!
//! [`WorkerPool::shutdown`] takes no more tasks and lets the accepted ones finish, for as long as its context lives; then
//! it cancels the rest and resolves them, also blocking ones that do not listen. Dropping the last handle of a pool
//! cancels everything.

mod blocked;
mod builder;
mod job;
mod queue;
mod results;
mod shared;
mod stats;
mod submitter;
mod task;
mod worker;

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ripcord::{Canceler, Cause, Context};

pub use builder::{Overflow, WorkerPoolBuilder};
pub use results::{Completion, Results, TaskOutcome};
pub use stats::{PoolStats, WorkerState, WorkerStatus};
pub use task::Task;

use crate::Attempt;
use crate::panics::{panicked, shielded};
use crate::places::Place;
use crate::stats::Call;
use crate::sync::{Runtime, after_func};
use crate::{ConfigError, Error, Refused, SharedError};
use builder::check_workers;
use job::{AnyJob, Core, Job, Pending, Work};
use shared::Shared;
use worker::is_worker_of;

/// A pool of workers. A clone is another handle to it; dropping the last one cancels everything.
///
/// ```
/// use ripcord::Context;
/// use ripcord_policy::pool::WorkerPool;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ctx = Context::background();
/// let pool = WorkerPool::builder().workers(4).queue(100).build(&ctx)?;
///
/// let task = pool.submit(&ctx, |_ctx| async { Ok::<_, std::io::Error>(6 * 7) }).await?;
/// assert_eq!(task.await?, 42);
///
/// pool.shutdown(&ctx).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct WorkerPool {
    owner: Arc<Owner>,
}

/// A task's number within its pool. Numbers start at 1 and are not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(u64);

/// Lives as long as a handle does. Workers, tasks and results hold the shared part alone.
struct Owner {
    shared: Arc<Shared>,
    canceler: Canceler,
}

impl WorkerPool {
    /// Starts setting up a pool.
    #[doc(alias("NewWorkerPool"))]
    pub fn builder() -> WorkerPoolBuilder {
        WorkerPoolBuilder::new()
    }

    fn start(ctx: &Context, workers: usize, capacity: usize, overflow: Overflow, runtime: Runtime) -> Self {
        // An attempt may have built it, and its tasks are others'.
        let (ctx, canceler) = Attempt::clear(ctx).with_name("worker pool").with_cancel();
        let shared = Arc::new(Shared::new(ctx, canceler.handle(), capacity, overflow, runtime));
        shared.resize(workers);
        let weak = Arc::downgrade(&shared);
        // It stays registered: the pool's context ends at the latest with the owner.
        drop(after_func(&shared.ctx, move || {
            if let Some(shared) = weak.upgrade() {
                shared.close_now();
            }
        }));
        Self { owner: Arc::new(Owner { shared, canceler }) }
    }

    /// Hands in an async task. It is called on a worker, with a context of its own. When the queue is full this waits or
    /// is refused, as [`Overflow`] says.
    ///
    /// Tasks that follow each other under one context, or clones of it, are cheaper than those under one each: what ends
    /// with it is made once. For that the pool keeps the last submitter's context until another submits or it is closed.
    ///
    /// # Errors
    ///
    /// * [`Error::Context`]: the submitter's context ended before there was room; the task was not run. Room that is there
    ///   at the same moment wins, unless the context had ended before the call.
    /// * [`Error::is_rejected`]: the queue is full, or the pool is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready leaves nothing behind: the task is not submitted.
    #[doc(alias("Submit"))]
    pub async fn submit<F, Fut, T, E>(&self, ctx: &Context, task: F) -> Result<Task<T>, Error<SharedError>>
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Into<Cause> + 'static,
    {
        let place = self.admit(ctx).await?;
        self.enqueue(ctx, place, |job| asynchronous(job, task))
    }

    /// [`submit`](Self::submit) that never waits: with a full queue it is refused, whatever [`Overflow`] says.
    ///
    /// # Errors
    ///
    /// As `submit`.
    pub fn try_submit<F, Fut, T, E>(&self, ctx: &Context, task: F) -> Result<Task<T>, Error<SharedError>>
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Into<Cause> + 'static,
    {
        let place = self.try_admit(ctx)?;
        self.enqueue(ctx, place, |job| asynchronous(job, task))
    }

    /// Hands in a task that blocks. It runs on a thread of the runtime's blocking pool and keeps a worker busy meanwhile.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    ///
    /// # Cancel safety
    ///
    /// As [`submit`](Self::submit).
    pub async fn submit_blocking<F, T, E>(&self, ctx: &Context, task: F) -> Result<Task<T>, Error<SharedError>>
    where
        F: FnOnce(&Context) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Into<Cause> + 'static,
    {
        let place = self.admit(ctx).await?;
        self.enqueue(ctx, place, |job| blocking(job, task))
    }

    /// Opens the stream of finished tasks. What finished before is not in it.
    ///
    /// ```
    /// use ripcord::Context;
    /// use ripcord_policy::pool::{TaskOutcome, WorkerPool};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ctx = Context::background();
    /// let pool = WorkerPool::builder().workers(2).build(&ctx)?;
    /// let mut results = pool.results();
    /// for n in [1_u32, 2, 3] {
    ///     // The `Task` is dropped, which leaves what it returns to whoever reads the results.
    ///     drop(pool.submit(&ctx, move |_ctx| async move { Ok::<_, std::io::Error>(n * n) }).await?);
    /// }
    /// pool.shutdown(&ctx).await?;
    ///
    /// let mut sum = 0;
    /// while let Some(done) = results.next(&ctx).await? {
    ///     assert_eq!(done.outcome(), TaskOutcome::Succeeded);
    ///     sum += done.take::<u32>().ok_or("another type")??;
    /// }
    /// assert_eq!(sum, 14);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("Results"))]
    pub fn results(&self) -> Results {
        Results::open(Arc::clone(&self.owner.shared))
    }

    /// Changes the number of workers. New ones start at once; those too many leave when they have finished what they run.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for 0 or more than 2^59 workers, and when the pool is closed.
    pub fn resize(&self, workers: usize) -> Result<(), ConfigError> {
        check_workers(workers)?;
        match self.owner.shared.resize(workers) {
            true => Ok(()),
            false => Err(ConfigError::new("workers", "set while the pool is open", workers)),
        }
    }

    /// Takes no more tasks, waits until all accepted ones have finished and the workers have left, then ends. When `ctx`
    /// ends first, it cancels what is left and resolves every task.
    ///
    /// Do not await this in a task of the same pool: it would wait for itself until `ctx` ends.
    ///
    /// # Errors
    ///
    /// [`Error::Context`]: `ctx` ended before the tasks had finished. Called with an ended `ctx`, it cancels them at once.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the pool stays closed and goes on draining; call it again to wait again.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::Context;
    /// use ripcord_policy::pool::WorkerPool;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ctx = Context::background();
    /// let pool = WorkerPool::builder().workers(1).build(&ctx)?;
    /// let endless = pool.submit(&ctx, |_ctx| std::future::pending::<Result<(), std::io::Error>>()).await?;
    ///
    /// // What is not done by then is canceled.
    /// let patience = ctx.with_timeout(Duration::from_millis(10));
    /// let late = pool.shutdown(&patience).await;
    /// assert!(late.is_err_and(|error| error.is_deadline_exceeded()));
    /// assert!(endless.await.is_err());
    /// assert!(pool.try_submit(&ctx, |_ctx| async { Ok::<_, std::io::Error>(()) }).is_err());
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("Shutdown"))]
    pub async fn shutdown(&self, ctx: &Context) -> Result<(), Error<SharedError>> {
        let shared = &self.owner.shared;
        shared.close();
        let drained = ctx.run(async {
            loop {
                let mut stopped = std::pin::pin!(shared.stopped.notified());
                // Registered before looking, so that the last to leave after the look is noticed.
                stopped.as_mut().enable();
                if shared.queue.is_over() {
                    return;
                }
                stopped.await;
            }
        });
        match drained.await {
            Ok(()) => {
                self.owner.canceler.cancel_with(Refused::closed("worker pool"));
                Ok(())
            }
            Err(error) => {
                shared.abort("the pool was shut down before its tasks had finished");
                Err(error.into())
            }
        }
    }

    /// Whether the pool takes no more tasks.
    pub fn is_closed(&self) -> bool {
        self.owner.shared.ctx.is_done() || self.owner.shared.queue.is_closed()
    }

    /// What the pool has done and what it is doing, worker by worker.
    pub fn stats(&self) -> PoolStats {
        self.owner.shared.stats()
    }

    async fn admit(&self, ctx: &Context) -> Result<Place<'_>, Error<SharedError>> {
        let refused = match self.try_place(ctx) {
            Ok(place) => return Ok(place),
            Err(error) => error,
        };
        let shared = &self.owner.shared;
        let full = refused.is_full();
        // A task must not wait for room that only its own end can make.
        if !full || shared.overflow == Overflow::Reject || is_worker_of(shared.id) {
            return Err(self.count_refusal(refused));
        }
        let waited = ctx.run(shared.place()).await.unwrap_or_else(|error| Err(error.into()));
        waited.map_err(|error| self.count_refusal(error))
    }

    fn try_admit(&self, ctx: &Context) -> Result<Place<'_>, Error<SharedError>> {
        self.try_place(ctx).map_err(|error| self.count_refusal(error))
    }

    fn try_place(&self, ctx: &Context) -> Result<Place<'_>, Error<SharedError>> {
        self.owner.shared.check_open(ctx)?;
        self.owner.shared.try_place()
    }

    fn count_refusal(&self, error: Error<SharedError>) -> Error<SharedError> {
        self.owner.shared.tally.count(Call::Rejected);
        error
    }

    fn enqueue<T: Send + 'static>(
        &self,
        ctx: &Context,
        place: Place<'_>,
        work: impl FnOnce(&Arc<Job<T>>) -> Work,
    ) -> Result<Task<T>, Error<SharedError>> {
        let shared = &self.owner.shared;
        let submitter = shared.last_submitter.of(ctx, &shared.ctx);
        let job = Job::new(Core::new(shared.next_task_id(), Arc::clone(shared), submitter));
        // The job gives it back when it is resolved.
        place.keep();
        job.core().set_pending(Pending { work: work(&job), listed: None });
        shared.enqueue(&job).map_err(|error| self.count_refusal(error))?;
        Ok(Task::new(job))
    }
}

/// The work of an async task. It owns its job; the loop ends when somebody takes the work, and somebody always does.
fn asynchronous<F, Fut, T, E>(job: &Arc<Job<T>>, task: F) -> Work
where
    F: FnOnce(Context) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Into<Cause> + 'static,
{
    let job = Arc::clone(job);
    Work::Async(Box::pin(async move {
        let result = task(job.core().ctx.clone()).await.map_err(Into::into);
        job.complete(result);
    }))
}

/// The work of a blocking task, as [`asynchronous`].
fn blocking<F, T, E>(job: &Arc<Job<T>>, task: F) -> Work
where
    F: FnOnce(&Context) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Into<Cause> + 'static,
{
    let job = Arc::clone(job);
    Work::Blocking(Box::new(move || {
        // It may have waited for this thread, and its context may have ended meanwhile.
        if let Some(end) = job.core().ctx.err() {
            shielded(|| drop(task));
            return job.fail(end.into());
        }
        match catch_unwind(AssertUnwindSafe(|| task(&job.core().ctx).map_err(Into::into))) {
            Ok(result) => job.complete(result),
            Err(payload) => job.fail(Error::from(panicked(payload))),
        }
    }))
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.abort("every handle of the pool was dropped");
    }
}

impl fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPool").field("stats", &self.stats()).finish()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
