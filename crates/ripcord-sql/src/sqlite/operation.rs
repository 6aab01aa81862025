//! The future of an operation.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as Task, Poll};

use ripcord::{Context, TaskError};
use rusqlite::Connection;
use tokio::runtime::Handle;

use super::BoxError;
use super::connection::Lease;
use super::pool::Shared;
use crate::Error;
use crate::call::Call;
use crate::error::Kind;

/// The future of an operation on a [`Pool`](super::Pool). Returned by the methods of the pool. The operation starts at the first
/// poll.
///
/// # Cancel safety
///
/// Dropping the future cancels the operation: SQLite stops the statement in progress and rolls back an open transaction. A commit
/// that has started is not undone. The pool gets the connection back when SQLite has stopped.
///
/// # Panics
///
/// If a function that you passed to the operation panics, the panic continues in the task that polls the future.
#[must_use = "futures do nothing unless polled"]
pub struct Operation<T>(Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>);

impl<T> Operation<T> {
    /// Creates an operation that makes a call on one of the connections. `name` is the method of the pool.
    #[track_caller]
    pub(super) fn new<F>(
        shared: &Arc<Shared>,
        ctx: &Context,
        name: &'static str,
        sql: Option<Arc<str>>,
        call: F,
    ) -> Self
    where
        F: FnOnce(&Context, &mut Connection) -> Result<T, BoxError> + Send + 'static,
        T: Send + 'static,
    {
        let (shared, location) = (Arc::clone(shared), Location::caller());
        let (ctx, canceler) = ctx.with_cancel();
        Operation(Box::pin(async move {
            let (ctx, span) = match &sql {
                Some(sql) => Call::statement(&ctx, &shared.database, sql, location),
                None => Call::start(&ctx, &shared.database, name.into(), None, location),
            };
            // Moved here, so that it is dropped before the span. The span then records the cancel.
            let canceler = canceler;
            let result = run(shared, &ctx, location, call).await.map_err(|kind| Error::new(name, location, kind));
            canceler.detach();
            span.end(result.as_ref().err());
            result
        }))
    }
}

/// Waits for a connection, then makes the call on a thread.
async fn run<T, F>(shared: Arc<Shared>, ctx: &Context, location: &'static Location<'static>, call: F) -> Result<T, Kind>
where
    F: FnOnce(&Context, &mut Connection) -> Result<T, BoxError> + Send + 'static,
    T: Send + 'static,
{
    #[cfg(feature = "metrics")]
    let (clock, started) = (ctx.clock(), ctx.clock().now());
    let permit = shared.permit(ctx).await?;
    if Handle::try_current().is_err() {
        return Err(Kind::Other("called outside of a tokio runtime"));
    }
    let grace = shared.grace;
    let (mut lease, watched) = (Lease::new(shared, permit), ctx.clone());
    // Whoever sets the flag first decides: the thread makes the call, or this task returns an error without the call.
    let is_decided = Arc::new(AtomicBool::new(false));
    let decide = Arc::clone(&is_decided);
    // The context of the call stops the closure. The task waits a grace longer for the result of the closure.
    let task = ctx.shielded(grace).spawn_blocking_at(location, move |_| {
        lease.connect(&watched)?;
        #[cfg(feature = "metrics")]
        crate::metrics::waited(super::SYSTEM, clock.now().saturating_duration_since(started));
        match watched.err() {
            Some(end) => Err(Kind::Waiting(end)),
            // The task has returned an error already.
            None if decide.swap(true, Ordering::Relaxed) => Err(Kind::Other("the call was given up")),
            None => lease.run(&watched, call),
        }
    });
    match task.await {
        Ok(result) => result,
        Err(TaskError::Panicked(panic)) => std::panic::resume_unwind(panic.into_payload()),
        // No thread was free, or opening a connection took too long.
        Err(TaskError::Ended(end)) if !is_decided.swap(true, Ordering::Relaxed) => Err(Kind::Waiting(end)),
        Err(TaskError::Ended(end)) => Err(Kind::Unanswered(end)),
        Err(_) => Err(Kind::Other("the call has no result")),
    }
}

impl<T> Future for Operation<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(task)
    }
}

impl<T> fmt::Debug for Operation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").finish_non_exhaustive()
    }
}
