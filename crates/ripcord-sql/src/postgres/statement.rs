//! The statements of a pool and of a transaction.

use std::panic::Location;
use std::sync::Arc;

use ripcord::Context;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::checkout::{Checkout, Phase};
use super::copy::{CopyIn, CopyOut};
use super::lent::Lent;
use super::pool::{Inner, Pool};
use super::rows::RowStream;
use super::transaction::Transaction;
use crate::Error;
use crate::call::Call;
use crate::error::Kind;

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The place of a statement: the pool or a transaction.
#[derive(Clone, Copy)]
enum Place<'a> {
    Pool(&'a Arc<Inner>),
    Transaction(&'a Transaction),
}

impl<'a> From<&'a Pool> for Place<'a> {
    fn from(pool: &'a Pool) -> Self {
        Place::Pool(&pool.0)
    }
}

impl<'a> From<&'a Transaction> for Place<'a> {
    fn from(transaction: &'a Transaction) -> Self {
        Place::Transaction(transaction)
    }
}

impl Place<'_> {
    /// Starts the span of a statement. Returns the context of the statement, which also ends with the transaction's context.
    fn begin(&self, ctx: &Context, sql: &str, location: &'static Location<'static>) -> (Context, Call) {
        match self {
            Place::Pool(inner) => Call::statement(ctx, &inner.database, sql, location),
            Place::Transaction(transaction) => {
                Call::statement(&transaction.context_of(ctx), &transaction.inner.database, sql, location)
            }
        }
    }

    async fn checkout(&self, ctx: &Context) -> Result<Checkout, Kind> {
        match self {
            Place::Pool(inner) => inner.checkout(ctx).await,
            Place::Transaction(transaction) => transaction.checkout(),
        }
    }
}

/// Returns the connection to the pool or to the transaction after a statement has succeeded.
fn give_back<T>(checkout: Checkout, output: T) -> Result<T, Kind> {
    match checkout.give_back() {
        true => Ok(output),
        false => Err(Kind::Other("the statement started a transaction, which was rolled back: use `transaction`")),
    }
}

/// Ends a call, and converts its kind of error to an error.
fn end<T>(
    call: Call,
    operation: &'static str,
    location: &'static Location<'static>,
    result: Result<T, Kind>,
) -> Result<T, Error> {
    let result = result.map_err(|kind| Error::new(operation, location, kind));
    call.end(result.as_ref().err());
    result
}

