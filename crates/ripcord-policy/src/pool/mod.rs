//! Runs jobs on a fixed number of workers. See [`WorkerPool`].

mod builder;
mod handle;
mod job;
mod queue;
mod results;
mod shared;
mod stats;
mod submitter;
mod worker;

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;

use ripcord::{Canceler, Cause, Clock, Context};

pub use builder::{Overflow, WorkerPoolBuilder};
pub use handle::JobHandle;
pub use job::JobOutcome;
pub use results::{Completion, Results};
pub use stats::{WorkerPoolStats, WorkerState, WorkerStatus};

use crate::semaphore::Permit;
use crate::stats::Call;
use crate::sync::{Runtime, after_func};
use crate::{Attempt, ConfigError, Error, Refused, SharedError};
use builder::Settings;
use job::{AnyJob, Core, Job, Work, async_work, blocking_work};
use queue::Queued;
use shared::{SHUT_DOWN, Shared};
use worker::is_worker_of;

/// Runs async and blocking jobs on a fixed number of workers. Further jobs wait in a bounded queue.
///
/// ```
/// use ripcord::Context;
/// use ripcord_policy::WorkerPool;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ctx = Context::background();
/// let pool = WorkerPool::builder().workers(4).queue(100).build(&ctx)?;
///
/// let answer = pool.submit(&ctx, |_ctx| async { Ok::<_, std::io::Error>(6 * 7) }).await?;
/// assert_eq!(answer.await?, 42);
///
/// pool.shutdown(&ctx).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Methods
///
/// | to | use |
/// |---|---|
/// | create a pool | [`builder`](WorkerPool::builder) |
/// | submit an async job, and get a handle | [`submit`](WorkerPool::submit), [`try_submit`](WorkerPool::try_submit) |
/// | submit a blocking job, and get a handle | [`submit_blocking`](WorkerPool::submit_blocking) |
/// | submit an async job, and wait for its result | [`run`](WorkerPool::run) |
/// | read the results of jobs without their handles | [`results`](WorkerPool::results) |
/// | change the number of workers | [`resize`](WorkerPool::resize) |
/// | close the pool | [`shutdown`](WorkerPool::shutdown) |
/// | read the statistics | [`stats`](WorkerPool::stats) |
///
/// # How a job ends
///
/// A job returns a value or an error, or panics. Await the [`JobHandle`] of the job to get this result.
///
/// The *submitter* of a job is the caller of [`submit`](WorkerPool::submit). A job is canceled when the submitter's context
/// ends, when the [pool ends](WorkerPool#how-a-pool-ends), or by [`JobHandle::cancel`]. The effect depends on the job:
///
/// * A job that waits for a worker leaves the queue and never runs. Its handle returns the error immediately.
/// * A running async job is dropped as soon as it waits at an `.await`. If some work must always finish, spawn it as a
///   separate tokio task under [`Context::without_cancel`].
/// * A running blocking job continues until it returns, so it must check its context. Its handle returns the result when the
///   job returns.
///
/// # How a pool ends
///
/// * [`shutdown`](WorkerPool::shutdown) closes the pool to new jobs and waits until the accepted jobs have finished. If the
///   context passed to `shutdown` ends first, the remaining jobs are canceled.
/// * When the context passed to [`build`](WorkerPoolBuilder::build) ends, the pool closes and all jobs are canceled.
/// * When the last handle is dropped, the pool closes and all jobs are canceled. A clone of a pool is another handle to it.
///
/// If `shutdown` or the drop of the last handle cancels a running blocking job, the job's handle returns an error at once. The
/// job continues until it returns.
///
/// # Jobs that use their own pool
///
/// If a job submits another job to its own pool and the queue is full, the submission is refused, because the job could wait
/// for itself. A job that awaits another job of its own pool occupies its worker during the wait: see [`JobHandle`].
#[derive(Clone)]
pub struct WorkerPool {
    owner: Arc<Owner>,
}

/// The number of a job in its [`WorkerPool`]. The jobs of a pool are numbered from 1. Numbers are not reused. `Display`
/// prints the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u64);

impl JobId {
    const FIRST: Self = Self(1);
}

