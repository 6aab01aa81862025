//! The builder of a client.

use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use redis::{ConnectionInfo, RedisError};
use ripcord_policy::{CircuitBreaker, ConfigError};
use tokio::sync::Notify;

use super::connection::Connector;
use super::listener::Listener;
use super::server::{self, Server};
use super::{Client, LONGEST, Owner, Shared, heartbeat};
use crate::error::{Error, Kind};

/// Builds a [`Client`]. Create the builder with [`Client::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct ClientBuilder {
    server: Option<Result<Server, String>>,
    prefix: String,
    name: Option<String>,
    timeout: Duration,
    retry_every: Duration,
}

impl ClientBuilder {
    pub(super) fn new() -> Self {
        ClientBuilder {
            server: None,
            prefix: "ripcord".to_owned(),
            name: None,
            timeout: Duration::from_millis(500),
            retry_every: Duration::from_secs(1),
        }
    }

    /// Uses the server at `url`, such as `redis://user:password@127.0.0.1:6379/0` or `unix:///run/redis.sock`. TLS is not
    /// supported: [`build`](Self::build) refuses a URL that starts with `rediss`.
    ///
    /// The last call of `url`, [`sentinel`](Self::sentinel) and [`cluster`](Self::cluster) counts.
    pub fn url(mut self, url: impl AsRef<str>) -> Self {
        self.server = Some(parse(url.as_ref()).map(Server::Standalone));
        self
    }

    /// Uses a master that sentinels watch. `master` is its name. `sentinels` are the URLs of one or more sentinels. `url` contains
    /// the user, the password and the database of the master. The host and port of `url` are not used, because the sentinels name
    /// them. After a failover, the client uses the new master.
    pub fn sentinel<S: AsRef<str>>(
        mut self,
        master: impl Into<String>,
        sentinels: impl IntoIterator<Item = S>,
        url: impl AsRef<str>,
    ) -> Self {
        let found = parse_all(sentinels).and_then(|sentinels| {
            Ok(Server::Sentinel { master: master.into(), sentinels, redis: parse(url.as_ref())? })
        });
        self.server = Some(found);
        self
    }

    /// Uses a cluster. `urls` are the URLs of one or more of its nodes. The client finds the other nodes of the cluster.
    pub fn cluster<S: AsRef<str>>(mut self, urls: impl IntoIterator<Item = S>) -> Self {
        self.server = Some(parse_all(urls).map(Server::Cluster));
        self
    }

    /// Sets the text with which all keys and channels of this client start. It must not be empty or contain a brace. Default:
    /// `ripcord`.
    ///
    /// Processes that share limits, caches, cancellations, jobs or breaker states need the same prefix. Services that must not
    /// share anything need different prefixes. Different databases of one server are not enough, because the messages of Redis
    /// reach the clients of all databases.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the name of this process. Other machines see the name in the causes of cancels ([`RemoteCancel`](crate::RemoteCancel)),
    /// in the list of jobs and in the [`Fleet`](crate::Fleet). Default: the name of the program's file.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the time limit of a command, including the time to connect. When the time is over, Redis counts as unavailable. A call
    /// also ends when its context ends, and then Redis does not count as unavailable. The time must be longer than zero. Default:
    /// 500 ms.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the time between two attempts to connect while Redis is unavailable. While Redis is available, this is the time between
    /// two heartbeats. A heartbeat detects a lost connection and counts the clients with the same prefix. The time must be longer
    /// than zero. Default: 1 s.
    pub fn retry_every(mut self, interval: Duration) -> Self {
        self.retry_every = interval;
        self
    }

    /// Builds the client and starts its thread, which connects in the background. Does not wait for Redis.
    ///
    /// # Errors
    ///
    /// * [`Error::config_error`] if no server is set, a URL is not valid, or a list of URLs is empty. The same error is returned if
    ///   the prefix is empty or contains a brace, or if a duration is zero.
    /// * Another error if the thread cannot be started.
    #[track_caller]
    pub fn build(self) -> Result<Client, Error> {
        let location = Location::caller();
        let failed = |kind| Error::new("build", location, kind);
        let invalid =
            |field, bound, value: &dyn std::fmt::Display| failed(Kind::Config(ConfigError::new(field, bound, value)));
        let server = match self.server {
            None => return Err(invalid("url", "set", &"nothing")),
            Some(Err(reason)) => return Err(invalid("url", "a valid URL", &reason)),
            Some(Ok(server)) => server,
        };
        // Braces would decide on the node of a cluster.
        if self.prefix.is_empty() || self.prefix.contains(['{', '}']) {
            return Err(invalid("prefix", "a text without braces that is not empty", &format!("{:?}", self.prefix)));
        }
        for (field, duration) in [("timeout", self.timeout), ("retry_every", self.retry_every)] {
            if duration.is_zero() {
                return Err(invalid(field, "above zero", &"0ns"));
            }
        }
        let (timeout, retry_every) = (self.timeout.min(LONGEST), self.retry_every.min(LONGEST));
        let breaker = CircuitBreaker::builder("redis")
            .consecutive_failures(1)
            .open_for(retry_every)
            .half_open_calls(1)
            .half_open_successes(1)
            .build()
            .map_err(|error| failed(Kind::Config(error)))?;
        let started = |error| failed(Kind::Thread(error));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(started)?;
        let shared = Arc::new(Shared {
            server,
            prefix: self.prefix,
            name: self.name.unwrap_or_else(program),
            id: format!("{:016x}", ripcord_policy::Random::new().next_u64()),
            timeout,
            retry_every,
            breaker,
            connector: Connector::default(),
            listener: Listener::default(),
            runtime: runtime.handle().clone(),
            peers: AtomicUsize::new(1),
            commands: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
        });
        let stop = Arc::new(Notify::new());
        let (stopped, beating) = (Arc::clone(&stop), Arc::downgrade(&shared));
        std::thread::Builder::new()
            .name("ripcord-redis".to_owned())
            .spawn(move || {
                runtime.spawn(heartbeat::run(beating));
                runtime.block_on(stopped.notified());
                // The tasks of the connections end with the runtime.
                runtime.shutdown_background();
            })
            .map_err(started)?;
        Ok(Client { owner: Arc::new(Owner { shared, stop }) })
    }
}

fn parse(url: &str) -> Result<ConnectionInfo, String> {
    // The URL itself stays out of the message, because it may contain a password.
    server::parse(url).map_err(|error: RedisError| error.to_string())
}

fn parse_all<S: AsRef<str>>(urls: impl IntoIterator<Item = S>) -> Result<Vec<ConnectionInfo>, String> {
    let found = urls.into_iter().map(|url| parse(url.as_ref())).collect::<Result<Vec<_>, _>>()?;
    if found.is_empty() { Err("no URL".to_owned()) } else { Ok(found) }
}

/// Returns the name of the program's file.
fn program() -> String {
    let path = std::env::current_exe().ok();
    path.as_deref()
        .and_then(|path| path.file_stem())
        .map_or_else(|| "unknown".to_owned(), |name| name.to_string_lossy().into_owned())
}
