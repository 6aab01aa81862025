//! Buckets outside of the process, which several processes share.
//!
//! Set a [`Backend`] with [`RateLimiterBuilder::backend`](super::RateLimiterBuilder::backend) or
//! [`KeyedLimiterBuilder::backend`](super::KeyedLimiterBuilder::backend). The crate `ripcord-redis` has a backend, its type
//! `Limiter`. To keep the buckets in another server, implement the trait. Code that uses a limiter does not depend on the backend.

use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use super::{Quota, Rate};
use crate::ConfigError;

/// The type of the futures that the methods of [`Backend`] and [`Promise`] return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A function that [`Promise::refund`] calls with the number of tokens that returned to the bucket.
pub type Refunded = Box<dyn FnOnce(u32) + Send>;

/// Keeps the buckets of limiters outside of the process.
///
/// The methods of a limiter that are not `async`, such as [`allow`](super::RateLimiter::allow), block their thread until the future
/// of the backend is ready. So a backend must set a time limit for its futures, and they must not need the caller's runtime.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Claims `tokens` tokens of a bucket.
    ///
    /// If the tokens are available now, takes them. If they become available in less than `longest_wait`, takes them too, and
    /// returns the delay. If `longest_wait` is `None`, takes them whatever the delay is, even if they never become available at
    /// the current rate. Otherwise takes no tokens: [`Claimed`] lists the reasons.
    ///
    /// If the future is dropped after the claim was sent, the backend must return the tokens to the bucket. It then calls
    /// `refunded` with the number of tokens that returned, as [`Promise::refund`] calls its `then`. In all other cases it drops
    /// `refunded`.
    fn claim<'a>(
        &'a self,
        bucket: BucketId<'a>,
        tokens: u32,
        longest_wait: Option<Duration>,
        refunded: Refunded,
    ) -> BoxFuture<'a, Claimed>;

    /// Sets the rate for all processes. It applies to the buckets whose key has no quota of its own
    /// ([`BucketId::has_own_quota`]).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the field `rate` if the rate could not be stored.
    fn set_rate(&self, rate: Rate) -> BoxFuture<'_, Result<(), ConfigError>>;

    /// Sets the burst for all processes. It applies to the buckets whose key has no quota of its own
    /// ([`BucketId::has_own_quota`]).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the field `burst` if the burst could not be stored.
    fn set_burst(&self, burst: u32) -> BoxFuture<'_, Result<(), ConfigError>>;

    /// Returns the current quota of a bucket: the quota of its key, or the rate and the burst that were set last. If the
    /// backend is unavailable, returns the quota that this process read last, or [`BucketId::quota`].
    fn quota<'a>(&'a self, bucket: BucketId<'a>) -> BoxFuture<'a, Quota>;

    /// Returns the number of tokens in a bucket. The number is negative if waiters and reservations need more tokens than the
    /// bucket has. If the backend is unavailable, returns an estimate, for example the burst if it grants claims during the
    /// outage, or 0 if it refuses them.
    fn tokens<'a>(&'a self, bucket: BucketId<'a>) -> BoxFuture<'a, f64>;
}

/// A bucket of a [`Backend`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BucketId<'a> {
    /// The name of the key, as the function passed to [`KeyedLimiterBuilder::backend`](super::KeyedLimiterBuilder::backend) returns
    /// it. Empty for a [`RateLimiter`](super::RateLimiter).
    pub key: &'a str,
    /// The quota that the limiter's builder has set for the bucket.
    pub quota: Quota,
    /// Whether the key has a quota of its own, which [`Backend::set_rate`] and [`Backend::set_burst`] do not change.
    pub has_own_quota: bool,
}

/// The answer of a [`Backend`] to a [claim](Backend::claim).
#[derive(Debug)]
pub enum Claimed {
    /// The tokens were taken.
    Granted {
        /// The time after which the tokens may be used. It is zero if they may be used now. It is `None` if they never become
        /// available at the current rate, and the claim has no `longest_wait`.
        delay: Option<Duration>,
        /// The handle with which the limiter returns the tokens if they are not used. `None` if the tokens need not be returned.
        promise: Option<Box<dyn Promise>>,
    },
    /// The tokens were not taken, because the wait for them would not be shorter than the `longest_wait` of the claim. The value
    /// is the length of the wait. `None` means that the tokens never become available at the current rate.
    Late(Option<Duration>),
    /// The tokens were not taken, because the claim is for more tokens than the burst.
    ExceedsBurst {
        /// The current burst of the bucket.
        burst: u32,
    },
    /// The tokens were not taken, because the waiters and reservations of the bucket, including this claim, would need more
    /// tokens than the backend supports.
    Full,
    /// The backend is unavailable, and refuses the claim.
    Unavailable {
        /// The time after which the backend may be available again.
        retry_after: Duration,
    },
}

/// Tokens that a [`Backend`] has granted and that are not used yet. Dropping a promise does not return its tokens.
pub trait Promise: fmt::Debug + Send + Sync {
    /// Waits until a change of the rate moves the time from which the tokens may be used. Returns the new delay, as in
    /// [`Claimed::Granted`]. If the rate was changed between the claim and this call, returns at once. The limiter calls this
    /// method again after each change. Default: waits forever.
    fn moved(&mut self) -> BoxFuture<'_, Option<Duration>> {
        Box::pin(pending())
    }

    /// Starts to return the tokens to the bucket, and does not wait until they have returned. The backend later calls `then` on any
    /// thread, with the number of tokens that returned to the bucket. If this number is unknown, it drops `then` instead.
    fn refund(self: Box<Self>, then: Refunded);
}
