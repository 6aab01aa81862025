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

/// The treatment of a request that is in flight when its context ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::postgres) enum AfterEnd {
    /// The request is canceled, and the call waits for its outcome.
    Wait,
    /// The request is dropped, and the connection is cleaned up in the background.
    Leave,
}

/// The result of running a future with a context.
pub(in crate::postgres) enum Ran<T> {
    Ready(T),
    /// The context had ended before the future was polled.
    NotPolled(ripcord::Error),
    Ended(ripcord::Error),
}

impl Checkout {
    /// Returns the prepared statement of the connection. Prepares the statement if necessary.
    pub(in crate::postgres) async fn prepare(&mut self, ctx: &Context, sql: &str) -> Result<Statement, Kind> {
        if let Some(statement) = self.connection().prepared(sql) {
            return Ok(statement);
        }
        let client = self.client();
        let rest = self.phase;
        // If the future is dropped, the prepared statement is never closed in the server.
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
        self.phase = rest.after_answer();
        self.connection().keep(sql, statement.clone());
        Ok(statement)
    }

    /// Sends a request and waits for its answer. When the context ends, cancels the request in the server and waits for the answer
    /// within the grace period. An answer that arrives after the end of the context is returned.
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

    /// Sends a request whose answer is not complete when the future is ready. When the context ends, the request is dropped. The
    /// caller must then drop the checkout.
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
                // Both are sent together: the request does not wait for the answer to `set`.
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
            (Ok(answer), None) => {
                self.phase = rest.after_answer();
                Ok(answer)
            }
            (Ok(answer), Some(_)) => Ok(answer),
            // The server has not answered, or a pooler has answered for it.
            (Err(error), Some(end)) if error.as_db_error().is_none() || is_connection_exception(&error) => {
                Err(Kind::Unanswered(end))
            }
            (Err(error), Some(end)) => Err(Kind::Ended(end, Some(Driver::Postgres(error)))),
            (Err(error), None) => Err(self.failed(ctx, sql, error, rest)),
        }
    }

    /// Returns the statement that sets the time limit of the next statement. Returns `None` if the limit has not changed.
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

    /// Records the limit of the transaction. `None` if it is unknown.
    pub(in crate::postgres) fn note_local_limit(&mut self, limit: Option<u32>) {
        self.local_limit = limit;
    }

    /// Returns the kind of a request's error. Sets the phase to that after an answer, or to [`Phase::Open`] if the state is unknown.
    pub(in crate::postgres) fn failed(&mut self, ctx: &Context, sql: &str, error: Error, rest: Phase) -> Kind {
        self.phase = rest.after_answer();
        self.is_doubtful = true;
        let Some(answer) = error.as_db_error() else {
            // The error is about the arguments, or the connection is lost. The barrier finds out which.
            let is_lost =
                error.is_closed() || std::error::Error::source(&error).is_some_and(|source| source.is::<io::Error>());
            // Nothing was sent if the error is about the arguments. Then an unread answer is still unread.
            self.phase = if rest == Phase::Unread && !is_lost { rest } else { Phase::Open };
            let error = Driver::Postgres(error);
            return if is_lost { Kind::Lost(error) } else { Kind::Refused(error) };
        };
        if matches!(answer.parsed_severity(), Some(Severity::Fatal | Severity::Panic)) {
            self.phase = Phase::Open;
        }
        if is_connection_exception(&error) {
            self.phase = Phase::Open;
            return Kind::Lost(Driver::Postgres(error));
        }
        if is_stale(&error) {
            self.connection().forget(sql);
        }
        match ctx.err() {
            // The limit in the server ended the statement first.
            Some(end) if error.code() == Some(&SqlState::QUERY_CANCELED) => {
                Kind::Ended(end, Some(Driver::Postgres(error)))
            }
            _ => Kind::Refused(Driver::Postgres(error)),
        }
    }

    /// Cancels the request in flight, and returns its outcome if the outcome arrives within the grace period. The connection is
    /// then clean, or still in its transaction. If the outcome or the barrier does not arrive, the connection is closed.
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

/// Runs a future until it is ready or the context ends. The result says whether the future was polled.
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

/// Returns whether the SQLSTATE has the class 08. A pooler sends it when it has lost its connection to the server, so the outcome is
/// unknown.
fn is_connection_exception(error: &Error) -> bool {
    error.code().is_some_and(|state| state.code().starts_with("08"))
}

/// Returns whether the server refuses a prepared statement that it would accept if it were prepared again.
fn is_stale(error: &Error) -> bool {
    let Some(answer) = error.as_db_error() else { return false };
    *answer.code() == SqlState::INVALID_SQL_STATEMENT_NAME
        || *answer.code() == SqlState::FEATURE_NOT_SUPPORTED && answer.routine() == Some("RevalidateCachedQuery")
}
