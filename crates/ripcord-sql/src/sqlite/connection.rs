//! One connection: the handlers that a call sets, and how they are removed before the next call.
//!
//! # Invariants
//!
//! 1. At most one call uses a connection, on one thread. A [`Lease`] owns the connection, and holds a permit of the pool until the
//!    connection is back in the pool.
//! 2. Only the thread of a call stops the statements of that call. SQLite calls the progress handler and the busy handler on that
//!    thread, and the progress handler is removed before the connection returns to the pool. An interrupt from another thread could
//!    arrive late and stop the next call.
//! 3. A connection returns to the pool only if no transaction is open on it. Otherwise it is closed.
//! 4. A statement that is stopped has no effect. SQLite also calls the progress handler after a statement has committed, and would
//!    then report the statement as interrupted. Therefore the handler never stops a statement at its first call after a commit has
//!    started.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ripcord::{Context, block_on};
use rusqlite::{Connection, ErrorCode};
use tokio::sync::OwnedSemaphorePermit;

use super::BoxError;
use super::pool::Shared;
use crate::error::{Driver, Kind};

/// Number of steps of SQLite's virtual machine between two checks of the context: some tens of microseconds.
const STEPS: c_int = 4096;

/// A connection of the pool.
pub(super) struct Pooled {
    connection: Connection,
    /// Whether a commit has started since the last call of the progress handler (invariant 4).
    is_committing: Arc<AtomicBool>,
}

impl Pooled {
    /// Opens a connection. Blocks.
    fn open(ctx: &Context, shared: &Shared) -> Result<Pooled, BoxError> {
        let is_committing = Arc::<AtomicBool>::default();
        let mut opened = Pooled { connection: (shared.open)()?, is_committing: Arc::clone(&is_committing) };
        let on_commit = move || {
            is_committing.store(true, Ordering::Relaxed);
            // `true` would make it a rollback.
            false
        };
        opened.connection.commit_hook(Some(on_commit))?;
        opened.run(ctx, |_, connection| Ok((shared.init)(connection)?))?;
        match opened.clean() {
            true => Ok(opened),
            false => Err("the new connection has a transaction that cannot be rolled back".into()),
        }
    }

    /// Calls `call`, whose statements end with `ctx`. Blocks.
    fn run<T>(
        &mut self,
        ctx: &Context,
        call: impl FnOnce(&Context, &mut Connection) -> Result<T, BoxError>,
    ) -> Result<T, BoxError> {
        // Relaxed, because only this thread runs the hooks.
        self.is_committing.store(false, Ordering::Relaxed);
        let (watched, is_committing) = (ctx.clone(), Arc::clone(&self.is_committing));
        let is_over = move || !is_committing.swap(false, Ordering::Relaxed) && watched.is_done();
        self.connection.progress_handler(STEPS, Some(is_over))?;
        self.connection.busy_handler(Some(wait_for_lock))?;
        // For the busy handler, a function that cannot capture the context.
        ctx.sync_scope(|| call(ctx, &mut self.connection))
    }

    /// Removes the handler, and rolls back an open transaction. Returns whether the next call can use the connection (invariants 2
    /// and 3).
    fn clean(&self) -> bool {
        let connection = &self.connection;
        connection.progress_handler(0, None::<fn() -> bool>).is_ok()
            && (connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok())
    }
}

/// Waits before SQLite tries to get a lock again. Returns false if the context has ended.
fn wait_for_lock(attempt: c_int) -> bool {
    let pause = Duration::from_millis(match attempt {
        0 => 1,
        1 => 2,
        2 => 5,
        _ => 10,
    });
    // On the system's clock, because another connection holds the lock in real time.
    block_on(Context::current().run(Context::background().sleep(pause))).is_ok()
}

/// The right to use a connection, for one call.
pub(super) struct Lease {
    shared: Arc<Shared>,
    connection: Option<Pooled>,
    /// The last field, so that the next call starts after the connection is back in the pool.
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    pub(super) fn new(shared: Arc<Shared>, permit: OwnedSemaphorePermit) -> Lease {
        Lease { shared, connection: None, _permit: permit }
    }

    /// Takes an idle connection, or opens one. Blocks.
    pub(super) fn connect(&mut self, ctx: &Context) -> Result<(), Kind> {
        // No thread may have been free until now.
        ctx.check().map_err(Kind::Waiting)?;
        let connection = match self.shared.take_idle() {
            Some(connection) => connection,
            None => {
                let opened = Pooled::open(ctx, &self.shared).map_err(|error| match kind(error, ctx) {
                    Kind::Ended(end, _) => Kind::Waiting(end),
                    Kind::Refused(error) => Kind::Connect(error),
                    other => other,
                })?;
                self.shared.count_opened();
                opened
            }
        };
        self.connection = Some(connection);
        Ok(())
    }

    /// Makes the call, and returns the connection to the pool. Blocks.
    pub(super) fn run<T>(
        mut self,
        ctx: &Context,
        call: impl FnOnce(&Context, &mut Connection) -> Result<T, BoxError>,
    ) -> Result<T, Kind> {
        let Some(connection) = &mut self.connection else { unreachable!("it is connected first") };
        let result = connection.run(ctx, call).map_err(|error| kind(error, ctx));
        if let Err(Kind::Ended(_, Some(_))) = &result {
            self.shared.count_canceled();
        }
        result
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.connection.take() {
            Some(connection) if connection.clean() => self.shared.give_back(connection),
            Some(connection) => self.shared.discard(connection),
            None => {}
        }
    }
}

/// Returns the kind of an error of a call under `ctx`.
fn kind(error: BoxError, ctx: &Context) -> Kind {
    let error = match error.downcast::<rusqlite::Error>() {
        Ok(error) => return of_sqlite(*error, ctx),
        Err(error) => error,
    };
    match error.downcast::<ripcord::Error>() {
        Ok(end) => Kind::Ended(*end, None),
        Err(error) => Kind::Closure(error),
    }
}

/// Returns the kind of an error of SQLite. If a handler has stopped the statement, the error says interrupted or busy.
fn of_sqlite(error: rusqlite::Error, ctx: &Context) -> Kind {
    let may_be_stopped =
        matches!(error.sqlite_error_code(), Some(ErrorCode::OperationInterrupted | ErrorCode::DatabaseBusy));
    match ctx.err().filter(|_| may_be_stopped) {
        Some(end) => Kind::Ended(end, Some(Driver::Sqlite(error))),
        None => Kind::Refused(Driver::Sqlite(error)),
    }
}
