//! The settings of a retry, and what its hooks are given.

use std::sync::Arc;
use std::time::Duration;

use super::inspection::{InspectBelow, Inspection};
use super::{Jitter, Retry, RetryBudget};
use crate::config::at_least_one;
use crate::{ConfigError, Error, Random};

pub(super) type RetryIf<E> = Arc<dyn Fn(&E) -> bool + Send + Sync>;
pub(super) type RetryAfter<E> = Arc<dyn Fn(&E) -> Option<Duration> + Send + Sync>;
pub(super) type OnRetry<E> = Arc<dyn Fn(&RetryEvent<'_, E>) + Send + Sync>;

/// What `on_retry` is told: an attempt failed, and another will follow.
#[derive(Debug)]
#[non_exhaustive]
pub struct RetryEvent<'a, E> {
    /// The number of the attempt that will follow, so 1 for the first retry.
    pub attempt: u32,
    /// The wait before it.
    pub delay: Duration,
    /// What the attempt before it ended in.
    pub error: &'a Error<E>,
}

/// Settings that most retries are not given.
pub(super) struct Extras<E> {
    pub(super) max_retry_after: Duration,
    pub(super) retry_if: Option<RetryIf<E>>,
    pub(super) retry_after: Option<RetryAfter<E>>,
    pub(super) on_retry: Option<OnRetry<E>>,
    /// For calls whose error is a policy's.
    pub(super) inspect: Option<InspectBelow<E>>,
    pub(super) budget: Option<Arc<RetryBudget>>,
    /// The process's, unless this is set.
    pub(super) random: Option<Arc<Random>>,
}

impl<E> Default for Extras<E> {
    fn default() -> Self {
        Extras {
            max_retry_after: Duration::from_secs(30),
            retry_if: None,
            retry_after: None,
            on_retry: None,
            inspect: None,
            budget: None,
            random: None,
        }
    }
}

impl<E> Clone for Extras<E> {
    fn clone(&self) -> Self {
        Extras {
            max_retry_after: self.max_retry_after,
            retry_if: self.retry_if.clone(),
            retry_after: self.retry_after.clone(),
            on_retry: self.on_retry.clone(),
            inspect: self.inspect,
            budget: self.budget.clone(),
            random: self.random.clone(),
        }
    }
}

impl<E> Retry<E> {
    fn extras(&mut self) -> &mut Extras<E> {
        self.extras.get_or_insert_default()
    }

    /// Attempts in all, the first one included; at least 1; 4 if not set. A Go program's `MaxRetries` is one
    /// less.
    #[doc(alias("MaxRetries"))]
    #[inline]
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// The first wait, at most [`max_delay`](Retry::max_delay). 100 ms if not set. A Go program's
    /// `InitialWait`.
    #[doc(alias("InitialWait"))]
    #[inline]
    #[must_use]
    pub fn base(mut self, delay: Duration) -> Self {
        self.backoff.base = delay;
        self
    }

    /// The longest wait, jitter included. 2 s if not set. A Go program's `MaxWait`.
    #[doc(alias("MaxWait"))]
    #[inline]
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.backoff.max_delay = delay;
        self
    }

    /// The factor by which the wait grows, at least 1 and finite; 2 if not set.
    #[inline]
    #[must_use]
    pub fn multiplier(mut self, factor: f64) -> Self {
        self.backoff.multiplier = factor;
        self
    }

    /// How the waits are spread; not at all if not set.
    #[inline]
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.backoff.jitter = jitter;
        self
    }

    /// The seed of the jitter, to make a test repeatable.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.extras().random = Some(Arc::new(Random::seeded(seed)));
        self
    }

    /// Which errors are worth another attempt; without it, all are.
    #[must_use]
    pub fn retry_if(mut self, worth_it: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.extras().retry_if = Some(Arc::new(worth_it));
        self
    }

    /// How long the server asks to be left alone, read from its error.
    ///
    /// Such a wait replaces a shorter backoff, may exceed `max_delay`, and is cut to
    /// [`max_retry_after`](Retry::max_retry_after).
    #[must_use]
    pub fn retry_after(mut self, hint: impl Fn(&E) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.extras().retry_after = Some(Arc::new(hint));
        self
    }

    /// The longest `retry_after` that is honoured in full; 30 seconds unless set.
    #[must_use]
    pub fn max_retry_after(mut self, limit: Duration) -> Self {
        self.extras().max_retry_after = limit;
        self
    }

    /// The budget retries are paid from, shared with others that call the same service.
    #[must_use]
    pub fn budget(mut self, budget: Arc<RetryBudget>) -> Self {
        self.extras().budget = Some(budget);
        self
    }

    /// Called before each wait. A panic in it ends the run it happens in, and no other.
    #[must_use]
    pub fn on_retry(mut self, hook: impl Fn(&RetryEvent<'_, E>) + Send + Sync + 'static) -> Self {
        self.extras().on_retry = Some(Arc::new(hook));
        self
    }

    /// This retry, once all settings are known to be within bounds.
    ///
    /// # Errors
    ///
    /// Names the first setting out of bounds: `max_attempts` of 0, a `multiplier` below 1, infinite or NaN, a `base`
    /// above `max_delay`.
    pub fn build(self) -> Result<Self, ConfigError> {
        match self.is_within_bounds() {
            true => Ok(self),
            false => Err(self.out_of_bounds()),
        }
    }

    #[inline]
    pub(super) fn is_within_bounds(&self) -> bool {
        self.max_attempts > 0 && self.backoff.is_within_bounds()
    }

    /// What is, if something is.
    #[cold]
    pub(super) fn out_of_bounds(&self) -> ConfigError {
        match at_least_one("max_attempts", self.max_attempts) {
            Err(error) => error,
            Ok(_) => self.backoff.out_of_bounds(),
        }
    }
}

impl<E> Retry<Error<E>> {
    /// For attempts that go through other policies of this crate, whose errors it then understands.
    ///
    /// A local rejection is waited out for as long as it says, if that fits the deadline, and takes nothing from the
    /// budget, for nothing was sent; a rejection that time does not cure is not retried; an attempt's timeout costs the
    /// budget more than another failure. A retry further in that left the retrying to this one ([`Stop::Nested`]) is looked
    /// through: its last error counts. Any other that gave up, and a context's end, are not retried. A stack does this by itself.
    #[must_use]
    pub fn over_policies(mut self) -> Self {
        self.extras().inspect = Some(|error| Inspection::new(error, None));
        self
    }
}
