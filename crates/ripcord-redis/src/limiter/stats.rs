//! The statistics of a limiter over Redis.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Where a [`Limiter`](super::Limiter) decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Redis decides.
    Connected,
    /// Redis is unavailable, and every request is granted.
    Open,
    /// Redis is unavailable, and every request is refused.
    Closed,
    /// Redis is unavailable, and this process decides with its share of the rate.
    Local,
}

/// Statistics of a [`Limiter`](super::Limiter). Returned by [`Limiter::stats`](super::Limiter::stats). The statistics of the
/// requests themselves are those of the [`RateLimiter`](ripcord_policy::RateLimiter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimiterStats {
    /// Where the limiter decides now.
    pub mode: Mode,
    /// The time until the next attempt to connect, while Redis is unavailable.
    pub retry_after: Option<Duration>,
    /// The number of clients that share the limits in the mode [`Local`](Mode::Local), as it was last seen: a gauge.
    pub peers: usize,
    /// Decisions of Redis.
    pub connected: u64,
    /// Requests granted in the mode [`Open`](Mode::Open).
    pub open: u64,
    /// Requests refused in the mode [`Closed`](Mode::Closed).
    pub closed: u64,
    /// Decisions of this process in the mode [`Local`](Mode::Local).
    pub local: u64,
    /// Requests denied without a command, because Redis had denied the key until a later time.
    pub saved: u64,
    /// Keys that are known to be denied: a gauge.
    pub denied_keys: usize,
    /// Commands that Redis did not answer, or answered with an error. Commands that were not sent, because Redis was known to be
    /// unavailable, do not count.
    pub failures: u64,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) connected: AtomicU64,
    pub(super) open: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) local: AtomicU64,
    pub(super) saved: AtomicU64,
    pub(super) failures: AtomicU64,
    /// Whether Redis answered the last claim with an error.
    pub(super) is_refused: AtomicBool,
}

pub(super) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Connected => "connected",
            Mode::Open => "open",
            Mode::Closed => "closed",
            Mode::Local => "local",
        })
    }
}
