//! Tokens taken ahead of time.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backend::Promise;
use super::bucket::{Bucket, Claim, Claimed};
use super::queue::PromiseId;
use super::remote::Reserved;
use super::stats::Count;
use super::{Source, remote};
use crate::Refused;

/// Tokens that are reserved from a limiter. They may be used now or after a delay. Returned by
/// [`RateLimiter::reserve`](super::RateLimiter::reserve) and [`KeyedLimiter::reserve`](super::KeyedLimiter::reserve).
///
/// The tokens are taken from the bucket when the reservation is made. Wait for the time [`delay`](Reservation::delay) or
/// until [`act_at`](Reservation::act_at), and then make the call. If you do not make the call, return the tokens to the
/// bucket with [`cancel`](Reservation::cancel). Dropping the reservation does not return the tokens.
///
/// If `act_at` returns `None`, the tokens may never be used, for example because the rate is zero. The reservation then holds
/// no tokens: do not wait, and do not make the call.
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
/// assert!(limiter.reserve().delay().is_zero()); // the token is spent, although the reservation is dropped
/// let next = limiter.reserve();
/// assert_eq!(next.delay(), Duration::from_secs(1)); // sleep this long, then act
/// assert!(next.cancel());                           // or give the token back
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the tokens are taken; wait until `act_at`, or `cancel`"]
pub struct Reservation {
    source: Source,
    tokens: u32,
    /// The time from which the tokens may be used. `None` means never.
    act_at: Option<u64>,
    /// The promise of the tokens. `None` if there is nothing to give back.
    promise: Option<Promised>,
}

#[derive(Debug)]
enum Promised {
    Bucket(Arc<Bucket>, PromiseId),
    Remote(Box<dyn Promise>),
}

/// The error of [`RateLimiter::reserve_n`](super::RateLimiter::reserve_n): the number of requested tokens is above the burst,
/// the maximum number of tokens in the bucket.
///
/// `{}` prints both numbers. `{:#}` adds the line of code that built the limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExceedsBurst {
    /// The number of tokens requested.
    pub requested: u32,
    /// The burst of the limiter, or of the key of a keyed limiter.
    pub burst: u32,
    /// The line of code that called `builder` or `new` of the limiter.
    pub built_at: &'static Location<'static>,
}

impl Reservation {
    /// Reserves `tokens`. Fails if the bucket never holds this many. `built_at` is the line that built the limiter.
    pub(super) fn new(source: Source, tokens: u32, built_at: &'static Location<'static>) -> Result<Self, ExceedsBurst> {
        let (act_at, promise) = match &source {
            Source::Bucket(bucket) => {
                let reserved = match bucket.claim(tokens, Claim::Reserve) {
                    Claimed::Now(now) => (Some(now), None),
                    Claimed::Later { id, act_at, .. } => (act_at, Some(Promised::Bucket(Arc::clone(bucket), id))),
                    Claimed::ExceedsBurst { burst } => {
                        bucket.numbers.bump(Count::OtherRefused);
                        return Err(ExceedsBurst { requested: tokens, burst, built_at });
                    }
                    Claimed::TooLate { .. } | Claimed::Never => (None, None),
                };
                bucket.numbers.bump(Count::Reserved);
                reserved
            }
            Source::Remote(remote) => match remote.reserve(tokens) {
                Reserved::At { act_at, promise } => (act_at, promise.map(Promised::Remote)),
                Reserved::ExceedsBurst { burst } => return Err(ExceedsBurst { requested: tokens, burst, built_at }),
            },
        };
        Ok(Reservation { source, tokens, act_at, promise })
    }

    /// Returns how long to wait until the tokens may be used. Returns zero if the tokens may be used already.
    ///
    /// Returns `Duration::MAX` if the tokens may never be used. The reservation then holds no tokens. This happens in these
    /// cases:
    ///
    /// * The bucket had fewer tokens than the reservation needs, and the rate was zero.
    /// * The rate was so low that the wait would end more than 584 years after the limiter was built.
    /// * The waiters and reservations, including this one, would need more than 2^36 (69 billion) tokens.
    /// * The [`backend`](super::RateLimiterBuilder::backend) was unavailable, and refused the reservation.
    pub fn delay(&self) -> Duration {
        match self.act_at {
            Some(at) => Duration::from_nanos(at.saturating_sub(self.source.time().now())),
            None => Duration::MAX,
        }
    }

    /// Returns the instant from which the tokens may be used, by the limiter's clock. Returns `None` if the tokens may never
    /// be used: see [`delay`](Reservation::delay).
    pub fn act_at(&self) -> Option<Instant> {
        self.source.time().instant(self.act_at?)
    }

    /// Returns the number of tokens that were requested.
    pub fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Cancels the reservation. If its tokens are already available, they are lost. Otherwise they return to the bucket:
    /// immediately if no reservation or waiter is behind this one, or else after all of those are canceled or have left. They keep
    /// their times, so if the next of them gets its tokens first, the tokens of this reservation are lost.
    ///
    /// Returns `true` if tokens returned to the bucket during this call. Returns `false` if the tokens return later or are
    /// lost. With a [`backend`](super::RateLimiterBuilder::backend), blocks the thread until the backend answers.
    pub fn cancel(self) -> bool {
        let numbers = self.source.numbers();
        numbers.bump(Count::ReservationsCanceled);
        let is_due = self.delay().is_zero();
        match self.promise {
            Some(Promised::Bucket(bucket, id)) if !is_due => bucket.give_up(id) > 0,
            Some(Promised::Remote(promise)) if !is_due => remote::refund_blocking(promise, numbers),
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
    fn from(ExceedsBurst { requested, burst, built_at }: ExceedsBurst) -> Self {
        Refused::exceeds_burst(requested, burst, built_at)
    }
}
