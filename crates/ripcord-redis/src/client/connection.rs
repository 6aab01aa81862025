//! The connection for commands, which all callers share.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use super::server::Connection;
use super::{Call, Shared};

/// A command or script for Redis.
pub(crate) enum Request<'a> {
    Command(&'a Cmd),
    Script(&'a Call<'a>),
    /// A script that must not run twice, even if the answer is lost.
    Once(&'a Call<'a>),
}

/// Opens the connection, and opens a new connection after a loss. (Invariant 2 of the [client](super).)
#[derive(Default)]
pub(super) struct Connector {
    current: Mutex<Current>,
    /// Held by the caller that connects.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Current {
    /// The number of the connection, from 1.
    number: u64,
    connection: Option<Connection>,
}

impl Request<'_> {
    pub(super) async fn send(&self, connection: &mut Connection) -> Result<Value, RedisError> {
        match self {
            Request::Command(command) => command.query_async(connection).await,
            Request::Script(script) | Request::Once(script) => script.send(connection).await,
        }
    }
}

impl Connector {
    /// Returns the connection and its number. Connects if there is no connection.
    pub(super) async fn get(&self, shared: &Shared) -> Result<(u64, Connection), RedisError> {
        if let Some(found) = self.current() {
            return Ok(found);
        }
        let _connecting = self.connecting.lock().await;
        if let Some(found) = self.current() {
            return Ok(found);
        }
        let connection = open(shared).await?;
        let mut current = self.lock();
        current.number += 1;
        current.connection = Some(connection.clone());
        if current.number > 1 {
            shared.reconnects.fetch_add(1, Ordering::Relaxed);
        }
        Ok((current.number, connection))
    }

    /// Closes the connection with this number.
    pub(super) fn discard(&self, number: u64) {
        let mut current = self.lock();
        let discarded = if current.number == number { current.connection.take() } else { None };
        drop(current);
        drop(discarded);
    }

    fn current(&self) -> Option<(u64, Connection)> {
        let current = self.lock();
        current.connection.clone().map(|connection| (current.number, connection))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a connection on the client's thread, which drives it.
pub(super) async fn open(shared: &Shared) -> Result<Connection, RedisError> {
    let (server, timeout) = (shared.server.clone(), shared.timeout);
    let connecting = shared.runtime.spawn(async move { tokio::time::timeout(timeout, server.connect(timeout)).await });
    match connecting.await {
        Ok(Ok(connected)) => connected,
        Ok(Err(_)) => {
            Err(std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no connection in {timeout:?}")).into())
        }
        Err(_) => Err(std::io::Error::other("the client's thread has ended").into()),
    }
}

/// Returns whether the error is the answer of an available server. A server that cannot serve commands, for example because it is
/// no longer the master or refuses all writes, is unavailable.
pub(super) fn is_answer(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => !matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::TryAgain
        ),
        // It cannot write to its disk, has too few replicas, or runs a script that does not end.
        ErrorKind::Extension => !matches!(error.code(), Some("MISCONF" | "NOREPLICAS" | "BUSY")),
        ErrorKind::UnexpectedReturnType => true,
        _ => false,
    }
}
