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

/// Builds a [`Pool`] of SQLite connections. Returned by [`Pool::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct PoolBuilder {
    open: Open,
    init: Init,
    max_size: usize,
    grace: Duration,
    database: Database,
}

impl PoolBuilder {
    /// Default of [`max_size`](PoolBuilder::max_size): 4 connections. Later versions may change the value.
    pub const DEFAULT_MAX_SIZE: usize = 4;
    /// Default of [`grace`](PoolBuilder::grace): 100 milliseconds. Later versions may change the value.
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

    /// Sets the name of the database in spans, for example the name of its file. Default: `sqlite`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.database.name = name.into();
        self
    }

    /// Sets a function that is called with each new connection. Use it, for example, to set pragmas, to attach databases, to define
    /// SQL functions, or to create the tables of a database in memory. Default: no function.
    ///
    /// A connection is opened by the first operation that needs it. The statements of the function end with the context of that
    /// operation. If the function returns an error, the connection is closed and the operation returns the error.
    pub fn init(self, init: impl Fn(&mut Connection) -> rusqlite::Result<()> + Send + Sync + 'static) -> Self {
        PoolBuilder { init: Box::new(init), ..self }
    }

    /// Sets the maximum number of connections. The number must be at least 1. Default:
    /// [`DEFAULT_MAX_SIZE`](PoolBuilder::DEFAULT_MAX_SIZE).
    ///
    /// An operation opens a connection if no open connection is free. Each running operation also uses one of tokio's threads for
    /// blocking work.
    ///
    /// Only one connection can write to a SQLite database at a time. In WAL mode, other connections can read during the write. Each
    /// connection to `:memory:` has its own database, so use a maximum of 1 for it.
    pub fn max_size(self, max_size: usize) -> Self {
        PoolBuilder { max_size, ..self }
    }

    /// Sets whether the spans of the feature `tracing` contain the text of the statement, in the attribute `db.query.text`.
    /// Default: `false`.
    ///
    /// Parameters are never recorded. If you write confidential values into the text itself, the spans contain them.
    pub fn query_text(mut self, has_text: bool) -> Self {
        self.database.has_text = has_text;
        self
    }

    /// Sets how long an operation still waits after its context has ended. It waits for its statement, or for the function that you
    /// passed to [`Pool::run`] or [`Pool::transaction`]. Default: [`DEFAULT_GRACE`](PoolBuilder::DEFAULT_GRACE).
    ///
    /// After this time, the operation returns an error for which [`is_outcome_unknown`](crate::Error::is_outcome_unknown) is
    /// `true`. Its thread continues, and the pool gets the connection back when the statement or the function returns.
    pub fn grace(self, grace: Duration) -> Self {
        PoolBuilder { grace, ..self }
    }

    /// Builds the pool. Connections are opened later, by the operations that need them.
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
