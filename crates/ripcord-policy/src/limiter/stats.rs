//! The statistics of a limiter.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::stats::CallStats;
use crate::tally::Tally;

/// Statistics of a [`RateLimiter`](super::RateLimiter), or of all keys of a [`KeyedLimiter`](super::KeyedLimiter). The module
/// [`stats`](crate::stats) describes counters and gauges.
///
/// A limiter does not see the results of calls, so the field `calls` counts requests for tokens:
///
/// * `calls.succeeded` counts granted requests: the sum of `allowed`, `waited` and `reserved`.
/// * `calls.canceled` counts waits that ended without their tokens, because the future was dropped or its context ended.
/// * `calls.rejected` counts refused requests: `denied`, `deadline_refused`, `unavailable`, waits for [too many
///   tokens](crate::Refused::is_limited), reservations above the burst, and waits whose context had ended before the wait.
/// * `calls.failed` is always 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimiterStats {
    /// Requests for tokens by result.
    pub calls: CallStats,
    /// Calls of `allow` and `allow_n` that took their tokens.
    pub allowed: u64,
    /// Calls of `allow` and `allow_n` that returned `false`, except the calls that count in `unavailable`.
    pub denied: u64,
    /// Reservations made, including reservations whose tokens [may never be used](super::Reservation::delay). Reservations
    /// that an unavailable backend refused count in `unavailable` instead.
    pub reserved: u64,
    /// Reservations canceled.
    pub reservations_canceled: u64,
    /// Waits that took their tokens, with or without a delay.
    pub waited: u64,
    /// Waits that failed because their tokens would not be available before the deadline of the context.
    pub deadline_refused: u64,
    /// Requests for tokens that an unavailable [`backend`](super::RateLimiterBuilder::backend) refused.
    pub unavailable: u64,
    /// Tokens that returned to the bucket, from waiters that left, canceled reservations, and calls that a
    /// [`Stack`](crate::Stack) did not send.
    pub refunded: u64,
    /// Callers that wait for tokens: a gauge.
    pub waiters: usize,
    /// The sum of the durations of all waits that took their tokens.
    pub total_wait: Duration,
    /// The duration of the longest wait that took its tokens.
    pub longest_wait: Duration,
}

/// The counters of one limiter, or of all keys of a keyed limiter.
#[derive(Debug)]
pub(super) struct Numbers {
    tally: Tally<COUNTS>,
    waiters: AtomicUsize,
    longest_wait: AtomicU64,
}

#[derive(Clone, Copy)]
pub(super) enum Count {
    Allowed,
    Denied,
    Reserved,
    ReservationsCanceled,
    Waited,
    Canceled,
    DeadlineRefused,
    Unavailable,
    /// Waits and reservations refused for another reason.
    OtherRefused,
    Refunded,
    WaitNanos,
}

const COUNTS: usize = Count::WaitNanos as usize + 1;

impl Numbers {
    pub(super) fn new() -> Self {
        Numbers { tally: Tally::new(), waiters: AtomicUsize::new(0), longest_wait: AtomicU64::new(0) }
    }

    #[inline]
    pub(super) fn bump(&self, count: Count) {
        self.tally.bump(count as usize);
    }

    pub(super) fn add(&self, count: Count, by: u64) {
        self.tally.add(count as usize, by);
    }

    pub(super) fn waiter_joins(&self) {
        self.waiters.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a waiter that leaves without its tokens.
    pub(super) fn waiter_leaves(&self, why: Count) {
        self.bump(why);
        self.waiters.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn waiter_is_served(&self, waited: Duration) {
        let nanos = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.add(Count::WaitNanos, nanos);
        self.longest_wait.fetch_max(nanos, Ordering::Relaxed);
        self.waiter_leaves(Count::Waited);
    }

    pub(super) fn stats(&self) -> RateLimiterStats {
        let counts = self.tally.read();
        let count = |count: Count| counts[count as usize];
        let (allowed, denied) = (count(Count::Allowed), count(Count::Denied));
        let (reserved, waited) = (count(Count::Reserved), count(Count::Waited));
        let (canceled, deadline_refused) = (count(Count::Canceled), count(Count::DeadlineRefused));
        let unavailable = count(Count::Unavailable);
        let waiters = self.waiters.load(Ordering::Relaxed);
        let succeeded = allowed + reserved + waited;
        RateLimiterStats {
            calls: CallStats {
                started: succeeded + canceled + waiters as u64,
                succeeded,
                failed: 0,
                canceled,
                rejected: denied + deadline_refused + unavailable + count(Count::OtherRefused),
            },
            allowed,
            denied,
            reserved,
            reservations_canceled: count(Count::ReservationsCanceled),
            waited,
            deadline_refused,
            unavailable,
            refunded: count(Count::Refunded),
            waiters,
            total_wait: Duration::from_nanos(count(Count::WaitNanos)),
            longest_wait: Duration::from_nanos(self.longest_wait.load(Ordering::Relaxed)),
        }
    }
}
