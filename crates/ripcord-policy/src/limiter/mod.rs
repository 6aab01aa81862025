//! Limits the rate of calls with token buckets.
//!
//! [`RateLimiter`] has one bucket, for example for all calls to a service. [`KeyedLimiter`] has one bucket per key, for example
//! per client. A bucket earns tokens at a [`Rate`], and each call takes a token from the bucket.

pub mod backend;

mod bucket;
mod builder;
mod keyed;
mod published;
mod queue;
mod rate;
mod remote;
mod reservation;
mod schedule;
mod stats;
mod time;
mod token;
mod wait;

pub use builder::RateLimiterBuilder;
pub use keyed::{KeyedLimiter, KeyedLimiterBuilder};
pub use rate::{Quota, Rate};
pub use reservation::{ExceedsBurst, Reservation};
pub use stats::RateLimiterStats;

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use ripcord::Context;

use crate::config::at_least_one;
use crate::panics::wake;
use crate::{ConfigError, Error, Refused};
use bucket::Bucket;
use remote::Remote;
use stats::{Count, Numbers};
use time::Time;

/// Limits the rate of calls with a token bucket.
///
/// Each call takes a token from the bucket. The bucket starts full, and earns tokens at a [`Rate`]. The setting
/// [`burst`](RateLimiterBuilder::burst) is the maximum number of tokens in the bucket.
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
/// # Methods
///
/// | to | use |
/// |---|---|
/// | create a limiter | [`builder`](RateLimiter::builder), [`new`](RateLimiter::new) |
/// | wait for a token and make a call | [`run`](RateLimiter::run) |
/// | wait for a token | [`wait`](RateLimiter::wait), [`wait_n`](RateLimiter::wait_n) |
/// | take a token only if there is one now | [`allow`](RateLimiter::allow), [`allow_n`](RateLimiter::allow_n) |
/// | reserve a token, and learn when it may be used; [`cancel`](Reservation::cancel) returns it, a drop does not | [`reserve`](RateLimiter::reserve), [`reserve_n`](RateLimiter::reserve_n) |
/// | change the rate or the burst | [`set_rate`](RateLimiter::set_rate), [`set_burst`](RateLimiter::set_burst) |
/// | read the statistics | [`stats`](RateLimiter::stats) |
///
/// Clones share the bucket and its statistics.
///
/// # Accuracy
///
/// In any period, the limiter never grants more than the burst plus rate × period, to within 2^-26 of a token. This holds for
/// any number of threads. Each change of the rate may lose up to 2^-26 of a token.
///
/// # Waiting
///
/// Waiters get their tokens in the order of their calls. When the rate changes, each waiter gets its tokens earlier or later,
/// as the new rate requires. A [`Reservation`] keeps its time.
///
/// If a waiter leaves before it has its tokens, because its future is dropped or its context ends, the waiters behind it keep
/// their times. The tokens of the waiter that left return to the bucket once all waiters and reservations behind it have left
/// too. If the next waiter or reservation gets its own tokens first, the tokens of the waiter that left are lost.
///
/// Dropped waits therefore waste tokens. To limit the time of a wait, set a deadline on its context, and do not drop the future, as
/// `tokio::time::timeout` does. A wait that cannot end before the deadline fails at once and takes no token. The waiters behind a
/// waiter that left do not move up, because each of them would have to be woken to learn its new time, on all machines if the
/// bucket is shared.
///
/// If a [`Stack`](crate::Stack) has taken a token for a call and then does not send the call, the stack returns the token to
/// the bucket. The waiters then get their tokens earlier.
///
/// # Several processes
///
/// By default, the bucket is in this process. With a [`backend`](RateLimiterBuilder::backend), several processes share it. The
/// crate `ripcord-redis` has a backend that keeps buckets in Redis. Code that uses a limiter does not depend on the backend. The
/// sections above describe a bucket in this process. The docs of the backend say how it differs.
///
/// # Clocks
///
/// The bucket earns tokens by the limiter's clock. The limiter uses the system's clock unless
/// [`clock`](RateLimiterBuilder::clock) sets another clock. A bucket in a [`backend`](RateLimiterBuilder::backend) earns tokens by
/// the backend's clock.
///
/// A wait sleeps by the clock of the context passed to [`wait`](RateLimiter::wait). In a test, set the same manual clock for the
/// limiter and for the context.
#[derive(Clone)]
#[doc(alias("rate.Limiter"))]
pub struct RateLimiter {
    source: Source,
    /// The line that created the limiter's builder.
    built_at: &'static Location<'static>,
}

