//! One run of one job.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ripcord::{Context, TaskError};
use ripcord_policy::{Error as PolicyError, Panicked, Retry};
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::super::{DeadReason, JobId, trace};
use super::JobInfo;
use super::finish::{Finished, How};
use super::held::{EndedBy, Holder};

/// A job that Redis has started.
pub(super) struct Started {
    pub(super) id: JobId,
    pub(super) version: u64,
    /// The time to the deadline at `sent`, if there is a deadline.
    pub(super) left: Option<Duration>,
    /// The time at which the start was sent. Durations are counted from this time, so they end no later than in Redis.
    pub(super) sent: Instant,
    pub(super) valid_until: Instant,
    pub(super) attempts: u32,
    pub(super) last_delay: Duration,
    pub(super) deliveries: u32,
    pub(super) json: Vec<u8>,
    pub(super) trace: String,
}

impl Started {
    /// Adds the deadline of the job, on the clock of the context.
    fn deadline(&self, ctx: &Context, location: &'static Location<'static>) -> Context {
        match self.left {
            Some(left) => ctx.with_timeout_at(left.saturating_sub(self.sent.elapsed()), location),
            None => ctx.clone(),
        }
    }
}

/// Runs the jobs of a worker.
pub(super) struct Jobs<J, E, H> {
    pub(super) holder: Arc<Holder>,
    pub(super) ctx: Context,
    pub(super) handler: Arc<H>,
    pub(super) retry: Option<Retry<E>>,
    pub(super) grace: Duration,
    pub(super) finished: mpsc::Sender<Finished>,
    pub(super) job: PhantomData<fn(J)>,
}

impl<J, E, H> Clone for Jobs<J, E, H> {
    fn clone(&self) -> Self {
        Jobs {
            holder: Arc::clone(&self.holder),
            ctx: self.ctx.clone(),
            handler: Arc::clone(&self.handler),
            retry: self.retry.clone(),
            grace: self.grace,
            finished: self.finished.clone(),
            job: PhantomData,
        }
    }
}

impl<J, E, H, Fut> Jobs<J, E, H>
where
    J: DeserializeOwned + Send + 'static,
    E: fmt::Display + Send + 'static,
    H: Fn(Context, J) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
{
    /// Starts the task of a job. The permit is a slot of the worker.
    pub(super) fn start(&self, job: Started, permit: OwnedSemaphorePermit) {
        let jobs = self.clone();
        tokio::spawn(async move {
            let (id, version) = (job.id, job.version);
            let how = jobs.run(job).await;
            // The finisher ends after the last sender, so it receives this.
            let _received = jobs.finished.send(Finished { id, version, how }).await;
            drop(permit);
        });
    }

    async fn run(&self, job: Started) -> How {
        let info = JobInfo { id: job.id, attempt: job.attempts, delivery: job.deliveries };
        let ctx = trace::decode(&job.trace, self.ctx.with_value(info));
        let (ctx, canceler) = ctx.with_cancel();
        let ctx = job.deadline(&ctx, self.holder.location);
        let was_ended = self.holder.start(job.id, job.version, job.valid_until, canceler.handle());
        self.holder.lease_started.notify_one();
        if let Some(by) = was_ended {
            self.holder.cancel(&canceler.handle(), by);
        }
        let value = match caught(|| serde_json::from_slice::<J>(&job.json)) {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => return dead(DeadReason::Malformed, &error),
            Err(panicked) => return dead(DeadReason::Malformed, &panicked),
        };
        let handler = Arc::clone(&self.handler);
        let task = ctx.spawn_with_grace(self.grace, |ctx| async move { handler(ctx, value).await });
        let error = match task.await {
            Ok(Ok(())) => {
                if let Some(retry) = &self.retry {
                    retry.record_success(job.attempts.saturating_add(1));
                }
                return How::Done;
            }
            Ok(Err(error)) => Failure::Returned(error),
            Err(TaskError::Panicked(panic)) => Failure::Panicked(Panicked::new(&*panic.into_payload())),
            Err(_) => Failure::Ended,
        };
        // The error and the retry contain the user's code.
        caught(|| self.failed(&job, &ctx, error)).unwrap_or_else(|panicked| dead(DeadReason::Failed, &panicked))
    }

    /// Decides what happens to a failed job.
    fn failed(&self, job: &Started, ctx: &Context, failure: Failure<E>) -> How {
        match self.holder.ended(job.id) {
            Some(EndedBy::Canceled(_)) => return How::Canceled,
            Some(EndedBy::Lost(_)) => return How::Lost,
            None => {}
        }
        // The runtime of the worker may also have stopped.
        if self.ctx.is_done() || (matches!(failure, Failure::Ended) && ctx.err().is_none()) {
            return How::Release;
        }
        if let Some(end) = ctx.err() {
            return dead(DeadReason::Deadline, &format_args!("{end:#}"));
        }
        let text = failure.to_string();
        let error = match failure {
            Failure::Returned(error) => PolicyError::new(error),
            Failure::Panicked(panicked) => PolicyError::from_panic(panicked),
            Failure::Ended => return How::Release,
        };
        let Some(retry) = &self.retry else { return dead(DeadReason::Failed, &text) };
        // The deadline of the job counts, and not the end of this worker.
        let whole = job.deadline(&ctx.without_cancel(), self.holder.location);
        match retry.next_delay(&whole, job.attempts.saturating_add(1), job.last_delay, error) {
            Ok(delay) => How::Retry { delay, error: text },
            Err(error) => dead(DeadReason::Failed, &format_args!("{error:#}")),
        }
    }
}

enum Failure<E> {
    Returned(E),
    Panicked(Panicked),
    /// The handler was dropped.
    Ended,
}

impl<E: fmt::Display> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Returned(error) => write!(f, "{error:#}"),
            Failure::Panicked(panicked) => write!(f, "{panicked}"),
            Failure::Ended => f.write_str("the handler was dropped"),
        }
    }
}

/// Calls `call`. Returns its panic as an error: a job whose task panics would never be over.
fn caught<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| Panicked::new(&*payload))
}

fn dead(reason: DeadReason, error: &dyn fmt::Display) -> How {
    How::Dead(format!("{}:{error}", reason.text()))
}
