//! SQLite under a [`Context`](ripcord::Context), on rusqlite.
//!
//! A [`Pool`] runs queries on tokio's threads for blocking work. When the context of a query ends, SQLite stops the query and undoes
//! its changes.
//!
//! ```
//! use std::time::Duration;
//! use ripcord::Context;
//! use ripcord_sql::sqlite::{Pool, rusqlite::Connection};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), ripcord_sql::Error> {
//! let create = |connection: &mut Connection| connection.execute_batch("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)");
//! let pool = Pool::builder(Connection::open_in_memory).max_size(1).init(create).build()?;
//!
//! let ctx = Context::background().with_timeout(Duration::from_secs(5));
//! pool.execute(&ctx, "INSERT INTO users (name) VALUES (?1)", ("gopher",)).await?;
//! let names = pool.query(&ctx, "SELECT name FROM users WHERE id = ?1", (1,), |row| row.get::<_, String>(0)).await?;
//! assert_eq!(names, ["gopher"]);
//!
//! // It would count forever.
//! let counting = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
//! let ctx = ctx.with_timeout(Duration::from_millis(5));
//! let error = pool.query(&ctx, counting, (), |row| row.get::<_, i64>(0)).await.unwrap_err();
//! assert!(error.is_deadline_exceeded());
//! # Ok(())
//! # }
//! ```
//!
//! | you want to | use |
//! |---|---|
//! | read rows | [`Pool::query`] |
//! | write | [`Pool::execute`] |
//! | make several statements one | [`Pool::transaction`] |
//! | use all of rusqlite: stream rows, prepare statements, attach databases | [`Pool::run`] |
//!
//! # When the context ends
//!
//! SQLite checks the context every few thousand steps of its virtual machine, and while it waits for a lock that another connection
//! holds. A statement that is stopped has no effect. If it writes and is part of a transaction, the whole transaction is rolled back. A
//! statement that has started to commit is not stopped.
//!
//! An operation returns when SQLite has stopped, so its result tells whether the statement has taken effect. If a closure does not
//! return within a [grace](PoolBuilder::grace) after the end of its context, for example because it waits for something other than
//! SQLite, the operation fails with [`is_outcome_unknown`](crate::Error::is_outcome_unknown). The closure continues, and the pool gets
//! the connection back when the closure returns.

mod builder;
mod connection;
mod operation;
mod pool;

pub use builder::PoolBuilder;
pub use operation::Operation;
pub use pool::{Pool, PoolStats};
pub use rusqlite;
use rusqlite::ErrorCode;

/// The error of a closure.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// OpenTelemetry's `db.system.name`.
const SYSTEM: &str = "sqlite";

/// Returns whether the same statement may succeed in a moment.
pub(crate) fn is_transient(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
