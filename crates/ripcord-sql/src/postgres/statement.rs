//! Statements, which a pool and a transaction run alike.

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

/// Where a statement runs.
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
    /// Starts a statement. Returns its context, which ends with the transaction's.
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

/// Gives the connection back after a statement that has succeeded.
fn give_back<T>(checkout: Checkout, output: T) -> Result<T, Kind> {
    match checkout.give_back() {
        true => Ok(output),
        false => Err(Kind::Other("the statement started a transaction, which was rolled back: use `transaction`")),
    }
}

/// Ends a call, and turns its kind of error into an error.
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
        // If it fails, a transaction that it started may be open.
        checkout.phase = Phase::Open;
        let client = checkout.client();
        checkout.request(&ctx, sql, client.batch_execute(sql)).await?;
        checkout.phase = rest;
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
        /// Runs statements. A dropped future cancels its statement in the background.
        impl $type {
            /// Runs a statement and returns its rows. Parameters are `$1`, `$2`, and so on.
            ///
            /// # Errors
            ///
            /// See [`Error`]. At the context's end the statement is canceled in the server, and the call waits for the outcome, at most
            /// for the grace. A result that arrives in spite of the end is returned.
            ///
            /// # Cancel safety
            ///
            /// Dropping the future cancels the statement in the background.
            #[track_caller]
            pub fn query(
                &self,
                ctx: &Context,
                sql: &str,
                params: &[&(dyn ToSql + Sync)],
            ) -> impl Future<Output = Result<Vec<Row>, Error>> + Send {
                query(Place::from(self), ctx, ("query", Location::caller()), sql, params)
            }

            /// Like [`query`](Self::query), for a statement that returns one row.
            ///
            /// # Errors
            ///
            /// See [`query`](Self::query). No row and several rows are errors.
            #[track_caller]
            pub fn query_one(
                &self,
                ctx: &Context,
                sql: &str,
                params: &[&(dyn ToSql + Sync)],
            ) -> impl Future<Output = Result<Row, Error>> + Send {
                query_one(Place::from(self), ctx, ("query_one", Location::caller()), sql, params)
            }

            /// Like [`query`](Self::query), for a statement that returns at most one row.
            ///
            /// # Errors
            ///
            /// See [`query`](Self::query). Several rows are an error.
            #[track_caller]
            pub fn query_opt(
                &self,
                ctx: &Context,
                sql: &str,
                params: &[&(dyn ToSql + Sync)],
            ) -> impl Future<Output = Result<Option<Row>, Error>> + Send {
                query_opt(Place::from(self), ctx, ("query_opt", Location::caller()), sql, params)
            }

            /// Runs a statement and returns the number of rows that it has changed.
            ///
            /// # Errors
            ///
            /// See [`query`](Self::query).
            #[track_caller]
            pub fn execute(
                &self,
                ctx: &Context,
                sql: &str,
                params: &[&(dyn ToSql + Sync)],
            ) -> impl Future<Output = Result<u64, Error>> + Send {
                execute(Place::from(self), ctx, Location::caller(), sql, params)
            }

            /// Runs several statements without parameters, separated by semicolons. For schemas and settings: build no text from values.
            ///
            /// # Errors
            ///
            /// See [`query`](Self::query). The statements before the first that fails are undone, unless they end a transaction.
            #[track_caller]
            pub fn batch_execute(&self, ctx: &Context, sql: &str) -> impl Future<Output = Result<(), Error>> + Send {
                batch_execute(Place::from(self), ctx, Location::caller(), sql)
            }

            /// Runs a statement and returns its rows as they arrive.
            ///
            /// # Errors
            ///
            /// See [`query`](Self::query).
            #[track_caller]
            pub fn query_stream(
                &self,
                ctx: &Context,
                sql: &str,
                params: &[&(dyn ToSql + Sync)],
            ) -> impl Future<Output = Result<RowStream, Error>> + Send {
                query_stream(Place::from(self), ctx, Location::caller(), sql, params)
            }

            /// Starts a `COPY ... FROM STDIN`, whose data is written to the returned [`CopyIn`].
            ///
            /// # Errors
            ///
            /// See [`query`](Self::query).
            #[track_caller]
            pub fn copy_in(&self, ctx: &Context, sql: &str) -> impl Future<Output = Result<CopyIn, Error>> + Send {
                copy_in(Place::from(self), ctx, Location::caller(), sql)
            }

            /// Starts a `COPY ... TO STDOUT` and returns its data as it arrives.
            ///
            /// # Errors
            ///
            /// See [`query`](Self::query).
            #[track_caller]
            pub fn copy_out(&self, ctx: &Context, sql: &str) -> impl Future<Output = Result<CopyOut, Error>> + Send {
                copy_out(Place::from(self), ctx, Location::caller(), sql)
            }
        }
    };
}

statements!(Pool);
statements!(Transaction);
