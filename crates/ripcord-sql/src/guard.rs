//! A guard for connections of any pool.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use ripcord::Context;

/// Keeps a connection of any pool out of the pool while something is unfinished on it.
///
/// Most drivers cannot drop a future half way: the statement goes on in the database, a transaction stays open, and the next borrower
/// gets that connection. [`run`](ConnectionGuard::run) polls a future to a safe point although its context has ended, for at most a
/// grace. If the future is dropped unfinished all the same, the connection is discarded.
///
/// The guard knows neither pool nor driver. `discard` takes the connection out of its pool and closes it.
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
/// Without a cancel in the database, a statement that takes longer than the grace costs its connection. Set `statement_timeout` too.
pub struct ConnectionGuard<C, D: FnOnce(C)> {
    /// `None` only while it is dropped.
    parts: Option<(C, D)>,
    is_unfinished: bool,
}

impl<C, D: FnOnce(C)> ConnectionGuard<C, D> {
    /// Creates a guard. `discard` is called at most once, when the guard is dropped with something unfinished. It runs while a future
    /// is dropped, so it must not block.
    pub fn new(connection: C, discard: D) -> Self {
        ConnectionGuard { parts: Some((connection, discard)), is_unfinished: false }
    }

    /// Runs a future on the connection until it is ready, or until `grace` after the end of `ctx`: see
    /// [`Context::run_with_grace`]. A result that is ready within the grace is returned.
    ///
    /// # Errors
    ///
    /// The context's error, if it was done at the call, or if the future was dropped at the end of the grace. Then later calls of this
    /// method still run, so leave: the connection will be discarded.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the connection is discarded with the guard.
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

    /// Discards the connection when the guard is dropped, for example after an error that leaves its state unknown.
    pub fn set_unfinished(&mut self) {
        self.is_unfinished = true;
    }

    /// Returns whether something is unfinished, so that the connection will be discarded.
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
