//! The settings of a retry.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ripcord::{Clock, Context};

use super::backoff::Backoff;
use super::hints::{HintsBelow, RetryHints};
use super::{Jitter, Retry, RetryBudget};
use crate::config::at_least_one;
use crate::{ConfigError, Error, Random};

type RetryIf<E> = Arc<dyn Fn(&E) -> bool + Send + Sync>;
type RetryAfter<E> = Arc<dyn Fn(&E) -> Option<Duration> + Send + Sync>;
type OnRetry<E> = Arc<dyn Fn(&RetryEvent<'_, E>) + Send + Sync>;
type CustomBackoff<E> = Arc<dyn Fn(u32, &Error<E>) -> Duration + Send + Sync>;

/// The argument of the hook [`RetryBuilder::on_retry`]: an attempt failed, and another attempt will follow.
#[derive(Debug)]
#[non_exhaustive]
pub struct RetryEvent<'a, E> {
    /// The context passed to [`Retry::run`]. Its values identify the request.
    pub ctx: &'a Context,
    /// The number of the attempt that will follow. It is 1 for the first retry.
    pub attempt: u32,
    /// The wait before that attempt.
    pub delay: Duration,
    /// The error of the failed attempt.
    pub error: &'a Error<E>,
}

pub(super) struct Settings<E> {
    pub(super) max_attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) custom_backoff: Option<CustomBackoff<E>>,
    pub(super) max_retry_after: Duration,
    pub(super) retry_if: Option<RetryIf<E>>,
    pub(super) retry_after: Option<RetryAfter<E>>,
    pub(super) on_retry: Option<OnRetry<E>>,
    /// For calls whose error is a policy's.
    pub(super) hints_below: Option<HintsBelow<E>>,
    /// The process's, unless this is set.
    pub(super) random: Option<Arc<Random>>,
    /// That of the call's context, unless this is set.
    pub(super) clock: Option<Clock>,
}

/// Builds a [`Retry`]. Create the builder with [`Retry::builder`] or [`Retry::constant`].
#[must_use = "a builder does nothing until it is built"]
pub struct RetryBuilder<E> {
    settings: Settings<E>,
    budget: Option<Arc<RetryBudget>>,
}

impl<E> RetryBuilder<E> {
    pub(super) fn new() -> Self {
        let settings = Settings {
            max_attempts: 4,
            backoff: Backoff::default(),
            custom_backoff: None,
            max_retry_after: Duration::from_secs(30),
            retry_if: None,
            retry_after: None,
            on_retry: None,
            hints_below: None,
            random: None,
            clock: None,
        };
        RetryBuilder { settings, budget: None }
    }

