//! The pool, and its settings.

use std::fmt;
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool::managed::{self, PoolError};
use ripcord::Context;
use tokio_postgres::Config;
use tokio_postgres::config::Host;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use super::checkout::{Checkout, Ran, run};
use super::connection::Manager;
use super::connector::{Connector, Plain, Tls};
use super::socket::Socket;
use crate::Error;
use crate::call::Database;
use crate::error::Kind;

/// OpenTelemetry's name of Postgres.
const SYSTEM: &str = "postgresql";

/// A pool of connections to Postgres. A clone is the same pool.
///
/// Each call takes a [`Context`]. At the context's end the statement is canceled in the server, and the connection comes back to the
/// pool when nothing of the call can reach it anymore. A connection with an open transaction is never handed out.
///
/// Statements are prepared once per connection, by their text. A pool must be used inside of a tokio runtime with I/O and time.
///
/// ```no_run
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_sql::postgres::Pool;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder("host=localhost user=shop dbname=shop".parse()?).build()?;
/// let ctx = Context::background().with_timeout(Duration::from_secs(2));
/// let orders = pool.query(&ctx, "SELECT id, total FROM orders WHERE customer = $1", &[&7_i64]).await?;
/// for order in orders {
///     let (id, total): (i64, i64) = (order.try_get(0)?, order.try_get(1)?);
///     println!("order {id}: {total}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Pool(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) deadpool: managed::Pool<Manager>,
    pub(super) grace: Duration,
    pub(super) cancels_on_server: bool,
    pub(super) database: Database,
    canceled: AtomicU64,
    discarded: AtomicU64,
}

/// Figures of a pool. Returned by [`Pool::stats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Maximum number of connections.
    pub max_size: usize,
    /// Number of open connections.
    pub size: usize,
    /// Number of connections that no call uses.
    pub idle: usize,
    /// Number of calls that wait for a connection.
    pub waiting: usize,
    /// Number of statements that were canceled in the server.
    pub canceled: u64,
    /// Number of connections that were closed because their state was not known.
    pub discarded: u64,
}

impl Pool {
    /// Returns a builder for a pool of connections with this configuration. A URL or a list of settings parses into one.
    pub fn builder(config: Config) -> PoolBuilder {
        PoolBuilder {
            config,
            connector: Arc::new(Plain),
            max_size: PoolBuilder::DEFAULT_MAX_SIZE,
            grace: PoolBuilder::DEFAULT_GRACE,
            cancels_on_server: true,
            has_limits: true,
            has_text: false,
        }
    }

    /// Returns the figures of the pool.
    pub fn stats(&self) -> PoolStats {
        let status = self.0.deadpool.status();
        PoolStats {
            max_size: status.max_size,
            size: status.size,
            idle: status.available,
            waiting: status.waiting,
            canceled: self.0.canceled.load(Ordering::Relaxed),
            discarded: self.0.discarded.load(Ordering::Relaxed),
        }
    }

    /// Closes the pool. Calls that wait for a connection fail, and so do later calls. Calls that have a connection keep it until they
    /// end. Idle connections are closed.
    pub fn close(&self) {
        self.0.deadpool.close();
    }
}

impl Inner {
    /// Waits for a connection.
    pub(super) async fn checkout(self: &Arc<Self>, ctx: &Context) -> Result<Checkout, Kind> {
        let clock = ctx.clock();
        #[cfg(feature = "metrics")]
        let started = clock.now();
        let got = run(ctx, pin!(self.deadpool.get())).await;
        #[cfg(feature = "metrics")]
        crate::metrics::waited(SYSTEM, clock.now().saturating_duration_since(started));
        match got {
            Ran::Ready(Ok(object)) => Ok(Checkout::new(Arc::clone(self), object, clock)),
            Ran::Ready(Err(PoolError::Backend(error))) => Err(Kind::Connect(error)),
            // The pool has neither timeouts nor hooks, which the others are about.
            Ran::Ready(Err(_)) => Err(Kind::Closed),
            Ran::NotPolled(end) => Err(Kind::NotSent(end)),
            Ran::Ended(end) => Err(Kind::Waiting(end)),
        }
    }

    pub(super) fn count_cancel(&self) {
        self.canceled.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        crate::metrics::canceled(SYSTEM);
    }

    pub(super) fn count_discarded(&self) {
        self.discarded.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        crate::metrics::discarded(SYSTEM);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("database", &self.0.database.name).field("stats", &self.stats()).finish()
    }
}