/// Where the bucket is.
#[derive(Clone, Debug)]
enum Source {
    Bucket(Arc<Bucket>),
    Remote(Arc<Remote>),
}

impl RateLimiter {
    /// Creates a builder. The [`rate`](RateLimiterBuilder::rate) is required.
    ///
    /// If the limiter refuses a request, the long text (`{:#}`) of the error shows the line that called `builder`.
    #[track_caller]
    pub fn builder() -> RateLimiterBuilder {
        RateLimiterBuilder::new()
    }

    /// Creates a limiter with a full bucket of `burst` tokens. The bucket earns tokens at `rate` by the system's clock.
    ///
    /// If the limiter refuses a request, the long text (`{:#}`) of the error shows the line that called `new`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `rate` is negative, NaN or has a period of zero, or if `burst` is 0.
    #[track_caller]
    #[doc(alias("NewRateLimiter"))]
    pub fn new(rate: Rate, burst: u32) -> Result<Self, ConfigError> {
        RateLimiter::builder().rate(rate).burst(burst).build()
    }

    /// Waits for a token, then calls `call` with a clone of `ctx` and awaits the returned future. The
    /// [`stats`](RateLimiter::stats) count the token, but not the result of the call.
    ///
    /// If `ctx` ends during the wait, the wait ends. If `ctx` ends during the call, the limiter does not drop the call. The
    /// call must observe its context. If the call succeeds, its value is returned even if `ctx` has ended meanwhile.
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
    /// * The limiter refused the call, for the reasons listed for [`wait`](RateLimiter::wait).
    /// * `ctx` was canceled or its deadline passed during a call that failed ([`Error::context_error`]). The call's error is
    ///   the source.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped during the wait, the token returns to the bucket as described for [`wait`](RateLimiter::wait).
    /// If the future is dropped during the call, the call is dropped, and the token does not return.
    pub async fn run<T, E, F, Fut>(&self, ctx: &Context, call: F) -> Result<T, Error<E>>
    where
        F: FnOnce(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.wait(ctx).await?;
        call(ctx.clone()).await.map_err(|error| Error::new(error).under(ctx))
    }

    /// Waits for a token, and takes it. Returns the duration of the wait.
    ///
    /// If the token becomes available at the moment when `ctx` ends, the wait succeeds. If the bucket is empty and the rate
    /// is zero, no token becomes available. If `ctx` has no deadline, the wait then ends only when the rate is changed or `ctx`
    /// is canceled.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed before or during the wait ([`Refused::context_error`]).
    /// * The token would not be available before the deadline of `ctx` ([`Refused::is_deadline_exceeded`]). The method then
    ///   fails at once, without waiting for the deadline, and takes no token. If the rate is lowered during the wait, the
    ///   wait can end with this error too.
    /// * The waiters and reservations, including this wait, would need more than 2^36 (69 billion) tokens
    ///   ([`Refused::is_limited`]).
    /// * The [`backend`](RateLimiterBuilder::backend) of the limiter is unavailable, and refuses requests
    ///   ([`Refused::is_unavailable`]).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped during the wait, the token returns to the bucket, unless there is a later waiter or a later
    /// [`Reservation`]. See [Waiting](RateLimiter#waiting).
    #[doc(alias("Wait"))]
    pub async fn wait(&self, ctx: &Context) -> Result<Duration, Refused> {
        self.wait_n(ctx, 1).await
    }

