//! Rate limiting by a token bucket that can be waited on, reserved from, and set anew while in use.
//!
//! ```
//! use ripcord::{Clock, Context};
//! use ripcord_policy::{Rate, RateLimiter};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (clock, time) = Clock::manual();
//! let limiter = RateLimiter::new(Rate::per_second(10.0), 2)?.with_clock(clock);
//!
//! assert!(limiter.allow() && limiter.allow());   // the burst
//! assert!(!limiter.allow());
//! time.advance(Duration::from_millis(100));      // a token's worth of time
//! assert!(limiter.allow());
//!
//! let reservation = limiter.reserve()?;          // the next one, ahead of time
//! assert_eq!(reservation.delay(), Duration::from_millis(100));
//! reservation.cancel();
//! # Ok(())
//! # }
//! ```

mod keyed;
mod ledger;
mod meter;
mod queue;
mod rate;
mod reservation;
mod schedule;
mod time;
mod tokens;
mod wait;

pub use keyed::KeyedLimiter;
pub use rate::Rate;
pub use reservation::{ExceedsBurst, Reservation};
pub use tokens::LimiterStats;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ripcord::{Clock, Context};

use crate::block_on::block_on;
use crate::config::at_least_one;
use crate::panics::wake;
use crate::{ConfigError, Refused};
use ledger::Ledger;
use time::Time;
use tokens::{Token, Tokens};

/// A token bucket: it earns tokens at a [`Rate`], keeps at most a burst of them, and begins full.
///
/// Clones share the bucket. However calls, clock readings, changes of the rate and cancellations fall together, it grants
/// in all never more than the first burst and what the rate has earned, exactly; and in any span of time never more than
/// the burst and what the rate earns in that span, to within a fifty-millionth of a token, and no less. A token that a
/// [`Stack`](crate::Stack) has for a call which it then does not send comes back, and might have been used until then: it counts
/// as granted to whoever has it next.
///
/// # Waiting
///
/// Who waits is served in order, and takes part in every change of the rate. A wait that cannot end before its context's
/// deadline fails at once. An explicit [`Reservation`] keeps the time it was told.
///
/// # Time
///
/// The limiter reads one clock, the system's unless [`with_clock`](RateLimiter::with_clock) gives it another, and sleeps
/// on that of the context it is given. A test gives both the same manual clock. Time only moves forward here: a reading
/// older than another changes nothing.
///
/// See the [module](self) for an example.
#[derive(Clone)]
#[doc(alias("rate.Limiter"))]
pub struct RateLimiter {
    tokens: Arc<Tokens>,
}

/// What [`RateLimiter::wait`] fails with; there is no error of a call's own in it.
pub type WaitError = Refused;

impl RateLimiter {
    /// A full bucket, by the system's clock unless [`with_clock`](RateLimiter::with_clock) sets another. A Go program's
    /// `NewRateLimiter`.
    ///
    /// # Errors
    ///
    /// Names the setting out of bounds: a `rate` that is negative, NaN, or of a period of zero, a `burst` of 0.
    #[doc(alias("NewRateLimiter"))]
    pub fn new(rate: Rate, burst: u32) -> Result<Self, ConfigError> {
        let (rate, burst) = (rate.check()?, at_least_one("burst", burst)?);
        Ok(RateLimiter::of(Tokens::new(Ledger::new(rate, burst, Time::system()))))
    }

