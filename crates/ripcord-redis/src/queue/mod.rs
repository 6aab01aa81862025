//! The durable work queue. See [`Queue`].
//!
//! # Invariants
//!
//! 1. A job is in exactly one place: in the stream (waiting or running), in the set of delayed jobs, or in the set of dead letters.
//!    Each [script](scripts) moves it from one place to another in one step. So no crash loses a job.
//! 2. The version of a job grows with every start. A run changes its job only if the version is still the one that the run got. So
//!    a worker that has lost a job cannot end it.
//! 3. All times in Redis are the server's, and only durations are sent. So the clocks of the machines do not matter.
//! 4. The local lease of a run is counted from the moment before it is asked for, so it ends before the lease in Redis.

mod builder;
mod cancel;
mod dead;
mod id;
mod list;
mod scripts;
mod stats;
mod submission;
mod trace;
mod worker;

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use redis::FromRedisValue;
use ripcord::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::{Call, Client, LONGEST, Request, Script, Shared};
use crate::error::{Error, Kind};

pub use builder::QueueBuilder;
pub use cancel::CancelOutcome;
pub use dead::{DeadLetter, DeadReason};
pub use id::{InvalidJobId, JobId};
pub use list::{JobState, JobSummary};
pub use stats::QueueStats;
pub use submission::Submission;
pub use worker::{JobInfo, LeaseLost, Worker};

/// The group of the stream to which all workers belong.
const GROUP: &str = "workers";
/// Maximum number of jobs that one script handles, so that Redis soon answers other clients.
const BATCH: usize = 200;

/// A durable queue of jobs in Redis. Any machine submits jobs, and any machine runs them.
///
/// A job is a value of the type `J`, which serde writes as JSON. It survives restarts of the workers. It survives a restart of
/// Redis if Redis has written it to disk. It may be lost if a master of Redis fails before a replica has a copy.
///
/// ```no_run
/// use std::time::Duration;
/// use ripcord::{Context, Shutdown};
/// use ripcord_policy::Retry;
/// use ripcord_redis::{Client, Queue};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Email { to: String, text: String }
///
/// # async fn send(_: &Email) -> std::io::Result<()> { Ok(()) }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder().url("redis://127.0.0.1").build()?;
/// let emails: Queue<Email> = Queue::builder("emails").client(&client).build()?;
///
/// // On any machine:
/// let ctx = Context::background().with_timeout(Duration::from_secs(600));
/// let id = emails.submit(&ctx, Email { to: "a@example.com".into(), text: "hello".into() }).await?;
/// emails.cancel(&ctx, id, "the user changed the text").await?; // only if the job must not run
///
/// // On the machines that do the work:
/// let shutdown = Shutdown::builder().build();
/// let retry = Retry::builder().max_attempts(5).build()?;
/// emails
///     .worker()
///     .concurrency(8)
///     .retry(retry)
///     .run(shutdown.context(), |ctx, email: Email| async move { send(&email).await })
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// # Delivery
///
/// A job is delivered *at least once*. It runs again if its worker dies, is paused or loses its connection before Redis has
/// recorded the end of the job. The handler may have done its work by then. So write handlers that may run twice for one job: for
/// example, store the [`JobId`] together with the result, and do nothing if it is already stored.
///
/// Workers take jobs in the order in which the jobs began to wait, and run them concurrently. A job that runs again goes to the end
/// of the queue.
///
/// # How a job ends
///
/// The context of a job ends when the job is canceled and at its deadline. It also ends when the worker's context ends, and when
/// the worker loses the lease of the job. The handler is then dropped at its next `.await`, after the [`grace`](Worker::grace) of
/// the worker.
///
/// | the handler | the job |
/// |---|---|
/// | returns `Ok` | is done and deleted |
/// | returns `Err` or panics | runs again after a delay, as the [`Retry`](ripcord_policy::Retry) of the worker says, or becomes a dead letter |
/// | is dropped because the job was [canceled](Queue::cancel) | is deleted, and does not run again |
/// | is dropped because the job's deadline passed | becomes a dead letter |
/// | is dropped because the worker's context ended | waits for another worker |
/// | is dropped because its worker lost the lease, or its process died | runs again on another worker |
///
/// If the context has ended and the handler then returns `Ok`, the job is done. If it returns `Err` or panics, the job is
/// treated as if the handler had been dropped.
///
/// A *dead letter* is a job that failed. It stays in Redis until it is [resent](Queue::resend) or [deleted](Queue::delete). A job
/// also becomes a dead letter in these cases:
///
/// * Its deadline has passed before it starts.
/// * Its JSON cannot be read as a `J`.
/// * As many workers lost it, one after another, as [`max_deliveries`](QueueBuilder::max_deliveries) sets, by default 5. A worker
///   loses a job, for example, when it dies.
///
/// # Deadline and trace
///
/// A job has the deadline of the context that submitted it, unless the [`Submission`] sets another deadline. The clock of Redis
/// measures the time left. The job's context also has the trace (`traceparent`), the baggage and the request ID of the submitting
/// context, as the types of the crate `ripcord-http`. The job's span is a child of the submitter's span.
///
/// # When Redis is unavailable
///
/// The methods that return a future fail with [`Error::is_unavailable`], except for [`work`](Queue::work). A worker waits until
/// Redis is available again. A running job continues until its [`lease`](QueueBuilder::lease) is over. Then its context ends with
/// the cause [`LeaseLost`], because another worker may run the job.
///
/// Clones are handles to the same queue.
pub struct Queue<J> {
    inner: Arc<Inner>,
    job: PhantomData<fn(J) -> J>,
}

