//! The pool, and its operations.

use std::error::Error as StdError;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ripcord::Context;
use rusqlite::{Connection, OptionalExtension as _, Params, Row, Transaction, TransactionBehavior};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::builder::{Init, Open, PoolBuilder};
use super::connection::Pooled;
use super::operation::Operation;
use crate::call::Database;
use crate::error::Kind;

/// A pool of connections to one SQLite database. Clones of a pool share its connections.
///
/// Every operation takes a [`Context`] and ends when the context ends. This includes waiting for a connection, opening a
/// connection, waiting for a lock of the database, and running a statement. The [module documentation](super) describes how a
/// statement ends, and contains an example.
///
/// Operations get connections in the order in which their futures are first polled. Poll them inside a tokio runtime: otherwise,
/// they return an error.
///
/// When a connection returns to the pool, an open transaction is rolled back. The pool sets the progress handler, the busy handler
/// and the commit hook of its connections. Do not set these in a function that you pass to [`run`](Pool::run),
/// [`transaction`](Pool::transaction) or [`init`](PoolBuilder::init). All other changes that such a function makes to a connection
/// remain for later operations, such as pragmas, temporary tables, attached databases and other hooks.
#[derive(Clone)]
pub struct Pool(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) database: Database,
    pub(super) open: Open,
    pub(super) init: Init,
    pub(super) grace: Duration,
    max_size: usize,
    permits: Arc<Semaphore>,
    connections: Mutex<Connections>,
    waiting: AtomicUsize,
    canceled: AtomicU64,
    discarded: AtomicU64,
}

/// The connections of a pool.
struct Connections {
    idle: Vec<Pooled>,
    /// Number of open connections.
    size: usize,
    is_closed: bool,
}

/// Statistics of a pool at one moment. Returned by [`Pool::stats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Maximum number of connections.
    pub max_size: usize,
    /// Number of open connections.
    pub size: usize,
    /// Number of open connections that no operation uses.
    pub idle: usize,
    /// Number of operations that wait for a connection.
    pub waiting: usize,
    /// Number of statements that SQLite stopped because their context ended, since the pool was built.
    pub canceled: u64,
    /// Number of connections that were closed because a transaction could not be rolled back, since the pool was built.
    pub discarded: u64,
}

impl Pool {
    /// Returns a builder for a pool. `open` opens a connection, for example `|| Connection::open("app.db")`. `open` is
    /// called on a thread for blocking work.
    pub fn builder(open: impl Fn() -> rusqlite::Result<Connection> + Send + Sync + 'static) -> PoolBuilder {
        PoolBuilder::new(Box::new(open))
    }