    /// The same rate and burst by another clock: a bucket of its own, full.
    ///
    /// Tokens are earned by this clock, whatever the contexts' own are; a wait sleeps on its context's. Give both the
    /// same.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        let (rate, burst) = (self.rate(), self.burst());
        RateLimiter::of(Tokens::new(Ledger::new(rate, burst, Time::of(clock))))
    }

    fn of(tokens: Tokens) -> Self {
        RateLimiter { tokens: Arc::new(tokens) }
    }

    /// Takes a token if there is one.
    #[inline]
    #[doc(alias("Allow"))]
    pub fn allow(&self) -> bool {
        self.allow_n(1)
    }

    /// Takes `n` tokens if there are as many, and none otherwise. False for more than the burst.
    #[inline]
    pub fn allow_n(&self, n: u32) -> bool {
        self.tokens.allow(n)
    }

    /// Waits for a token and returns how long that took.
    ///
    /// # Errors
    ///
    /// `Context` if the context is or gets done first, [`Rejected::Deadline`](crate::Rejected::Deadline) at once if the
    /// token would not come before its deadline. At one instant, a token that is due wins over an end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place and lets those behind move up. Tokens taken in its name come back, but
    /// for what has been promised to a later [`Reservation`].
    #[doc(alias("Wait"))]
    pub async fn wait(&self, ctx: &Context) -> Result<Duration, WaitError> {
        self.wait_n(ctx, 1).await
    }

    /// [`RateLimiter::wait`] for `n` tokens.
    ///
    /// # Errors
    ///
    /// Besides those of `wait`, [`Refused::is_limited`](crate::Refused::is_limited) if there are never as many.
    ///
    /// # Cancel safety
    ///
    /// As `wait`: dropping the future gives up the place, and all of the tokens.
    pub async fn wait_n(&self, ctx: &Context, n: u32) -> Result<Duration, WaitError> {
        wait::wait(&self.tokens, ctx, n).await
    }

    /// [`RateLimiter::wait`], for who may come to have no use for the token.
    pub(crate) async fn token(&self, ctx: &Context) -> Result<Token<'_>, WaitError> {
        self.wait(ctx).await?;
        Ok(Token::new(&self.tokens))
    }

    /// [`RateLimiter::wait`] for threads.
    ///
    /// # Errors
    ///
    /// As `wait`.
    pub fn wait_blocking(&self, ctx: &Context) -> Result<Duration, WaitError> {
        block_on(self.wait(ctx))
    }

    /// [`RateLimiter::wait_n`] for threads.
    ///
    /// # Errors
    ///
    /// As `wait_n`.
    pub fn wait_n_blocking(&self, ctx: &Context, n: u32) -> Result<Duration, WaitError> {
        block_on(self.wait_n(ctx, n))
    }

    /// Takes a token that may be yet to come, and tells when that will be.
    ///
    /// # Errors
    ///
    /// Never, as the burst is at least 1.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::Clock;
    /// use ripcord_policy::{Rate, RateLimiter};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (clock, _time) = Clock::manual();
    /// let limiter = RateLimiter::new(Rate::per_second(1.0), 1)?.with_clock(clock);
    ///
    /// assert!(limiter.reserve()?.delay().is_zero());
    /// let next = limiter.reserve()?;
    /// assert_eq!(next.delay(), Duration::from_secs(1));   // sleep this long, then act
    /// assert!(next.cancel(), "or give it back");
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("Reserve"))]
    pub fn reserve(&self) -> Result<Reservation, ExceedsBurst> {
        self.reserve_n(1)
    }

    /// [`RateLimiter::reserve`] for `n` tokens.
    ///
    /// # Errors
    ///
    /// [`ExceedsBurst`] if there are never as many at once; nothing is taken.
    pub fn reserve_n(&self, n: u32) -> Result<Reservation, ExceedsBurst> {
        reservation::reserve(&self.tokens, n)
    }

    /// Earns at `rate` from now on. Those who wait are re-timed; reservations keep their times.
    ///
    /// Coming back from [`Rate::INFINITE`], the bucket is full.
    ///
    /// # Errors
    ///
    /// Names the bound `rate` is out of; nothing has changed then.
    #[doc(alias("SetRate"))]
    pub fn set_rate(&self, rate: Rate) -> Result<(), ConfigError> {
        self.tokens.set_rate(rate.check()?).into_iter().for_each(wake);
        Ok(())
    }

    /// Keeps at most `burst` tokens from now on. A larger one begins to fill from what there is.
    ///
    /// # Errors
    ///
    /// Names `burst` if it is 0; nothing has changed then.
    #[doc(alias("SetBurst"))]
    pub fn set_burst(&self, burst: u32) -> Result<(), ConfigError> {
        self.tokens.set_burst(at_least_one("burst", burst)?);
        Ok(())
    }

    /// The rate now.
    pub fn rate(&self) -> Rate {
        self.tokens.ledger.book().schedule.meter.rate
    }

    /// The burst now.
    pub fn burst(&self) -> u32 {
        self.tokens.ledger.book().burst
    }

    /// Tokens there are now; below zero when more are promised than earned.
    pub fn tokens(&self) -> f64 {
        self.tokens.left()
    }

    /// The numbers so far.
    pub fn stats(&self) -> LimiterStats {
        self.tokens.stats()
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("rate", &self.rate())
            .field("burst", &self.burst())
            .field("tokens", &self.tokens())
            .finish_non_exhaustive()
    }
}