/// The owner of a pool. It is dropped with the last handle of the pool. Workers, jobs and results hold only the shared part.
struct Owner {
    shared: Arc<Shared>,
    /// Ends the pool's context when the owner is dropped.
    _canceler: Canceler,
}

impl WorkerPool {
    /// Creates a builder. The number of [`workers`](WorkerPoolBuilder::workers) is required.
    ///
    /// If the queue of the pool is full, or its last handle was dropped, the long text (`{:#}`) of an error shows the line that
    /// called `builder`.
    #[track_caller]
    #[doc(alias("NewWorkerPool"))]
    pub fn builder() -> WorkerPoolBuilder {
        WorkerPoolBuilder::new()
    }

    fn start(
        ctx: &Context,
        name: Option<Arc<str>>,
        clock: Clock,
        workers: usize,
        settings: Settings,
        runtime: Runtime,
    ) -> Self {
        // A retry attempt may build the pool, but the pool's jobs belong to other callers.
        let ctx = Attempt::clear(ctx).with_name(name.as_deref().unwrap_or("worker pool").to_owned());
        let (ctx, canceler) = ctx.with_cancel();
        let shared = Arc::new(Shared::new(ctx, canceler.handle(), name, clock, settings, runtime));
        shared.resize(workers);
        let weak = Arc::downgrade(&shared);
        // The callback is never stopped: the pool's context ends with the owner at the latest.
        drop(after_func(&shared.ctx, move || {
            if let Some(shared) = weak.upgrade() {
                shared.close_now();
            }
        }));
        Self { owner: Arc::new(Owner { shared, _canceler: canceler }) }
    }

    /// Submits an async job, waits for the result of the job and returns the result. This is short for calling
    /// [`submit`](Self::submit) and awaiting the [`JobHandle`].
    ///
    /// `job` gets the job's own context: see [`submit`](Self::submit). When `ctx` ends, the job is canceled and dropped.
    ///
    /// ```
    /// use ripcord::Context;
    /// use ripcord_policy::WorkerPool;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ctx = Context::background();
    /// let pool = WorkerPool::builder().workers(4).build(&ctx)?;
    /// let sum = pool.run(&ctx, |_ctx| async { Ok::<_, std::io::Error>(1 + 2) }).await?;
    /// assert_eq!(sum, 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// * The job was refused, for the reasons listed for [`submit`](Self::submit).
    /// * The job failed or was canceled, for the reasons listed for [`JobHandle`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped while it waits for room in the queue, the job is not submitted. If the future is dropped
    /// later, the job continues.
    pub async fn run<Fut, T, E>(
        &self,
        ctx: &Context,
        job: impl FnOnce(Context) -> Fut + Send + 'static,
    ) -> Result<T, Error<SharedError>>
    where
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Into<Cause> + 'static,
    {
        self.submit(ctx, job).await?.await
    }

    /// Submits an async job. Returns a handle as soon as the pool has accepted the job. Await the handle to get the result of
    /// the job.
    ///
    /// A worker calls `job` with the job's own context. This context has the values of `ctx`. It ends when `ctx` ends, when
    /// the [pool ends](WorkerPool#how-a-pool-ends), or when the job is canceled through its handle. A running job is dropped
    /// when its context ends: see [How a job ends](WorkerPool#how-a-job-ends). The error of the job can have any type `E`
    /// that converts to a [`Cause`]. The handle returns it as a [`SharedError`].
    ///
    /// If the queue is full, this method waits for room. If the pool was built with [`Overflow::Reject`], or if the caller
    /// is a job of the same pool, the method fails at once instead.
    ///
    /// To submit a job from a thread outside of a runtime, use [`ripcord::block_on`]`(pool.submit(..))`.
    ///
    /// The pool keeps a clone of `ctx` until a job with another context is submitted or the pool is closed.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed before there was room in the queue ([`Refused::context_error`]). The job is
    ///   then not submitted. If there is room at the moment when `ctx` ends, the job is submitted, unless `ctx` had ended
    ///   before the call.
    /// * The queue is full ([`Refused::is_full`]), and the pool was built with [`Overflow::Reject`] or the caller is a job of
    ///   the same pool.
    /// * The pool is closed ([`Refused::is_closed`]).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the job is not submitted.
    #[doc(alias("Submit"))]
    pub async fn submit<Fut, T, E>(
        &self,
        ctx: &Context,
        job: impl FnOnce(Context) -> Fut + Send + 'static,
    ) -> Result<JobHandle<T>, Refused>
    where
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Into<Cause> + 'static,
    {
        let permit = self.permit(ctx).await?;
        self.push(ctx, permit, |new| async_work(new, job))
    }

