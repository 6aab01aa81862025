//! One run of a retry: everything but the waiting, which the async and the blocking loop do in their own ways.

use std::time::Duration;

use ripcord::Context;

use super::settings::Inspection;
use super::{Retry, RetryBudget, RetryError, RetryEvent, RetryStats, Spent, Stop};
use crate::Random;
use crate::cache::time_left;
use crate::caller::end_of;
use crate::stats::LateCounters;

/// A run. Dropped when it has begun and not ended, it counts as canceled.
// In this order: the two references are passed in one after the other, and a processor that reads both at once just after that
// waits for the two writes (row P3).
#[repr(C)]
pub(super) struct Progress<'a, E> {
    retry: &'a Retry<E>,
    /// The wait before the current attempt, in nanoseconds.
    delay: u64,
    ctx: &'a Context,
    /// Attempts begun.
    attempts: u32,
    /// What the current attempt took from the budget, given back if it succeeds.
    spent: u32,
    running: bool,
}

/// A failed attempt that another will follow after a wait.
pub(super) struct Pause<E> {
    pub(super) delay: Duration,
    error: E,
    spent: Option<Spent>,
}

impl<'a, E> Progress<'a, E> {
    #[inline]
    pub(super) fn new(retry: &'a Retry<E>, ctx: &'a Context) -> Self {
        Progress { retry, ctx, attempts: 0, spent: 0, delay: 0, running: false }
    }

    /// Begins, or fails if no attempt is to be made at all.
    #[inline]
    pub(super) fn begin(&mut self) -> Result<(), RetryError<E>> {
        match (self.retry.is_within_bounds(), end_of(self.ctx)) {
            (true, None) => {
                self.retry.counters.0.bump(Count::Started as usize);
                self.running = true;
                Ok(())
            }
            (_, end) => Err(Self::refusal(self.retry, end)),
        }
    }

    #[cold]
    fn refusal(retry: &Retry<E>, end: Option<ripcord::Error>) -> RetryError<E> {
        retry.counters.0.bump(Count::Rejected as usize);
        let stop = match end {
            Some(end) if retry.is_within_bounds() => Stop::Context(end),
            _ => Stop::Config(retry.out_of_bounds()),
        };
        RetryError::new(None, 0, stop)
    }

    /// Begins the next attempt.
    #[inline]
    pub(super) fn attempt<R>(&mut self, call: &mut impl FnMut(Context, u32) -> R) -> R {
        let number = self.attempts;
        self.attempts = number.saturating_add(1);
        call(self.ctx.inside_retry(), number)
    }

    #[inline]
    pub(super) fn succeed(&mut self) {
        if let Some(budget) = self.retry.shared_budget() {
            match self.attempts {
                1 => budget.refund_success(),
                _ => budget.refund(self.spent),
            }
        }
        self.end(Count::Succeeded);
    }

    /// Decides on what follows a failed attempt.
    pub(super) fn pause(&mut self, error: E) -> Result<Pause<E>, RetryError<E>> {
        // The caller's end comes first: it explains the error better than the error does.
        if let Some(end) = self.ctx.err() {
            return Err(self.stop(error, Stop::Context(end)));
        }
        let extras = self.retry.extras.as_deref();
        let known = extras.map_or(Inspection::OPAQUE, |extras| (extras.inspect)(&error));
        let retry_if = extras.and_then(|extras| extras.retry_if.as_ref());
        if known.hopeless || retry_if.is_some_and(|worth_it| !worth_it(&error)) {
            return Err(self.stop(error, Stop::NotRetryable).out_of_time(known.out_of_time));
        }
        if self.ctx.is_inside_retry() {
            return Err(self.stop(error, Stop::Nested));
        }
        if self.attempts >= self.retry.max_attempts {
            return Err(self.stop(error, Stop::Exhausted));
        }
        let delay = self.next_delay(&error, known.retry_after);
        if let Some(remaining) = time_left(self.ctx).filter(|remaining| delay >= *remaining) {
            return Err(self.stop(error, Stop::Deadline { needed: delay, remaining }));
        }
        let spent = match self.retry.shared_budget() {
            Some(budget) if known.sent => match RetryBudget::try_spend(budget, budget.cost(known.timeout)) {
                Some(spent) => Some(spent),
                None => return Err(self.stop(error, Stop::Budget)),
            },
            _ => None,
        };
        if let Some(hook) = extras.and_then(|extras| extras.on_retry.as_ref()) {
            hook(&RetryEvent { attempt: self.attempts, delay, error: &error });
        }
        Ok(Pause { delay, error, spent })
    }

