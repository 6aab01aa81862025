//! Runs the jobs of a queue. See [`Worker`].
//!
//! # Tasks
//!
//! The [reader](reader) reads jobs while there are free slots, and starts a task for each job on the caller's runtime. This task
//! reports the end of the job to the [finisher](finish), which records it in Redis. The finisher, the [leases](lease) and the
//! [upkeep](upkeep) run on the client's thread, so a handler that blocks its thread keeps its lease.
//!
//! # Invariants
//!
//! 1. A job is in the table of [held](held) jobs before Redis starts it, and until Redis has recorded its end. So a cancel that is
//!    sent after the start is not missed, and the lease is extended as long as the job is not over.
//! 2. The reader completes every read that it has started, or closes its connection and then reads all entries that Redis has
//!    delivered to it and that it does not hold. So no entry is lost.
//! 3. The reader asks for no more jobs than there are free slots. So a slow handler holds up no other job.

mod finish;
mod held;
mod job;
mod lease;
mod reader;
mod upkeep;

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use redis::cmd;
use ripcord::{Canceler, Context, Value};
use ripcord_policy::{ConfigError, Retry};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, mpsc};

use super::{GROUP, JobId, Queue};
use crate::client::{Request, Subscriber};
use crate::error::{Error, Kind};
use held::Holder;

pub use held::LeaseLost;

/// Runs jobs of a [`Queue`]. Create it with [`Queue::worker`], and call [`run`](Worker::run). The page of [`Queue`] has an example.
///
/// `E` is the error type of the handler. Any number of workers can run jobs of one queue, in one process or on many machines.
#[must_use = "a worker does nothing until `run` is awaited"]
pub struct Worker<J, E> {
    queue: Queue<J>,
    concurrency: usize,
    grace: Duration,
    retry: Option<Retry<E>>,
}

/// Information about the job that a handler runs. Returned by [`JobInfo::get`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobInfo {
    /// The ID of the job.
    pub id: JobId,
    /// The number of failed attempts before this attempt: 0 at the first attempt.
    pub attempt: u32,
    /// How often a worker has started this attempt, from 1. A number above 1 means that a worker has started this attempt and lost
    /// the job, for example because the process of the worker died.
    pub delivery: u32,
}

impl JobInfo {
    /// Returns the information about the job whose context is `ctx` or an ancestor of `ctx`. Returns `None` if `ctx` does not
    /// belong to a job.
    pub fn get(ctx: &Context) -> Option<&JobInfo> {
        ctx.value::<JobInfo>()
    }
}

impl Value for JobInfo {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {}, attempt {}", self.id, self.attempt)
    }
}

impl<J, E> Worker<J, E> {
    pub(super) fn new(queue: Queue<J>) -> Self {
        Worker { queue, concurrency: 1, grace: Duration::ZERO, retry: None }
    }

    /// Sets the maximum number of jobs that the worker runs at the same time. At least 1. Default: 1.
    pub fn concurrency(mut self, jobs: usize) -> Self {
        self.concurrency = jobs;
        self
    }