    /// Submits an async job like [`submit`](Self::submit), but never waits for room in the queue. Returns a handle. Await the
    /// handle to get the result of the job.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline has passed ([`Refused::context_error`]).
    /// * The queue is full ([`Refused::is_full`]).
    /// * The pool is closed ([`Refused::is_closed`]).
    pub fn try_submit<Fut, T, E>(
        &self,
        ctx: &Context,
        job: impl FnOnce(Context) -> Fut + Send + 'static,
    ) -> Result<JobHandle<T>, Refused>
    where
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Into<Cause> + 'static,
    {
        let permit = self.counting_refusals(self.try_permit(ctx))?;
        self.push(ctx, permit, |new| async_work(new, job))
    }

    /// Submits a blocking job. Returns a handle as soon as the pool has accepted the job. Await the handle to get the result
    /// of the job.
    ///
    /// The job runs on a thread of tokio's blocking pool, and occupies a worker until the job returns. The argument of `job`
    /// is the job's own context: see [`submit`](Self::submit). A running job is not interrupted when its context ends, so
    /// the job must check its context. If the queue is full, this method does the same as `submit`.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed before there was room in the queue ([`Refused::context_error`]). The job is
    ///   not submitted.
    /// * The queue is full ([`Refused::is_full`]), and the pool was built with [`Overflow::Reject`] or the caller is a job of
    ///   the same pool.
    /// * The pool is closed ([`Refused::is_closed`]).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the job is not submitted.
    pub async fn submit_blocking<T, E>(
        &self,
        ctx: &Context,
        job: impl FnOnce(&Context) -> Result<T, E> + Send + 'static,
    ) -> Result<JobHandle<T>, Refused>
    where
        T: Send + 'static,
        E: Into<Cause> + 'static,
    {
        let permit = self.permit(ctx).await?;
        self.push(ctx, permit, |new| blocking_work(new, job))
    }

    /// Opens a stream of finished jobs. If no other stream of the pool is open, the stream contains the jobs that finish
    /// after this call.
    ///
    /// All open streams of a pool read from one queue, and each finished job goes to only one of them. So if another stream is
    /// open, this stream may also return jobs that finished before this call and were not read yet.
    ///
    /// A [`Completion`] of the stream contains the result of a job only if the [`JobHandle`] of the job was dropped.
    ///
    /// ```
    /// use ripcord::Context;
    /// use ripcord_policy::WorkerPool;
    /// use ripcord_policy::pool::JobOutcome;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ctx = Context::background();
    /// let pool = WorkerPool::builder().workers(2).build(&ctx)?;
    /// let mut results = pool.results();
    /// for n in [1_u32, 2, 3] {
    ///     // Dropping the handle leaves the job's result to the reader of the stream.
    ///     drop(pool.submit(&ctx, move |_ctx| async move { Ok::<_, std::io::Error>(n * n) }).await?);
    /// }
    /// pool.shutdown(&ctx).await?;
    ///
    /// let mut sum = 0;
    /// while let Some(done) = results.next(&ctx).await? {
    ///     assert_eq!(done.outcome(), JobOutcome::Succeeded);
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

    /// Changes the number of workers to `workers`. If the number grows, new workers start immediately. If the number shrinks, the
    /// pool first stops idle workers, immediately. If fewer workers are idle than must stop, other workers stop when they have
    /// finished their current jobs.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `workers` is 0 or more than 2^60 - 1, or if the pool is closed.
    pub fn resize(&self, workers: usize) -> Result<(), ConfigError> {
        builder::check("workers", workers)?;
        match self.owner.shared.resize(workers) {
            true => Ok(()),
            false => Err(ConfigError::new("workers", "set while the pool is open", workers)),
        }
    }

