//! A guard for connections of any pool.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use ripcord::Context;

/// A guard that discards a connection of any pool if an operation on the connection has not finished.
///
/// With most drivers, it is not safe to drop the future of an operation: the statement continues in the database, or a transaction
/// stays open, and the pool lends the connection to the next caller. After the end of a context, [`run`](ConnectionGuard::run)
/// continues to poll the future for up to a grace period, so that it can finish. If the future has not finished by then, the
/// connection is discarded when the guard is dropped. Otherwise, dropping the guard drops the connection, and its pool gets it
/// back.
///
/// The guard works with any pool and driver. You pass the function that takes a connection out of its pool and closes it.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_sql::ConnectionGuard;
/// # #[derive(Debug)] struct Connection;
/// # impl Connection { async fn execute(&mut self, _: &str) -> Result<u64, std::io::Error> { Ok(1) } fn close(self) {} }
/// # struct Pool; impl Pool { async fn get(&self) -> Connection { Connection } }
/// # let pool = Pool;
///
/// # futures::executor::block_on(async {
/// let ctx = Context::background().with_timeout(Duration::from_secs(2));
/// let connection = ctx.run(pool.get()).await?;
/// let mut connection = ConnectionGuard::new(connection, |connection| connection.close());
/// let grace = Duration::from_millis(500);
/// let changed = connection.run(&ctx, grace, async |connection| connection.execute("DELETE FROM carts").await).await??;
/// assert_eq!(changed, 1);
/// // Dropped here, so the pool gets the connection back.
/// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
///
/// # sqlx
///
/// ```ignore
/// // Not compiled, because sqlx 0.9 needs Rust 1.94.
/// let connection = ctx.run(pool.acquire()).await??;
/// let mut connection = ConnectionGuard::new(connection, |connection| drop(connection.detach()));
/// let work = async |connection: &mut PoolConnection<Postgres>| {
///     let mut transaction = connection.begin().await?; // a canceled `begin` leaves a transaction open
///     sqlx::query("DELETE FROM carts").execute(&mut *transaction).await?;
///     transaction.commit().await
/// };
/// connection.run(&ctx, grace, work).await??;
/// ```
///
/// # diesel_async
///
/// ```ignore
/// // Not compiled, because diesel takes longer to build than this crate. Written for diesel_async 0.9 with deadpool.
/// let connection = ctx.run(pool.get()).await??;
/// let mut connection = ConnectionGuard::new(connection, |connection| drop(Object::take(connection)));
/// let work = async |connection: &mut Object<AsyncPgConnection>| diesel::delete(carts::table).execute(connection).await;
/// connection.run(&ctx, grace, work).await??;
/// ```
///
/// The guard does not cancel statements in the database. A statement that takes longer than the grace period continues, and its
/// connection is closed. To limit such statements in Postgres, set `statement_timeout`.
pub struct ConnectionGuard<C, D: FnOnce(C)> {
    /// `None` only while the guard is dropped.
    parts: Option<(C, D)>,
    is_unfinished: bool,
}

impl<C, D: FnOnce(C)> ConnectionGuard<C, D> {
    /// Creates a guard for `connection`. If the guard is dropped while an operation is
    /// [unfinished](ConnectionGuard::is_unfinished), it passes the connection to `discard`. `discard` must take the connection out
    /// of its pool and close it.
    ///
    /// `discard` is called in the drop of the guard, so it must not block.
    pub fn new(connection: C, discard: D) -> Self {
        ConnectionGuard { parts: Some((connection, discard)), is_unfinished: false }
    }

    /// Calls `work` with the connection, awaits the future that `work` returns, and returns the future's output.
    ///
    /// If `ctx` ends first, the future has `grace` more time. If it is ready within this time, this method returns its output
    /// instead of an error. [`Context::run_with_grace`] describes the details.
    ///
    /// # Errors
    ///
    /// Returns the error of `ctx` in two cases:
    ///
    /// - `ctx` had ended before the first poll. `work` is not called, and the state of the connection does not change.
    /// - The grace period was over before the future was ready. The future is dropped, and the connection is
    ///   [unfinished](ConnectionGuard::is_unfinished). Do not use the connection again: drop the guard.
    ///
    /// # Cancel safety
    ///
    /// If the future that this method returns is dropped after `work` was called and before the future is ready, the connection is
    /// unfinished.
    pub async fn run<T>(
        &mut self,
        ctx: &Context,
        grace: Duration,
        work: impl AsyncFnOnce(&mut C) -> T,
    ) -> Result<T, ripcord::Error> {
        let (connection, _) = self.parts.as_mut().expect("it is taken when the guard is dropped");
        let was_unfinished = self.is_unfinished;
        let is_unfinished = &mut self.is_unfinished;
        let running = ctx.run_with_grace(grace, |_| {
            *is_unfinished = true;
            work(connection)
        });
        let output = running.await?;
        self.is_unfinished = was_unfinished;
        Ok(output)
    }

    /// Marks the connection as unfinished, so that it is discarded when the guard is dropped. Call this method, for example, after
    /// an error that leaves the state of the connection unknown.
    pub fn set_unfinished(&mut self) {
        self.is_unfinished = true;
    }

    /// Returns whether an operation on the connection has not finished, or [`set_unfinished`](ConnectionGuard::set_unfinished) was
    /// called. If so, the connection is discarded when the guard is dropped.
    pub fn is_unfinished(&self) -> bool {
        self.is_unfinished
    }
}

impl<C, D: FnOnce(C)> Deref for ConnectionGuard<C, D> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.parts.as_ref().expect("it is taken when the guard is dropped").0
    }
}

impl<C, D: FnOnce(C)> DerefMut for ConnectionGuard<C, D> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.parts.as_mut().expect("it is taken when the guard is dropped").0
    }
}

impl<C, D: FnOnce(C)> Drop for ConnectionGuard<C, D> {
    fn drop(&mut self) {
        if let Some((connection, discard)) = self.parts.take()
            && self.is_unfinished
        {
            discard(connection);
        }
    }
}

impl<C: fmt::Debug, D: FnOnce(C)> fmt::Debug for ConnectionGuard<C, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionGuard")
            .field("connection", &**self)
            .field("is_unfinished", &self.is_unfinished)
            .finish_non_exhaustive()
    }
}
