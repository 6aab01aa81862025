//! A connection of the pool, and its state.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::error::Error;
use tokio_postgres::{Client, Config, SimpleQueryMessage, Statement};

use super::connector::{self, Connector, Opened};
use super::limit::Limit;
use super::socket::Server;
use super::watched::Status;
use crate::error::Driver;

/// Maximum number of prepared statements that a connection keeps.
const MAX_STATEMENTS: usize = 256;

/// Opens the pool's connections.
pub(super) struct Manager {
    pub(super) config: Config,
    pub(super) connector: Arc<dyn Connector>,
    /// Whether the pool sets the `statement_timeout` of sessions.
    pub(super) has_limits: bool,
}

pub(super) struct Connection {
    pub(super) client: Arc<Client>,
    pub(super) status: Arc<Status>,
    pub(super) server: Server,
    /// The runtime that drives the connection. The connection is also cleaned up on this runtime.
    pub(super) runtime: Handle,
    /// The `statement_timeout` of the session. `None` if the pool does not set it.
    pub(super) limit: Option<Limit>,
    driving: JoinHandle<()>,
    statements: Mutex<HashMap<Box<str>, Statement>>,
}

impl Connection {
    /// Returns the prepared statement for this text, if there is one.
    pub(super) fn prepared(&self, sql: &str) -> Option<Statement> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned()
    }

    /// Keeps a prepared statement.
    pub(super) fn keep(&self, sql: &str, statement: Statement) {
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        // Dropping a statement closes it in the server.
        let old = if statements.len() >= MAX_STATEMENTS { std::mem::take(&mut *statements) } else { HashMap::new() };
        statements.insert(sql.into(), statement);
        drop(statements);
        drop(old);
    }

    /// Removes a prepared statement that the server can no longer run, because the tables have changed or the session was reset.
    pub(super) fn forget(&self, sql: &str) {
        let forgotten = self.statements.lock().unwrap_or_else(PoisonError::into_inner).remove(sql);
        drop(forgotten);
    }

    /// Closes the connection without waiting for the request in flight.
    pub(super) fn abort(&self) {
        self.driving.abort();
    }
}

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = Driver;

    async fn create(&self) -> Result<Connection, Driver> {
        let runtime = Handle::current();
        let Opened { client, driving, status, server } = connector::open(&*self.connector, &self.config).await?;
        // The callers also get the connection's errors, so the result is not needed.
        let driving = runtime.spawn(async move { drop(driving.await) });
        let limit = match self.has_limits {
            true => Some(Limit::new(default_limit(&client).await.map_err(Driver::Postgres)?)),
            false => None,
        };
        let (client, statements) = (Arc::new(client), Mutex::default());
        Ok(Connection { client, status, server, runtime, limit, driving, statements })
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<Driver> {
        // A connection returns to the pool only if it is clean, so no other check is necessary: see `checkout.rs`.
        match connection.client.is_closed() {
            true => Err(RecycleError::message("the connection is closed")),
            false => Ok(()),
        }
    }
}

/// Returns the session's own `statement_timeout` in milliseconds, 0 for none.
async fn default_limit(client: &Client) -> Result<u32, Error> {
    let rows = client.simple_query("SELECT setting FROM pg_settings WHERE name = 'statement_timeout'").await?;
    let setting = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    });
    Ok(setting.unwrap_or(0))
}
