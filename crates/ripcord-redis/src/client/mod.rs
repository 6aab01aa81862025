//! The connection to Redis that all parts of this crate share.
//!
//! The client has a thread that drives the connections. So a caller may block its own thread while it waits for an answer, and
//! needs no runtime.
//!
//! # Invariants
//!
//! 1. The breaker is closed if the last command was answered. A failed command opens it. Only the heartbeat sends a command while
//!    it is not closed, so an outage costs the callers one timeout and not one per call.
//! 2. A connection is discarded when a command on it fails or is not answered in time. Its number keeps a late failure from
//!    discarding its successor.
//! 3. Every command ends with its caller's context, and at the latest after the client's timeout by the system's clock.
//! 4. A command does not use tokio's cooperative budget. A task that blocks its thread until the answer comes does not yield, so
//!    its budget is not renewed, and the command would never be ready.

mod builder;
mod connection;
mod heartbeat;
mod listener;
mod script;
mod server;
mod stats;

pub use builder::ClientBuilder;
pub(crate) use connection::Request;
pub(crate) use listener::Subscriber;
pub(crate) use script::{Call, Script};
pub(crate) use server::Connection;
pub use stats::ClientStats;

use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisError};
use ripcord::Context;
use ripcord_policy::CircuitBreaker;
use ripcord_policy::breaker::State;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::error::{Error, Kind};
use connection::Connector;
use listener::Listener;
use server::Server;

/// A thousand years. A longer setting counts as this time, because it would exceed the limits of [`std::time::Instant`] and of
/// Redis.
pub(crate) const LONGEST: Duration = Duration::from_secs(1000 * 365 * 86_400);

/// A client of Redis or Valkey: of one server, of a master that sentinels watch, or of a cluster.
///
/// The other types of this crate are created from a client. One client per process is enough.
///
/// ```no_run
/// use std::time::Duration;
/// use ripcord_redis::Client;
///
/// # fn main() -> Result<(), ripcord_redis::Error> {
/// let client = Client::builder()
///     .url("redis://127.0.0.1")
///     .prefix("shop")
///     .name("shop-1")
///     .timeout(Duration::from_millis(200))
///     .build()?;
/// println!("{:?}", client.stats());
/// # Ok(())
/// # }
/// ```
///
/// # Outages
///
/// A thread of the client connects in the background. If the connection is lost during a command, the client connects again and
/// sends the command once more, unless it must not run twice. If this fails, or if a command is not answered within the
/// [`timeout`](ClientBuilder::timeout), Redis counts as unavailable. Then commands fail at once, and the client tries to connect
/// once per [`retry_every`](ClientBuilder::retry_every). The documentation of each type of this crate says what the type does
/// during an outage.
///
/// # Clones
///
/// Clones share the connection. The client disconnects when the last clone is dropped. Limiters, caches, hubs and queues each hold
/// a clone.
#[derive(Clone)]
pub struct Client {
    owner: Arc<Owner>,
}

/// Stops the client's thread when the last handle is dropped.
struct Owner {
    shared: Arc<Shared>,
    stop: Arc<Notify>,
}

pub(crate) struct Shared {
    server: Server,
    /// The start of every key.
    prefix: String,
    name: String,
    /// A random name of this client among its peers.
    id: String,
    timeout: Duration,
    retry_every: Duration,
    breaker: CircuitBreaker,
    connector: Connector,
    listener: Listener,
    runtime: Handle,
    /// The number of clients with the same prefix, as the last heartbeat saw it.
    peers: AtomicUsize,
    commands: AtomicU64,
    failures: AtomicU64,
    reconnects: AtomicU64,
}

impl Client {
    /// Creates a builder. One of [`url`](ClientBuilder::url), [`sentinel`](ClientBuilder::sentinel) and
    /// [`cluster`](ClientBuilder::cluster) is required.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// Returns whether Redis answered the last command, even with an error. Two kinds of errors do not count as an answer: the
    /// server cannot serve commands, such as `CLUSTERDOWN`, or refuses all writes, such as `MISCONF`. Before the first command,
    /// returns `true`. The heartbeats that the client sends every [`retry_every`](ClientBuilder::retry_every) count as commands.
    pub fn is_available(&self) -> bool {
        self.shared().is_available()
    }

    /// Returns the [prefix](ClientBuilder::prefix) of all keys and channels.
    pub fn prefix(&self) -> &str {
        &self.shared().prefix
    }

    /// Returns the [name](ClientBuilder::name) of this process, which other machines see, for example in the cause of a cancel.
    pub fn name(&self) -> &str {
        &self.shared().name
    }

    /// Returns the statistics of the client and its clones.
    pub fn stats(&self) -> ClientStats {
        let shared = self.shared();
        ClientStats {
            is_available: shared.is_available(),
            retry_after: shared.retry_after(),
            peers: shared.peers(),
            commands: shared.commands.load(Ordering::Relaxed),
            failures: shared.failures.load(Ordering::Relaxed),
            reconnects: shared.reconnects.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }
}

impl Shared {
    pub(crate) fn is_available(&self) -> bool {
        self.breaker.state() == State::Closed
    }

    /// Returns the time until the next attempt to connect, or `None` while Redis is available. Zero during an attempt.
    fn retry_after(&self) -> Option<Duration> {
        (!self.is_available()).then(|| self.breaker.remaining_delay().unwrap_or_default())
    }

