//! Transactions.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use ripcord::{AfterFunc, Context};
use tokio_postgres::IsolationLevel;

use super::checkout::{AfterEnd, Checkout, Phase, ask};
use super::pool::{Inner, Pool};
use super::slot::{Slot, Unavailable};
use crate::Error;
use crate::call::Call;
use crate::error::Kind;

/// A transaction of Postgres. Returned by [`Pool::transaction`] and [`TransactionBuilder::begin`].
///
/// ```no_run
/// use ripcord::Context;
/// use ripcord_sql::{Error, postgres::Pool};
///
/// async fn close_account(ctx: &Context, pool: &Pool, account: i64) -> Result<(), Error> {
///     let transaction = pool.transaction(ctx).await?;
///     transaction.execute(ctx, "DELETE FROM cards WHERE account = $1", &[&account]).await?;
///     transaction.execute(ctx, "DELETE FROM accounts WHERE id = $1", &[&account]).await?; // an error rolls back
///     transaction.commit(ctx).await
/// }
/// ```
///
/// The transaction is rolled back in five cases:
///
/// - The `Transaction` is dropped without [`commit`](Transaction::commit).
/// - `commit` is called after a [failed statement](Transaction#failed-statements). It then returns an error.
/// - The context that was passed to [`Pool::transaction`] or [`TransactionBuilder::begin`] ends, even if no statement runs at that
///   moment.
/// - The future of a statement is dropped before the statement has finished.
/// - The context of an unfinished row stream or COPY ends.
///
/// In the last three cases, later statements and `commit` return an error.
///
/// Each statement takes its own context. The statement ends when its context or the transaction's context ends. Only one statement
/// or stream can run at a time. If you start a second one, it returns an error.
///
/// # Failed statements
///
/// If the server refuses a statement, or cancels it because the statement's own context has ended, the transaction stays open, but
/// Postgres refuses its later statements. To continue such a transaction, use a savepoint: run `SAVEPOINT name` before the
/// statement, and `ROLLBACK TO name` after it has failed, both with [`batch_execute`](Transaction::batch_execute).
///
/// A savepoint does not help in two cases, because the transaction is then over. One is the end of the context of a row stream or a
/// COPY. The other is a server that does not respond to the cancel of a statement within the
/// [grace period](super::PoolBuilder::grace): the connection is then closed.
#[must_use = "a transaction is rolled back when it is dropped"]
pub struct Transaction {
    pub(super) inner: Arc<Inner>,
    slot: Arc<Slot<Checkout>>,
    /// The context that was passed to `begin`.
    caller: Context,
    /// The same context, with the span of the transaction.
    ctx: Context,
    after: AfterFunc,
    call: Option<Call>,
}

impl Pool {
    /// Begins a transaction with the session's isolation level and access mode. The transaction is rolled back when `ctx` ends.
    ///
    /// ```no_run
    /// use ripcord::Context;
    /// use ripcord_sql::{Error, postgres::Pool};
    ///
    /// async fn transfer(ctx: &Context, pool: &Pool, from: i64, to: i64, amount: i64) -> Result<(), Error> {
    ///     let transaction = pool.transaction(ctx).await?;
    ///     let withdraw = "UPDATE accounts SET balance = balance - $2 WHERE id = $1";
    ///     transaction.execute(ctx, withdraw, &[&from, &amount]).await?;
    ///     let deposit = "UPDATE accounts SET balance = balance + $2 WHERE id = $1";
    ///     transaction.execute(ctx, deposit, &[&to, &amount]).await?; // an error rolls back
    ///     transaction.commit(ctx).await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`query`](Pool::query). If `ctx` ends, the future returns the error immediately, without waiting for a
    /// response of the server.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future rolls the transaction back in the background.
    #[track_caller]
    pub fn transaction(&self, ctx: &Context) -> impl Future<Output = Result<Transaction, Error>> + Send {
        self.build_transaction().begin(ctx)
    }

    /// Returns a builder for a transaction, to set its isolation level and access mode.
    pub fn build_transaction(&self) -> TransactionBuilder<'_> {
        TransactionBuilder { pool: self, isolation: None, is_read_only: None, is_deferrable: None }
    }
}

/// Builds a [`Transaction`]. Returned by [`Pool::build_transaction`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until the transaction has started"]
pub struct TransactionBuilder<'a> {
    pool: &'a Pool,
    isolation: Option<IsolationLevel>,
    is_read_only: Option<bool>,
    is_deferrable: Option<bool>,
}

