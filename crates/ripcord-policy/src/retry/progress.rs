//! One run of a retry: everything but the waiting, which the async and the blocking loop do in their own ways.

use std::time::Duration;

use ripcord::Context;

use super::nesting::{self, InsideRetry};
use super::{Retry, RetryBudget, RetryError, RetryEvent, RetryStats, Spent, Stop};
use crate::cache::time_left;
use crate::stats::Counters;

const STARTED: usize = 0;
const SUCCEEDED: usize = 1;
const FAILED: usize = 2;
const CANCELED: usize = 3;
const REJECTED: usize = 4;
const RETRIES: usize = 5;
const DEADLINE_REFUSED: usize = 6;
const BUDGET_REFUSED: usize = 7;

/// A run under way. Dropped before it has ended, it counts as canceled.
pub(super) struct Progress<'a, E> {
    retry: &'a Retry<E>,
    ctx: &'a Context,
    /// Attempts begun.
    attempts: u32,
    /// The wait before the current attempt.
    delay: Duration,
    /// What the current attempt took from the budget, given back if it succeeds.
    spent: u32,
    ended: bool,
}

/// A failed attempt that another will follow after a wait.
pub(super) struct Pause<E> {
    pub(super) delay: Duration,
    error: E,
    spent: Option<Spent>,
}

impl<'a, E> Progress<'a, E> {
    /// Fails if no attempt is to be made at all.
    #[inline]
    pub(super) fn check(retry: &Retry<E>, ctx: &Context) -> Result<(), RetryError<E>> {
        let stop = match (&retry.invalid, ctx.err()) {
            (None, None) => return Ok(()),
            (Some(invalid), _) => Stop::Config(invalid.clone()),
            (None, Some(error)) => Stop::Context(error),
        };
        retry.counters.0.bump(REJECTED);
        Err(RetryError::new(None, 0, stop))
    }

    /// After [`Progress::check`], apart from it: this is made where it stays, as moving it costs more than making it.
    #[inline]
    pub(super) fn begin(retry: &'a Retry<E>, ctx: &'a Context) -> Self {
        retry.counters.0.bump(STARTED);
        Progress { retry, ctx, attempts: 0, delay: Duration::ZERO, spent: 0, ended: false }
    }

    /// Begins the next attempt.
    #[inline]
    pub(super) fn attempt<R>(&mut self, call: &mut impl FnMut(Context, u32) -> R) -> R {
        let number = self.attempts;
        self.attempts = number.saturating_add(1);
        let ctx = if number == 0 { self.ctx.clone() } else { self.ctx.with_value(InsideRetry) };
        nesting::inside(|| call(ctx, number))
    }

    #[inline]
    pub(super) fn succeed(&mut self) {
        if let Some(budget) = &self.retry.budget {
            match self.attempts {
                1 => budget.refund_success(),
                _ => budget.refund(self.spent),
            }
        }
        self.end(SUCCEEDED);
    }

    /// Decides on what follows a failed attempt.
    pub(super) fn pause(&mut self, error: E) -> Result<Pause<E>, RetryError<E>> {
        // The caller's end comes first: it explains the error better than the error does.
        if let Some(end) = self.ctx.err() {
            return Err(self.stop(error, Stop::Context(end)));
        }
        let known = (self.retry.inspect)(&error);
        if known.hopeless || self.retry.retry_if.as_ref().is_some_and(|worth_it| !worth_it(&error)) {
            return Err(self.stop(error, Stop::NotRetryable));
        }
        // This runs outside of the attempt: if still inside of one, then of another retry's.
        if nesting::is_inside(self.ctx) {
            return Err(self.stop(error, Stop::Nested));
        }
        if self.attempts >= self.retry.max_attempts {
            return Err(self.stop(error, Stop::Exhausted));
        }
        let delay = self.next_delay(&error, known.retry_after);
        if let Some(remaining) = time_left(self.ctx).filter(|remaining| delay >= *remaining) {
            return Err(self.stop(error, Stop::Deadline { needed: delay, remaining }));
        }
        let spent = match &self.retry.budget {
            Some(budget) if known.sent => match RetryBudget::try_spend(budget, budget.cost(known.timeout)) {
                Some(spent) => Some(spent),
                None => return Err(self.stop(error, Stop::Budget)),
            },
            _ => None,
        };
        if let Some(hook) = &self.retry.on_retry {
            hook(&RetryEvent { attempt: self.attempts, delay, error: &error });
        }
        Ok(Pause { delay, error, spent })
    }

    /// Goes on after the wait, or not.
    pub(super) fn resume(&mut self, pause: Pause<E>, slept: Result<(), ripcord::Error>) -> Result<(), RetryError<E>> {
        match slept {
            Ok(()) => {
                self.delay = pause.delay;
                self.spent = pause.spent.map_or(0, Spent::commit);
                self.retry.counters.0.bump(RETRIES);
                Ok(())
            }
            // The tokens go back with `pause`: the attempt they were for has not been sent.
            Err(end) => Err(self.stop(pause.error, Stop::Context(end))),
        }
    }

    fn next_delay(&self, error: &E, rejection: Option<Duration>) -> Duration {
        let retry = self.retry;
        let backoff = retry.backoff.delay(self.attempts, self.delay, &retry.random);
        let asked = retry.retry_after.as_ref().and_then(|hint| hint(error));
        let asked = asked.map(|asked| asked.min(retry.max_retry_after));
        backoff.max(asked.unwrap_or_default()).max(rejection.unwrap_or_default())
    }

    fn stop(&mut self, error: E, stop: Stop) -> RetryError<E> {
        match stop {
            Stop::Deadline { .. } => self.retry.counters.0.bump(DEADLINE_REFUSED),
            Stop::Budget => self.retry.counters.0.bump(BUDGET_REFUSED),
            _ => {}
        }
        self.end(if matches!(stop, Stop::Context(_)) { CANCELED } else { FAILED });
        RetryError::new(Some(error), self.attempts, stop)
    }

    fn end(&mut self, how: usize) {
        self.ended = true;
        self.retry.counters.0.bump(how);
    }
}

impl<E> Drop for Progress<'_, E> {
    fn drop(&mut self) {
        if !self.ended {
            self.retry.counters.0.bump(CANCELED);
        }
    }
}

#[derive(Debug)]
pub(super) struct RetryCounters(Counters<8>);

impl RetryCounters {
    pub(super) fn new() -> Self {
        RetryCounters(Counters::new())
    }

    pub(super) fn stats(&self) -> RetryStats {
        let [started, succeeded, failed, canceled, rejected, retries, deadline_refused, budget_refused] = self.0.read();
        RetryStats { started, succeeded, failed, canceled, rejected, retries, deadline_refused, budget_refused }
    }
}
