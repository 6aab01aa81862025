//! The builder of a keyed limiter.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use ripcord::Clock;

use super::{KeyedBackend, KeyedLimiter, QuotaOf};
use crate::ConfigError;
use crate::limiter::backend::Backend;
use crate::limiter::{Quota, Rate, RateLimiterBuilder};

/// Builds a [`KeyedLimiter`]. Create the builder with [`KeyedLimiter::builder`].
///
/// The [`rate`](Self::rate) is required. By default the bucket of each key holds at most one token, and the limiter uses the
/// system's clock.
#[must_use = "a builder does nothing until it is built"]
pub struct KeyedLimiterBuilder<K> {
    /// The settings of keys without their own quota.
    each: RateLimiterBuilder,
    quota_of: Option<Box<QuotaOf<K>>>,
    backend: Option<KeyedBackend<K>>,
}

impl<K: Hash + Eq + Clone> KeyedLimiterBuilder<K> {
    #[track_caller]
    pub(super) fn new() -> Self {
        KeyedLimiterBuilder { each: RateLimiterBuilder::new(), quota_of: None, backend: None }
    }

    /// Sets the rate at which the bucket of each key earns tokens, unless the key has its own [`quota`](Self::quota). Required.
    pub fn rate(mut self, rate: Rate) -> Self {
        self.each = self.each.rate(rate);
        self
    }

    /// Sets the burst: the maximum number of tokens in the bucket of each key, unless the key has its own
    /// [`quota`](Self::quota). The number must be at least 1. Default: 1.
    pub fn burst(mut self, burst: u32) -> Self {
        self.each = self.each.burst(burst);
        self
    }

    /// Sets a function that returns the [`Quota`] (rate and burst) of a key. If the function returns `None`, the key has the
    /// rate and burst of this builder. Default: all keys have the rate and burst of this builder.
    ///
    /// Each operation on a key calls the function, outside all locks. So the function should be fast. If the function returns a
    /// different quota than before, the quota of the key changes: the bucket keeps its tokens up to the new burst, the waiters
    /// get their tokens earlier or later, and the reservations keep their times.
    pub fn quota(mut self, quota: impl Fn(&K) -> Option<Quota> + Send + Sync + 'static) -> Self {
        self.quota_of = Some(Box::new(quota));
        self
    }

    /// Sets the clock by which the buckets earn tokens. Buckets in a [`backend`](Self::backend) earn tokens by the backend's
    /// clock instead. Default: the system's clock.
    ///
    /// A wait sleeps by the clock of the context passed to `wait` or `run`. So set the same clock for the limiter and for the
    /// contexts of its callers.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.each = self.each.clock(clock);
        self
    }

    /// Keeps the buckets in `backend`, such as `ripcord_redis::Limiter`, so that several processes share them. `name` returns the
    /// name of a key, by which all processes find its bucket. Default: the buckets are in this process.
    ///
    /// [`RateLimiterBuilder::backend`] lists how the methods then differ. The limiter keeps no keys in memory:
    /// [`len`](KeyedLimiter::len) returns 0.
    ///
    /// Two keys with the same name share a bucket. Every operation on a key calls `name`, outside all locks.
    pub fn backend(
        mut self,
        backend: impl Backend + 'static,
        name: impl Fn(&K) -> String + Send + Sync + 'static,
    ) -> Self {
        self.backend = Some((Arc::new(backend), Box::new(name)));
        self
    }

    /// Builds the limiter. Each key starts with a full bucket. With a [`backend`](Self::backend), a bucket that exists in the
    /// backend keeps its tokens.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the `rate` is not set, is negative, is NaN or has a period of zero, or if the `burst` is 0.
    pub fn build(self) -> Result<KeyedLimiter<K>, ConfigError> {
        let quota = self.each.quota()?;
        let built_at = self.each.built_at;
        Ok(KeyedLimiter::with(quota, self.quota_of, self.backend, self.each.time(), built_at))
    }
}

impl<K> fmt::Debug for KeyedLimiterBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedLimiterBuilder").field("each", &self.each).finish_non_exhaustive()
    }
}