struct Inner {
    client: Client,
    name: String,
    /// The start of every key of the queue. See `scripts/common.lua`.
    base: String,
    lease: Duration,
    max_deliveries: u32,
    keep_keys: Duration,
}

impl<J> Queue<J> {
    /// Creates a builder of the queue with this name. The [`client`](QueueBuilder::client) is required. The name must not be empty
    /// or contain a brace. Queues with the same name share their jobs, if their clients have the same
    /// [prefix](crate::ClientBuilder::prefix).
    pub fn builder(name: impl Into<String>) -> QueueBuilder<J> {
        QueueBuilder::new(name.into())
    }

    /// Returns the name of the queue.
    pub fn name(&self) -> &str {
        &self.inner.name
    }
}

impl<J: Serialize + DeserializeOwned + Send> Queue<J> {
    /// Submits a job, and returns its ID when Redis has stored the job.
    ///
    /// The deadline of `ctx` becomes the deadline of the job. A cancel of `ctx` after the submission does not cancel the job. To
    /// set another deadline, a delay or an idempotency key, use [`job`](Queue::job).
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed ([`Error::context_error`]). The job may have been submitted.
    /// * Redis is unavailable ([`Error::is_unavailable`]). The job may have been submitted.
    /// * Redis answered with an error ([`Error::code`]).
    /// * The job cannot be written as JSON.
    ///
    /// To try again without the risk of a second job, use [`submit_with_key`](Queue::submit_with_key).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the job may have been submitted.
    #[track_caller]
    pub fn submit<'a>(&'a self, ctx: &'a Context, job: J) -> impl Future<Output = Result<JobId, Error>> + Send + 'a
    where
        J: 'a,
    {
        self.job(job).submit(ctx)
    }