/// Builds a [`Pool`]. Returned by [`Pool::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct PoolBuilder {
    config: Config,
    connector: Arc<dyn Connector>,
    max_size: usize,
    grace: Duration,
    cancels_on_server: bool,
    has_limits: bool,
    has_text: bool,
}

impl PoolBuilder {
    /// Default of [`max_size`](PoolBuilder::max_size): 10 connections. Not a stability promise.
    pub const DEFAULT_MAX_SIZE: usize = 10;
    /// Default of [`grace`](PoolBuilder::grace): half a second. Not a stability promise.
    pub const DEFAULT_GRACE: Duration = Duration::from_millis(500);

    /// Sets the maximum number of connections. They are opened when they are needed.
    pub fn max_size(self, max_size: usize) -> Self {
        PoolBuilder { max_size, ..self }
    }

    /// Sets how long a call waits for its outcome after its context has ended, and how long a connection may take to become clean
    /// after that. A connection that takes longer is closed.
    pub fn grace(self, grace: Duration) -> Self {
        PoolBuilder { grace, ..self }
    }

    /// Sets whether statements are canceled in the server. Default: true.
    ///
    /// Turn it off behind a pooler that gives a server's connection to several clients, such as PgBouncer or pgdog in the mode
    /// `transaction`: a cancel may reach another client's statement there. Then a statement runs on until its `statement_timeout`. A
    /// connection is closed if its statement does not end within the grace.
    pub fn cancel_on_server(self, cancels_on_server: bool) -> Self {
        PoolBuilder { cancels_on_server, ..self }
    }

    /// Sets whether the server limits each statement to the time left, rounded up by at most an eighth, and to a second at least.
    /// Default: true. The limit ends a statement whose client has lost its connection.
    ///
    /// The pool sets `statement_timeout` of the session, in a transaction with `SET LOCAL`, and never above the session's own setting.
    /// Turn it off behind a pooler in the mode `transaction`, where a session is shared.
    pub fn statement_timeout(self, has_limits: bool) -> Self {
        PoolBuilder { has_limits, ..self }
    }

    /// Sets whether spans have the text of the statement, as `db.query.text`. Default: false. Parameters are never recorded, but the
    /// text may contain values.
    pub fn query_text(self, has_text: bool) -> Self {
        PoolBuilder { has_text, ..self }
    }

    /// Sets the TLS connector, such as one of `postgres-native-tls`. Default: none.
    pub fn tls<T>(self, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send + 'static,
        T::TlsConnect: Send + 'static,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send + 'static,
    {
        PoolBuilder { connector: Arc::new(Tls(tls)), ..self }
    }

    /// Builds the pool. Opens no connection.
    ///
    /// # Errors
    ///
    /// Returns an error if the maximum size is 0, or if the configuration has no host.
    #[track_caller]
    pub fn build(self) -> Result<Pool, Error> {
        let wrong = |text| Err(Error::new("build", Location::caller(), Kind::Other(text)));
        let PoolBuilder { config, connector, max_size, grace, cancels_on_server, has_limits, has_text } = self;
        if max_size == 0 {
            return wrong("the maximum size is 0");
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return wrong("the configuration has no host");
        }
        let name = config.get_dbname().or(config.get_user()).unwrap_or("postgres").into();
        let server = match (config.get_hosts().first(), config.get_hostaddrs().first()) {
            (Some(Host::Tcp(host)), _) => Some(host.clone()),
            #[cfg(unix)]
            (Some(Host::Unix(directory)), _) => Some(directory.display().to_string()),
            (None, address) => address.map(ToString::to_string),
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let server = server.map(|host| (host.into(), port));
        let manager = Manager { config, connector, has_limits };
        let deadpool = managed::Pool::builder(manager).max_size(max_size).build();
        let deadpool = deadpool.expect("only timeouts need a runtime");
        let database = Database { system: SYSTEM, name, server, has_text };
        let (canceled, discarded) = Default::default();
        Ok(Pool(Arc::new(Inner { deadpool, grace, cancels_on_server, database, canceled, discarded })))
    }
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("max_size", &self.max_size)
            .field("grace", &self.grace)
            .field("cancel_on_server", &self.cancels_on_server)
            .field("statement_timeout", &self.has_limits)
            .field("query_text", &self.has_text)
            .finish_non_exhaustive()
    }
}