    /// Returns the number of clients that share the prefix, at least 1. During an outage, it is the number before.
    pub(crate) fn peers(&self) -> usize {
        self.peers.load(Ordering::Relaxed).max(1)
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn retry_every(&self) -> Duration {
        self.retry_every
    }

    /// Returns the runtime of the client's thread.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Returns a key of Redis. `parts` are joined with colons. A part in braces decides on the node of a cluster.
    pub(crate) fn key(&self, parts: &[&str]) -> String {
        format!("{}:{}", self.prefix, parts.join(":"))
    }

    /// Returns the channel on which all clients with this prefix hear about cancels and changes.
    pub(crate) fn channel(&self) -> String {
        self.key(&["events"])
    }

    /// Sends `request` and returns the answer. `location` is the line of code that made the call.
    pub(crate) async fn send<T: FromRedisValue>(
        &self,
        ctx: &Context,
        location: &'static Location<'static>,
        operation: &'static str,
        request: Request<'_>,
    ) -> Result<T, Error> {
        // Invariant 1.
        if !self.is_available() {
            ctx.check().map_err(|end| Error::new(operation, location, Kind::Ended(end)))?;
            let retry_after = self.retry_after().unwrap_or_default();
            return Err(Error::new(operation, location, Kind::Unavailable { error: None, retry_after }));
        }
        self.probe(ctx, location, operation, request).await
    }

    /// Sends `request` and returns the answer, like [`send`](Self::send), but also tries if Redis is known to be unavailable.
    async fn probe<T: FromRedisValue>(
        &self,
        ctx: &Context,
        location: &'static Location<'static>,
        operation: &'static str,
        request: Request<'_>,
    ) -> Result<T, Error> {
        let failed = |kind| Error::new(operation, location, kind);
        ctx.check().map_err(|end| failed(Kind::Ended(end)))?;
        let permit = self
            .breaker
            .try_acquire()
            .map_err(|open| failed(Kind::Unavailable { error: None, retry_after: open.retry_after }))?;
        self.commands.fetch_add(1, Ordering::Relaxed);
        // Invariant 3. The context may have another clock.
        let limited = Context::background().with_timeout_at(self.timeout, location);
        let number = AtomicU64::new(0);
        // Invariant 4.
        let attempt = tokio::task::unconstrained(self.attempt(&request, &number));
        let answer = match ctx.run(limited.run(attempt)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_late)) => {
                self.connector.discard(number.load(Ordering::Relaxed));
                let late =
                    std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer in {:?}", self.timeout));
                Err(RedisError::from(late))
            }
            // The connection stays, because other callers use it.
            Err(end) => return Err(failed(Kind::Ended(end))),
        };
        match answer {
            Ok(value) => {
                permit.success();
                redis::from_redis_value(value).map_err(|error| failed(Kind::Refused(error.into())))
            }
            Err(error) if connection::is_answer(&error) => {
                permit.success();
                Err(failed(Kind::Refused(error)))
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                permit.failure();
                Err(failed(Kind::Unavailable { error: Some(error), retry_after: self.retry_every }))
            }
        }
    }

    /// Sends a request. If the connection was lost, sends the request again on a new connection, so that a restart of the server
    /// that has already ended is not an outage. Sends a [`Request::Once`] only once. `number` becomes the number of the connection.
    async fn attempt(&self, request: &Request<'_>, number: &AtomicU64) -> Result<redis::Value, RedisError> {
        let mut is_last = matches!(request, Request::Once(_));
        loop {
            let (current, mut connection) = self.connector.get(self).await?;
            number.store(current, Ordering::Relaxed);
            let answer = request.send(&mut connection).await;
            match answer {
                Err(error) if !connection::is_answer(&error) => {
                    self.connector.discard(current);
                    if is_last {
                        return Err(error);
                    }
                    is_last = true;
                }
                answer => return answer,
            }
        }
    }

    /// Opens a connection for the caller alone. It is for commands that block the connection.
    pub(crate) async fn own_connection(
        &self,
        ctx: &Context,
        location: &'static Location<'static>,
    ) -> Result<Connection, Error> {
        let failed = |kind| Error::new("connect", location, kind);
        let opening = connection::open(self);
        match ctx.run(opening).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(failed(Kind::Unavailable { error: Some(error), retry_after: self.retry_every })),
            Err(end) => Err(failed(Kind::Ended(end))),
        }
    }

    /// Adds a subscriber, which is told about messages, changed keys and the state of the connections until it is dropped. Does not
    /// wait until the server sends them: see [`listening`](Self::listening).
    pub(crate) fn subscribe(self: &Arc<Self>, subscriber: Weak<dyn Subscriber>) {
        self.listener.add(self, subscriber);
    }

    /// Returns whether all masters send their messages and changed keys to this client.
    pub(crate) fn is_listening(&self) -> bool {
        self.listener.is_complete()
    }

    /// Opens a connection to each master. Its tasks run on the current runtime.
    pub(crate) async fn connect_to_masters(&self) -> Result<Vec<MultiplexedConnection>, RedisError> {
        let mut connections = Vec::new();
        for node in self.server.masters(self.timeout).await? {
            connections.push(server::connect_to(&node, self.timeout, None).await?);
        }
        Ok(connections)
    }

    /// Waits until all masters send their messages and changed keys to this client.
    pub(crate) async fn listening(&self, ctx: &Context) -> Result<(), ripcord::Error> {
        self.listener.ready(ctx).await
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("prefix", &self.prefix())
            .field("name", &self.name())
            .field("is_available", &self.is_available())
            .finish_non_exhaustive()
    }
}
