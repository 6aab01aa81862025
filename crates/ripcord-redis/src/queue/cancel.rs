//! Canceling jobs.

use std::panic::Location;

use ripcord::{Cause, Context};

use super::{Inner, JobId, Queue, scripts, unexpected};
use crate::error::{Error, Kind};
use crate::hub::marker::Marker;

/// What [`Queue::cancel`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelOutcome {
    /// The job had not started, and is deleted.
    Removed,
    /// The job runs. Its context ends within about one round trip. It was canceled by this call or by an earlier one.
    Signaled,
    /// There is no such job: it is over, or there never was one.
    Missing,
    /// The job is a dead letter, which does not run. It stays.
    Dead,
}

impl<J> Queue<J> {
    /// Cancels a job. A job that has not started never runs. The context of a running job ends with a
    /// [`RemoteCancel`](crate::RemoteCancel) as its cause, within about one round trip, or within a third of the lease if the
    /// worker's connection is broken at that moment. A canceled job does not run again, even if its worker dies.
    ///
    /// If several callers cancel a running job, the first one wins. If the handler returns `Ok` in spite of the cancel, the job
    /// counts as done.
    ///
    /// # Errors
    ///
    /// `ctx` ended, or Redis is unavailable or refused the command.
    #[track_caller]
    pub fn cancel<'a>(
        &'a self,
        ctx: &'a Context,
        id: JobId,
        cause: impl Into<Cause>,
    ) -> impl Future<Output = Result<CancelOutcome, Error>> + Send + 'a {
        cancel(&self.inner, ctx, Location::caller(), id, cause.into())
    }
}

async fn cancel(
    queue: &Inner,
    ctx: &Context,
    location: &'static Location<'static>,
    id: JobId,
    cause: Cause,
) -> Result<CancelOutcome, Error> {
    let operation = "cancel";
    let marker = Marker::new(&queue.job_key(id), &cause.to_string(), queue.client.name(), location);
    let marker = marker.to_json().map_err(|error| Error::new(operation, location, Kind::Json(error)))?;
    let mut script = queue.prepare(&scripts::CANCEL);
    script.arg(id.to_string()).arg(marker).arg(queue.shared().channel());
    let answer: String = queue.invoke(ctx, location, operation, &script).await?;
    match answer.as_str() {
        "removed" => Ok(CancelOutcome::Removed),
        "running" => Ok(CancelOutcome::Signaled),
        "missing" => Ok(CancelOutcome::Missing),
        "dead" => Ok(CancelOutcome::Dead),
        other => Err(unexpected(operation, location, other)),
    }
}
