//! Listing jobs.

use std::panic::Location;
use std::time::Duration;

use redis::Value;
use ripcord::Context;

use super::{Inner, JobId, Queue, scripts};
use crate::error::{Error, Kind};

/// A job that waits, runs or is delayed. Returned by [`Queue::list`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobSummary {
    /// The ID of the job.
    pub id: JobId,
    /// Whether the job waits for a worker, runs, or is delayed.
    pub state: JobState,
    /// The job as JSON.
    pub json: String,
    /// The number of failed attempts.
    pub failed_attempts: u32,
    /// The time since the job was submitted.
    pub age: Duration,
    /// The time to the deadline, or `None` if the job has no deadline.
    pub remaining: Option<Duration>,
    /// The worker that runs the job: the [name](crate::Client::name) of its client, a hyphen and a random number. `None` if the job
    /// does not run.
    pub worker: Option<String>,
    /// The error of the last failed attempt, cut to 4096 bytes. `None` if no attempt has failed.
    pub error: Option<String>,
    /// Whether the job was canceled while it ran, and has not ended yet.
    pub is_canceled: bool,
}

/// The state of a job in a [`JobSummary`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobState {
    /// The job waits for a worker.
    Waiting,
    /// A worker runs the job.
    Running,
    /// The job waits until its delay is over: the delay of its [`Submission`](crate::Submission), or the delay before a retry.
    Delayed,
}

impl<J> Queue<J> {
    /// Returns the jobs that wait, run or are delayed, but no dead letters. Returns at most `limit` jobs, and at most 10,000.
    ///
    /// The waiting and running jobs come first, in the order in which they began to wait. The delayed jobs follow, in the order in
    /// which they are due.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed ([`Error::context_error`]).
    /// * Redis is unavailable ([`Error::is_unavailable`]), or answered with an error ([`Error::code`]).
    #[track_caller]
    pub fn list<'a>(
        &'a self,
        ctx: &'a Context,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<JobSummary>, Error>> + Send + 'a {
        let location = Location::caller();
        async move {
            let rows = list(&self.inner, ctx, location, "list", "jobs", limit).await?;
            Ok(rows.into_iter().map(Row::into_summary).collect())
        }
    }
}

/// A job as the script lists it.
pub(super) struct Row {
    pub(super) id: JobId,
    pub(super) state: String,
    pub(super) json: String,
    pub(super) attempts: u32,
    pub(super) age: Duration,
    pub(super) remaining: Option<Duration>,
    pub(super) worker: String,
    pub(super) reason: String,
    pub(super) error: String,
    pub(super) cancel: String,
}

impl Row {
    fn into_summary(self) -> JobSummary {
        let filled = |text: String| (!text.is_empty()).then_some(text);
        let state = match self.state.as_str() {
            "running" => JobState::Running,
            "delayed" => JobState::Delayed,
            _ => JobState::Waiting,
        };
        JobSummary {
            id: self.id,
            state,
            json: self.json,
            failed_attempts: self.attempts,
            age: self.age,
            remaining: self.remaining,
            worker: filled(self.worker).filter(|_| state == JobState::Running),
            error: filled(self.error),
            is_canceled: !self.cancel.is_empty(),
        }
    }
}

/// Lists jobs or dead letters.
pub(super) async fn list(
    queue: &Inner,
    ctx: &Context,
    location: &'static Location<'static>,
    operation: &'static str,
    what: &str,
    limit: usize,
) -> Result<Vec<Row>, Error> {
    // XRANGE refuses a count of zero, and one script must not occupy Redis for long.
    if limit == 0 {
        return Ok(Vec::new());
    }
    let mut script = queue.prepare(&scripts::LIST);
    script.arg(what).arg(limit.min(10_000));
    let rows: Vec<Vec<Value>> = queue.invoke(ctx, location, operation, &script).await?;
    let read = |row| read(row).map_err(|error| Error::new(operation, location, Kind::Refused(error)));
    rows.into_iter().map(read).collect()
}

fn read(row: Vec<Value>) -> Result<Row, redis::RedisError> {
    type Texts = (String, String, String, String);
    let missing = || redis::RedisError::from((redis::ErrorKind::UnexpectedReturnType, "a row is too short"));
    let mut row = row.into_iter();
    let mut next = || row.next().ok_or_else(missing);
    let (id, state, json): (String, String, String) =
        (redis::from_redis_value(next()?)?, redis::from_redis_value(next()?)?, redis::from_redis_value(next()?)?);
    let (attempts, age, left): (u32, u64, i64) =
        (redis::from_redis_value(next()?)?, redis::from_redis_value(next()?)?, redis::from_redis_value(next()?)?);
    let (worker, reason, error, cancel): Texts = (
        redis::from_redis_value(next()?)?,
        redis::from_redis_value(next()?)?,
        redis::from_redis_value(next()?)?,
        redis::from_redis_value(next()?)?,
    );
    let id = id
        .parse()
        .map_err(|_| redis::RedisError::from((redis::ErrorKind::UnexpectedReturnType, "not the ID of a job")))?;
    let remaining = u64::try_from(left).ok().map(Duration::from_millis);
    Ok(Row { id, state, json, attempts, age: Duration::from_millis(age), remaining, worker, reason, error, cancel })
}
