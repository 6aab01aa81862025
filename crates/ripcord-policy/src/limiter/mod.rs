//! Rate limiting by a token bucket.
//!
//! [`RateLimiter`] limits one thing, such as calls to a service. [`KeyedLimiter`] limits each of many keys, such as clients. A
//! [`Rate`] is a number of tokens earned per time.

mod bucket;
mod builder;
mod keyed;
mod published;
mod queue;
mod rate;
mod reservation;
mod schedule;
mod stats;
mod time;
mod token;
mod wait;

pub use builder::{KeyedLimiterBuilder, RateLimiterBuilder};
pub use keyed::KeyedLimiter;
pub use rate::{Quota, Rate};
pub use reservation::{ExceedsBurst, Reservation};
pub use stats::LimiterStats;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ripcord::Context;

use crate::config::at_least_one;
use crate::panics::wake;
use crate::{ConfigError, Error, Refused};
use bucket::Bucket;
use stats::Count;

/// Limits the rate of calls. Each call takes a token from a bucket. The bucket earns tokens at a [`Rate`] and holds one burst.
///
/// ```
/// use ripcord::{Clock, Context};
/// use ripcord_policy::{Rate, RateLimiter};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (clock, time) = Clock::manual();
/// let limiter = RateLimiter::builder().rate(Rate::per_second(10.0)).burst(2).clock(clock.clone()).build()?;
/// let ctx = Context::background().with_clock(clock);
///
/// limiter.wait(&ctx).await?;                     // the bucket starts full
/// assert!(limiter.allow());
/// assert!(!limiter.allow());                     // it is empty
/// time.advance(Duration::from_millis(100));      // the time of one token
/// assert!(limiter.allow());
///
/// // A wait that cannot end before the deadline fails at once.
/// let near = ctx.with_timeout(Duration::from_millis(50));
/// assert!(limiter.wait(&near).await.unwrap_err().is_deadline_exceeded());
/// # Ok(())
/// # }
/// ```
///
/// [`run`](RateLimiter::run) waits for a token and makes a call. There are three ways to take a token without a call.
/// [`wait`](RateLimiter::wait) waits until there is a token. [`allow`](RateLimiter::allow) takes a token only if there is one
/// now. [`reserve`](RateLimiter::reserve) takes a token and returns the time from which it may be used.
///
/// Clones share the bucket and its statistics.
///
/// # What is granted
///
/// The limiter never grants more than the burst plus rate × time, to within 2^-26 of a token, under any interleaving of calls.
/// Time only moves forward: an old reading of the clock changes nothing. Each change of the rate may lose up to 2^-26 of a token.
///
/// # Waiting
///
/// Waiters are served in order, and every change of the rate gives them new times. An explicit [`Reservation`] keeps its time. If
/// a waiter gives up its tokens, the waiters behind it keep their times. The tokens come back when all waiters behind it have
/// left, and are lost when the next waiter behind it is served.
///
/// A [`Stack`](crate::Stack) returns the token of a call that it does not send after all. All waiters become due one token
/// earlier. A waiter learns its new time when the waiter ahead of it has left the queue.
///
/// # Clocks
///
/// Tokens are earned by the limiter's clock. This is the system's clock unless [`clock`](RateLimiterBuilder::clock) sets another
/// one. A wait sleeps on the clock of its context. A test gives both the same manual clock.
#[derive(Clone)]
#[doc(alias("rate.Limiter"))]
pub struct RateLimiter {
    bucket: Arc<Bucket>,
}

impl RateLimiter {
    /// Returns a builder. The [`rate`](RateLimiterBuilder::rate) is required.
    pub fn builder() -> RateLimiterBuilder {
        RateLimiterBuilder::new()
    }

    /// Creates a limiter that reads the system's clock. This is short for [`builder`](RateLimiter::builder) with `rate` and
    /// `burst`.
    ///
    /// # Errors
    ///
    /// Names the setting that is out of bounds: a `rate` that is negative, NaN or has a period of zero, or a `burst` of 0.
    #[doc(alias("NewRateLimiter"))]
    pub fn new(rate: Rate, burst: u32) -> Result<Self, ConfigError> {
        RateLimiter::builder().rate(rate).burst(burst).build()
    }

