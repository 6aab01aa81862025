//! A connection that is lent to a call, and how it comes back to the pool.
//!
//! The invariants, which comments cite by number:
//!
//! 1. A connection is returned to the pool only by [`Checkout::return_clean`]: nothing is in flight on it, no transaction is open, and
//!    no cancel that was asked for it can still arrive.
//! 2. A cancel has arrived when the server has closed the connection that asked for it: it sends the signal first. The signal is
//!    handled, at the latest, when the server reads the next message. So a statement that is sent after that, and answered, is a
//!    barrier: what comes after it is never hit.
//!    The answer must be the statement's own: if a COPY is canceled before it has read any data, the server says twice that it is
//!    ready, and tokio-postgres takes the second time for the answer of the next statement.
//! 3. A request that has been polled has been sent. A request that has not been polled after the context's end is never sent.
//! 4. Dropping a [`Checkout`] that is not clean starts a task that cleans it up, within the grace. The pool has the connection back
//!    only then, so that the next borrower waits. If that fails, the connection is closed.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::join;
use ripcord::{Clock, Context};
use tokio::task::JoinHandle;
use tokio_postgres::error::{Error, Severity, SqlState};
use tokio_postgres::{Client, SimpleQueryMessage, Statement};

use super::connection::{Connection, Manager};
use super::connector;
use super::pool::Inner;
use super::slot::Slot;
use crate::error::{Driver, Kind};

/// Number of statements that are sent to get an answer from a connection that is cleaned up: one may be hit by the cancel, the next
/// one shows the open transaction, and the third one ends it.
const MAX_BARRIERS: usize = 4;

type Object = deadpool::managed::Object<Manager>;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing, and no transaction is open.
    Clean,
    /// Nothing that must be canceled. A transaction may be open, or an answer may be on its way.
    Open,
    /// A request is in flight.
    Busy,
    /// A request is in flight that leaves the connection unusable if it is dropped.
    Fragile,
}

/// The request for a cancel.
#[derive(Debug, Default)]
enum Cancel {
    #[default]
    NotSent,
    /// A task, because a request that is dropped half way may arrive at any time later (invariant 2).
    Sending(JoinHandle<io::Result<()>>),
    Arrived,
}

/// A connection that is lent to one call.
pub(super) struct Checkout {
    inner: Arc<Inner>,
    /// `None` after it was returned or discarded.
    object: Option<Object>,
    pub(super) phase: Phase,
    cancel: Cancel,
    clock: Clock,
    /// Where it belongs while a transaction uses it.
    pub(super) home: Option<Arc<Slot<Checkout>>>,
    /// The `statement_timeout` of the transaction, in milliseconds.
    local_limit: Option<u32>,
    /// Whether the state of the transaction may not be the one that was read last.
    pub(super) is_doubtful: bool,
    /// Whether it is being cleaned up.
    is_recovering: bool,
}

/// What becomes of a request that is in flight when its context ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterEnd {
    /// It is canceled, and its outcome is awaited.
    Wait,
    /// It is dropped, and the connection is cleaned up in the background.
    Leave,
}

/// How a future ended under a context.
pub(super) enum Ran<T> {
    Ready(T),
    /// The context had ended before the future was polled.
    NotPolled(ripcord::Error),
    Ended(ripcord::Error),
}

