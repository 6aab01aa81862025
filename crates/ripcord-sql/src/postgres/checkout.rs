//! A connection that is lent to a call, and how it comes back to the pool.
//!
//! The invariants, which comments cite by number:
//!
//! 1. A connection is returned to the pool only in [`Phase::Clean`]: no request is in flight on it, no transaction is open, and no
//!    cancel that was asked for it can still arrive.
//! 2. A cancel has arrived when the server has closed the connection that asked for it: it sends the signal first. The signal is
//!    handled, at the latest, when the server reads the next message. So a statement that is sent after that, and answered, is a
//!    barrier: what comes after it is never hit.
//!    The answer must be the statement's own: if a COPY is canceled before it has read any data, the server says twice that it is
//!    ready, and tokio-postgres takes the second time for the answer of the next statement.
//! 3. A request that has been polled has been sent. A request that has not been polled after the context's end is never sent.
//! 4. Dropping a [`Checkout`] that is not clean starts a task that cleans it up, within the grace. The pool has the connection back
//!    only then, so that the next borrower waits. If that fails, the connection is closed.

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

    /// Waits until everything that was sent has been answered, and rolls back what is open, unless a transaction owns the
    /// connection.
    async fn barrier(&self) -> io::Result<()> {
        let Connection { client, status, .. } = self.connection();
        for round in 0..MAX_BARRIERS {
            let is_open = self.home.is_none() && round > 0 && !status.is_idle();
            match ask(client, if is_open { "ROLLBACK; " } else { "" }).await {
                Ok(false) => return Err(io::Error::other("the answer is another statement's")),
                Ok(true) if self.home.is_some() || status.is_idle() => return Ok(()),
                Ok(true) => {}
                // The cancel has hit it, or the transaction is aborted. The state that comes after the error may not have been
                // read.
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

/// Sends `prefix` and a statement with a number of its own. Returns whether the answer has that number (invariant 2).
pub(super) async fn ask(client: &Client, prefix: &str) -> Result<bool, Error> {
    static NUMBERS: AtomicU32 = AtomicU32::new(0);
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed).to_string();
    let answer = client.simple_query(&format!("{prefix}SELECT {number}")).await?;
    let is_own =
        |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some(&number));
    Ok(answer.iter().any(is_own))
}
