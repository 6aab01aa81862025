//! One run of a retry: everything but the waiting, which the async and the blocking loop do in their own ways.

use std::time::Duration;

use ripcord::Context;

use super::inspection::Inspection;
use super::{Retry, RetryBudget, RetryEvent, Spent};
use crate::cache::time_left;
use crate::caller::end_of;
use crate::error::StopReason;
use crate::stats::Call;
use crate::tally::CallGuard;
use crate::{Attempt, Error, Outcome, Random, Refused};

/// A run. Dropped when it has begun and not ended, it counts as canceled.
pub(super) struct Progress<'a, E> {
    retry: &'a Retry<E>,
    /// The wait before the current attempt, in nanoseconds.
    delay: u64,
    ctx: &'a Context,
    /// Attempts begun.
    attempts: u32,
    /// What the current attempt took from the budget, given back if it succeeds.
    spent: u32,
    /// Counts the run's end. `None` before it has begun and after it has ended.
    run: Option<CallGuard<'a, 3>>,
}

/// A failed attempt that another will follow after a wait.
pub(super) struct Pause<E> {
    pub(super) delay: Duration,
    error: Error<E>,
    spent: Option<Spent>,
}

impl<'a, E> Progress<'a, E> {
    #[inline]
    pub(super) fn new(retry: &'a Retry<E>, ctx: &'a Context) -> Self {
        Progress { retry, ctx, attempts: 0, spent: 0, delay: 0, run: None }
    }

    /// Begins, or fails if no attempt is to be made at all.
    #[inline]
    pub(super) fn begin(&mut self) -> Result<(), Error<E>> {
        match (self.retry.is_within_bounds(), end_of(self.ctx)) {
            (true, None) => {
                self.run = Some(self.retry.tally.begin());
                Ok(())
            }
            (_, end) => Err(Self::refusal(self.retry, end)),
        }
    }

    #[cold]
    fn refusal(retry: &Retry<E>, end: Option<ripcord::Error>) -> Error<E> {
        retry.tally.count(Call::Rejected);
        let stop = match end {
            Some(end) if retry.is_within_bounds() => StopReason::Ended(end),
            _ => StopReason::Config(retry.out_of_bounds()),
        };
        Error::stopped(0, stop, None)
    }

    /// Begins the next attempt.
    #[inline]
    pub(super) fn attempt<R>(&mut self, call: &mut impl FnMut(Context, u32) -> R) -> R {
        let number = self.attempts;
        self.attempts = number.saturating_add(1);
        call(Attempt::retry(self.ctx, number), number)
    }

    #[inline]
    pub(super) fn succeed(&mut self) {
        if let Some(budget) = self.retry.shared_budget() {
            match self.attempts {
                1 => budget.refund_success(),
                _ => budget.refund(self.spent),
            }
        }
        self.end(Outcome::Success);
    }

    /// Decides on what follows a failed attempt.
    pub(super) fn pause(&mut self, error: Error<E>) -> Result<Pause<E>, Error<E>> {
        // The caller's end comes first: it explains the error better than the error does.
        if let Some(end) = self.ctx.err() {
            return Err(self.stop(error, StopReason::Ended(end)));
        }
        let extras = self.retry.extras.as_deref();
        let known = Inspection::new(&error, extras.and_then(|extras| extras.inspect));
        let retry_if = extras.and_then(|extras| extras.retry_if.as_ref());
        let rejected = error.own().zip(retry_if).is_some_and(|(error, retry_if)| !retry_if(error));
        if known.hopeless || rejected {
            return Err(self.stop(error, StopReason::NotRetryable));
        }
        if Attempt::is_inside_retry(self.ctx) {
            return Err(self.stop(error, StopReason::Nested));
        }
        if self.attempts >= self.retry.max_attempts {
            return Err(self.stop(error, StopReason::Exhausted));
        }
        let delay = self.next_delay(&error, known.retry_after);
        if let Some(remaining) = time_left(self.ctx).filter(|remaining| delay >= *remaining) {
            return Err(self.stop(error, StopReason::TooNear(Refused::too_near(self.ctx, delay, remaining))));
        }
        let spent = match self.retry.shared_budget() {
            Some(budget) if known.sent => match RetryBudget::try_spend(budget, budget.cost(known.timeout)) {
                Some(spent) => Some(spent),
                None => return Err(self.stop(error, StopReason::Budget)),
            },
            _ => None,
        };
        if let Some(hook) = extras.and_then(|extras| extras.on_retry.as_ref()) {
            hook(&RetryEvent { attempt: self.attempts, delay, error: &error });
        }
        Ok(Pause { delay, error, spent })
    }

    /// Waits before the next attempt.
    pub(super) async fn sleep(&mut self, pause: Pause<E>) -> Result<(), Error<E>> {
        let slept = self.ctx.sleep(pause.delay).await;
        self.resume(pause, slept)
    }

    /// Goes on after the wait, or not.
    pub(super) fn resume(&mut self, pause: Pause<E>, slept: Result<(), ripcord::Error>) -> Result<(), Error<E>> {
        match slept {
            Ok(()) => {
                self.delay = u64::try_from(pause.delay.as_nanos()).unwrap_or(u64::MAX);
                self.spent = pause.spent.map_or(0, Spent::commit);
                self.retry.tally.bump(Count::Retries as usize);
                Ok(())
            }
            // The tokens go back with `pause`: the attempt they were for has not been sent.
            Err(end) => Err(self.stop(pause.error, StopReason::Ended(end))),
        }
    }

    fn next_delay(&self, error: &Error<E>, rejection: Option<Duration>) -> Duration {
        let extras = self.retry.extras.as_deref();
        let random = match extras.and_then(|extras| extras.random.as_ref()) {
            Some(random) => random,
            None => Random::of_process(),
        };
        let backoff = self.retry.backoff.delay(self.attempts, Duration::from_nanos(self.delay), random);
        let asked =
            extras.and_then(|extras| Some(extras.retry_after.as_ref()?(error.own()?)?.min(extras.max_retry_after)));
        backoff.max(asked.unwrap_or_default()).max(rejection.unwrap_or_default())
    }

    fn stop(&mut self, error: Error<E>, stop: StopReason) -> Error<E> {
        match stop {
            StopReason::TooNear(_) => self.retry.tally.bump(Count::DeadlineRefused as usize),
            StopReason::Budget => self.retry.tally.bump(Count::BudgetRefused as usize),
            _ => {}
        }
        let error = Error::stopped(self.attempts, stop, Some(error));
        self.end(error.outcome());
        error
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(run) = self.run.take() {
            run.end(outcome);
        }
    }
}

/// What a retry counts beside its runs.
#[derive(Clone, Copy)]
enum Count {
    Retries,
    DeadlineRefused,
    BudgetRefused,
}