async fn query(
    place: Place<'_>,
    ctx: &Context,
    (operation, location): (&'static str, &'static Location<'static>),
    sql: &str,
    params: Params<'_>,
) -> Result<Vec<Row>, Error> {
    let (ctx, call) = place.begin(ctx, sql, location);
    let run = async {
        let mut checkout = place.checkout(&ctx).await?;
        let statement = checkout.prepare(&ctx, sql).await?;
        let client = checkout.client();
        let rows = checkout.request(&ctx, sql, client.query(&statement, params)).await?;
        give_back(checkout, rows)
    };
    let result = run.await;
    end(call, operation, location, result)
}

async fn query_opt(
    place: Place<'_>,
    ctx: &Context,
    (operation, location): (&'static str, &'static Location<'static>),
    sql: &str,
    params: Params<'_>,
) -> Result<Option<Row>, Error> {
    let mut rows = query(place, ctx, (operation, location), sql, params).await?;
    match rows.len() {
        0 | 1 => Ok(rows.pop()),
        _ => Err(Error::new(operation, location, Kind::Other("the statement has returned more than one row"))),
    }
}

async fn query_one(
    place: Place<'_>,
    ctx: &Context,
    (operation, location): (&'static str, &'static Location<'static>),
    sql: &str,
    params: Params<'_>,
) -> Result<Row, Error> {
    let row = query_opt(place, ctx, (operation, location), sql, params).await?;
    row.ok_or_else(|| Error::new(operation, location, Kind::Other("the statement has returned no row")))
}

async fn execute(
    place: Place<'_>,
    ctx: &Context,
    location: &'static Location<'static>,
    sql: &str,
    params: Params<'_>,
) -> Result<u64, Error> {
    let (ctx, call) = place.begin(ctx, sql, location);
    let run = async {
        let mut checkout = place.checkout(&ctx).await?;
        let statement = checkout.prepare(&ctx, sql).await?;
        let client = checkout.client();
        let changed = checkout.request(&ctx, sql, client.execute(&statement, params)).await?;
        give_back(checkout, changed)
    };
    let result = run.await;
    end(call, "execute", location, result)
}

async fn batch_execute(
    place: Place<'_>,
    ctx: &Context,
    location: &'static Location<'static>,
    sql: &str,
) -> Result<(), Error> {
    let (ctx, call) = place.begin(ctx, sql, location);
    let run = async {
        let mut checkout = place.checkout(&ctx).await?;
        let rest = checkout.phase;
        if rest == Phase::Clean {
            // If it fails, a transaction that it started may be open.
            checkout.phase = Phase::Open;
        }
        let client = checkout.client();
        let result = checkout.request(&ctx, sql, client.batch_execute(sql)).await;
        // `SET` and `ROLLBACK TO` may have changed the limit.
        checkout.note_local_limit(None);
        result?;
        if rest == Phase::Clean {
            checkout.phase = Phase::Clean;
        }
        give_back(checkout, ())
    };
    let result = run.await;
    end(call, "batch_execute", location, result)
}

async fn query_stream(
    place: Place<'_>,
    ctx: &Context,
    location: &'static Location<'static>,
    sql: &str,
    params: Params<'_>,
) -> Result<RowStream, Error> {
    let (ctx, call) = place.begin(ctx, sql, location);
    let start = async {
        let mut checkout = place.checkout(&ctx).await?;
        let statement = checkout.prepare(&ctx, sql).await?;
        let client = checkout.client();
        let rows = client.query_raw(&statement, params.iter().copied());
        let rows = checkout.start(&ctx, sql, Phase::Busy, rows).await?;
        Ok((Box::pin(rows), checkout))
    };
    match start.await {
        Ok((rows, checkout)) => Ok(RowStream(Lent::new(rows, checkout, ctx, call, "query_stream", location))),
        Err(kind) => end(call, "query_stream", location, Err(kind)),
    }
}

async fn copy_out(
    place: Place<'_>,
    ctx: &Context,
    location: &'static Location<'static>,
    sql: &str,
) -> Result<CopyOut, Error> {
    let (ctx, call) = place.begin(ctx, sql, location);
    let start = async {
        let mut checkout = place.checkout(&ctx).await?;
        let statement = checkout.prepare(&ctx, sql).await?;
        let client = checkout.client();
        let data = checkout.start(&ctx, sql, Phase::Busy, client.copy_out(&statement)).await?;
        Ok((Box::pin(data), checkout))
    };
    match start.await {
        Ok((data, checkout)) => Ok(CopyOut(Lent::new(data, checkout, ctx, call, "copy_out", location))),
        Err(kind) => end(call, "copy_out", location, Err(kind)),
    }
}

async fn copy_in(
    place: Place<'_>,
    ctx: &Context,
    location: &'static Location<'static>,
    sql: &str,
) -> Result<CopyIn, Error> {
    let (ctx, call) = place.begin(ctx, sql, location);
    let start = async {
        let mut checkout = place.checkout(&ctx).await?;
        let statement = checkout.prepare(&ctx, sql).await?;
        let client = checkout.client();
        let sink = match checkout.start(&ctx, sql, Phase::Fragile, client.copy_in(&statement)).await {
            Ok(sink) => sink,
            Err(kind) => {
                // tokio-postgres ends the data of a COPY that was refused too. The server has one answer more than it expects.
                checkout.phase = Phase::Fragile;
                return Err(kind);
            }
        };
        Ok((Box::pin(sink), checkout))
    };
    match start.await {
        Ok((sink, checkout)) => Ok(CopyIn(Lent::new(sink, checkout, ctx, call, "copy_in", location))),
        Err(kind) => end(call, "copy_in", location, Err(kind)),
    }
}

macro_rules! statements {
    ($type:ty) => {
        /// Statements. Each method waits for a connection if necessary and sends the statement when its future is first polled.
        ///
        /// Dropping a future cancels its statement in the background. In a transaction, this also rolls back the transaction.
        impl $type {
            /// Runs a statement and returns all its rows. `params` contains the values of the parameters `$1`, `$2` and so on, such
            /// as `&[&id, &name]`, or `&[]` for a statement without parameters.
            ///
            /// If the context ends first, the statement is canceled in the server. The future waits for the outcome, but not longer
            /// than the [grace period](super::PoolBuilder::grace). If the statement has succeeded in the meantime, the future
            /// returns its result.
            ///
            /// # Errors
            ///
            /// Returns an error if the context ends first, the pool is closed, or the server refuses the statement. Also returns an
            /// error if no connection can be opened, or the connection is lost. [`Error::is_outcome_unknown`] says whether a failed
            /// statement may have taken effect.
            ///
            /// If a statement of a `Pool` begins a transaction, such as `BEGIN`, the transaction is rolled back and an error is
            /// returned. Use [`Pool::transaction`] instead.
            ///
            /// # Cancel safety
            ///
            /// Dropping the future cancels the statement in the background. In a transaction, this also rolls back the transaction.
            #[track_caller]
            pub fn query(
                &self,
                ctx: &Context,
                sql: &str,
                params: &[&(dyn ToSql + Sync)],
            ) -> impl Future<Output = Result<Vec<Row>, Error>> + Send {
                query(Place::from(self), ctx, ("query", Location::caller()), sql, params)
            }

            /// Runs a statement that returns exactly one row, like [`query`](Self::query).
            ///
            /// # Errors
            ///
            /// Returns the errors of [`query`](Self::query), and an error if the statement returns no row or several rows. The
            /// changes of a statement that returns the wrong number of rows are not undone.
            #[track_caller]
            pub fn query_one(
                &self,
                ctx: &Context,
                sql: &str,
                params: &[&(dyn ToSql + Sync)],
            ) -> impl Future<Output = Result<Row, Error>> + Send {
                query_one(Place::from(self), ctx, ("query_one", Location::caller()), sql, params)
            }

            /// Runs a statement that returns at most one row, like [`query`](Self::query). Returns `None` if the statement returns
            /// no row.
            ///
            /// # Errors
            ///
            /// Returns the errors of [`query`](Self::query), and an error if the statement returns several rows. The changes of
            /// such a statement are not undone.
            #[track_caller]
            pub fn query_opt(
                &self,
                ctx: &Context,
                sql: &str,
                params: &[&(dyn ToSql + Sync)],
            ) -> impl Future<Output = Result<Option<Row>, Error>> + Send {
                query_opt(Place::from(self), ctx, ("query_opt", Location::caller()), sql, params)
            }

            /// Runs a statement, like [`query`](Self::query), and returns the number of rows that the statement has inserted,
            /// updated or deleted.
            ///
            /// # Errors
            ///
            /// Returns the errors of [`query`](Self::query).
            #[track_caller]
            pub fn execute(
                &self,
                ctx: &Context,
                sql: &str,
                params: &[&(dyn ToSql + Sync)],
            ) -> impl Future<Output = Result<u64, Error>> + Send {
                execute(Place::from(self), ctx, Location::caller(), sql, params)
            }

            /// Runs several statements that are separated by semicolons, for example to create tables. The statements have no
            /// parameters.
            ///
            /// Do not build `sql` from untrusted values, because they could contain other statements.
            ///
            /// # Errors
            ///
            /// Returns the errors of [`query`](Self::query). If a statement fails, the later statements are not run. The effects of
            /// the earlier statements are undone, unless a `COMMIT` in `sql` follows them.
            #[track_caller]
            pub fn batch_execute(&self, ctx: &Context, sql: &str) -> impl Future<Output = Result<(), Error>> + Send {
                batch_execute(Place::from(self), ctx, Location::caller(), sql)
            }

            /// Runs a statement and returns a stream of its rows. Use it for results that are too large for memory.
            ///
            /// The stream uses a connection until it has been read to its end or is dropped. It ends when `ctx` ends.
            ///
            /// # Errors
            ///
            /// Returns the errors of [`query`](Self::query). If the context ends, the future and the stream return the error
            /// immediately, without waiting for the server's response.
            #[track_caller]
            pub fn query_stream(
                &self,
                ctx: &Context,
                sql: &str,
                params: &[&(dyn ToSql + Sync)],
            ) -> impl Future<Output = Result<RowStream, Error>> + Send {
                query_stream(Place::from(self), ctx, Location::caller(), sql, params)
            }

            /// Starts a `COPY ... FROM STDIN` statement. Write the data with [`CopyIn::write`], then call [`CopyIn::finish`]. The
            /// COPY ends when `ctx` ends.
            ///
            /// # Errors
            ///
            /// Returns the errors of [`query`](Self::query). If the context ends, the future returns the error immediately, without
            /// waiting for the server's response.
            #[track_caller]
            pub fn copy_in(&self, ctx: &Context, sql: &str) -> impl Future<Output = Result<CopyIn, Error>> + Send {
                copy_in(Place::from(self), ctx, Location::caller(), sql)
            }

            /// Starts a `COPY ... TO STDOUT` statement and returns a stream of its data. The stream ends when `ctx` ends.
            ///
            /// # Errors
            ///
            /// Returns the errors of [`query`](Self::query). If the context ends, the future and the stream return the error
            /// immediately, without waiting for the server's response.
            #[track_caller]
            pub fn copy_out(&self, ctx: &Context, sql: &str) -> impl Future<Output = Result<CopyOut, Error>> + Send {
                copy_out(Place::from(self), ctx, Location::caller(), sql)
            }
        }
    };
}

statements!(Pool);
statements!(Transaction);
