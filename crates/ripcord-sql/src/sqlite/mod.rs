//! A pool of SQLite connections whose statements end with a [`Context`](ripcord::Context). It uses rusqlite.
//!
//! A [`Pool`] runs statements on tokio's threads for blocking work. When the context of a statement ends, SQLite stops the
//! statement and undoes its changes.
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
//! // This statement counts forever.
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
//! | change rows | [`Pool::execute`] |
//! | run several statements in one transaction | [`Pool::transaction`] |
//! | use other parts of rusqlite: read rows one by one, prepare statements, attach databases | [`Pool::run`] |
//!
//! # When the context ends
//!
//! While a statement runs, SQLite checks the context after every 4096 instructions of its virtual machine. While a statement
//! waits for a lock of another connection, the end of the context ends the wait. In both cases, SQLite stops the statement, and
//! the statement has no effect. If it changes data and is part of a transaction, the whole transaction is rolled back. A
//! statement that has started to commit is not stopped.
//!
//! An operation waits until SQLite has stopped, so that its result says whether the statement has taken effect. The wait is limited
//! to a [grace period](PoolBuilder::grace), because the function that you pass to [`Pool::run`] or [`Pool::transaction`] may wait
//! for something other than SQLite. After the grace period, the operation returns an error for which
//! [`is_outcome_unknown`](crate::Error::is_outcome_unknown) is `true`. Your function continues, and the pool gets the connection
//! back when the function returns.

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

/// Returns whether the same statement may succeed on a second attempt.
pub(crate) fn is_transient(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
