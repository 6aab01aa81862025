//! One run of a retry.

use std::time::Duration;

use ripcord::Context;

use super::hints::RetryHints;
use super::{BudgetReservation, Retry, RetryBudget, RetryEvent};
use crate::error::StopDetails;
use crate::{Attempt, Error, Random, Refused};

pub(super) struct Progress<'a, E> {
    retry: &'a Retry<E>,
    ctx: &'a Context,
    /// The number of attempts started.
    attempts: u32,
    /// The wait before the current attempt.
    delay: Duration,
    /// The last error that the call returned in an earlier attempt.
    earlier: Option<E>,
    /// The tokens that the current attempt took from the budget. A success refunds them.
    spent: u32,
}

/// A failed attempt that is followed by another attempt after a wait.
pub(super) struct Pause<E> {
    delay: Duration,
    error: Error<E>,
    /// The tokens of the next attempt. If the pause is dropped, they return to the budget, because that attempt was not sent.
    reservation: Option<BudgetReservation>,
}

impl<E> Pause<E> {
    /// Counts the next attempt, spends its tokens, and returns the wait before it.
    pub(super) fn commit(self, retry: &Retry<E>) -> Duration {
        self.reservation.map(BudgetReservation::commit);
        retry.shared.tally.bump(Count::Retries as usize);
        self.delay
    }
}

impl<'a, E> Progress<'a, E> {
    pub(super) fn new(retry: &'a Retry<E>, ctx: &'a Context) -> Self {
        Progress::resume(retry, ctx, 0, Duration::ZERO)
    }

    /// Continues a call of which `attempts` attempts were made, the last of them after the wait `delay`.
    pub(super) fn resume(retry: &'a Retry<E>, ctx: &'a Context, attempts: u32, delay: Duration) -> Self {
        Progress { retry, ctx, attempts, delay, earlier: None, spent: 0 }
    }

    /// Returns the context of the next attempt.
    pub(super) fn next_attempt(&mut self) -> Context {
        let ctx = Attempt::retry(self.ctx, self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        ctx
    }

    pub(super) fn succeed(&mut self) {
        if let Some(budget) = &self.retry.budget {
            match self.attempts {
                1 => budget.refund_success(),
                _ => budget.refund(self.spent),
            }
        }
    }

    /// Decides whether another attempt follows a failed attempt.
    pub(super) fn pause(&mut self, error: Error<E>) -> Result<Pause<E>, Error<E>> {
        // The end of the caller's context comes first, because it explains the failure better than the error.
        if let Some(end) = self.ctx.err() {
            return Err(self.stop(error, StopDetails::Ended(end)));
        }
        let settings = &self.retry.shared.settings;
        let hints = RetryHints::new(&error, settings.hints_below);
        let rejected = error.own().zip(settings.retry_if.as_ref()).is_some_and(|(error, retry_if)| !retry_if(error));
        if !hints.is_retryable || rejected {
            return Err(self.stop(error, StopDetails::NotRetryable));
        }
        if Attempt::is_inside_retry(self.ctx) {
            return Err(self.stop(error, StopDetails::Nested));
        }
        if self.attempts >= settings.max_attempts {
            return Err(self.stop(error, StopDetails::Exhausted));
        }
        let delay = self.next_delay(&error, hints.retry_after);
        if let Some(remaining) = self.ctx.remaining().filter(|remaining| delay >= *remaining) {
            return Err(self.stop(error, StopDetails::TooNear(Refused::too_near(self.ctx, delay, remaining, None))));
        }
        let reservation = match &self.retry.budget {
            Some(budget) if hints.is_sent => match RetryBudget::try_spend(budget, budget.cost(hints.is_timeout)) {
                Some(reservation) => Some(reservation),
                None => return Err(self.stop(error, StopDetails::Budget(budget.built_at()))),
            },
            _ => None,
        };
        if let Some(hook) = &settings.on_retry {
            hook(&RetryEvent { ctx: self.ctx, attempt: self.attempts, delay, error: &error });
        }
        Ok(Pause { delay, error, reservation })
    }

    /// Waits before the next attempt.
    pub(super) async fn sleep(&mut self, pause: Pause<E>) -> Result<(), Error<E>> {
        let slept = match &self.retry.shared.settings.clock {
            Some(clock) => self.ctx.with_clock(clock.clone()).sleep(pause.delay).await,
            None => self.ctx.sleep(pause.delay).await,
        };
        if let Err(end) = slept {
            return Err(self.stop(pause.error, StopDetails::Ended(end)));
        }
        self.delay = pause.delay;
        self.earlier = pause.error.into_last().or_else(|| self.earlier.take());
        self.spent = pause.reservation.map_or(0, BudgetReservation::commit);
        self.retry.shared.tally.bump(Count::Retries as usize);
        Ok(())
    }

    fn next_delay(&self, error: &Error<E>, rejection: Option<Duration>) -> Duration {
        let settings = &self.retry.shared.settings;
        let backoff = match &settings.custom_backoff {
            Some(backoff) => backoff(self.attempts, error),
            None => {
                let random = settings.random.as_deref().unwrap_or_else(|| Random::global());
                settings.backoff.delay(self.attempts, self.delay, random)
            }
        };
        let asked = error.own().zip(settings.retry_after.as_ref()).and_then(|(error, retry_after)| retry_after(error));
        let asked = asked.map(|asked| asked.min(settings.max_retry_after));
        backoff.max(asked.unwrap_or_default()).max(rejection.unwrap_or_default())
    }

    fn stop(&mut self, error: Error<E>, stop: StopDetails) -> Error<E> {
        match stop {
            StopDetails::TooNear(_) => self.retry.shared.tally.bump(Count::DeadlineRefused as usize),
            StopDetails::Budget(_) => self.retry.shared.tally.bump(Count::BudgetRefused as usize),
            _ => {}
        }
        // The caller's context may end while the attempt waits in a queue, before it is sent.
        let unsent = matches!(stop, StopDetails::Ended(_)) && error.attempts() == 0;
        let attempts = self.attempts - u32::from(unsent);
        Error::stopped(attempts, stop, Some(error.after(self.earlier.take())))
    }
}

/// The counters of a retry besides its calls.
#[derive(Clone, Copy)]
enum Count {
    Retries,
    DeadlineRefused,
    BudgetRefused,
}