impl<'a> TransactionBuilder<'a> {
    /// Sets the isolation level. Default: the session's setting.
    pub fn isolation_level(self, level: IsolationLevel) -> Self {
        TransactionBuilder { isolation: Some(level), ..self }
    }

    /// Sets whether the transaction is read-only. In a read-only transaction, the server refuses statements that change data.
    /// Default: the session's setting.
    pub fn read_only(self, is_read_only: bool) -> Self {
        TransactionBuilder { is_read_only: Some(is_read_only), ..self }
    }

    /// Sets whether the transaction is deferrable. Default: the session's setting.
    ///
    /// The first statement of a deferrable transaction may wait for other transactions, so that the transaction cannot fail with a
    /// serialization error. The setting has an effect only if the transaction is also serializable and read-only.
    pub fn deferrable(self, is_deferrable: bool) -> Self {
        TransactionBuilder { is_deferrable: Some(is_deferrable), ..self }
    }

    /// Begins the transaction. The transaction is rolled back when `ctx` ends.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`Pool::query`]. If `ctx` ends, the future returns the error immediately, without waiting for a
    /// response of the server.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future rolls the transaction back in the background.
    #[track_caller]
    pub fn begin(self, ctx: &Context) -> impl Future<Output = Result<Transaction, Error>> + Send + use<'a, '_> {
        let location = Location::caller();
        begin(&self.pool.0, ctx, self.sql(), location)
    }

    fn sql(&self) -> String {
        let mut sql = String::from("BEGIN");
        sql.push_str(match self.isolation {
            None => "",
            Some(IsolationLevel::ReadUncommitted) => " ISOLATION LEVEL READ UNCOMMITTED",
            Some(IsolationLevel::RepeatableRead) => " ISOLATION LEVEL REPEATABLE READ",
            Some(IsolationLevel::Serializable) => " ISOLATION LEVEL SERIALIZABLE",
            Some(_) => " ISOLATION LEVEL READ COMMITTED",
        });
        sql.push_str(match self.is_read_only {
            None => "",
            Some(true) => " READ ONLY",
            Some(false) => " READ WRITE",
        });
        sql.push_str(match self.is_deferrable {
            None => "",
            Some(true) => " DEFERRABLE",
            Some(false) => " NOT DEFERRABLE",
        });
        sql
    }
}

async fn begin(
    inner: &Arc<Inner>,
    caller: &Context,
    mut sql: String,
    location: &'static Location<'static>,
) -> Result<Transaction, Error> {
    let (ctx, call) = Call::start(caller, &inner.database, Cow::Borrowed("transaction"), None, location);
    let start = async {
        let mut checkout = inner.checkout(&ctx).await?;
        let limit = checkout.connection().limit.as_ref().map(|limit| limit.wanted(&ctx));
        if let Some(limit) = limit {
            sql.push_str(&format!("; SET LOCAL statement_timeout = {limit}"));
        }
        let client = checkout.client();
        checkout.phase = Phase::Open;
        checkout.send(&ctx, "", None, Phase::Busy, AfterEnd::Leave, client.batch_execute(&sql)).await?;
        checkout.note_local_limit(limit);
        Ok(checkout)
    };
    match start.await {
        Ok(checkout) => {
            let slot = Arc::new(Slot::new(checkout));
            let after = ctx.after_func({
                let slot = Arc::clone(&slot);
                move || drop(slot.close())
            });
            Ok(Transaction { inner: Arc::clone(inner), slot, caller: caller.clone(), ctx, after, call: Some(call) })
        }
        Err(kind) => {
            let error = Error::new("transaction", location, kind);
            call.end(Some(&error));
            Err(error)
        }
    }
}

impl Transaction {
    /// Commits the transaction.
    ///
    /// If `ctx` or the transaction's context ends during the commit, the commit is canceled in the server. The future waits for the
    /// outcome, but not longer than the [grace period](super::PoolBuilder::grace). If the commit has succeeded in the meantime, the
    /// future returns `Ok`.
    ///
    /// # Errors
    ///
    /// If a statement of the transaction has failed, or if a row stream or a COPY of it is still open, rolls the transaction back
    /// and returns an error. [`Pool::query`] describes the other errors. If [`Error::is_outcome_unknown`] is `true`, the
    /// transaction may have been committed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the transaction may be committed or rolled back.
    #[track_caller]
    pub fn commit(self, ctx: &Context) -> impl Future<Output = Result<(), Error>> + Send {
        self.end("commit", ctx, Location::caller())
    }

