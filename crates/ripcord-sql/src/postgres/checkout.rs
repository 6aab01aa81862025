//! A connection that is lent to a call, and its return to the pool.
//!
//! Comments cite these invariants by number:
//!
//! 1. A connection is returned to the pool only in [`Phase::Clean`]: no request is in flight on it, no transaction is open, and no
//!    cancel that was asked for it can still arrive.
//! 2. The server sends the signal of a cancel before it closes the connection that requested the cancel. So the cancel has arrived
//!    when that connection is closed. The server handles the signal, at the latest, when it reads the next message. So a statement
//!    that is sent and answered after that is a barrier: the cancel cannot hit a later statement. The answer must belong to the
//!    statement. If a COPY is canceled before it has read any data, the server reports twice that it is ready, and tokio-postgres
//!    treats the second report as the answer to the next statement.
//! 3. A request that has been polled has been sent. A request that has not been polled after the context's end is never sent.
//! 4. Dropping a [`Checkout`] that is not clean starts a task that cleans up the connection within the grace period. The pool gets
//!    the connection back only after that, so the next borrower waits. If the clean-up fails, the connection is closed.

mod request;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ripcord::{Clock, Context};
use tokio::task::JoinHandle;
use tokio_postgres::error::Error;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::connection::{Connection, Manager};
use super::connector;
use super::pool::Inner;
use super::slot::Slot;
pub(super) use request::{AfterEnd, Ran, run};

/// Maximum number of statements that are sent to clean up a connection. The cancel may hit the first, the second shows that a
/// transaction is open, and the third ends the transaction.
const MAX_BARRIERS: usize = 4;

type Object = deadpool::managed::Object<Manager>;

/// The activity of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No request is in flight, and no transaction is open.
    Clean,
    /// No request must be canceled. A transaction may be open, or an answer may not have been read completely.
    Open,
    /// The rest of an answer is skipped, because its stream was dropped in a transaction. Its statement must be canceled when the
    /// transaction ends. The answer of a later statement shows that the rest has been read.
    Unread,
    /// A request is in flight.
    Busy,
    /// A request is in flight. If the request is dropped, the connection is unusable.
    Fragile,
}

impl Phase {
    /// Returns the phase after a later statement was answered. The server answers in order, so all earlier answers have been read.
    fn after_answer(self) -> Phase {
        if self == Phase::Unread { Phase::Open } else { self }
    }
}

/// The state of the cancel request.
#[derive(Debug, Default)]
enum Cancel {
    #[default]
    NotSent,
    /// The request is sent by a task. If the request were dropped, it could arrive at any later time (invariant 2).
    Sending(JoinHandle<io::Result<()>>),
    Arrived,
}

/// A connection that is lent to one call.
pub(super) struct Checkout {
    inner: Arc<Inner>,
    /// `None` after the connection was returned or discarded.
    object: Option<Object>,
    pub(super) phase: Phase,
    cancel: Cancel,
    clock: Clock,
    /// The slot of the transaction that uses the connection.
    pub(super) home: Option<Arc<Slot<Checkout>>>,
    /// The `statement_timeout` of the transaction, in milliseconds.
    local_limit: Option<u32>,
    /// Whether the state of the transaction may differ from the last state that was read.
    pub(super) is_doubtful: bool,
    /// Whether the connection is being cleaned up.
    is_recovering: bool,
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

    /// Returns a context that ends when the grace period is over.
    fn grace(&self) -> Context {
        Context::background().with_clock(self.clock.clone()).with_timeout(self.inner.grace)
    }

    /// Asks the server to cancel the request in flight, and waits until the server has sent the signal.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the next call waits for the same cancel request.
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
                // No caller waits longer than the grace period. The timeout only ends the task.
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

    /// Waits until all requests have been answered. Rolls back an open transaction, unless a `Transaction` owns the connection.
    async fn barrier(&self) -> io::Result<()> {
        let Connection { client, status, .. } = self.connection();
        for round in 0..MAX_BARRIERS {
            let is_open = self.home.is_none() && round > 0 && !status.is_idle();
            match ask(client, if is_open { "ROLLBACK; " } else { "" }).await {
                Ok(false) => return Err(io::Error::other("the answer is another statement's")),
                Ok(true) if self.home.is_some() || status.is_idle() => return Ok(()),
                Ok(true) => {}
                // The cancel has hit the statement, or the transaction is aborted. The state that follows the error may not have
                // been read.
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

    /// Records that all requests have been answered. A limit that one of them has set is unknown.
    fn settled(&mut self) {
        self.cancel = Cancel::NotSent;
        self.note_limit(None);
        self.phase = if self.home.is_some() { Phase::Open } else { Phase::Clean };
    }

    /// Returns the connection to its transaction, or to the pool. Returns `false` if a statement outside of a `Transaction` has
    /// left a transaction open. That transaction is then rolled back.
    pub(super) fn give_back(mut self) -> bool {
        if self.object.is_none() {
            // The connection was closed after the answer. The drop closes the transaction.
            return true;
        }
        if let Some(home) = self.home.take() {
            // If the transaction is over, dropping the checkout rolls it back.
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

    /// Cleans up the connection within the grace period, and returns it to the pool (invariant 1) or closes it.
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
        // The drop of `self` returns the connection if it is clean, and discards it otherwise.
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let home = self.home.take();
        let object = match self.object.take() {
            Some(object) if matches!(self.phase, Phase::Open | Phase::Unread) && home.is_some() => {
                // A statement of the transaction has failed, or was not sent. The transaction continues.
                let mut checkout = Checkout::new(Arc::clone(&self.inner), object, self.clock.clone());
                (checkout.phase, checkout.is_doubtful, checkout.local_limit) = (self.phase, true, self.local_limit);
                drop(home.and_then(|home| home.put(checkout)));
                return;
            }
            object => object,
        };
        if let Some(home) = home {
            // A statement of the transaction was dropped before it had finished, or its connection was closed. The transaction is
            // over.
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

/// Sends `prefix` and a `SELECT` of a unique number. Returns whether the answer contains that number (invariant 2).
pub(super) async fn ask(client: &Client, prefix: &str) -> Result<bool, Error> {
    static NUMBERS: AtomicU32 = AtomicU32::new(0);
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed).to_string();
    let answer = client.simple_query(&format!("{prefix}SELECT {number}")).await?;
    let is_own =
        |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some(&number));
    Ok(answer.iter().any(is_own))
}
