//! The statistics of a limiter over Redis.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How a [`Limiter`](super::Limiter) decides. Part of [`LimiterStats`]. `Display` prints `connected`, `open`, `closed` or `local`.
///
/// The modes other than `Connected` also apply while Redis answers with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Redis decides.
    Connected,
    /// Redis is unavailable, and every request is granted: [`OnOutage::Open`](super::OnOutage::Open).
    Open,
    /// Redis is unavailable, and every request is refused: [`OnOutage::Closed`](super::OnOutage::Closed).
    Closed,
    /// Redis is unavailable, and this process decides with its share of the rate: [`OnOutage::Local`](super::OnOutage::Local).
    Local,
}

/// Statistics of a [`Limiter`](super::Limiter) and its clones. Returned by [`Limiter::stats`](super::Limiter::stats). Counters only
/// go up. Gauges are marked.
///
/// [`RateLimiter::stats`](ripcord_policy::RateLimiter::stats) counts the requests and their results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimiterStats {
    /// How the limiter decides now.
    pub mode: Mode,
    /// The time until the next attempt to connect. `None` while Redis is available.
    pub retry_after: Option<Duration>,
    /// The number of clients with the same prefix, by which the mode [`Local`](Mode::Local) divides the limits: a gauge. During an
    /// outage, this is the number before the outage.
    pub peers: usize,
    /// Decisions of Redis.
    pub connected: u64,
    /// Requests granted in the mode [`Open`](Mode::Open).
    pub open: u64,
    /// Requests refused in the mode [`Closed`](Mode::Closed).
    pub closed: u64,
    /// Decisions of this process in the mode [`Local`](Mode::Local).
    pub local: u64,
    /// Requests denied without a command. Redis had already denied the same number of tokens or fewer for the key, and these
    /// tokens were not available yet.
    pub saved: u64,
    /// Keys for which requests are denied without a command: a gauge.
    pub denied_keys: usize,
    /// Commands that Redis did not answer, or answered with an error. Commands that were not sent, because Redis was already
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
