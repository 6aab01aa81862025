//! The settings. A flag overrides the file, and the file overrides the default.
//!
//! [`Flags`] declares each setting once: the field's name is the flag and the key in the file, and its type checks the bounds.
//! [`Settings::new`] sets the defaults.

mod file;
mod values;

use std::{path::PathBuf, time::Duration};

use ipnet::IpNet;
use reqwest::Url;
use ripcord_http::{Limits, inspector::Token, server};
use ripcord_policy::ConfigError;
use ripcord_redis::OnOutage;
use ripcord_sql::postgres::tokio_postgres;
use serde::{Deserialize, Serialize};

pub use self::file::FileError;
pub(crate) use self::values::Hidden;
use self::values::{Address, BackendUrl, Peers, PerSecond, Secret, Span, Whole};
use super::Error;
use crate::search::Policies;

/// The arguments of `ripcord serve`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = "\
A flag overrides the file, and the file overrides the default. In the file, each setting has the name of its flag in snake \
case. The settings that may be repeated are lists: backends, trusted_peers.

Ctrl-C or SIGTERM starts the shutdown. During the drain delay, the listener stays open, /healthz reports draining, and requests \
are served as before, with Connection: close. Then the listener is closed, and requests in flight have the time of --grace to \
finish. The remaining requests are canceled, and the process exits with status 0. A second signal ends the process immediately.

Behind a proxy, set --inspector-token or --no-inspector. Otherwise, a proxy on this machine that adds no X-Forwarded-For, Forwarded \
or Via header exposes /debug/contexts and its cancel button to everybody. An example is nginx with only the setting \
proxy_pass http://127.0.0.1:8080;")]
pub struct Args {
    /// TOML file with settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    flags: Flags,
}

/// The settings given on the command line or in the file.
#[derive(Clone, Debug, Default, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
struct Flags {
    /// Address to listen on, as HOST:PORT; port 0 picks a free port [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<Address>,

    /// Time that requests in flight have to finish after the drain delay [default: 10s]
    #[arg(long, value_name = "DURATION")]
    grace: Option<Span<0>>,

    /// Time for which the listener stays open while /healthz reports draining, so that load balancers notice [default: 0s]
    #[arg(long, value_name = "DURATION")]
    drain_delay: Option<Span<0>>,

    /// Time limit of a request [default: 5s]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span<1>>,

    /// Maximum time limit of a request, even if its deadline header asks for more [default: the timeout]
    #[arg(long, value_name = "DURATION")]
    max_timeout: Option<Span<1>>,

    /// Time for which a connection without a request stays open; set more than a proxy's own time (nginx: 60s) [default: 75s]
    #[arg(long, value_name = "DURATION")]
    keep_alive: Option<Span<1>>,

    /// Time that a client has to send a request's head, or its first byte after connecting [default: 30s]
    #[arg(long, value_name = "DURATION")]
    head_timeout: Option<Span<1>>,

    /// Maximum number of open connections; further clients wait [default: 16384]
    #[arg(long, value_name = "COUNT")]
    max_connections: Option<Whole<1, 1_000_000>>,

    /// Maximum size of a request's head in bytes; a larger head is answered with 431 [default: 131072]
    #[arg(long, value_name = "BYTES")]
    max_head: Option<Whole<8192, 16_777_216>>,

    /// Address or network whose request IDs, traces, baggage and causes of cancels are trusted; may be repeated [default: none]
    #[arg(long = "trusted-peer", value_name = "PEERS")]
    trusted_peers: Option<Vec<Peers>>,

    /// Whether a client that closes its sending half of the connection counts as disconnected [default: cancel]
    #[arg(long, value_enum)]
    half_close: Option<HalfClose>,

    /// URL of a backend of /search; may be repeated [default: three built-in backends]
    #[arg(long = "backend", value_name = "URL")]
    backends: Option<Vec<BackendUrl>>,