    /// Sets the maximum number of attempts, including the first. The number must be at least 1. Default: 4.
    ///
    /// The setting `MaxRetries` of Go programs is this number minus 1.
    #[doc(alias("MaxRetries"))]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = attempts;
        self
    }

    /// Sets the first wait, which must not be longer than [`max_delay`](Self::max_delay). Go programs call this setting
    /// `InitialWait`. Default: 100 ms.
    #[doc(alias("InitialWait"))]
    pub fn base(mut self, delay: Duration) -> Self {
        self.settings.backoff.base = delay;
        self
    }

    /// Sets the longest wait, including jitter. Go programs call this setting `MaxWait`. Default: 2 seconds.
    #[doc(alias("MaxWait"))]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.settings.backoff.max_delay = delay;
        self
    }

    /// Sets the factor by which the wait grows after each attempt. The factor must be finite and at least 1. Default: 2.
    pub fn multiplier(mut self, factor: f64) -> Self {
        self.settings.backoff.multiplier = factor;
        self
    }

    /// Sets how the waits are randomized. Default: [`Jitter::None`].
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.settings.backoff.jitter = jitter;
        self
    }

    /// Sets a function that computes each wait. The settings `base`, `multiplier`, `max_delay` and `jitter` are then not used.
    ///
    /// The arguments are the number of the attempt that will follow, which is 1 for the first retry, and the error of the
    /// failed attempt.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord_policy::Retry;
    ///
    /// # fn main() -> Result<(), ripcord_policy::ConfigError> {
    /// let linear = Retry::<std::io::Error>::builder()
    ///     .backoff(|attempt, _error| Duration::from_millis(50) * attempt)
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn backoff(mut self, backoff: impl Fn(u32, &Error<E>) -> Duration + Send + Sync + 'static) -> Self {
        self.settings.custom_backoff = Some(Arc::new(backoff));
        self
    }

    /// Sets the source of random numbers for the jitter. A [seeded](Random::seeded) source makes a test repeatable.
    pub fn random(mut self, random: Random) -> Self {
        self.settings.random = Some(Arc::new(random));
        self
    }

    /// Sets a function that returns whether an error of the call is worth another attempt. Default: every error is.
    ///
    /// The function sees only errors that the call itself returned. An attempt timeout is always worth another attempt. The end
    /// of the caller's context never is.
    pub fn retry_if(mut self, retry_if: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.settings.retry_if = Some(Arc::new(retry_if));
        self
    }

    /// Sets a function that returns the wait that the server asks for in its error. Use
    /// [`parse_retry_after`](crate::retry::parse_retry_after) to parse the HTTP header `Retry-After`.
    ///
    /// The retry waits for this time if it is longer than the backoff. The time may be longer than `max_delay`. The retry
    /// shortens it to [`max_retry_after`](Self::max_retry_after).
    pub fn retry_after(mut self, retry_after: impl Fn(&E) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.settings.retry_after = Some(Arc::new(retry_after));
        self
    }

    /// Sets the longest wait that the [`retry_after`](Self::retry_after) function may ask for. A longer wait is shortened to
    /// this time. Default: 30 seconds.
    pub fn max_retry_after(mut self, limit: Duration) -> Self {
        self.settings.max_retry_after = limit;
        self
    }

    /// Sets the budget from which retries take tokens. Share the budget with other callers of the same service. Default: no
    /// budget.
    pub fn budget(mut self, budget: Arc<RetryBudget>) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Sets a hook that runs before each wait. A panic of the hook goes to the caller of [`Retry::run`].
    pub fn on_retry(mut self, hook: impl Fn(&RetryEvent<'_, E>) + Send + Sync + 'static) -> Self {
        self.settings.on_retry = Some(Arc::new(hook));
        self
    }

    /// Sets the clock that measures the waits. Default: the clock of the call's context.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.settings.clock = Some(clock);
        self
    }

    /// Builds the retry.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `max_attempts` is 0, if `multiplier` is below 1, infinite or NaN, or if `base` is longer than
    /// `max_delay`. The error names the first such setting.
    pub fn build(self) -> Result<Retry<E>, ConfigError> {
        at_least_one("max_attempts", self.settings.max_attempts)?;
        self.settings.backoff.check()?;
        Ok(Retry::new(self.settings, self.budget))
    }
}

impl<E> RetryBuilder<Error<E>> {
    /// Lets the retry interpret the errors of other policies that run inside its call. A [`Stack`](crate::Stack) does not need
    /// this setting.
    ///
    /// * If an inner policy refused the attempt and a later try can succeed, the retry waits for the time that the error asks
    ///   for. Such an attempt takes no tokens from the budget, because it was not sent.
    /// * After any other refusal, after the end of the attempt's context, and after an inner retry that gave up, the retry
    ///   makes no further attempt.
    /// * A retry after an attempt timeout costs more tokens than a retry after another failure.
    /// * If an inner retry stopped with [`StopReason::Nested`](crate::StopReason::Nested), the outer retry judges the last
    ///   error of the inner retry.
    ///
    /// The error type of such a call is `Error<Error<E>>`. `?` converts it to `Error<E>`.
    pub fn over_policies(mut self) -> Self {
        self.settings.hints_below = Some(|error| RetryHints::new(error, None));
        self
    }
}

impl<E> Clone for Settings<E> {
    fn clone(&self) -> Self {
        Settings {
            max_attempts: self.max_attempts,
            backoff: self.backoff.clone(),
            custom_backoff: self.custom_backoff.clone(),
            max_retry_after: self.max_retry_after,
            retry_if: self.retry_if.clone(),
            retry_after: self.retry_after.clone(),
            on_retry: self.on_retry.clone(),
            hints_below: self.hints_below,
            random: self.random.clone(),
            clock: self.clock.clone(),
        }
    }
}

impl<E> Clone for RetryBuilder<E> {
    fn clone(&self) -> Self {
        RetryBuilder { settings: self.settings.clone(), budget: self.budget.clone() }
    }
}

impl<E> fmt::Debug for Settings<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("max_attempts", &self.max_attempts)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

impl<E> fmt::Debug for RetryBuilder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBuilder").field("settings", &self.settings).field("budget", &self.budget).finish()
    }
}
