//! Dead letters: listing, sending again, deleting.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use ripcord::Context;

use super::list::list;
use super::{BATCH, Inner, JobId, Queue, scripts};
use crate::client::Script;
use crate::error::Error;

/// A job that failed and stays in Redis until it is resent or deleted. Returned by [`Queue::dead_letters`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The ID of the job.
    pub id: JobId,
    /// Why the job is a dead letter.
    pub reason: DeadReason,
    /// The error of the last attempt, or a sentence that explains the [`reason`](DeadLetter::reason). An error of more than 4096
    /// bytes was cut.
    pub error: String,
    /// The job as JSON.
    pub json: String,
    /// The number of failed attempts.
    pub attempts: u32,
    /// The time since the job was submitted.
    pub age: Duration,
}

/// Why a job is a dead letter. `Display` prints `failed`, `deadline`, `deliveries` or `malformed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadReason {
    /// The handler returned an error or panicked, and the worker has no [`Retry`](ripcord_policy::Retry), or its `Retry` allows no
    /// further attempt.
    Failed,
    /// The deadline of the job passed before the job started or while it ran. A waiting job becomes a dead letter when a worker
    /// finds that its deadline has passed.
    Deadline,
    /// As many workers lost the job as [`max_deliveries`](crate::QueueBuilder::max_deliveries) sets, by default 5.
    Deliveries,
    /// The job's JSON cannot be read as the job type of the worker's [`Queue`].
    Malformed,
}

impl DeadReason {
    pub(super) fn text(self) -> &'static str {
        match self {
            DeadReason::Failed => "failed",
            DeadReason::Deadline => "deadline",
            DeadReason::Deliveries => "deliveries",
            DeadReason::Malformed => "malformed",
        }
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl<J> Queue<J> {
    /// Returns the dead letters. The job that became a dead letter first comes first. Returns at most `limit` of them, and at most
    /// 10,000.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed ([`Error::context_error`]).
    /// * Redis is unavailable ([`Error::is_unavailable`]), or answered with an error ([`Error::code`]).
    #[track_caller]
    pub fn dead_letters<'a>(
        &'a self,
        ctx: &'a Context,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<DeadLetter>, Error>> + Send + 'a {
        let location = Location::caller();
        async move {
            let rows = list(&self.inner, ctx, location, "list dead letters", "dead", limit).await?;
            let letter = |row: super::list::Row| DeadLetter {
                id: row.id,
                reason: match row.reason.as_str() {
                    "deadline" => DeadReason::Deadline,
                    "deliveries" => DeadReason::Deliveries,
                    "malformed" => DeadReason::Malformed,
                    _ => DeadReason::Failed,
                },
                error: row.error,
                json: row.json,
                attempts: row.attempts,
                age: row.age,
            };
            Ok(rows.into_iter().map(letter).collect())
        }
    }

    /// Makes the dead letters with these IDs wait for a worker again, and returns how many jobs wait again. IDs that belong to no
    /// dead letter are ignored. The jobs keep their IDs. They have no deadline anymore, and their attempts are counted from the
    /// start.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed ([`Error::context_error`]).
    /// * Redis is unavailable ([`Error::is_unavailable`]), or answered with an error ([`Error::code`]).
    ///
    /// After an error, it is possible that some of the jobs already wait again.
    #[track_caller]
    pub fn resend<'a>(
        &'a self,
        ctx: &'a Context,
        ids: &'a [JobId],
    ) -> impl Future<Output = Result<u64, Error>> + Send + 'a {
        each(&self.inner, ctx, Location::caller(), "resend", &scripts::RESEND, ids)
    }

    /// Makes all dead letters wait for a worker again, like [`resend`](Queue::resend), and returns how many jobs wait again.
    ///
    /// # Errors
    ///
    /// The same as those of [`resend`](Queue::resend).
    #[track_caller]
    pub fn resend_all<'a>(&'a self, ctx: &'a Context) -> impl Future<Output = Result<u64, Error>> + Send + 'a {
        all(&self.inner, ctx, Location::caller(), "resend", &scripts::RESEND)
    }

    /// Deletes the dead letters with these IDs, and returns how many were deleted. IDs that belong to no dead letter are ignored:
    /// use [`cancel`](Queue::cancel) for jobs that wait or run.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed ([`Error::context_error`]).
    /// * Redis is unavailable ([`Error::is_unavailable`]), or answered with an error ([`Error::code`]).
    ///
    /// After an error, it is possible that some of the dead letters are already deleted.
    #[track_caller]
    pub fn delete<'a>(
        &'a self,
        ctx: &'a Context,
        ids: &'a [JobId],
    ) -> impl Future<Output = Result<u64, Error>> + Send + 'a {
        each(&self.inner, ctx, Location::caller(), "delete", &scripts::DELETE, ids)
    }

    /// Deletes all dead letters, and returns how many were deleted.
    ///
    /// # Errors
    ///
    /// The same as those of [`delete`](Queue::delete).
    #[track_caller]
    pub fn delete_all<'a>(&'a self, ctx: &'a Context) -> impl Future<Output = Result<u64, Error>> + Send + 'a {
        all(&self.inner, ctx, Location::caller(), "delete", &scripts::DELETE)
    }
}

async fn each(
    queue: &Inner,
    ctx: &Context,
    location: &'static Location<'static>,
    operation: &'static str,
    script: &Script,
    ids: &[JobId],
) -> Result<u64, Error> {
    let mut total = 0;
    for batch in ids.chunks(BATCH) {
        let mut script = queue.prepare(script);
        for id in batch {
            script.arg(id.to_string());
        }
        total += queue.invoke::<u64>(ctx, location, operation, &script).await?;
    }
    Ok(total)
}

async fn all(
    queue: &Inner,
    ctx: &Context,
    location: &'static Location<'static>,
    operation: &'static str,
    script: &Script,
) -> Result<u64, Error> {
    let mut total = 0;
    // A job that is sent again may become a dead letter again, so the loop ends after as many jobs as there were.
    let before = super::stats::read(queue, ctx, location).await?.dead;
    while total < before {
        let n: u64 = queue.invoke(ctx, location, operation, &queue.prepare(script)).await?;
        if n == 0 {
            break;
        }
        total += n;
    }
    Ok(total)
}
