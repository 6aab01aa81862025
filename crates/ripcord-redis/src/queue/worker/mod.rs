//! Runs the jobs of a queue. See [`Worker`].
//!
//! # Tasks
//!
//! The [reader](reader) reads jobs as far as there are free slots, and starts a task for each of them, on the caller's runtime. These
//! tasks report how the job ended to the [finisher](finish), which tells Redis. The finisher, the [leases](lease) and the
//! [upkeep](upkeep) run on the client's thread, so that a handler that blocks its thread keeps its lease.
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

/// Runs jobs of a [`Queue`]. Create it with [`Queue::worker`].
///
/// `E` is the error type of the handler. A program can run several workers of one queue, in one process or on many machines.
#[must_use = "a worker does nothing until `run` is awaited"]
pub struct Worker<J, E> {
    queue: Queue<J>,
    concurrency: usize,
    grace: Duration,
    retry: Option<Retry<E>>,
}

/// The job that a context belongs to. Returned by [`JobInfo::get`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobInfo {
    /// The ID of the job.
    pub id: JobId,
    /// The number of the attempt, from 0: the failed attempts so far.
    pub attempt: u32,
    /// How often the job was delivered since its last failed attempt, from 1. A number above 1 means that another worker lost the
    /// job.
    pub delivery: u32,
}

impl JobInfo {
    /// Returns the job that `ctx` belongs to, or `None` outside of jobs.
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

    /// Sets the maximum number of jobs that the worker runs at once. At least 1. Default: 1.
    pub fn concurrency(mut self, jobs: usize) -> Self {
        self.concurrency = jobs;
        self
    }

    /// Sets the retry that decides whether a failed job runs again, and after which delay. Default: no retry, so a failed job
    /// becomes a dead letter.
    ///
    /// The number of attempts and the last delay are kept with the job, so it does not matter which worker makes the next attempt.
    /// The queue uses only the decisions of the retry, as [`Retry::next_delay`] makes them: the retry itself makes no call.
    pub fn retry(mut self, retry: Retry<E>) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Sets the time for which a handler may continue after its context has ended, to clean up. Default: zero. The handler is then
    /// dropped when it next waits at an `.await`.
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
    /// `handler` gets the context of the job and the job. The context is derived from `ctx`: it also ends when the job is
    /// [canceled](Queue::cancel), at the deadline of the job, and when the worker loses the lease of the job. Its name is the name
    /// of the queue. [`JobInfo::get`] returns the ID of the job and the number of the attempt. The table in
    /// [`Queue`](Queue#how-a-job-ends) shows what the result means.
    ///
    /// While `ctx` is draining, the worker takes no new jobs, and returns when its running jobs have finished. When `ctx` ends, the
    /// jobs are dropped, and wait again for other workers, at once.
    ///
    /// Call this method on a tokio runtime, with its time driver. The handlers run on this runtime.
    ///
    /// # Errors
    ///
    /// * `ctx` ended ([`Error::context_error`]). The jobs have been returned to the queue, if Redis was available.
    /// * `concurrency` is 0 ([`Error::config_error`]), or Redis refused to create the queue ([`Error::code`]).
    ///
    /// While Redis is unavailable, the worker waits for it.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the jobs are canceled and returned to the queue in the background.
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
    let slots = Arc::new(Semaphore::new(worker.concurrency));
    let jobs = job::Jobs {
        holder: Arc::clone(&holder),
        ctx: ctx.clone(),
        handler: Arc::new(handler),
        retry: worker.retry,
        grace: worker.grace,
        finished: sender,
        job: std::marker::PhantomData,
    };
    let reader = reader::Reader::new(jobs, slots, worker.concurrency);
    // The tasks end by themselves if this future is dropped: the reader when the context ends, the finisher with the last job.
    let reading = tokio::spawn(reader.run());
    let _panicked = reading.await;
    let _panicked = finisher.await;
    holder.close();
    for keeper in keepers {
        let _panicked = keeper.await;
    }
    upkeep::leave(&holder).await;
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
