//! The builder of a limiter.

use std::sync::Arc;

use ripcord::Clock;

use super::RateLimiter;
use super::bucket::Bucket;
use super::rate::{Quota, Rate};
use super::stats::Numbers;
use super::time::Time;
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
}

impl RateLimiterBuilder {
    pub(super) fn new() -> Self {
        RateLimiterBuilder { rate: None, burst: 1, clock: None }
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

    /// Sets the clock by which the bucket earns tokens. Default: the system's clock.
    ///
    /// A wait sleeps by the clock of the context passed to `wait` or `run`. So set the same clock for the limiter and for the
    /// contexts of its callers.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sets the clock to `clock`, unless the builder already has a clock.
    pub(crate) fn default_clock(mut self, clock: &Clock) -> Self {
        self.clock.get_or_insert_with(|| clock.clone());
        self
    }

    /// Builds a limiter with a full bucket.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the `rate` is not set, is negative, is NaN or has a period of zero, or if the `burst` is 0.
    pub fn build(self) -> Result<RateLimiter, ConfigError> {
        let quota = self.quota()?;
        let bucket = Bucket::new(quota, self.time(), Arc::new(Numbers::new()));
        Ok(RateLimiter { bucket: Arc::new(bucket) })
    }

    pub(super) fn time(self) -> Time {
        Time::new(self.clock)
    }

    pub(super) fn quota(&self) -> Result<Quota, ConfigError> {
        Quota::new(self.rate.ok_or_else(|| ConfigError::new("rate", "set", "nothing"))?, self.burst)
    }
}