    /// URL of a Postgres database for the documents of the built-in backends, as postgres://USER:PASSWORD@HOST/DATABASE;
    /// connections do not use TLS. To hide the password from other users of this machine, set the URL in the file [default: SQLite
    /// in memory]
    #[arg(long, value_name = "URL")]
    database_url: Option<Hidden>,

    /// URL of a Redis that several services share, as redis://USER:PASSWORD@HOST:PORT. They share the limits of backends, cached
    /// answers, the states of circuit breakers, cancels, and jobs. /debug/fleet shows the requests of all services. To hide the
    /// password from other users of this machine, set the URL in the file [default: none]
    #[arg(long, value_name = "URL")]
    redis: Option<Hidden>,

    /// What the limits of backends do while Redis is unavailable [default: local]
    #[arg(long, value_enum)]
    redis_outage: Option<RedisOutage>,

    /// Name of this service on /debug/fleet and in the causes of cancels [default: its address]
    #[arg(long, value_name = "NAME")]
    redis_name: Option<String>,

    /// Prefix of all keys in Redis. Only services with the same prefix share anything [default: ripcord]
    #[arg(long, value_name = "PREFIX")]
    redis_prefix: Option<String>,

    /// Time limit of one request to a backend [default: 2s]
    #[arg(long, value_name = "DURATION")]
    attempt_timeout: Option<Span<1>>,

    /// Maximum number of requests to a backend for one search [default: 3]
    #[arg(long, value_name = "COUNT")]
    retry_attempts: Option<Whole<1, 10>>,

    /// Time after which a second request is sent to a slow backend [default: 300ms]
    #[arg(long, value_name = "DURATION")]
    hedge_after: Option<Span<1>>,

    /// Number of consecutive failures that open a backend's circuit breaker [default: 5]
    #[arg(long, value_name = "COUNT")]
    breaker_failures: Option<Whole<1, 1_000_000>>,

    /// Time for which an open circuit breaker rejects requests [default: 10s]
    #[arg(long, value_name = "DURATION")]
    breaker_open_for: Option<Span<1>>,

    /// Maximum number of requests per second to a backend [default: 100]
    #[arg(long, value_name = "RATE")]
    limiter_rate: Option<PerSecond>,

    /// Maximum number of requests to a backend at once, after a time without requests [default: 50]
    #[arg(long, value_name = "COUNT")]
    limiter_burst: Option<Whole<1, 1_000_000>>,

    /// Time for which a backend's answer is cached [default: 30s]
    #[arg(long, value_name = "DURATION")]
    cache_ttl: Option<Span<1>>,

    /// Maximum number of cached answers of a backend [default: 1000]
    #[arg(long, value_name = "COUNT")]
    cache_capacity: Option<Whole<1, 1_000_000>>,

    /// Token that allows other machines to open /debug/contexts [default: only this machine can]
    #[arg(long, value_name = "TOKEN", conflicts_with = "no_inspector")]
    inspector_token: Option<Secret>,

    /// Do not serve /debug/contexts
    #[arg(long, num_args = 0, default_missing_value = "true")]
    no_inspector: Option<bool>,

    /// Send requests to this service, to try its pages: some succeed, some run into a deadline, and some are left by their client
    #[arg(long, num_args = 0, default_missing_value = "true")]
    demo: Option<bool>,

    /// Format of the log [default: text]
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
}

/// Decides whether a client that has closed its sending half of the connection counts as disconnected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum HalfClose {
    /// The client counts as disconnected, and its request is canceled.
    #[default]
    Cancel,
    /// The client does not count as disconnected, because it may wait for its answer.
    Allow,
}

impl From<HalfClose> for server::HalfClose {
    fn from(half_close: HalfClose) -> Self {
        match half_close {
            HalfClose::Cancel => server::HalfClose::Cancel,
            HalfClose::Allow => server::HalfClose::Allow,
        }
    }
}