    /// Waits before the next attempt.
    pub(super) async fn sleep(&mut self, pause: Pause<E>) -> Result<(), RetryError<E>> {
        let slept = self.ctx.sleep(pause.delay).await;
        self.resume(pause, slept)
    }

    /// Goes on after the wait, or not.
    pub(super) fn resume(&mut self, pause: Pause<E>, slept: Result<(), ripcord::Error>) -> Result<(), RetryError<E>> {
        match slept {
            Ok(()) => {
                self.delay = u64::try_from(pause.delay.as_nanos()).unwrap_or(u64::MAX);
                self.spent = pause.spent.map_or(0, Spent::commit);
                self.retry.counters.0.bump(Count::Retries as usize);
                Ok(())
            }
            // The tokens go back with `pause`: the attempt they were for has not been sent.
            Err(end) => Err(self.stop(pause.error, Stop::Context(end))),
        }
    }

    fn next_delay(&self, error: &E, rejection: Option<Duration>) -> Duration {
        let extras = self.retry.extras.as_deref();
        let random = match extras.and_then(|extras| extras.random.as_ref()) {
            Some(random) => random,
            None => Random::of_process(),
        };
        let backoff = self.retry.backoff.delay(self.attempts, Duration::from_nanos(self.delay), random);
        let asked = extras.and_then(|extras| Some(extras.retry_after.as_ref()?(error)?.min(extras.max_retry_after)));
        backoff.max(asked.unwrap_or_default()).max(rejection.unwrap_or_default())
    }

    fn stop(&mut self, error: E, stop: Stop) -> RetryError<E> {
        match stop {
            Stop::Deadline { .. } => self.retry.counters.0.bump(Count::DeadlineRefused as usize),
            Stop::Budget => self.retry.counters.0.bump(Count::BudgetRefused as usize),
            _ => {}
        }
        self.end(if matches!(stop, Stop::Context(_)) { Count::Canceled } else { Count::Failed });
        RetryError::new(Some(error), self.attempts, stop)
    }

    fn end(&mut self, how: Count) {
        self.running = false;
        self.retry.counters.0.bump(how as usize);
    }
}

impl<E> Drop for Progress<'_, E> {
    #[inline]
    fn drop(&mut self) {
        if self.running {
            self.retry.counters.0.bump(Count::Canceled as usize);
        }
    }
}

/// What is counted. The first two are those that [`LateCounters`] counts in place.
#[derive(Clone, Copy)]
enum Count {
    Started,
    Succeeded,
    Failed,
    Canceled,
    Rejected,
    Retries,
    DeadlineRefused,
    BudgetRefused,
}

pub(super) struct RetryCounters(LateCounters<8>);

impl RetryCounters {
    pub(super) fn new() -> Self {
        RetryCounters(LateCounters::new())
    }

    pub(super) fn share(&self) -> Self {
        RetryCounters(self.0.share())
    }

    pub(super) fn stats(&self) -> RetryStats {
        let [started, succeeded, failed, canceled, rejected, retries, deadline_refused, budget_refused] = self.0.read();
        RetryStats { started, succeeded, failed, canceled, rejected, retries, deadline_refused, budget_refused }
    }
}
