//! Canceling jobs.

use std::panic::Location;

use ripcord::{Cause, Context};

use super::{Inner, JobId, Queue, scripts, unexpected};
use crate::error::{Error, Kind};
use crate::hub::marker::Marker;

/// The effect of [`Queue::cancel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelOutcome {
    /// The job waited or was delayed. It is deleted and does not run.
    Removed,
    /// The job runs, and was canceled by this call or by an earlier call. [`Queue::cancel`] says when its context ends.
    Signaled,
    /// The queue has no job with this ID: the job is over, or there never was one.
    Missing,
    /// The job is a dead letter, which does not run. The call has no effect. Use [`Queue::delete`] to delete it.
    Dead,
}

impl<J> Queue<J> {
    /// Cancels the job with this ID. If the job waits or is delayed, it is deleted and does not run. If the job runs, its context
    /// ends within about one round trip, with a [`RemoteCancel`](crate::RemoteCancel) as its cause. If the message about the cancel
    /// does not reach the worker, because a connection is lost, the context ends when the worker next extends the
    /// [lease](crate::QueueBuilder::lease). A canceled job does not run again, even if its worker dies.
    ///
    /// The [`RemoteCancel`](crate::RemoteCancel) contains the text of `cause`. A text of more than 1024 bytes is cut.
    ///
    /// If several callers cancel a running job, the context ends with the cause of the first caller. If the handler returns `Ok` in
    /// spite of the cancel, the job counts as done.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed ([`Error::context_error`]).
    /// * Redis is unavailable ([`Error::is_unavailable`]), or answered with an error ([`Error::code`]).
    ///
    /// After an error, the cancel may have happened.
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