    /// Waits for a token, then makes a call. The statistics count the token. They do not count the result of the call.
    ///
    /// ```
    /// use ripcord::Context;
    /// use ripcord_policy::{Rate, RateLimiter};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = RateLimiter::builder().rate(Rate::per_second(10.0)).burst(2).build()?;
    /// let answer = limiter.run(&Context::background(), |_ctx| async { Ok::<_, std::io::Error>(42) }).await?;
    /// assert_eq!(answer, 42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// * The call's own error.
    /// * An error of [`wait`](RateLimiter::wait).
    /// * The end of `ctx`, if `ctx` ended during the call. The call's error is its source.
    ///
    /// # Cancel safety
    ///
    /// While the call waits for its token, dropping the future gives up the token, as for [`wait`](RateLimiter::wait). After
    /// that, dropping the future drops the call, and the token stays taken.
    pub async fn run<T, E, F, Fut>(&self, ctx: &Context, call: F) -> Result<T, Error<E>>
    where
        F: FnOnce(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.wait(ctx).await?;
        call(ctx.clone()).await.map_err(|error| Error::new(error).under(ctx))
    }

    /// Waits for a token. Returns the duration of the wait.
    ///
    /// If the token is due at the moment when the context ends, the wait succeeds.
    ///
    /// # Errors
    ///
    /// * The context ended before the token was due, or before the call.
    /// * The token is due after the context's deadline. The wait then fails at once and takes nothing.
    ///   [`Refused::is_deadline_exceeded`] is true.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its token. The token is returned, unless there is a later waiter or a later [`Reservation`].
    /// See [Waiting](RateLimiter#waiting).
    #[doc(alias("Wait"))]
    pub async fn wait(&self, ctx: &Context) -> Result<Duration, Refused> {
        self.wait_n(ctx, 1).await
    }

    /// Waits for `n` tokens. Returns the duration of the wait.
    ///
    /// # Errors
    ///
    /// The errors of [`wait`](RateLimiter::wait). If `n` is above the burst, nothing is taken and [`Refused::is_limited`] is true
    /// for the error.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its tokens, as for [`wait`](RateLimiter::wait).
    pub async fn wait_n(&self, ctx: &Context, n: u32) -> Result<Duration, Refused> {
        wait::wait(&self.bucket, ctx, n).await
    }

    /// Takes a token if there is one.
    #[inline]
    #[doc(alias("Allow"))]
    pub fn allow(&self) -> bool {
        self.allow_n(1)
    }

    /// Takes `n` tokens, or none if there are fewer.
    ///
    /// Returns `false` if `n` is above the burst.
    #[inline]
    pub fn allow_n(&self, n: u32) -> bool {
        let granted = self.bucket.take(n);
        if granted {
            self.bucket.numbers.bump(Count::Allowed);
        } else {
            self.bucket.numbers.bump(Count::Denied);
        }
        granted
    }

    /// Reserves a token, possibly a future one.
    ///
    /// The caller sleeps for [`Reservation::delay`] and then acts, or calls [`Reservation::cancel`].
    #[doc(alias("Reserve"))]
    pub fn reserve(&self) -> Reservation {
        self.reserve_n(1).expect("a burst is at least 1")
    }

    /// Reserves `n` tokens, possibly future ones.
    ///
    /// # Errors
    ///
    /// [`ExceedsBurst`] if `n` is above the burst. Nothing is taken then.
    pub fn reserve_n(&self, n: u32) -> Result<Reservation, ExceedsBurst> {
        Reservation::new(Arc::clone(&self.bucket), n)
    }

    /// Changes the rate from now on. Waiters get new times. Reservations keep their times.
    ///
    /// After [`Rate::INFINITE`], the bucket is full.
    ///
    /// # Errors
    ///
    /// Names the bound that `rate` violates. Nothing has changed then.
    #[doc(alias("SetRate"))]
    pub fn set_rate(&self, rate: Rate) -> Result<(), ConfigError> {
        let rate = rate.check()?;
        self.bucket.set_quota(|quota| Quota { rate, ..quota }).into_iter().for_each(wake);
        Ok(())
    }

    /// Changes the burst from now on. A larger burst adds no tokens at once.
    ///
    /// # Errors
    ///
    /// Names `burst` if it is 0. Nothing has changed then.
    #[doc(alias("SetBurst"))]
    pub fn set_burst(&self, burst: u32) -> Result<(), ConfigError> {
        let burst = at_least_one("burst", burst)?;
        self.bucket.set_quota(|quota| Quota { burst, ..quota }).into_iter().for_each(wake);
        Ok(())
    }

    /// Returns the present rate.
    pub fn rate(&self) -> Rate {
        self.bucket.quota().rate
    }

    /// Returns the present burst, in tokens.
    pub fn burst(&self) -> u32 {
        self.bucket.quota().burst
    }

    /// Returns the number of tokens in the bucket. The number is negative when more tokens are promised than earned.
    pub fn tokens(&self) -> f64 {
        self.bucket.tokens()
    }

    /// Returns the statistics of this limiter and its clones.
    pub fn stats(&self) -> LimiterStats {
        self.bucket.numbers.stats()
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
