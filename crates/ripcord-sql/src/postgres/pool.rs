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

/// A pool of connections to Postgres. Clones of a pool share its connections.
///
/// Each call takes a [`Context`]. When the context ends, the pool sends a cancel request for the statement to the server. The
/// connection returns to the pool only when no statement and no transaction is open on it, and no cancel request can reach it
/// anymore. So a late cancel request never ends a later statement. The [module documentation](super) describes the details.
///
/// Each connection prepares a statement at its first use and keeps up to 256 prepared statements. Before it keeps another
/// statement, it closes all 256. Use a pool inside a tokio runtime with I/O and time enabled.
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

/// Statistics of a pool at one moment. Returned by [`Pool::stats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Maximum number of connections.
    pub max_size: usize,
    /// Number of open connections.
    pub size: usize,
    /// Number of open connections that are free. A connection that is cleaned up after a cancel is not free.
    pub idle: usize,
    /// Number of calls that wait for a connection.
    pub waiting: usize,
    /// Number of cancel requests that were sent to the server, since the pool was built.
    pub canceled: u64,
    /// Number of connections that were closed because they could not be made clean within the [grace period](PoolBuilder::grace),
    /// since the pool was built.
    pub discarded: u64,
}

impl Pool {
    /// Returns a builder for a pool of connections with the configuration `config`. To create a [`Config`], parse a URL such as
    /// `postgres://shop@localhost/shop`, or settings such as `host=localhost user=shop dbname=shop`. `config` must contain a host.
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

    /// Returns the statistics of the pool at this moment.
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

    /// Closes the pool and its idle connections. Later calls, and calls that wait for a connection, return an error for which
    /// [`Error::is_not_sent`] is `true`.
    ///
    /// A running call or transaction keeps its connection until it ends.
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
            // The pool has no timeouts and no hooks, so the other errors do not occur.
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

/// Builds a [`Pool`] of Postgres connections. Returned by [`Pool::builder`].
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
    /// Default of [`max_size`](PoolBuilder::max_size): 10 connections. Later versions may change the value.
    pub const DEFAULT_MAX_SIZE: usize = 10;
    /// Default of [`grace`](PoolBuilder::grace): 500 milliseconds. Later versions may change the value.
    pub const DEFAULT_GRACE: Duration = Duration::from_millis(500);

    /// Sets the maximum number of connections. The number must be at least 1. Default:
    /// [`DEFAULT_MAX_SIZE`](PoolBuilder::DEFAULT_MAX_SIZE). A call opens a connection if no open connection is free.
    pub fn max_size(self, max_size: usize) -> Self {
        PoolBuilder { max_size, ..self }
    }

    /// Sets the grace period: how long the pool tries to make a connection clean after a context has ended or a future was dropped.
    /// Default: [`DEFAULT_GRACE`](PoolBuilder::DEFAULT_GRACE).
    ///
    /// A connection is clean when no statement runs on it, no transaction is open on it, and no cancel request can reach it. To
    /// make a connection clean, the pool cancels the statement in the server, waits for the response, and rolls back an open
    /// transaction. If this takes longer than the grace period, the connection is closed.
    ///
    /// A call whose context has ended waits for the response of the server, but not longer than the grace period.
    pub fn grace(self, grace: Duration) -> Self {
        PoolBuilder { grace, ..self }
    }

    /// Sets whether the pool cancels statements in the server. Default: `true`.
    ///
    /// Pass `false` if a pooler shares the server's connections between clients, such as PgBouncer or pgdog in the mode
    /// `transaction`. There, a cancel could reach the statement of another client.
    ///
    /// With `false`, a statement continues in the server after its context has ended. If it does not end within the grace period,
    /// its connection is closed. To limit such statements, set `statement_timeout` for the user in the database.
    pub fn cancel_on_server(self, cancels_on_server: bool) -> Self {
        PoolBuilder { cancels_on_server, ..self }
    }

    /// Sets whether the pool sets the server's `statement_timeout` to the time left until the context's deadline. Default: `true`.
    ///
    /// The server then ends a statement even if the client can no longer cancel it, for example because the network has failed.
    /// The value is the time left, rounded up by at most an eighth, and at least one second. It never exceeds the
    /// `statement_timeout` that the session had at its start. If the context has no deadline, the value is that
    /// `statement_timeout`. In a transaction, the pool uses `SET LOCAL`.
    ///
    /// Pass `false` if a pooler shares the server's sessions between clients, such as PgBouncer or pgdog in the mode `transaction`.
    pub fn statement_timeout(self, has_limits: bool) -> Self {
        PoolBuilder { has_limits, ..self }
    }

    /// Sets whether the spans of the feature `tracing` contain the text of the statement, in the attribute `db.query.text`.
    /// Default: `false`.
    ///
    /// Parameters are never recorded. If you write confidential values into the text itself, the spans contain them.
    pub fn query_text(self, has_text: bool) -> Self {
        PoolBuilder { has_text, ..self }
    }

    /// Sets the TLS connector, such as a connector of `postgres-native-tls`. Default: connections do not use TLS.
    ///
    /// The `sslmode` of the configuration decides whether a connection may be opened without TLS.
    pub fn tls<T>(self, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send + 'static,
        T::TlsConnect: Send + 'static,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send + 'static,
    {
        PoolBuilder { connector: Arc::new(Tls(tls)), ..self }
    }

    /// Builds the pool. Connections are opened later, by the calls that need them.
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