    /// Waits for `n` tokens, and takes them. Returns the duration of the wait. See [`wait`](RateLimiter::wait).
    ///
    /// # Errors
    ///
    /// * The errors listed for [`wait`](RateLimiter::wait).
    /// * `n` is above the [`burst`](RateLimiter::burst), and the rate is not [`Rate::INFINITE`] ([`Refused::is_limited`]). The
    ///   method then takes no token.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped during the wait, the tokens return to the bucket as described for
    /// [`wait`](RateLimiter::wait).
    pub async fn wait_n(&self, ctx: &Context, n: u32) -> Result<Duration, Refused> {
        match &self.source {
            Source::Bucket(bucket) => wait::wait(bucket, ctx, n, self.built_at).await,
            Source::Remote(remote) => remote::wait(remote, ctx, n, self.built_at).await.map(|(waited, _)| waited),
        }
    }

    /// Takes a token and returns `true` if the bucket has a token. Otherwise returns `false`. Never waits for a token. With a
    /// [`backend`](RateLimiterBuilder::backend), blocks the thread until the backend answers.
    ///
    /// To learn also when the next token comes, for example for the header `Retry-After`, call [`reserve`](Self::reserve). If the
    /// [`delay`](Reservation::delay) is not zero, [`cancel`](Reservation::cancel) the reservation.
    #[inline]
    #[doc(alias("Allow"))]
    pub fn allow(&self) -> bool {
        self.allow_n(1)
    }

    /// Takes `n` tokens and returns `true` if the bucket has `n` tokens. Otherwise takes no token and returns `false`. Never waits
    /// for tokens. With a [`backend`](RateLimiterBuilder::backend), blocks the thread until the backend answers.
    ///
    /// If `n` is above the [`burst`](RateLimiter::burst), always returns `false`, unless the rate is [`Rate::INFINITE`].
    #[inline]
    pub fn allow_n(&self, n: u32) -> bool {
        let bucket = match &self.source {
            Source::Bucket(bucket) => bucket,
            Source::Remote(remote) => return remote.allow(n),
        };
        let granted = bucket.take(n);
        if granted {
            bucket.numbers.bump(Count::Allowed);
        } else {
            bucket.numbers.bump(Count::Denied);
        }
        granted
    }

    /// Reserves a token without waiting for it. If the bucket has no token, the reserved token may be used only after a delay. With
    /// a [`backend`](RateLimiterBuilder::backend), blocks the thread until the backend answers.
    ///
    /// If [`Reservation::act_at`] returns `None`, the token may never be used, for example because the rate is zero: do not make
    /// the call. Otherwise sleep for the time [`Reservation::delay`], and then make the call. If you do not make the call, return
    /// the token to the bucket with [`Reservation::cancel`]. Dropping the reservation does not return the token.
    #[doc(alias("Reserve"))]
    pub fn reserve(&self) -> Reservation {
        self.reserve_n(1).expect("a burst is at least 1")
    }

    /// Reserves `n` tokens without waiting. If the bucket has fewer tokens, the reserved tokens may be used only after a delay.
    /// See [`reserve`](RateLimiter::reserve).
    ///
    /// # Errors
    ///
    /// [`ExceedsBurst`] if `n` is above the [`burst`](RateLimiter::burst), and the rate is not [`Rate::INFINITE`]. The method
    /// then takes no token.
    pub fn reserve_n(&self, n: u32) -> Result<Reservation, ExceedsBurst> {
        Reservation::new(self.source.clone(), n, self.built_at)
    }