    /// Rolls back the transaction, and waits for the server. If the transaction was already rolled back, returns `Ok`.
    ///
    /// If a row stream or a COPY of the transaction is still open, returns `Ok` without waiting. The transaction is rolled back
    /// when the stream or the COPY is dropped.
    ///
    /// # Errors
    ///
    /// Returns an error if `ctx` or the transaction's context ends before the server has responded, or if the connection is lost.
    /// Even then, the transaction is rolled back.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the transaction is rolled back in the background.
    #[track_caller]
    pub fn rollback(self, ctx: &Context) -> impl Future<Output = Result<(), Error>> + Send {
        self.end("rollback", ctx, Location::caller())
    }

    /// Returns the context of the transaction: the context that was passed to [`Pool::transaction`] or
    /// [`TransactionBuilder::begin`], with the span of the transaction. The spans of statements that use this context are children
    /// of that span.
    pub fn context(&self) -> &Context {
        &self.ctx
    }

    async fn end(
        mut self,
        operation: &'static str,
        ctx: &Context,
        location: &'static Location<'static>,
    ) -> Result<(), Error> {
        let ctx = self.context_of(ctx);
        let result = match operation {
            "commit" => self.run_commit(&ctx).await,
            _ => self.run_rollback(&ctx).await,
        };
        let result = result.map_err(|kind| Error::new(operation, location, kind));
        if let Some(call) = self.call.take() {
            call.end(result.as_ref().err());
        }
        result
    }

    async fn run_commit(&self, ctx: &Context) -> Result<(), Kind> {
        let mut checkout = self.take()?;
        self.after.stop();
        let client = checkout.client();
        if checkout.is_doubtful {
            let failed = Kind::Other("a statement of the transaction has failed, so it was rolled back");
            match checkout.send(ctx, "", None, Phase::Busy, AfterEnd::Leave, ask(&client, "")).await {
                Ok(true) => {}
                Ok(false) => {
                    checkout.phase = Phase::Fragile;
                    return Err(failed);
                }
                Err(Kind::Refused(_)) => return Err(failed),
                Err(kind) => return Err(kind),
            }
        }
        checkout.send(ctx, "", None, Phase::Busy, AfterEnd::Wait, client.batch_execute("COMMIT")).await?;
        checkout.phase = Phase::Clean;
        checkout.give_back();
        Ok(())
    }

    async fn run_rollback(&self, ctx: &Context) -> Result<(), Kind> {
        let Ok(mut checkout) = self.slot.take() else { return Ok(()) };
        self.after.stop();
        let client = checkout.client();
        checkout.send(ctx, "", None, Phase::Busy, AfterEnd::Leave, client.batch_execute("ROLLBACK")).await?;
        checkout.phase = Phase::Clean;
        checkout.give_back();
        Ok(())
    }

    /// Returns the context of a statement. It ends when `ctx` or the transaction's context ends.
    pub(super) fn context_of(&self, ctx: &Context) -> Context {
        if ctx.ptr_eq(&self.caller) || ctx.ptr_eq(&self.ctx) { self.ctx.clone() } else { ctx.merge(&self.ctx) }
    }

    /// Takes the connection for a statement. The statement returns the connection to the transaction.
    pub(super) fn checkout(&self) -> Result<Checkout, Kind> {
        let mut checkout = self.take()?;
        checkout.home = Some(Arc::clone(&self.slot));
        Ok(checkout)
    }

    fn take(&self) -> Result<Checkout, Kind> {
        self.slot.take().map_err(|unavailable| match (unavailable, self.ctx.err()) {
            (Unavailable::Taken, _) => Kind::Other("another statement or stream of the transaction is in progress"),
            (Unavailable::Closed, Some(end)) => Kind::NotSent(end),
            (Unavailable::Closed, None) => {
                Kind::Other("the transaction is over: a statement was dropped half way, or its connection was closed")
            }
        })
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.after.stop();
        drop(self.slot.close());
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("ctx", &self.ctx).finish_non_exhaustive()
    }
}