    /// Runs a statement and returns all its rows. `map` converts each row, on the thread that runs the statement. If `ctx` ends
    /// first, SQLite stops the statement.
    ///
    /// `params` contains the values of the parameters `?1`, `?2` and so on: a tuple of owned values such as `(1, name)`, `()` for
    /// none, or [`params_from_iter`](rusqlite::params_from_iter). Each connection caches up to 16 prepared statements. To cache
    /// more, call [`Connection::set_prepared_statement_cache_capacity`] in [`init`](PoolBuilder::init).
    ///
    /// # Errors
    ///
    /// Returns an error if the context ends before the statement is complete, if the pool is closed, or if SQLite or `map` returns
    /// an error. [`Error::is_outcome_unknown`](crate::Error::is_outcome_unknown) says whether a failed statement may have taken
    /// effect.
    #[track_caller]
    pub fn query<T, P, F>(&self, ctx: &Context, sql: &str, params: P, map: F) -> Operation<Vec<T>>
    where
        P: Params + Send + 'static,
        F: FnMut(&Row<'_>) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let sql = Arc::<str>::from(sql);
        Operation::new(&self.0, ctx, "query", Some(Arc::clone(&sql)), move |_, connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params, map)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Runs a statement that returns exactly one row. `map` converts the row. The arguments are those of [`query`](Pool::query).
    ///
    /// # Errors
    ///
    /// Returns the errors of [`query`](Pool::query), and an error if the statement returns no row or several rows. The changes of a
    /// statement that returns the wrong number of rows are not undone.
    #[track_caller]
    pub fn query_one<T, P, F>(&self, ctx: &Context, sql: &str, params: P, map: F) -> Operation<T>
    where
        P: Params + Send + 'static,
        F: FnOnce(&Row<'_>) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let sql = Arc::<str>::from(sql);
        Operation::new(&self.0, ctx, "query_one", Some(Arc::clone(&sql)), move |_, connection| {
            Ok(connection.prepare_cached(&sql)?.query_one(params, map)?)
        })
    }

    /// Runs a statement that returns at most one row. `map` converts the row. The arguments are those of [`query`](Pool::query).
    ///
    /// Returns `None` if the statement returns no row.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`query`](Pool::query), and an error if the statement returns several rows. The changes of such a
    /// statement are not undone.
    #[track_caller]
    pub fn query_opt<T, P, F>(&self, ctx: &Context, sql: &str, params: P, map: F) -> Operation<Option<T>>
    where
        P: Params + Send + 'static,
        F: FnOnce(&Row<'_>) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let sql = Arc::<str>::from(sql);
        Operation::new(&self.0, ctx, "query_opt", Some(Arc::clone(&sql)), move |_, connection| {
            Ok(connection.prepare_cached(&sql)?.query_one(params, map).optional()?)
        })
    }

    /// Runs a statement that returns no rows. Returns the number of rows that the statement has inserted, updated or deleted. The
    /// arguments are those of [`query`](Pool::query).
    ///
    /// # Errors
    ///
    /// Returns an error if the context ends before the statement is complete, if the pool is closed, or if SQLite returns an error.
    /// The failed statement has no effect, unless [`Error::is_outcome_unknown`](crate::Error::is_outcome_unknown) is `true`.
    #[track_caller]
    pub fn execute<P>(&self, ctx: &Context, sql: &str, params: P) -> Operation<usize>
    where
        P: Params + Send + 'static,
    {
        let sql = Arc::<str>::from(sql);
        Operation::new(&self.0, ctx, "execute", Some(Arc::clone(&sql)), move |_, connection| {
            Ok(connection.prepare_cached(&sql)?.execute(params)?)
        })
    }

    /// Runs a transaction: executes `BEGIN IMMEDIATE`, calls `run`, and executes `COMMIT` if `run` returns `Ok`.
    ///
    /// `run` is called on a thread for blocking work. Its arguments are a context that ends with `ctx`, and the transaction. If
    /// `run` returns an error or panics, or if the context ends before the commit starts, the transaction is rolled back.
    ///
    /// `BEGIN IMMEDIATE` waits for the write lock of the database until the context ends. This avoids a conflict: if a transaction
    /// starts with a read, SQLite may refuse its first write without waiting for the lock. For a transaction that only reads, call
    /// [`run`](Pool::run) and use [`Connection::transaction`].
    ///
    /// # Errors
    ///
    /// Returns an error if the context ends before the transaction is committed, if the pool is closed, or if SQLite or `run`
    /// returns an error. The error of `run` is the [`source`](std::error::Error::source) of the returned error.
    ///
    /// # Panics
    ///
    /// Panics in the task that polls the future if `run` panics.
    ///
    /// ```
    /// use ripcord::Context;
    /// use ripcord_sql::sqlite::{Pool, rusqlite::Connection};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), ripcord_sql::Error> {
    /// # let create = |connection: &mut Connection| {
    /// #     connection.execute_batch("CREATE TABLE accounts (name TEXT, balance INTEGER); INSERT INTO accounts VALUES ('a', 10), ('b', 0)")
    /// # };
    /// # let pool = Pool::builder(Connection::open_in_memory).max_size(1).init(create).build()?;
    /// # let ctx = Context::background();
    /// let transfer = pool.transaction(&ctx, |_, transaction| {
    ///     transaction.execute("UPDATE accounts SET balance = balance - 20 WHERE name = 'a'", ())?;
    ///     transaction.execute("UPDATE accounts SET balance = balance + 20 WHERE name = 'b'", ())?;
    ///     let left: i64 = transaction.query_row("SELECT balance FROM accounts WHERE name = 'a'", (), |row| row.get(0))?;
    ///     if left < 0 { Err("not enough money".into()) } else { Ok(left) }
    /// });
    /// assert_eq!(transfer.await.unwrap_err().to_string(), "transaction: not enough money");
    ///
    /// let balances = pool.query(&ctx, "SELECT balance FROM accounts ORDER BY name", (), |row| row.get::<_, i64>(0)).await?;
    /// assert_eq!(balances, [10, 0]);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn transaction<T, F>(&self, ctx: &Context, run: F) -> Operation<T>
    where
        F: FnOnce(&Context, &mut Transaction<'_>) -> Result<T, Box<dyn StdError + Send + Sync>> + Send + 'static,
        T: Send + 'static,
    {
        Operation::new(&self.0, ctx, "transaction", None, move |ctx, connection| {
            let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = run(ctx, &mut transaction)?;
            ctx.check()?;
            transaction.commit()?;
            Ok(value)
        })
    }

    /// Calls `run` with a connection, on a thread for blocking work. Use this method for the parts of rusqlite that the other
    /// methods do not offer.
    ///
    /// The arguments of `run` are a context that ends with `ctx`, and the connection.
    ///
    /// The end of the context stops the statement in progress, but it does not stop `run` between two statements. If `run` executes
    /// many statements, call `ctx.check()?` between them.
    ///
    /// If `run` leaves a transaction open, the transaction is rolled back. If `run` executes several statements without a
    /// transaction and one of them fails, the effects of the earlier statements remain.
    ///
    /// In `run`, and in the SQL functions that its statements call, [`Context::current`] returns the context that `run` received.
    ///
    /// # Errors
    ///
    /// Returns an error in these cases:
    ///
    /// - The context ends before `run` is called.
    /// - `run` does not return within the [grace period](PoolBuilder::grace) after the end of the context.
    /// - The pool is closed.
    /// - SQLite or `run` returns an error. The error of `run` is the [`source`](std::error::Error::source) of the returned error.
    ///
    /// # Panics
    ///
    /// Panics in the task that polls the future if `run` panics.
    ///
    /// ```
    /// use ripcord::Context;
    /// use ripcord_sql::sqlite::{Pool, rusqlite::Connection};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), ripcord_sql::Error> {
    /// let pool = Pool::builder(Connection::open_in_memory).max_size(1).build()?;
    /// let sum = pool.run(&Context::background(), |ctx, connection| {
    ///     connection.execute_batch("CREATE TABLE numbers (n INTEGER)")?;
    ///     for n in 1..=10 {
    ///         ctx.check()?;
    ///         connection.prepare_cached("INSERT INTO numbers VALUES (?1)")?.execute((n,))?;
    ///     }
    ///     Ok(connection.query_row("SELECT sum(n) FROM numbers", (), |row| row.get::<_, i64>(0))?)
    /// });
    /// assert_eq!(sum.await?, 55);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn run<T, F>(&self, ctx: &Context, run: F) -> Operation<T>
    where
        F: FnOnce(&Context, &mut Connection) -> Result<T, Box<dyn StdError + Send + Sync>> + Send + 'static,
        T: Send + 'static,
    {
        Operation::new(&self.0, ctx, "run", None, run)
    }

    /// Closes the pool. Later operations, and operations that wait for a connection, return an error for which
    /// [`is_not_sent`](crate::Error::is_not_sent) is `true`.
    ///
    /// A running operation keeps its connection until the operation ends. The connections are closed in the background, because
    /// closing may write to the disk. Outside of a tokio runtime, this method closes the free connections itself.
    pub fn close(&self) {
        self.0.permits.close();
        close(self.0.close());
    }

    /// Returns the statistics of the pool at this moment.
    pub fn stats(&self) -> PoolStats {
        let shared = &*self.0;
        let (size, idle) = {
            let connections = shared.lock();
            (connections.size, connections.idle.len())
        };
        PoolStats {
            max_size: shared.max_size,
            size,
            idle,
            waiting: shared.waiting.load(Ordering::Relaxed),
            canceled: shared.canceled.load(Ordering::Relaxed),
            discarded: shared.discarded.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    pub(super) fn new(database: Database, open: Open, init: Init, max_size: usize, grace: Duration) -> Self {
        Shared {
            database,
            open,
            init,
            grace,
            max_size,
            permits: Arc::new(Semaphore::new(max_size.min(Semaphore::MAX_PERMITS))),
            connections: Mutex::new(Connections { idle: Vec::new(), size: 0, is_closed: false }),
            waiting: AtomicUsize::new(0),
            canceled: AtomicU64::new(0),
            discarded: AtomicU64::new(0),
        }
    }

    /// Waits for a permit to use a connection.
    pub(super) async fn permit(&self, ctx: &Context) -> Result<OwnedSemaphorePermit, Kind> {
        let _waiting = Waiting::new(&self.waiting);
        let permit = ctx.run(Arc::clone(&self.permits).acquire_owned()).await.map_err(Kind::Waiting)?;
        permit.map_err(|_| Kind::Closed)
    }

    pub(super) fn take_idle(&self) -> Option<Pooled> {
        self.lock().idle.pop()
    }

    pub(super) fn count_opened(&self) {
        self.lock().size += 1;
    }

    pub(super) fn count_canceled(&self) {
        self.canceled.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        crate::metrics::canceled(super::SYSTEM);
    }

    /// Returns a connection to the pool, or closes it if the pool is closed. Blocks.
    pub(super) fn give_back(&self, connection: Pooled) {
        let mut connections = self.lock();
        if connections.is_closed {
            connections.size -= 1;
            drop(connections);
            drop(connection);
        } else {
            connections.idle.push(connection);
        }
    }

    /// Closes a connection that the next operation cannot use. Blocks.
    pub(super) fn discard(&self, connection: Pooled) {
        self.lock().size -= 1;
        self.discarded.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        crate::metrics::discarded(super::SYSTEM);
        drop(connection);
    }

    /// Closes the pool, and returns the connections that are not in use.
    fn close(&self) -> Vec<Pooled> {
        let mut connections = self.lock();
        connections.is_closed = true;
        let idle = std::mem::take(&mut connections.idle);
        connections.size -= idle.len();
        idle
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts an operation as waiting until the value is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Closes connections on a thread for blocking work, if there is a runtime.
fn close(connections: Vec<Pooled>) {
    if let Ok(runtime) = Handle::try_current()
        && !connections.is_empty()
    {
        runtime.spawn_blocking(move || drop(connections));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        close(Shared::close(self));
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("database", &self.0.database.name).field("stats", &self.stats()).finish()
    }
}
