//! Statements of sqlx under a context, with SQLite as the example.

use std::time::Duration;

use ripcord::Context;
use ripcord_sql::ConnectionGuard;
use sqlx::{Sqlite, SqlitePool, pool::PoolConnection};

/// The time that a statement has to stop after the end of its context.
const GRACE: Duration = Duration::from_secs(1);

/// SQLite asks whether to continue each time it has made this number of steps.
const STEPS: i32 = 1000;

/// The error of [`run`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The context has ended.
    #[error(transparent)]
    Ended(#[from] ripcord::Error),
    /// The statement has failed, or there is no connection.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Runs statements on a connection of the pool. SQLite stops the current statement when `ctx` ends.
///
/// # Errors
///
/// Returns an error if `ctx` ends before `work` succeeds, or if `work` fails.
pub async fn run<T>(
    ctx: &Context,
    pool: &SqlitePool,
    work: impl AsyncFnOnce(&mut PoolConnection<Sqlite>) -> sqlx::Result<T>,
) -> Result<T, Error> {
    let connection = ctx.run(pool.acquire()).await??;
    // A connection whose statement does not stop within the grace period does not return to the pool.
    let mut connection = ConnectionGuard::new(connection, |connection| drop(connection.detach()));
    let stopped = ctx.clone();
    let work = async move |connection: &mut PoolConnection<Sqlite>| {
        connection.lock_handle().await?.set_progress_handler(STEPS, move || !stopped.is_done());
        let result = work(connection).await;
        connection.lock_handle().await?.remove_progress_handler();
        result
    };
    match connection.run(ctx, GRACE, work).await? {
        Err(_) if ctx.is_done() => Err(ctx.check().unwrap_err().into()), // the statement was interrupted
        result => Ok(result?),
    }
}
