//! The settings of a pool.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::SYSTEM;
use super::pool::{Pool, Shared};
use crate::Error;
use crate::call::Database;
use crate::error::Kind;

pub(super) type Open = Box<dyn Fn() -> rusqlite::Result<Connection> + Send + Sync>;
pub(super) type Init = Box<dyn Fn(&mut Connection) -> rusqlite::Result<()> + Send + Sync>;

/// Builds a [`Pool`]. Returned by [`Pool::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct PoolBuilder {
    open: Open,
    init: Init,
    max_size: usize,
    grace: Duration,
    database: Database,
}

impl PoolBuilder {
    /// Default of [`max_size`](PoolBuilder::max_size): 4 connections. Not a stability promise.
    pub const DEFAULT_MAX_SIZE: usize = 4;
    /// Default of [`grace`](PoolBuilder::grace): a tenth of a second. Not a stability promise.
    pub const DEFAULT_GRACE: Duration = Duration::from_millis(100);

    pub(super) fn new(open: Open) -> Self {
        PoolBuilder {
            open,
            init: Box::new(|_| Ok(())),
            max_size: PoolBuilder::DEFAULT_MAX_SIZE,
            grace: PoolBuilder::DEFAULT_GRACE,
            database: Database { system: SYSTEM, name: Arc::from("sqlite"), server: None, has_text: false },
        }
    }

    /// Sets the name of the database in spans and in the inspector, for example the name of its file. Default: `sqlite`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.database.name = name.into();
        self
    }

    /// Sets a function that prepares each new connection: pragmas, attached databases, SQL functions, tables of a database in memory.
    ///
    /// Its statements end with the context of the operation that opens the connection. If the function fails, the connection is closed
    /// and the operation fails.
    pub fn init(self, init: impl Fn(&mut Connection) -> rusqlite::Result<()> + Send + Sync + 'static) -> Self {
        PoolBuilder { init: Box::new(init), ..self }
    }

    /// Sets the maximum number of connections, and so of threads. They are opened when they are needed. Default:
    /// [`DEFAULT_MAX_SIZE`](PoolBuilder::DEFAULT_MAX_SIZE).
    ///
    /// A SQLite database has one writer at a time. In WAL mode, others can read while it writes. Each connection to `:memory:` has its
    /// own database.
    pub fn max_size(self, max_size: usize) -> Self {
        PoolBuilder { max_size, ..self }
    }

    /// Sets whether spans have the text of the statement, as `db.query.text`. Default: false. Parameters are never recorded, but the
    /// text may contain values.
    pub fn query_text(mut self, has_text: bool) -> Self {
        self.database.has_text = has_text;
        self
    }

    /// Sets how long an operation waits for its closure after the end of the context. Default: [`DEFAULT_GRACE`](PoolBuilder::DEFAULT_GRACE).
    ///
    /// SQLite stops within some tens of microseconds, unless the disk is slow. A closure that does something else may take longer.
    pub fn grace(self, grace: Duration) -> Self {
        PoolBuilder { grace, ..self }
    }

    /// Builds the pool. Opens no connection.
    ///
    /// # Errors
    ///
    /// Returns an error if the maximum size is 0.
    #[track_caller]
    pub fn build(self) -> Result<Pool, Error> {
        if self.max_size == 0 {
            return Err(Error::new("build", Location::caller(), Kind::Other("the maximum size is 0")));
        }
        Ok(Pool(Arc::new(Shared::new(self.database, self.open, self.init, self.max_size, self.grace))))
    }
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("database", &self.database.name)
            .field("max_size", &self.max_size)
            .field("grace", &self.grace)
            .field("query_text", &self.database.has_text)
            .finish_non_exhaustive()
    }
}
