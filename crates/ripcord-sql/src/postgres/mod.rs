//! Postgres under a context: a pool of connections on tokio-postgres and deadpool.
//!
//! # The end of a context
//!
//! | when the context ends | the call | the connection |
//! |---|---|---|
//! | while it waits for a connection | fails at once | |
//! | during a statement | the statement is canceled in the server; waits for the outcome, at most for the grace | back in the pool |
//! | during `commit` | the same | back in the pool |
//! | while rows or data of a COPY are read or written | fails at once | canceled, and back in the pool in the background |
//! | between two statements of a transaction | the next statement fails | rolled back, and back in the pool in the background |
//!
//! A dropped future or stream is the same as the last two rows. A connection that is not clean within the grace is closed.
//!
//! The pool hands out no connection that may still be hit by a cancel, or that has an open or an aborted transaction. The module
//! `checkout` states how.
//!
//! # Poolers
//!
//! Behind PgBouncer or pgdog in the mode `transaction`, turn off [`cancel_on_server`](PoolBuilder::cancel_on_server) and
//! [`statement_timeout`](PoolBuilder::statement_timeout), and let the pooler support prepared statements.

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

/// Returns whether the same statement or transaction may succeed in a moment.
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