impl Checkout {
    pub(super) fn new(inner: Arc<Inner>, object: Object, clock: Clock) -> Self {
        Checkout {
            inner,
            object: Some(object),
            phase: Phase::Clean,
            cancel: Cancel::NotSent,
            clock,
            home: None,
            local_limit: None,
            is_doubtful: false,
            is_recovering: false,
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        self.object.as_ref().expect("it is taken when the checkout ends")
    }

    pub(super) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.connection().client)
    }

    /// Prepares a statement, or returns it if the connection has it.
    pub(super) async fn prepare(&mut self, ctx: &Context, sql: &str) -> Result<Statement, Kind> {
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

    /// Sends a request and waits for its answer. At the context's end, cancels it in the server, and waits for the answer within the
    /// grace. An answer counts also if it arrives after the end.
    ///
    /// `request` must be one message, sent at the first poll (invariant 3).
    pub(super) async fn request<T>(
        &mut self,
        ctx: &Context,
        sql: &str,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Kind> {
        let change = self.limit_change(ctx);
        self.send(ctx, sql, change, Phase::Busy, AfterEnd::Wait, request).await
    }

    /// Like [`request`](Checkout::request), for a request whose answer is not complete when the future is ready. At the context's end
    /// it is dropped, and the connection must be too.
    pub(super) async fn start<T>(
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
    pub(super) async fn send<T>(
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

    fn note_limit(&mut self, limit: Option<u32>) {
        if self.home.is_some() {
            self.local_limit = limit;
        } else if let Some(object) = &mut self.object
            && let Some(session) = &mut object.limit
        {
            session.set(limit);
        }
    }

    /// The first statement of the transaction has set this limit.
    pub(super) fn note_local_limit(&mut self, limit: Option<u32>) {
        self.local_limit = limit;
    }

    /// Judges an error of a request, after which the phase is `rest`.
    pub(super) fn failed(&mut self, ctx: &Context, sql: &str, error: Error, rest: Phase) -> Kind {
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

    /// Cancels the request in flight, and returns its outcome if it arrives within the grace. Then the connection is clean, or in the
    /// transaction that it was in. Without an outcome, or without a barrier, the connection is closed.
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

    /// Returns a context that ends when the grace is over.
    fn grace(&self) -> Context {
        Context::background().with_clock(self.clock.clone()).with_timeout(self.inner.grace)
    }

    /// Asks the server to cancel the request in flight, and waits until the signal was sent.
    ///
    /// # Cancel safety
    ///
    /// If this is dropped, the next call waits for the same request.
    async fn cancel(&mut self) -> io::Result<()> {
        if !self.inner.cancels_on_server {
            return Ok(());
        }
        if let Cancel::NotSent = self.cancel {
            let connection = self.connection();
            let (token, server) = (connection.client.cancel_token(), connection.server.clone());
            let inner = Arc::clone(&self.inner);
            inner.count_cancel();
            self.cancel = Cancel::Sending(connection.runtime.spawn(async move {
                let manager = inner.deadpool.manager();
                let sent = connector::cancel(&*manager.connector, &manager.config, &server, token);
                // Nobody waits longer than the grace. This only keeps the task from living on.
                match tokio::time::timeout(inner.grace, sent).await {
                    Ok(sent) => sent,
                    Err(_) => Err(io::ErrorKind::TimedOut.into()),
                }
            }));
        }
        if let Cancel::Sending(sending) = &mut self.cancel {
            sending.await.map_err(io::Error::other)??;
            self.cancel = Cancel::Arrived;
        }
        Ok(())
    }

    /// Waits until everything that was sent has been answered, and rolls back what is open, unless a transaction owns the connection.
    async fn barrier(&self) -> io::Result<()> {
        let Connection { client, status, .. } = self.connection();
        for round in 0..MAX_BARRIERS {
            let is_open = self.home.is_none() && round > 0 && !status.is_idle();
            match ask(client, if is_open { "ROLLBACK; " } else { "" }).await {
                Ok(false) => return Err(io::Error::other("the answer is another statement's")),
                Ok(true) if self.home.is_some() || status.is_idle() => return Ok(()),
                Ok(true) => {}
                // The cancel has hit it, or the transaction is aborted. The state that comes after the error may not have been read.
                Err(error) if error.code().is_some() => {
                    if self.home.is_some() {
                        return Ok(());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Err(io::Error::other("the transaction cannot be ended"))
    }

    /// Everything was answered. A limit that was set on the way is not known.
    fn settled(&mut self) {
        self.cancel = Cancel::NotSent;
        self.note_limit(None);
        self.phase = if self.home.is_some() { Phase::Open } else { Phase::Clean };
    }

    /// Gives the connection back: to its transaction, or to the pool. Returns false if a transaction was left open in the pool's
    /// connection: then it is rolled back.
    pub(super) fn give_back(mut self) -> bool {
        if let Some(home) = self.home.take() {
            // If the transaction is over, this rolls it back.
            drop(home.put(self));
            return true;
        }
        if self.phase == Phase::Clean && !self.connection().status.is_idle() {
            self.phase = Phase::Open;
            return false;
        }
        true
    }

    /// Closes the connection.
    fn discard(&mut self) {
        if let Some(object) = self.object.take() {
            self.inner.count_discarded();
            Object::take(object).abort();
        }
    }

    /// Cleans the connection up within the grace, and returns it to the pool (invariant 1) or closes it.
    async fn recover(mut self) {
        let limit = self.grace();
        let is_fragile = self.phase == Phase::Fragile;
        let settled = limit.run(async {
            if self.phase != Phase::Open {
                self.cancel().await?;
            }
            if is_fragile { Ok(()) } else { self.barrier().await }
        });
        if matches!(settled.await, Ok(Ok(()))) && !is_fragile {
            self.settled();
            self.is_recovering = false;
        }
        // Dropped here: clean, or to be discarded.
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let home = self.home.take();
        let object = match self.object.take() {
            Some(object) if self.phase == Phase::Open && home.is_some() => {
                // A statement of the transaction has failed. The transaction goes on.
                let mut checkout = Checkout::new(Arc::clone(&self.inner), object, self.clock.clone());
                (checkout.phase, checkout.is_doubtful, checkout.local_limit) = (Phase::Open, true, self.local_limit);
                drop(home.and_then(|home| home.put(checkout)));
                return;
            }
            object => object,
        };
        if let Some(home) = home {
            // A statement of the transaction was dropped half way, or its connection was closed, so the transaction is over.
            drop(home.close());
        }
        let Some(object) = object else { return };
        if self.phase == Phase::Clean && !self.is_recovering {
            drop(object);
            return;
        }
        let runtime = object.runtime.clone();
        let mut checkout = Checkout::new(Arc::clone(&self.inner), object, self.clock.clone());
        checkout.phase = self.phase;
        checkout.cancel = std::mem::take(&mut self.cancel);
        if self.is_recovering {
            // The clean-up has failed, or its runtime is shutting down.
            checkout.discard();
            return;
        }
        checkout.is_recovering = true;
        runtime.spawn(checkout.recover());
    }
}

/// Runs a future under a context, and notes whether it was polled.
pub(super) async fn run<F: Future>(ctx: &Context, mut future: Pin<&mut F>) -> Ran<F::Output> {
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

/// Sends `prefix` and a statement with a number of its own. Returns whether the answer has that number (invariant 2).
pub(super) async fn ask(client: &Client, prefix: &str) -> Result<bool, Error> {
    static NUMBERS: AtomicU32 = AtomicU32::new(0);
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed).to_string();
    let answer = client.simple_query(&format!("{prefix}SELECT {number}")).await?;
    let is_own =
        |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some(&number));
    Ok(answer.iter().any(is_own))
}

/// Returns whether the server refuses a prepared statement that it would accept as text.
fn is_stale(error: &Error) -> bool {
    let Some(answer) = error.as_db_error() else { return false };
    *answer.code() == SqlState::INVALID_SQL_STATEMENT_NAME
        || *answer.code() == SqlState::FEATURE_NOT_SUPPORTED && answer.routine() == Some("RevalidateCachedQuery")
}