    /// Submits a job with an idempotency key. If a job with the same `key` was submitted to this queue within the time
    /// [`keep_keys`](QueueBuilder::keep_keys), by default 24 hours, no job is added. The result is then the ID of the earlier job,
    /// even if that job is over. An empty key counts as no key.
    ///
    /// # Errors
    ///
    /// The same as those of [`submit`](Queue::submit).
    #[track_caller]
    pub fn submit_with_key<'a>(
        &'a self,
        ctx: &'a Context,
        key: impl Into<String>,
        job: J,
    ) -> impl Future<Output = Result<JobId, Error>> + Send + 'a
    where
        J: 'a,
    {
        self.job(job).key(key).submit(ctx)
    }

    /// Submits many jobs, up to 200 with each command, and returns their IDs in the order of `jobs`. The deadline of `ctx` becomes
    /// the deadline of each job.
    ///
    /// # Errors
    ///
    /// The same as those of [`submit`](Queue::submit). After an error, it is possible that some of the jobs were submitted.
    #[track_caller]
    pub fn submit_all<'a>(
        &'a self,
        ctx: &'a Context,
        jobs: impl IntoIterator<Item = J> + Send + 'a,
    ) -> impl Future<Output = Result<Vec<JobId>, Error>> + Send + 'a
    where
        J: 'a,
    {
        let location = Location::caller();
        let jobs: Vec<_> = jobs.into_iter().map(|job| self.job(job)).collect();
        submission::submit(&self.inner, ctx, location, jobs)
    }

    /// Creates a [`Submission`] of one job, with which you can set the deadline, a delay and an idempotency key of the job. Sends
    /// nothing until [`Submission::submit`] is called.
    pub fn job(&self, job: J) -> Submission<'_> {
        Submission::new(&self.inner, &job)
    }

    /// Creates a worker, which runs jobs of this queue once [`Worker::run`] is called. `E` is the error type of the handler.
    pub fn worker<E>(&self) -> Worker<J, E> {
        Worker::new(self.clone())
    }

    /// Runs jobs one at a time, until `ctx` ends or [drains](Context::draining). A failed job becomes a dead letter without a
    /// retry. This is short for [`worker`](Queue::worker)`().run(ctx, handler)`: see [`Worker::run`].
    ///
    /// # Errors
    ///
    /// The same as those of [`Worker::run`].
    #[track_caller]
    pub fn work<H, Fut, E>(
        &self,
        ctx: &Context,
        handler: H,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<J, H, Fut, E>
    where
        J: 'static,
        E: fmt::Display + Send + 'static,
        H: Fn(Context, J) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.worker().run(ctx, handler)
    }
}

impl Inner {
    fn shared(&self) -> &Arc<Shared> {
        self.client.shared()
    }

    /// Prepares a script with the key of the queue.
    fn prepare<'a>(&self, script: &'a Script) -> Call<'a> {
        script.call(&[&self.base])
    }

    async fn invoke<T: FromRedisValue>(
        &self,
        ctx: &Context,
        location: &'static Location<'static>,
        operation: &'static str,
        script: &Call<'_>,
    ) -> Result<T, Error> {
        self.shared().send(ctx, location, operation, Request::Script(script)).await
    }

    fn job_key(&self, id: JobId) -> String {
        format!("{}:job:{id}", self.base)
    }

    fn stream(&self) -> String {
        format!("{}:jobs", self.base)
    }
}

/// Returns whole milliseconds, rounded up.
fn milliseconds_up(duration: Duration) -> u64 {
    let rest = u64::from(!duration.subsec_nanos().is_multiple_of(1_000_000));
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).saturating_add(rest).min(MAX_MILLISECONDS)
}

/// Returns whole milliseconds, rounded down.
fn milliseconds_down(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(MAX_MILLISECONDS)
}

/// The scripts calculate with floating-point numbers.
const MAX_MILLISECONDS: u64 = LONGEST.as_secs() * 1000;

/// Returns the error of an answer that a script never gives.
fn unexpected(operation: &'static str, location: &'static Location<'static>, answer: &str) -> Error {
    let answer = format!("{answer:?}");
    let error =
        redis::RedisError::from((redis::ErrorKind::UnexpectedReturnType, "unexpected answer of a script", answer));
    Error::new(operation, location, Kind::Refused(error))
}

impl<J> Clone for Queue<J> {
    fn clone(&self) -> Self {
        Queue { inner: Arc::clone(&self.inner), job: PhantomData }
    }
}

impl<J> fmt::Debug for Queue<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("name", &self.inner.name)
            .field("lease", &self.inner.lease)
            .field("max_deliveries", &self.inner.max_deliveries)
            .field("keep_keys", &self.inner.keep_keys)
            .finish_non_exhaustive()
    }
}
