//! Submitting jobs.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use ripcord::Context;
use serde::Serialize;

use super::{BATCH, Inner, JobId, milliseconds_down, milliseconds_up, scripts, trace, unexpected};
use crate::error::{Error, Kind};

/// A job to submit, with its settings. Create it with [`Queue::job`](crate::Queue::job), and call [`submit`](Submission::submit).
#[derive(Debug)]
#[must_use = "a job is not submitted until `submit` is called"]
pub struct Submission<'a> {
    queue: &'a Arc<Inner>,
    json: Result<String, serde_json::Error>,
    key: Option<String>,
    delay: Duration,
    deadline: Deadline,
}

#[derive(Clone, Copy, Debug)]
enum Deadline {
    OfContext,
    After(Duration),
    None,
}

impl<'a> Submission<'a> {
    pub(super) fn new(queue: &'a Arc<Inner>, job: &impl Serialize) -> Self {
        let json = serde_json::to_string(job);
        Submission { queue, json, key: None, delay: Duration::ZERO, deadline: Deadline::OfContext }
    }

    /// Sets an idempotency key. If a job with the same key was submitted to the queue within the time
    /// [`keep_keys`](crate::QueueBuilder::keep_keys), no job is added. An empty key counts as no key. Default: no key.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the time from the submission until the job may start. Default: zero.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sets the time from the submission to the job's deadline. It may be longer than the time left of the context passed to
    /// [`submit`](Submission::submit). A timeout of more than 292 years, such as [`Duration::MAX`], sets no deadline. Default: the
    /// deadline of this context.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.deadline = Deadline::After(timeout);
        self
    }

    /// Gives the job no deadline, even if the context passed to [`submit`](Submission::submit) has a deadline.
    pub fn no_deadline(mut self) -> Self {
        self.deadline = Deadline::None;
        self
    }

    /// Submits the job, and returns its ID when Redis has stored the job. If a job has the same idempotency key, returns the ID of
    /// that job.
    ///
    /// # Errors
    ///
    /// The same as those of [`Queue::submit`](crate::Queue::submit).
    #[track_caller]
    pub fn submit(self, ctx: &Context) -> impl Future<Output = Result<JobId, Error>> + Send + use<'a, '_> {
        let location = Location::caller();
        async move {
            let mut ids = submit(self.queue, ctx, location, vec![self]).await?;
            ids.pop().ok_or_else(|| unexpected(SUBMIT, location, "no ID"))
        }
    }
}

const SUBMIT: &str = "submit";

/// Submits jobs in batches.
pub(super) async fn submit(
    queue: &Arc<Inner>,
    ctx: &Context,
    location: &'static Location<'static>,
    jobs: Vec<Submission<'_>>,
) -> Result<Vec<JobId>, Error> {
    let trace = trace::encode(ctx);
    let mut ids = Vec::with_capacity(jobs.len());
    let mut jobs = jobs.into_iter();
    loop {
        let batch: Vec<_> = jobs.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            return Ok(ids);
        }
        let mut script = queue.prepare(&scripts::SUBMIT);
        script.arg(milliseconds_up(queue.keep_keys));
        for job in batch {
            let json = job.json.map_err(|error| Error::new(SUBMIT, location, Kind::Json(error)))?;
            let left = match job.deadline {
                Deadline::OfContext => ctx.remaining(),
                Deadline::After(timeout) => Some(timeout).filter(|timeout| i64::try_from(timeout.as_nanos()).is_ok()),
                Deadline::None => None,
            };
            let left = left.map(|left| milliseconds_down(left).to_string()).unwrap_or_default();
            script.arg(JobId::random().to_string()).arg(json).arg(&trace).arg(left);
            script.arg(milliseconds_up(job.delay)).arg(job.key.unwrap_or_default());
        }
        let answer: Vec<String> = queue.invoke(ctx, location, SUBMIT, &script).await?;
        for id in answer {
            ids.push(id.parse().map_err(|_| unexpected(SUBMIT, location, &id))?);
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Queue").field(&self.name).finish()
    }
}