/// What the limits of backends do while Redis is unavailable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RedisOutage {
    /// The number of requests to backends is not limited.
    Open,
    /// No request is sent to a backend.
    Closed,
    /// Each service limits its own requests: to the rate divided by the number of services before the outage.
    #[default]
    Local,
}

impl From<RedisOutage> for OnOutage {
    fn from(outage: RedisOutage) -> Self {
        match outage {
            RedisOutage::Open => OnOutage::Open,
            RedisOutage::Closed => OnOutage::Closed,
            RedisOutage::Local => OnOutage::Local,
        }
    }
}

/// The Redis that several services share.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RedisSettings {
    /// Where Redis is, and the prefix of its keys.
    pub client: ripcord_redis::ClientBuilder,
    /// Name of this service. If `None`, its address is the name.
    pub name: Option<String>,
    /// What the limits of backends do while Redis is unavailable.
    pub outage: RedisOutage,
}

/// The format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text for each event, in color on a terminal.
    #[default]
    Text,
    /// One JSON object for each event.
    Json,
}

/// The settings of the service.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Address to listen on, as HOST:PORT.
    pub listen: String,
    /// Time that requests in flight have to finish after the drain delay.
    pub grace: Duration,
    /// Time for which the listener stays open after the signal that starts the shutdown. During this time, `/healthz` reports
    /// draining.
    pub drain_delay: Duration,
    /// Time limit of a request, from its arrival to the end of its answer.
    pub timeout: Duration,
    /// Maximum time limit of a request, even if its deadline header asks for more.
    pub max_timeout: Duration,
    /// Limits on connections.
    pub limits: Limits,
    /// Networks whose request IDs, traces, baggage and causes of cancels are trusted.
    pub trusted_peers: Vec<IpNet>,
    /// Whether a client that has closed its sending half of the connection counts as disconnected.
    pub half_close: HalfClose,
    /// Backends of `/search`. If empty, the three built-in backends are started.
    pub backends: Vec<Url>,
    /// Postgres database for the documents of the built-in backends. If `None`, the documents are in SQLite, in memory.
    pub database: Option<tokio_postgres::Config>,
    /// Redis that several services share. If `None`, the service shares nothing.
    pub redis: Option<RedisSettings>,
    /// The policies around each backend.
    pub policies: Policies,
    /// Whether `/debug/contexts` is served.
    pub inspector: bool,
    /// Token that allows other machines to open the inspector. If `None`, only this machine can open it.
    pub inspector_token: Option<Token>,
    /// Whether the service sends requests to itself.
    pub demo: bool,
    /// The format of the log.
    pub log_format: LogFormat,
}

impl Args {
    /// Returns the settings of the flags and of the settings file, if there is a file. A flag overrides the file.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read, or if a setting is unknown, out of bounds, or contradicts another.
    pub fn settings(self) -> Result<Settings, Error> {
        let file = match &self.config {
            Some(path) => file::read(path)?,
            None => Flags::default(),
        };
        Ok(Settings::new(self.flags, file)?)
    }
}

