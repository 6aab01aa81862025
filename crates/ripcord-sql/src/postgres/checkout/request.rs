//! The requests of a call on its connection.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};

use futures_util::future::join;
use ripcord::Context;
use tokio_postgres::Statement;
use tokio_postgres::error::{Error, Severity, SqlState};

use super::{Checkout, Phase};
use crate::error::{Driver, Kind};

/// What becomes of a request that is in flight when its context ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::postgres) enum AfterEnd {
    /// It is canceled, and its outcome is awaited.
    Wait,
    /// It is dropped, and the connection is cleaned up in the background.
    Leave,
}

/// How a future ended under a context.
pub(in crate::postgres) enum Ran<T> {
    Ready(T),
    /// The context had ended before the future was polled.
    NotPolled(ripcord::Error),
    Ended(ripcord::Error),
}

impl Checkout {
    /// Prepares a statement, or returns it if the connection has it.
    pub(in crate::postgres) async fn prepare(&mut self, ctx: &Context, sql: &str) -> Result<Statement, Kind> {
        if let Some(statement) = self.connection().prepared(sql) {
            return Ok(statement);
        }
        let client = self.client();
        let rest = self.phase;
        // If it is dropped, the server keeps a statement that nobody closes.
        self.phase = Phase::Fragile;
        let mut preparing = pin!(client.prepare(sql));
        let prepared = match run(ctx, preparing.as_mut()).await {
            Ran::Ready(prepared) => prepared,
            Ran::NotPolled(end) => {
                self.phase = rest;
                return Err(Kind::NotSent(end));
            }
            Ran::Ended(end) => match self.outcome_after_end(preparing).await {
                Some(Err(error)) => return Err(Kind::Ended(end, Some(Driver::Postgres(error)))),
                Some(Ok(_)) | None => return Err(Kind::Ended(end, None)),
            },
        };
        let statement = prepared.map_err(|error| self.failed(ctx, sql, error, rest))?;
        self.phase = rest;
        self.connection().keep(sql, statement.clone());
        Ok(statement)
    }

