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

/// The argument of the hook [`RetryBuilder::on_retry`]. It describes a failed attempt of a [`Retry`] that will be followed
/// by another attempt after a wait.
#[derive(Debug)]
#[non_exhaustive]
pub struct RetryEvent<'a, E> {
    /// The context passed to [`Retry::run`]. In a [`Stack`](crate::Stack) with a cache, it is the context of the load: its
    /// name is `cache load`, and it has the values of the caller that started the load.
    pub ctx: &'a Context,
    /// The number of the attempt that will follow. The first attempt of a call is number 0, so the first retry is number 1.
    pub attempt: u32,
    /// The wait before the attempt that will follow.
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
    /// Reads the hints if the call's error is itself the error of a policy.
    pub(super) hints_below: Option<HintsBelow<E>>,
    /// The source of randomness, or `None` for the global source.
    pub(super) random: Option<Arc<Random>>,
    /// The clock, or `None` for the clock of the call's context.
    pub(super) clock: Option<Clock>,
}

/// Builds a [`Retry`]. Create the builder with [`Retry::builder`] or [`Retry::constant`]. `E` is the error type of the call.
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
    /// Tutorials on Go's `context` call the number of retries `MaxRetries`. It is this number minus 1.
    #[doc(alias("MaxRetries"))]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = attempts;
        self
    }

    /// Sets the wait before the second attempt. If [`jitter`](Self::jitter) is set, the wait is randomized. `delay` must not be
    /// longer than [`max_delay`](Self::max_delay). Tutorials on Go's `context` call this setting `InitialWait`. Default: 100 ms.
    #[doc(alias("InitialWait"))]
    pub fn base(mut self, delay: Duration) -> Self {
        self.settings.backoff.base = delay;
        self
    }

    /// Sets the longest wait between attempts, including [`jitter`](Self::jitter). `delay` must not be shorter than
    /// [`base`](Self::base). Tutorials on Go's `context` call this setting `MaxWait`. Default: 2 seconds.
    ///
    /// A wait that the server asks for may be longer: see [`retry_after`](Self::retry_after).
    #[doc(alias("MaxWait"))]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.settings.backoff.max_delay = delay;
        self
    }

    /// Sets the factor between each wait and the next. With a factor of 2, each wait is twice as long as the wait before.
    /// The factor must be finite and at least 1. Default: 2.
    pub fn multiplier(mut self, factor: f64) -> Self {
        self.settings.backoff.multiplier = factor;
        self
    }

    /// Sets how the waits between attempts are randomized. Default: [`Jitter::None`].
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.settings.backoff.jitter = jitter;
        self
    }

    /// Sets a function that returns the wait before each further attempt. The retry then does not use the settings
    /// [`base`](Self::base), [`multiplier`](Self::multiplier), [`max_delay`](Self::max_delay) and [`jitter`](Self::jitter).
    /// Default: the retry computes the wait from these settings.
    ///
    /// The first argument is the number of the retry: 1 for the first retry of a call, which is its second attempt. The second
    /// argument is the error of the failed attempt.
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

    /// Sets the source of random numbers for the [`jitter`](Self::jitter). A [seeded](Random::seeded) source makes a test
    /// repeatable. Default: a source with a random seed.
    pub fn random(mut self, random: Random) -> Self {
        self.settings.random = Some(Arc::new(random));
        self
    }

    /// Sets a function that decides by the error of an attempt whether the retry makes another attempt. The function returns
    /// `true` for another attempt. Default: the retry makes another attempt after every error.
    ///
    /// The retry calls this function only with errors that the call itself returned. In other cases the retry decides
    /// without this function. After an attempt timeout, the retry makes another attempt. After the caller's context has
    /// ended, the retry makes no further attempt.
    pub fn retry_if(mut self, retry_if: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.settings.retry_if = Some(Arc::new(retry_if));
        self
    }

    /// Sets a function that returns the wait that the server asks for in the given error, or `None` if the error asks for no
    /// wait. Use [`parse_retry_after`](crate::retry::parse_retry_after) to parse the HTTP header `Retry-After`. Default:
    /// errors do not ask for a wait.
    ///
    /// The retry waits for the returned time if this time is longer than the wait that the retry has computed. The returned
    /// time may be longer than [`max_delay`](Self::max_delay). The retry shortens a time above
    /// [`max_retry_after`](Self::max_retry_after) to that setting.
    pub fn retry_after(mut self, retry_after: impl Fn(&E) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.settings.retry_after = Some(Arc::new(retry_after));
        self
    }

    /// Sets the maximum for the waits that the function [`retry_after`](Self::retry_after) returns. A longer wait is
    /// shortened to `limit`. Default: 30 seconds.
    pub fn max_retry_after(mut self, limit: Duration) -> Self {
        self.settings.max_retry_after = limit;
        self
    }

    /// Sets the budget from which second and later attempts take tokens. If the budget has fewer tokens than the next attempt
    /// [costs](RetryBudget::cost), the retry makes no further attempt. Share the budget with other retries and hedges of the
    /// same service. Default: no budget.
    pub fn budget(mut self, budget: Arc<RetryBudget>) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Sets a hook that runs before each wait between attempts. Its argument describes the failed attempt and the wait. A
    /// panic of the hook goes to the caller of [`Retry::run`]. Default: no hook.
    pub fn on_retry(mut self, hook: impl Fn(&RetryEvent<'_, E>) + Send + Sync + 'static) -> Self {
        self.settings.on_retry = Some(Arc::new(hook));
        self
    }

    /// Sets the clock that measures the waits between attempts. Default: the clock of the context passed to [`Retry::run`].
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
    /// Makes the retry recognize the errors of other policies that run inside its call. Without this setting, the retry
    /// treats these errors like errors of the called service. This method exists only if the error type of the call is an
    /// `Error<E>`. A [`Stack`](crate::Stack) does not need this setting.
    ///
    /// * If an inner policy refused the attempt and a later attempt can succeed, the retry waits at least for the time
    ///   [`Error::retry_after`] before the next attempt. The next attempt then takes no tokens from the budget, because the
    ///   refused attempt was not sent.
    /// * If an inner policy refused the attempt and a later attempt cannot succeed, for example because a worker pool is
    ///   closed, the retry makes no further attempt.
    /// * If the context of an inner policy has ended, the retry makes no further attempt.
    /// * A retry after an attempt timeout takes [`timeout_cost`](super::RetryBudgetBuilder::timeout_cost) tokens from the
    ///   budget.
    /// * If the inner policy is itself a retry and stopped with [`StopReason::Nested`](crate::StopReason::Nested), the outer
    ///   retry decides by the last error of the inner retry. If the inner retry stopped for any other reason, the outer
    ///   retry makes no further attempt.
    ///
    /// The retry returns an `Error<Error<E>>`. `?` converts this error to an `Error<E>`.
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
