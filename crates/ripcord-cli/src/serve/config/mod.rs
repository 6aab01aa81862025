//! The settings: each from its flag, else from the file, else its default.
//!
//! A setting is declared once, in [`Flags`]: its name is the flag's and the file's key, its type knows its bounds, and
//! its default is in [`Settings`].

mod file;
mod values;

use std::{path::PathBuf, time::Duration};

use ipnet::IpNet;
use reqwest::Url;
use ripcord_http::{inspector::Token, server};
use serde::Deserialize;

pub use self::file::FileError;
use self::values::{Address, BackendUrl, Peers, PerSecond, Secret, Span, Whole};
use crate::search::Policies;

/// The arguments of `ripcord serve`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = "\
A flag beats the file, and the file a default. In the file each setting has the name of its flag, in snake case, and the \
two that may be repeated are lists: backends, trusted_peers.

Ctrl-C and TERM stop the accepting, let requests in flight finish within the grace, cancel those that have not, \
and exit 0; a second signal ends the process at once.")]
pub struct Args {
    /// A TOML file with settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    flags: Flags,
}

/// What was said, on the command line or in the file.
#[derive(Clone, Debug, Default, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
struct Flags {
    /// Where to listen, as HOST:PORT; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<Address>,

    /// How long requests in flight may still run after Ctrl-C or TERM [default: 10s]
    #[arg(long, value_name = "DURATION")]
    grace: Option<Span<0>>,

    /// How long a request may take [default: 5s]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span<1>>,

    /// The most that any request gets, whatever its client's deadline header asks for [default: the timeout]
    #[arg(long, value_name = "DURATION")]
    max_timeout: Option<Span<1>>,

    /// Whose request ids, traces and baggage are believed, as an address or a network; may be repeated [default: nobody's]
    #[arg(long = "trusted-peer", value_name = "PEERS")]
    trusted_peers: Option<Vec<Peers>>,

    /// Whether a client that closes its half of the connection has gone, or waits for its answer [default: cancel]
    #[arg(long, value_enum)]
    half_close: Option<HalfClose>,

    /// Where /search asks; may be repeated [default: three that are started in the process]
    #[arg(long = "backend", value_name = "URL")]
    backends: Option<Vec<BackendUrl>>,

    /// How long one request to a backend may take [default: 2s]
    #[arg(long, value_name = "DURATION")]
    attempt_timeout: Option<Span<1>>,

    /// How often a backend is asked at the most for one search [default: 3]
    #[arg(long, value_name = "COUNT")]
    retry_attempts: Option<Whole<1, 10>>,

    /// After how long a backend is asked a second time, and the first answer taken [default: 300ms]
    #[arg(long, value_name = "DURATION")]
    hedge_after: Option<Span<1>>,

    /// After how many failures in a row a backend is left alone [default: 5]
    #[arg(long, value_name = "COUNT")]
    breaker_failures: Option<Whole<1, 1_000_000>>,

    /// For how long it is left alone then [default: 10s]
    #[arg(long, value_name = "DURATION")]
    breaker_open_for: Option<Span<1>>,

    /// How many requests a second a backend gets at the most [default: 100]
    #[arg(long, value_name = "RATE")]
    limiter_rate: Option<PerSecond>,

    /// How many of those at once, after a quiet time [default: 50]
    #[arg(long, value_name = "COUNT")]
    limiter_burst: Option<Whole<1, 1_000_000>>,

    /// How long a backend's answer is kept [default: 30s]
    #[arg(long, value_name = "DURATION")]
    cache_ttl: Option<Span<1>>,

    /// How many answers of a backend are kept [default: 1000]
    #[arg(long, value_name = "COUNT")]
    cache_capacity: Option<Whole<1, 1_000_000>>,

    /// What opens /debug/contexts to other machines [default: it answers this machine only]
    #[arg(long, value_name = "TOKEN")]
    inspector_token: Option<Secret>,

    /// How the log is written [default: text]
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
}

/// What a client that has closed its half of the connection is taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum HalfClose {
    /// It has gone: its request is canceled.
    #[default]
    Cancel,
    /// It waits for its answer.
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

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people, in colours on a terminal.
    #[default]
    Text,
    /// An object a line, for programs.
    Json,
}

/// What the service goes by.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Where to listen, as HOST:PORT.
    pub listen: String,
    /// How long requests in flight may still run once the service was told to stop.
    pub grace: Duration,
    /// From the arrival of a request to its answer.
    pub timeout: Duration,
    /// The most that any request gets, whatever its client's deadline header asks for.
    pub max_timeout: Duration,
    /// Whose request ids, traces and baggage are believed.
    pub trusted_peers: Vec<IpNet>,
    /// What a client that has closed its half of the connection is taken for.
    pub half_close: HalfClose,
    /// Where `/search` asks. Empty: three backends are started in the process.
    pub backends: Vec<Url>,
    /// The policies around each backend.
    pub policies: Policies,
    /// What opens the inspector to other machines. None: it answers this one only.
    pub inspector_token: Option<Token>,
    /// How the log is written.
    pub log_format: LogFormat,
}

impl Args {
    /// Reads the file, if there is one, and lets each flag beat it.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or says what is unknown or out of bounds.
    pub fn settings(self) -> Result<Settings, FileError> {
        let file = match &self.config {
            Some(path) => file::read(path)?,
            None => Flags::default(),
        };
        Ok(Settings::new(self.flags, file))
    }
}

impl Settings {
    fn new(flags: Flags, file: Flags) -> Self {
        let seconds = Duration::from_secs;
        let timeout = flags.timeout.or(file.timeout).map_or(seconds(5), |span| span.0);
        let trusted_peers = flags.trusted_peers.or(file.trusted_peers).unwrap_or_default();
        let backends = flags.backends.or(file.backends).unwrap_or_default();
        Settings {
            listen: flags.listen.or(file.listen).map_or("127.0.0.1:8080".to_owned(), |address| address.0),
            grace: flags.grace.or(file.grace).map_or(seconds(10), |span| span.0),
            timeout,
            max_timeout: flags.max_timeout.or(file.max_timeout).map_or(timeout, |span| span.0),
            trusted_peers: trusted_peers.into_iter().map(|peers| peers.0).collect(),
            half_close: flags.half_close.or(file.half_close).unwrap_or_default(),
            backends: backends.into_iter().map(|url| url.0).collect(),
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
            inspector_token: flags.inspector_token.or(file.inspector_token).map(|secret| secret.0),
            log_format: flags.log_format.or(file.log_format).unwrap_or_default(),
        }
    }
}

impl Default for Settings {
    /// What `ripcord serve` without a flag goes by.
    fn default() -> Self {
        Settings::new(Flags::default(), Flags::default())
    }
}
