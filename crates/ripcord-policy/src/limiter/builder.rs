//! The builder of a limiter.

use std::panic::Location;
use std::sync::Arc;

use ripcord::Clock;

use super::backend::Backend;
use super::bucket::Bucket;
use super::rate::{Quota, Rate};
use super::remote::Remote;
use super::stats::Numbers;
use super::time::Time;
use super::{RateLimiter, Source};
use crate::ConfigError;

/// Builds a [`RateLimiter`]. Create the builder with [`RateLimiter::builder`].
///
/// The [`rate`](Self::rate) is required. By default the bucket holds at most one token, and the limiter uses the system's
/// clock.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct RateLimiterBuilder {
    rate: Option<Rate>,
    burst: u32,
    clock: Option<Clock>,
    backend: Option<Arc<dyn Backend>>,
    /// The line that created the builder.
    pub(super) built_at: &'static Location<'static>,
}

impl RateLimiterBuilder {
    #[track_caller]
    pub(super) fn new() -> Self {
        RateLimiterBuilder { rate: None, burst: 1, clock: None, backend: None, built_at: Location::caller() }
    }

    /// Sets the rate at which the bucket earns tokens. Required.
    pub fn rate(mut self, rate: Rate) -> Self {
        self.rate = Some(rate);
        self
    }

    /// Sets the burst: the maximum number of tokens in the bucket. The number must be at least 1. Default: 1.
    pub fn burst(mut self, burst: u32) -> Self {
        self.burst = burst;
        self
    }

    /// Sets the clock by which the bucket earns tokens. A bucket in a [`backend`](Self::backend) earns tokens by the backend's
    /// clock instead. Default: the system's clock.
    ///
    /// A wait sleeps by the clock of the context passed to `wait` or `run`. So set the same clock for the limiter and for the
    /// contexts of its callers.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Keeps the bucket in `backend`, such as `ripcord_redis::Limiter`, so that several processes share the bucket. Default: the
    /// bucket is in this process.
    ///
    /// The bucket then earns tokens by the backend's clock. All methods keep their meaning, with these differences:
    ///
    /// * The methods that are not `async`, such as [`allow`](RateLimiter::allow), block their thread until the backend answers.
    ///   Async code should use [`wait`](RateLimiter::wait) and [`run`](RateLimiter::run).
    /// * If its server is unavailable, the backend decides whether requests are granted. If it refuses them, `wait` fails
    ///   ([`Refused::is_unavailable`](crate::Refused::is_unavailable)), `allow` returns `false`, and the
    ///   [`delay`](super::Reservation::delay) of a reservation is `Duration::MAX`. `set_rate` and `set_burst` fail even if
    ///   the backend grants requests.
    /// * A rate or burst that was set with [`set_rate`](RateLimiter::set_rate) or [`set_burst`](RateLimiter::set_burst) is stored
    ///   in the backend and applies to all processes. It takes precedence over the settings of this builder.
    pub fn backend(mut self, backend: impl Backend + 'static) -> Self {
        self.backend = Some(Arc::new(backend));
        self
    }

    /// Sets the clock to `clock`, unless the builder already has a clock.
    pub(crate) fn default_clock(mut self, clock: &Clock) -> Self {
        self.clock.get_or_insert_with(|| clock.clone());
        self
    }

    /// Builds the limiter. Its bucket is full. With a [`backend`](Self::backend), a bucket that exists in the backend keeps its
    /// tokens.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the `rate` is not set, is negative, is NaN or has a period of zero, or if the `burst` is 0.
    pub fn build(self) -> Result<RateLimiter, ConfigError> {
        let quota = self.quota()?;
        let (backend, built_at) = (self.backend.clone(), self.built_at);
        let (time, numbers) = (self.time(), Arc::new(Numbers::new()));
        let source = match backend {
            None => Source::Bucket(Arc::new(Bucket::new(quota, time, numbers))),
            Some(backend) => {
                let key = String::new();
                Source::Remote(Arc::new(Remote { backend, key, quota, has_own_quota: false, time, numbers }))
            }
        };
        Ok(RateLimiter { source, built_at })
    }

    pub(super) fn time(self) -> Time {
        Time::new(self.clock)
    }

    pub(super) fn quota(&self) -> Result<Quota, ConfigError> {
        Quota::new(self.rate.ok_or_else(|| ConfigError::new("rate", "set", "nothing"))?, self.burst)
    }
}
