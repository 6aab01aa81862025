//! Buckets outside of the process, which several processes share.
//!
//! Set a [`Backend`] with [`RateLimiterBuilder::backend`](super::RateLimiterBuilder::backend) or
//! [`KeyedLimiterBuilder::backend`](super::KeyedLimiterBuilder::backend). The crate `ripcord-redis` has one. Implement the trait
//! for a server of your own. Code that uses a limiter does not depend on the backend.

use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use super::{Quota, Rate};
use crate::ConfigError;

/// A boxed future, as the methods of a [`Backend`] return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Receives the number of tokens that returned to a bucket.
pub type Refunded = Box<dyn FnOnce(u32) + Send>;

/// Holds the buckets of limiters.
///
/// The synchronous methods of a limiter, such as [`allow`](super::RateLimiter::allow), block their thread until the future is
/// ready. So the futures must not need the runtime of the caller, and must end within a time limit of the backend.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Claims `tokens` tokens of a bucket.
    ///
    /// Takes the tokens if they are available now, or in a time shorter than `longest_wait`. `None` means that any wait will do.
    /// Otherwise takes nothing.
    ///
    /// If the future is dropped after the claim was sent, the backend must return the tokens to the bucket.
    fn claim<'a>(&'a self, bucket: BucketId<'a>, tokens: u32, longest_wait: Option<Duration>)
    -> BoxFuture<'a, Claimed>;

    /// Sets the rate of all buckets without a quota of their own, for all processes.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the field `rate` if the rate could not be stored.
    fn set_rate(&self, rate: Rate) -> BoxFuture<'_, Result<(), ConfigError>>;

    /// Sets the burst of all buckets without a quota of their own, for all processes.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the field `burst` if the burst could not be stored.
    fn set_burst(&self, burst: u32) -> BoxFuture<'_, Result<(), ConfigError>>;

    /// Returns the current quota of a bucket.
    fn quota<'a>(&'a self, bucket: BucketId<'a>) -> BoxFuture<'a, Quota>;

    /// Returns the number of tokens in a bucket. The number is negative if waiters and reservations need more tokens than the
    /// bucket has.
    fn tokens<'a>(&'a self, bucket: BucketId<'a>) -> BoxFuture<'a, f64>;
}

/// A bucket of a [`Backend`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BucketId<'a> {
    /// The name of the key of a [`KeyedLimiter`](super::KeyedLimiter). Empty for a [`RateLimiter`](super::RateLimiter).
    pub key: &'a str,
    /// The quota of the bucket, as the limiter's builder sets it.
    pub quota: Quota,
    /// Whether the key has a quota of its own, which [`Backend::set_rate`] and [`Backend::set_burst`] do not change.
    pub has_own_quota: bool,
}

/// The answer of a [`Backend`] to a claim.
#[derive(Debug)]
pub enum Claimed {
    /// The tokens were taken.
    Granted {
        /// The time after which the tokens may be used: zero if they may be used now, and `None` if they are never available at
        /// the present rate.
        delay: Option<Duration>,
        /// Returns the tokens if they are not used. `None` if there is nothing to return.
        promise: Option<Box<dyn Promise>>,
    },
    /// The tokens were not taken, because they are available only after this time. `None` means never at the present rate.
    Late(Option<Duration>),
    /// The tokens were not taken, because the bucket never holds this many.
    ExceedsBurst {
        /// The current burst of the bucket.
        burst: u32,
    },
    /// The tokens were not taken, because the waiters and reservations of the bucket need too many tokens already.
    Full,
    /// The backend is unavailable, and refuses the claim.
    Unavailable {
        /// The time after which the backend may be available again.
        retry_after: Duration,
    },
}

/// Tokens that were granted and are not used yet. Dropping it does not return the tokens.
pub trait Promise: fmt::Debug + Send + Sync {
    /// Waits until the time of the tokens has changed, because the rate was changed. Returns the new delay, as in
    /// [`Claimed::Granted`]. The limiter calls this again when the future was ready. A change since the claim must not be missed.
    /// Default: the time never changes.
    fn moved(&mut self) -> BoxFuture<'_, Option<Duration>> {
        Box::pin(pending())
    }

    /// Starts to return the tokens to the bucket, and returns at once. Calls `then` with the number of tokens that returned to the
    /// bucket, on any thread, or drops `then` if the number is not known.
    fn refund(self: Box<Self>, then: Refunded);
}