    /// Sends a request and waits for its answer. At the context's end, cancels it in the server, and waits for the answer within
    /// the grace. An answer counts also if it arrives after the end.
    ///
    /// `request` must be one message, sent at the first poll (invariant 3).
    pub(in crate::postgres) async fn request<T>(
        &mut self,
        ctx: &Context,
        sql: &str,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Kind> {
        let change = self.limit_change(ctx);
        self.send(ctx, sql, change, Phase::Busy, AfterEnd::Wait, request).await
    }

    /// Like [`request`](Checkout::request), for a request whose answer is not complete when the future is ready. At the context's
    /// end it is dropped, and the connection must be too.
    pub(in crate::postgres) async fn start<T>(
        &mut self,
        ctx: &Context,
        sql: &str,
        during: Phase,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Kind> {
        let change = self.limit_change(ctx);
        self.send(ctx, sql, change, during, AfterEnd::Leave, request).await
    }

    /// Sends a request, after the statement of `change`.
    pub(in crate::postgres) async fn send<T>(
        &mut self,
        ctx: &Context,
        sql: &str,
        change: Option<(u32, String)>,
        during: Phase,
        after_end: AfterEnd,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Kind> {
        let (client, limit) = (self.client(), change.as_ref().map(|(limit, _)| *limit));
        let mut limited = pin!(async {
            match &change {
                None => (None, request.await),
                // Sent in one go: the request does not wait for the answer.
                Some((_, set)) => {
                    let (set, answer) = join(client.batch_execute(set), request).await;
                    (Some(set.is_ok()), answer)
                }
            }
        });
        let rest = self.phase;
        self.phase = during;
        let ((is_set, answer), end) = match run(ctx, limited.as_mut()).await {
            Ran::Ready(answer) => {
                self.phase = rest;
                (answer, None)
            }
            Ran::NotPolled(end) => {
                self.phase = rest;
                return Err(Kind::NotSent(end));
            }
            Ran::Ended(end) if after_end == AfterEnd::Leave => return Err(Kind::Unanswered(end)),
            Ran::Ended(end) => match self.outcome_after_end(limited).await {
                Some(answer) => (answer, Some(end)),
                None => return Err(Kind::Unanswered(end)),
            },
        };
        if let Some(is_set) = is_set {
            self.note_limit(limit.filter(|_| is_set));
        }
        match (answer, end) {
            (Ok(answer), _) => Ok(answer),
            (Err(error), Some(end)) => Err(Kind::Ended(end, Some(Driver::Postgres(error)))),
            (Err(error), None) => Err(self.failed(ctx, sql, error, rest)),
        }
    }

    /// Returns the statement that sets the time limit of the next one, if it has to be sent.
    fn limit_change(&self, ctx: &Context) -> Option<(u32, String)> {
        let limit = self.connection().limit.as_ref()?;
        if self.home.is_none() {
            return limit.change(ctx).map(|limit| (limit, format!("SET statement_timeout = {limit}")));
        }
        let wanted = limit.wanted(ctx);
        (self.local_limit != Some(wanted)).then(|| (wanted, format!("SET LOCAL statement_timeout = {wanted}")))
    }

    pub(super) fn note_limit(&mut self, limit: Option<u32>) {
        if self.home.is_some() {
            self.local_limit = limit;
        } else if let Some(object) = &mut self.object
            && let Some(session) = &mut object.limit
        {
            session.set(limit);
        }
    }

    /// The first statement of the transaction has set this limit.
    pub(in crate::postgres) fn note_local_limit(&mut self, limit: Option<u32>) {
        self.local_limit = limit;
    }

    /// Judges an error of a request, after which the phase is `rest`.
    pub(in crate::postgres) fn failed(&mut self, ctx: &Context, sql: &str, error: Error, rest: Phase) -> Kind {
        self.phase = rest;
        self.is_doubtful = true;
        let Some(answer) = error.as_db_error() else {
            // Unless it is about the arguments, the connection is lost. The barrier shows that.
            self.phase = Phase::Open;
            let is_lost =
                error.is_closed() || std::error::Error::source(&error).is_some_and(|source| source.is::<io::Error>());
            let error = Driver::Postgres(error);
            return if is_lost { Kind::Lost(error) } else { Kind::Refused(error) };
        };
        if matches!(answer.parsed_severity(), Some(Severity::Fatal | Severity::Panic)) {
            self.phase = Phase::Open;
        }
        if is_stale(&error) {
            self.connection().forget(sql);
        }
        match ctx.err() {
            // The server's own limit was first to notice.
            Some(end) if error.code() == Some(&SqlState::QUERY_CANCELED) => {
                Kind::Ended(end, Some(Driver::Postgres(error)))
            }
            _ => Kind::Refused(Driver::Postgres(error)),
        }
    }

    /// Cancels the request in flight, and returns its outcome if it arrives within the grace. Then the connection is clean, or in
    /// the transaction that it was in. Without an outcome, or without a barrier, the connection is closed.
    async fn outcome_after_end<T>(&mut self, request: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        let limit = self.grace();
        let mut outcome = None;
        let settled = limit.run(async {
            self.cancel().await?;
            outcome = Some(request.await);
            self.barrier().await
        });
        let is_settled = matches!(settled.await, Ok(Ok(())));
        if is_settled {
            self.settled();
        } else {
            self.discard();
        }
        outcome
    }
}

/// Runs a future under a context, and notes whether it was polled.
pub(in crate::postgres) async fn run<F: Future>(ctx: &Context, mut future: Pin<&mut F>) -> Ran<F::Output> {
    let mut is_polled = false;
    let noted = poll_fn(|task| {
        is_polled = true;
        future.as_mut().poll(task)
    });
    match ctx.run(noted).await {
        Ok(output) => Ran::Ready(output),
        Err(end) if is_polled => Ran::Ended(end),
        Err(end) => Ran::NotPolled(end),
    }
}

/// Returns whether the server refuses a prepared statement that it would accept as text.
fn is_stale(error: &Error) -> bool {
    let Some(answer) = error.as_db_error() else { return false };
    *answer.code() == SqlState::INVALID_SQL_STATEMENT_NAME
        || *answer.code() == SqlState::FEATURE_NOT_SUPPORTED && answer.routine() == Some("RevalidateCachedQuery")
}
