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

/// An attempt failed and another will follow: what [`RetryBuilder::on_retry`] is called with.
#[derive(Debug)]
#[non_exhaustive]
pub struct RetryEvent<'a, E> {
    /// The context of the run: its values tell whose request this is.
    pub ctx: &'a Context,
    /// The number of the attempt that will follow: 1 for the first retry.
    pub attempt: u32,
    /// The wait before it.
    pub delay: Duration,
    /// What the attempt before it failed with.
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

/// Builds a [`Retry`]; see there for the defaults.
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

    /// Sets the maximum number of attempts, including the first; at least 1. A Go program's `MaxRetries` is one less.
    #[doc(alias("MaxRetries"))]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = attempts;
        self
    }

    /// Sets the first wait, at most [`max_delay`](Self::max_delay). A Go program's `InitialWait`.
    #[doc(alias("InitialWait"))]
    pub fn base(mut self, delay: Duration) -> Self {
        self.settings.backoff.base = delay;
        self
    }

    /// Sets the longest wait, jitter included. A Go program's `MaxWait`.
    #[doc(alias("MaxWait"))]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.settings.backoff.max_delay = delay;
        self
    }

    /// Sets the factor by which the wait grows, at least 1 and finite.
    pub fn multiplier(mut self, factor: f64) -> Self {
        self.settings.backoff.multiplier = factor;
        self
    }

    /// Sets how the waits are spread.
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.settings.backoff.jitter = jitter;
        self
    }

    /// Computes each wait with `backoff`, instead of from `base`, `multiplier`, `max_delay` and `jitter`.
    ///
    /// Its arguments are the number of the attempt that will follow, 1 for the first retry, and the error of the one before.
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

    /// Sets the source of the jitter; a seeded one makes a test repeatable.
    pub fn random(mut self, random: Random) -> Self {
        self.settings.random = Some(Arc::new(random));
        self
    }

    /// Sets which errors of the call are worth another attempt. Without it, all are.
    ///
    /// Only the call's own errors are judged: an attempt timeout is always worth another attempt, the end of the caller's
    /// context never.
    pub fn retry_if(mut self, retry_if: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.settings.retry_if = Some(Arc::new(retry_if));
        self
    }

    /// Reads from the call's error how long the server asks to be left alone; see
    /// [`parse_retry_after`](crate::retry::parse_retry_after).
    ///
    /// The wait replaces a shorter backoff, may exceed `max_delay`, and is cut to [`max_retry_after`](Self::max_retry_after).
    pub fn retry_after(mut self, retry_after: impl Fn(&E) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.settings.retry_after = Some(Arc::new(retry_after));
        self
    }

    /// Sets the longest `retry_after` that is honored in full; 30 seconds unless set.
    pub fn max_retry_after(mut self, limit: Duration) -> Self {
        self.settings.max_retry_after = limit;
        self
    }

    /// Sets the budget that retries are paid from, shared with other callers of the same service.
    pub fn budget(mut self, budget: Arc<RetryBudget>) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Sets a hook that runs before each wait. A panic in the hook ends only that run.
    pub fn on_retry(mut self, hook: impl Fn(&RetryEvent<'_, E>) + Send + Sync + 'static) -> Self {
        self.settings.on_retry = Some(Arc::new(hook));
        self
    }

    /// Sets the clock that waits are measured by. By default it is that of the call's context.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.settings.clock = Some(clock);
        self
    }

    /// Builds the retry.
    ///
    /// # Errors
    ///
    /// Names the first setting out of bounds: `max_attempts` of 0, a `multiplier` below 1, infinite or NaN, a `base` above
    /// `max_delay`.
    pub fn build(self) -> Result<Retry<E>, ConfigError> {
        at_least_one("max_attempts", self.settings.max_attempts)?;
        self.settings.backoff.check()?;
        Ok(Retry::new(self.settings, self.budget))
    }
}

impl<E> RetryBuilder<Error<E>> {
    /// Makes the retry understand the errors of policies inside its call, composed by hand. A [`Stack`](crate::Stack) needs no
    /// such setting.
    ///
    /// * A local rejection that time can cure is retried after the wait that it asks for. It costs the budget nothing, since
    ///   nothing was sent.
    /// * Any other local rejection, an inner retry that gave up, and the end of the attempt's context are not retried.
    /// * An attempt timeout costs the budget more than another failure.
    /// * For an inner retry that stopped with [`StopReason::Nested`](crate::StopReason::Nested), its last error decides.
    ///
    /// With `?`, the `Error<Error<E>>` of such a run becomes an `Error<E>`.
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