    /// Changes the rate at which the bucket earns tokens. The bucket keeps its tokens. Each waiter gets its tokens earlier or
    /// later, as the new rate requires. Reservations keep their times.
    ///
    /// If the old rate was [`Rate::INFINITE`], the bucket is full after the change. With a
    /// [`backend`](RateLimiterBuilder::backend), blocks the thread until the backend answers.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `rate` is negative, NaN or has a period of zero, or if the [`backend`](RateLimiterBuilder::backend) of
    /// the limiter could not store the rate. The limiter then keeps its old rate.
    #[doc(alias("SetRate"))]
    pub fn set_rate(&self, rate: Rate) -> Result<(), ConfigError> {
        let rate = rate.check()?;
        match &self.source {
            Source::Bucket(bucket) => bucket.set_quota(|quota| Quota { rate, ..quota }).into_iter().for_each(wake),
            Source::Remote(remote) => remote.set_rate(rate)?,
        }
        Ok(())
    }

    /// Changes the burst: the maximum number of tokens in the bucket. Waiters and reservations keep their times.
    ///
    /// If the burst grows, the bucket has to earn the additional tokens. If the burst shrinks, the bucket loses the tokens above
    /// the new burst. With a [`backend`](RateLimiterBuilder::backend), blocks the thread until the backend answers.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `burst` is 0, or if the [`backend`](RateLimiterBuilder::backend) of the limiter could not store the
    /// burst. The limiter then keeps its old burst.
    #[doc(alias("SetBurst"))]
    pub fn set_burst(&self, burst: u32) -> Result<(), ConfigError> {
        let burst = at_least_one("burst", burst)?;
        match &self.source {
            Source::Bucket(bucket) => bucket.set_quota(|quota| Quota { burst, ..quota }).into_iter().for_each(wake),
            Source::Remote(remote) => remote.set_burst(burst)?,
        }
        Ok(())
    }

    /// Returns the current rate. With a [`backend`](RateLimiterBuilder::backend), blocks the thread until the backend answers.
    pub fn rate(&self) -> Rate {
        self.quota().rate
    }

    /// Returns the current burst: the maximum number of tokens in the bucket. With a
    /// [`backend`](RateLimiterBuilder::backend), blocks the thread until the backend answers.
    pub fn burst(&self) -> u32 {
        self.quota().burst
    }

    /// Returns the number of tokens in the bucket, including the fraction of the next token.
    ///
    /// The number is negative if waiters and reservations need more tokens than the bucket has. For example, it is -2 if the
    /// bucket is empty and two waiters need one token each. If the rate is [`Rate::INFINITE`], returns the burst. With a
    /// [`backend`](RateLimiterBuilder::backend), blocks the thread until the backend answers.
    pub fn tokens(&self) -> f64 {
        match &self.source {
            Source::Bucket(bucket) => bucket.tokens(),
            Source::Remote(remote) => remote.tokens(),
        }
    }

    /// Returns the statistics of this limiter and its clones.
    pub fn stats(&self) -> RateLimiterStats {
        self.source.numbers().stats()
    }

    fn quota(&self) -> Quota {
        match &self.source {
            Source::Bucket(bucket) => bucket.quota(),
            Source::Remote(remote) => remote.quota(),
        }
    }
}

impl Source {
    fn numbers(&self) -> &Arc<Numbers> {
        match self {
            Source::Bucket(bucket) => &bucket.numbers,
            Source::Remote(remote) => &remote.numbers,
        }
    }

    fn time(&self) -> &Time {
        match self {
            Source::Bucket(bucket) => &bucket.time,
            Source::Remote(remote) => &remote.time,
        }
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Source::Remote(remote) = &self.source {
            // The rate and the tokens are in the backend.
            return f.debug_struct("RateLimiter").field("backend", &remote.backend).finish_non_exhaustive();
        }
        f.debug_struct("RateLimiter")
            .field("rate", &self.rate())
            .field("burst", &self.burst())
            .field("tokens", &self.tokens())
            .finish_non_exhaustive()
    }
}
