//! A pool of Postgres connections whose statements end with a [`Context`](ripcord::Context). It uses tokio-postgres and deadpool.
//!
//! [`Pool`] contains an example. [`Transaction`] runs several statements in one transaction.
//!
//! # When the context ends
//!
//! | when the context ends | the call | the connection |
//! |---|---|---|
//! | while the call waits for a connection | returns an error immediately | |
//! | while the call waits for the response to a statement or to `commit` | cancels the statement in the server, and waits for the outcome, but not longer than the [grace period](PoolBuilder::grace). Returns a result if the statement has succeeded in the meantime | is clean when the call returns |
//! | while a row stream or a COPY is open, or a transaction begins or rolls back | returns an error immediately | the statement is canceled in the background |
//! | between two statements of a transaction | the next statement returns an error | the transaction is rolled back in the background |
//!
//! If a future, a stream or a transaction is dropped before it has finished, the pool also cancels the statement and rolls back the
//! transaction in the background.
//!
//! A connection returns to the pool when no statement and no transaction is open on it, and no cancel request can reach it anymore.
//! A connection for which this takes longer than the grace period is closed.
//!
//! # Poolers
//!
//! If PgBouncer or pgdog runs in the mode `transaction` between the pool and the server, turn off
//! [`cancel_on_server`](PoolBuilder::cancel_on_server) and [`statement_timeout`](PoolBuilder::statement_timeout). In the pooler,
//! turn on the support for prepared statements.

mod checkout;
mod connection;
mod connector;
mod copy;
mod lent;
mod limit;
mod pool;
mod rows;
mod slot;
mod socket;
mod statement;
mod transaction;
mod watched;

pub use copy::{CopyIn, CopyOut};
pub use pool::{Pool, PoolBuilder, PoolStats};
pub use rows::RowStream;
pub use socket::Socket;
/// The driver, whose types are part of this module's API.
pub use tokio_postgres;
pub use transaction::{Transaction, TransactionBuilder};

use tokio_postgres::error::SqlState;

/// Returns whether the same statement or transaction may succeed on a second attempt.
pub(crate) fn is_transient(code: &SqlState) -> bool {
    [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
    ]
    .contains(code)
}
