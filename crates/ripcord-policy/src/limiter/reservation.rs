//! Tokens taken ahead of time.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bucket::{Bucket, Claim, Claimed};
use super::queue::PromiseId;
use super::stats::Count;
use crate::Refused;

/// Tokens of a limiter that may be used from a certain time on. Returned by
/// [`RateLimiter::reserve`](super::RateLimiter::reserve).
///
/// The tokens are taken from the bucket when the reservation is made. The holder waits for [`delay`](Reservation::delay) or
/// until [`act_at`](Reservation::act_at), and then makes its call. [`cancel`](Reservation::cancel) returns the tokens to the
/// bucket. Dropping the reservation does not return them.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Clock;
/// use ripcord_policy::{Rate, RateLimiter};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (clock, _time) = Clock::manual();
/// let limiter = RateLimiter::builder().rate(Rate::per_second(1.0)).burst(1).clock(clock).build()?;
///
/// assert!(limiter.reserve().delay().is_zero());
/// let next = limiter.reserve();
/// assert_eq!(next.delay(), Duration::from_secs(1)); // sleep this long, then act
/// assert!(next.cancel());                           // or give the token back
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the tokens are taken; wait until `act_at`, or `cancel`"]
pub struct Reservation {
    bucket: Arc<Bucket>,
    tokens: u32,
    /// The time from which the tokens may be used. `None` means never.
    act_at: Option<u64>,
    /// The promise of the tokens. `None` if there is nothing to give back.
    promise: Option<PromiseId>,
}

/// The error of [`reserve_n`](super::RateLimiter::reserve_n): the number of tokens is above the burst, so the limiter never
/// holds as many tokens at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExceedsBurst {
    /// The number of tokens requested.
    pub requested: u32,
    /// The maximum number of tokens that the limiter holds.
    pub burst: u32,
}

impl Reservation {
    /// Reserves as many of `tokens` as a bucket can hold.
    pub(super) fn new(bucket: Arc<Bucket>, tokens: u32) -> Result<Self, ExceedsBurst> {
        let (act_at, promise) = match bucket.claim(tokens, Claim::Reserve) {
            Claimed::Now(now) => (Some(now), None),
            Claimed::Later { id, act_at, .. } => (act_at, Some(id)),
            Claimed::ExceedsBurst { burst } => {
                bucket.numbers.bump(Count::OtherRefused);
                return Err(ExceedsBurst { requested: tokens, burst });
            }
            Claimed::TooLate { .. } | Claimed::Never => (None, None),
        };
        bucket.numbers.bump(Count::Reserved);
        Ok(Reservation { bucket, tokens, act_at, promise })
    }

    /// Returns the time until the tokens may be used. The time is zero if they may be used now.
    ///
    /// `Duration::MAX` means that the tokens may never be used, because the rate is zero or almost zero. No tokens have been
    /// taken then.
    pub fn delay(&self) -> Duration {
        match self.act_at {
            Some(at) => Duration::from_nanos(at.saturating_sub(self.bucket.time.now())),
            None => Duration::MAX,
        }
    }

    /// Returns the time from which the tokens may be used, by the limiter's clock. Returns `None` if they may never be used.
    pub fn act_at(&self) -> Option<Instant> {
        self.bucket.time.instant(self.act_at?)
    }

    /// Returns the number of tokens reserved.
    pub fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Returns the tokens to the bucket if they may not be used yet. Returns whether any tokens were returned at once.
    ///
    /// If there are later reservations or waiters, the tokens are returned only when all of these are canceled too. The tokens
    /// are lost when the next of these gets its own tokens.
    pub fn cancel(self) -> bool {
        self.bucket.numbers.bump(Count::ReservationsCanceled);
        match self.promise {
            Some(id) if !self.delay().is_zero() => self.bucket.give_up(id) > 0,
            _ => false,
        }
    }
}

impl fmt::Display for ExceedsBurst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Refused::from(*self).fmt(f)
    }
}

impl std::error::Error for ExceedsBurst {}

impl From<ExceedsBurst> for Refused {
    fn from(ExceedsBurst { requested, burst }: ExceedsBurst) -> Self {
        Refused::exceeds_burst(requested, burst)
    }
}