    /// Closes the pool to new jobs, and waits until all accepted jobs have finished and all workers have stopped.
    ///
    /// If `ctx` ends before all jobs have finished, the remaining jobs are canceled, and their handles return an error: see
    /// [How a pool ends](WorkerPool#how-a-pool-ends). Do not await this method in a job of the same pool, because the job
    /// would wait for itself until `ctx` ends.
    ///
    /// # Errors
    ///
    /// `ctx` was canceled or its deadline passed before all jobs had finished ([`Refused::context_error`]). If `ctx` had ended
    /// before the call, the jobs are canceled at once.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped after its first poll, the pool stays closed, and its jobs continue. Call this method again to
    /// wait for them.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::Context;
    /// use ripcord_policy::WorkerPool;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ctx = Context::background();
    /// let pool = WorkerPool::builder().workers(1).build(&ctx)?;
    /// let endless = pool.submit(&ctx, |_ctx| std::future::pending::<Result<(), std::io::Error>>()).await?;
    ///
    /// // Jobs that have not finished in 10 ms are canceled.
    /// let grace = ctx.with_timeout(Duration::from_millis(10));
    /// assert!(pool.shutdown(&grace).await.is_err_and(|error| error.is_deadline_exceeded()));
    /// assert!(endless.await.is_err_and(|error| error.is_canceled()));
    /// assert!(pool.try_submit(&ctx, |_ctx| async { Ok::<_, std::io::Error>(()) }).is_err());
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("Shutdown"))]
    #[track_caller]
    pub fn shutdown(&self, ctx: &Context) -> impl Future<Output = Result<(), Refused>> + Send {
        let location = Location::caller();
        async move {
            let shared = &self.owner.shared;
            shared.close(SHUT_DOWN, location);
            match ctx.run(shared.drained()).await {
                Ok(()) => {
                    shared.end_context();
                    Ok(())
                }
                Err(end) => {
                    shared.abort(SHUT_DOWN, location);
                    Err(Refused::ended(end))
                }
            }
        }
    }

    /// Returns whether the pool is closed to new jobs, by [`shutdown`](WorkerPool::shutdown) or because the context passed to
    /// [`build`](WorkerPoolBuilder::build) has ended.
    pub fn is_closed(&self) -> bool {
        self.owner.shared.is_closed()
    }

    /// Returns the statistics of the pool, and the current state of each worker.
    pub fn stats(&self) -> WorkerPoolStats {
        self.owner.shared.stats()
    }

    async fn permit(&self, ctx: &Context) -> Result<Permit<'_>, Refused> {
        let shared = &self.owner.shared;
        let permit = match self.try_permit(ctx) {
            // A job of this pool must not wait for room, because the room may become free only when the job ends.
            Err(refused)
                if refused.is_full() && shared.settings.overflow == Overflow::Wait && !is_worker_of(shared.id) =>
            {
                ctx.run(shared.permit()).await.unwrap_or_else(|end| Err(Refused::ended(end)))
            }
            permit => permit,
        };
        self.counting_refusals(permit)
    }

    fn try_permit(&self, ctx: &Context) -> Result<Permit<'_>, Refused> {
        self.owner.shared.check_open(ctx)?;
        self.owner.shared.try_permit()
    }

    fn counting_refusals<T>(&self, result: Result<T, Refused>) -> Result<T, Refused> {
        if result.is_err() {
            self.owner.shared.tally.count(Call::Rejected);
        }
        result
    }

    fn push<T: Send + 'static>(
        &self,
        ctx: &Context,
        permit: Permit<'_>,
        work: impl FnOnce(&Arc<Job<T>>) -> Work,
    ) -> Result<JobHandle<T>, Refused> {
        let shared = &self.owner.shared;
        let submitter = shared.last_submitter.get(ctx, &shared.ctx);
        let job = Job::new(Core::new(shared.next_job_id(), Arc::clone(shared), submitter));
        // The job releases the permit when it is resolved.
        permit.forget();
        let queued = Queued { job: Arc::clone(&job) as Arc<dyn AnyJob>, work: work(&job) };
        self.counting_refusals(shared.push(queued))?;
        Ok(JobHandle::new(job))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.abort("every handle of the worker pool was dropped", self.shared.settings.location);
    }
}

impl fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPool").field("stats", &self.stats()).finish()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