    /// Sets the retry that decides whether a failed job runs again, and after which delay. Default: no retry, so a failed job
    /// becomes a dead letter.
    ///
    /// Redis keeps the number of attempts and the last delay of each job, so any worker can make the next attempt. The worker only
    /// asks the retry for its decision ([`Retry::next_delay`]). The delay does not occupy the worker.
    pub fn retry(mut self, retry: Retry<E>) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Sets the time for which a handler may continue after its context has ended, for example to clean up. After this time, the
    /// handler is dropped at its next `.await`. Default: zero.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}

impl<J, E> Worker<J, E>
where
    J: Serialize + DeserializeOwned + Send + 'static,
    E: fmt::Display + Send + 'static,
{
    /// Runs jobs until `ctx` ends or [drains](Context::draining).
    ///
    /// `handler` is called for each job, with the context of the job and the job. The table in [`Queue`](Queue#how-a-job-ends)
    /// shows what happens to the job after the handler has returned or was dropped.
    ///
    /// The context of the job is derived from `ctx`. It also ends when the job is [canceled](Queue::cancel), at the deadline of the
    /// job, and when the worker loses the lease of the job ([`LeaseLost`]). Its name is the name of the queue. [`JobInfo::get`]
    /// returns the ID of the job and the number of the attempt.
    ///
    /// While `ctx` is draining, the worker takes no new jobs, and returns `Ok` when its running jobs have finished. When `ctx`
    /// ends, the running handlers are dropped after the [`grace`](Worker::grace), and their jobs wait for other workers.
    ///
    /// Call this method on a tokio runtime that has the time driver. The handlers run on this runtime.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed ([`Error::context_error`]). If Redis is available, the running jobs wait for
    ///   other workers when this method returns. Otherwise, other workers take them over after the
    ///   [lease](crate::QueueBuilder::lease).
    /// * [`concurrency`](Worker::concurrency) is 0 ([`Error::config_error`]).
    /// * Redis answered with an error when the worker created the queue ([`Error::code`]).
    ///
    /// An outage of Redis is not an error: the worker waits until Redis is available again.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the contexts of the running jobs end, and the jobs return to the queue in the background.
    #[track_caller]
    pub fn run<H, Fut>(
        self,
        ctx: &Context,
        handler: H,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<J, E, H, Fut>
    where
        H: Fn(Context, J) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
    {
        let (location, ctx) = (Location::caller(), ctx.clone());
        async move { run(self, ctx, handler, location).await }
    }
}

/// Cancels the worker's jobs if the future of `run` is dropped.
struct CancelOnDrop {
    canceler: Canceler,
    location: &'static Location<'static>,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.canceler.cancel_at("the worker was dropped", self.location);
    }
}

async fn run<J, E, H, Fut>(
    worker: Worker<J, E>,
    parent: Context,
    handler: H,
    location: &'static Location<'static>,
) -> Result<(), Error>
where
    J: Serialize + DeserializeOwned + Send + 'static,
    E: fmt::Display + Send + 'static,
    H: Fn(Context, J) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
{
    let failed = |kind| Error::new("run", location, kind);
    if worker.concurrency == 0 {
        return Err(failed(Kind::Config(ConfigError::new("concurrency", "at least 1", 0))));
    }
    // A shutdown waits for the worker until Redis knows how the last job ended.
    let _task = parent.task_guard_at(location);
    let inner = Arc::clone(&worker.queue.inner);
    let shared = Arc::clone(inner.shared());
    let (ctx, canceler) = parent.with_name(inner.name.clone()).with_cancel();
    let canceler = CancelOnDrop { canceler, location };
    if !wait_for_group(&worker.queue, &ctx, location).await? {
        return Ok(());
    }
    let (sender, receiver) = mpsc::channel(worker.concurrency.min(super::BATCH));
    let holder = Arc::new(Holder::new(Arc::clone(&inner), ctx.clone(), location));
    // Events arrive before the first job starts.
    let subscriber: Arc<dyn Subscriber> = holder.clone();
    shared.subscribe(Arc::downgrade(&subscriber));
    drop(subscriber);
    {
        let listening = shared.listening(&ctx);
        tokio::pin!(listening);
        tokio::select! {
            listening = &mut listening => listening.map_err(|end| failed(Kind::Ended(end)))?,
            () = ctx.draining() => return Ok(()),
        }
    }
    let runtime = shared.runtime();
    let finisher = runtime.spawn(finish::run(Arc::clone(&holder), receiver));
    let keepers = [
        runtime.spawn(lease::extend(Arc::clone(&holder))),
        runtime.spawn(lease::watch(Arc::clone(&holder))),
        runtime.spawn(upkeep::run(Arc::clone(&holder))),
    ];
    // A multiple of this number fits into the 64 bits of a number in Redis.
    let concurrency = worker.concurrency.min(Semaphore::MAX_PERMITS);
    let slots = Arc::new(Semaphore::new(concurrency));
    let jobs = job::Jobs {
        holder: Arc::clone(&holder),
        ctx: ctx.clone(),
        handler: Arc::new(handler),
        retry: worker.retry,
        grace: worker.grace,
        finished: sender,
        job: std::marker::PhantomData,
    };
    let reader = reader::Reader::new(jobs, slots, concurrency);
    // The tasks end by themselves if this future is dropped: the reader when the context ends, the finisher with the last job, and
    // the keepers with the finisher.
    let reading = tokio::spawn(reader.run());
    let _panicked = reading.await;
    let _panicked = finisher.await;
    for keeper in keepers {
        let _panicked = keeper.await;
    }
    parent.check().map_err(|end| failed(Kind::Ended(end)))?;
    drop(canceler);
    Ok(())
}

/// Waits until Redis has the stream and the group. Returns whether it has: the context may drain first.
async fn wait_for_group<J>(
    queue: &Queue<J>,
    ctx: &Context,
    location: &'static Location<'static>,
) -> Result<bool, Error> {
    loop {
        let error = match create_group(queue.inner.as_ref(), ctx, location).await {
            Ok(()) => return Ok(true),
            Err(error) => error,
        };
        if !error.is_unavailable() {
            return Err(error);
        }
        let system = Context::background();
        let pause = system.sleep(finish::pause_after(&error));
        tokio::select! {
            _ended = ctx.run(pause) => {}
            () = ctx.draining() => return Ok(false),
        }
    }
}

/// Creates the group, and with it the stream, if they do not exist yet.
async fn create_group(queue: &super::Inner, ctx: &Context, location: &'static Location<'static>) -> Result<(), Error> {
    let mut create = cmd("XGROUP");
    create.arg("CREATE").arg(queue.stream()).arg(GROUP).arg("0").arg("MKSTREAM");
    match queue.shared().send::<redis::Value>(ctx, location, "run", Request::Command(&create)).await {
        Err(error) if error.code() != Some("BUSYGROUP") => Err(error),
        _ => Ok(()),
    }
}

impl<J, E> fmt::Debug for Worker<J, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("queue", &self.queue)
            .field("concurrency", &self.concurrency)
            .field("grace", &self.grace)
            .field("retry", &self.retry)
            .finish()
    }
}