impl Settings {
    fn new(flags: Flags, file: Flags) -> Result<Self, ConfigError> {
        let seconds = Duration::from_secs;
        let timeout = flags.timeout.or(file.timeout).map_or(seconds(5), |span| span.0);
        let trusted_peers = flags.trusted_peers.or(file.trusted_peers).unwrap_or_default();
        let backends = flags.backends.or(file.backends).unwrap_or_default();
        let database = flags.database_url.or(file.database_url).map(|url| url.database()).transpose()?;
        if database.is_some() && !backends.is_empty() {
            return Err(ConfigError::new(
                "database_url",
                "given without a backend, because only the built-in backends use it",
                "both",
            ));
        }
        let (name, prefix) = (flags.redis_name.or(file.redis_name), flags.redis_prefix.or(file.redis_prefix));
        let outage = flags.redis_outage.or(file.redis_outage);
        let redis = match flags.redis.or(file.redis) {
            Some(url) => Some(RedisSettings {
                client: prefix.into_iter().fold(url.redis(), ripcord_redis::ClientBuilder::prefix),
                name,
                outage: outage.unwrap_or_default(),
            }),
            None if name.is_some() || prefix.is_some() || outage.is_some() => {
                let bound = "given with redis_name, redis_prefix and redis_outage, which are settings of it";
                return Err(ConfigError::new("redis", bound, "nothing"));
            }
            None => None,
        };
        let limits = Limits::default();
        Ok(Settings {
            listen: flags.listen.or(file.listen).map_or("127.0.0.1:8080".to_owned(), |address| address.0),
            grace: flags.grace.or(file.grace).map_or(seconds(10), |span| span.0),
            drain_delay: flags.drain_delay.or(file.drain_delay).map_or(Duration::ZERO, |span| span.0),
            timeout,
            max_timeout: flags.max_timeout.or(file.max_timeout).map_or(timeout, |span| span.0),
            limits: Limits {
                max_connections: flags
                    .max_connections
                    .or(file.max_connections)
                    .map_or(limits.max_connections, |count| count.0),
                max_head: flags.max_head.or(file.max_head).map_or(limits.max_head, |bytes| bytes.0),
                idle_timeout: flags.keep_alive.or(file.keep_alive).map_or(limits.idle_timeout, |span| span.0),
                head_timeout: flags.head_timeout.or(file.head_timeout).map_or(limits.head_timeout, |span| span.0),
            },
            trusted_peers: trusted_peers.into_iter().map(|peers| peers.0).collect(),
            half_close: flags.half_close.or(file.half_close).unwrap_or_default(),
            backends: backends.into_iter().map(|url| url.0).collect(),
            database,
            redis,
            policies: Policies {
                attempt_timeout: flags.attempt_timeout.or(file.attempt_timeout).map_or(seconds(2), |span| span.0),
                retry_attempts: flags.retry_attempts.or(file.retry_attempts).map_or(3, |count| count.0),
                hedge_after: Some(
                    flags.hedge_after.or(file.hedge_after).map_or(Duration::from_millis(300), |span| span.0),
                ),
                breaker_failures: flags.breaker_failures.or(file.breaker_failures).map_or(5, |count| count.0),
                breaker_open_for: flags.breaker_open_for.or(file.breaker_open_for).map_or(seconds(10), |span| span.0),
                limiter_rate: flags.limiter_rate.or(file.limiter_rate).map_or(100.0, |rate| rate.0),
                limiter_burst: flags.limiter_burst.or(file.limiter_burst).map_or(50, |count| count.0),
                cache_ttl: flags.cache_ttl.or(file.cache_ttl).map_or(seconds(30), |span| span.0),
                cache_capacity: flags.cache_capacity.or(file.cache_capacity).map_or(1000, |count| count.0),
            },
            inspector: !flags.no_inspector.or(file.no_inspector).unwrap_or_default(),
            inspector_token: flags.inspector_token.or(file.inspector_token).map(|secret| secret.0),
            demo: flags.demo.or(file.demo).unwrap_or_default(),
            log_format: flags.log_format.or(file.log_format).unwrap_or_default(),
        })
    }
}

impl Default for Settings {
    /// Returns the settings of `ripcord serve` without a flag.
    fn default() -> Self {
        Settings::new(Flags::default(), Flags::default()).expect("the defaults are within their bounds")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_of_the_database_is_not_in_the_debug_output() {
        let url: Hidden = "postgres://shop:hunter2@localhost/shop".parse().expect("every text is accepted");
        let flags = Flags { database_url: Some(url), ..Flags::default() };
        let given = format!("{flags:?}");
        let settings = format!("{:?}", Settings::new(flags, Flags::default()).expect("a URL"));
        assert!(settings.contains("localhost"), "{settings}");
        assert!(!given.contains("hunter2") && !settings.contains("hunter2"), "{given} {settings}");
    }
}
