//! One call and its attempts, several of which may be in flight at the same time.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use ripcord::{Canceler, Context, Done, Sleep};

use super::{Count, Hedge};
use crate::retry::RetryBudget;
use crate::stats::Call;
use crate::tally::CallGuard;
use crate::{Attempt, Error, Outcome};

/// A call through a hedge. If it is dropped before it has ended, it counts as canceled, and its attempts are canceled.
pub(super) struct HedgedCall<'a, F, Fut, E> {
    hedge: &'a Hedge,
    ctx: &'a Context,
    done: Done<'a>,
    call: F,
    attempts: Vec<InFlight<Fut>>,
    /// The number of attempts started.
    sent: u32,
    /// The number of attempts that ended before they were sent: they were refused, or waited when the caller's context ended.
    unsent: u32,
    /// The wait for the next attempt. `None` if there is no next attempt.
    next: Option<Pin<Box<Sleep>>>,
    last_error: Option<Error<E>>,
    /// The guard that counts the end of the call. `None` after the end.
    run: Option<CallGuard<'a, 3>>,
}

struct InFlight<Fut> {
    number: u32,
    future: Pin<Box<Fut>>,
    canceler: Canceler,
    /// The number of tokens that the attempt took from the budget.
    spent: u32,
}

impl<'a, F, Fut, T, E> HedgedCall<'a, F, Fut, E>
where
    F: FnMut(Context) -> Fut,
    Fut: Future<Output = Result<T, Error<E>>>,
{
    pub(super) fn start(hedge: &'a Hedge, ctx: &'a Context, call: F) -> Result<Self, Error<E>> {
        if let Err(error) = ctx.check() {
            hedge.tally.count(Call::Rejected);
            return Err(error.into());
        }
        let mut this = Self {
            hedge,
            ctx,
            done: ctx.done(),
            call,
            attempts: Vec::with_capacity(1),
            sent: 0,
            unsent: 0,
            next: None,
            last_error: None,
            run: Some(hedge.tally.begin()),
        };
        this.send(0);
        this.schedule_next();
        Ok(this)
    }

    fn send(&mut self, spent: u32) {
        let (ctx, canceler) = self.ctx.with_cancel();
        let number = self.sent;
        let ctx = Attempt::hedge(&ctx, number);
        self.sent += 1;
        let call = &mut self.call;
        let future = Box::pin(guarded(&mut self.run, || call(ctx)));
        self.attempts.push(InFlight { number, future, canceler, spent });
    }

    /// Starts the wait for the next attempt, unless no more attempts are allowed. Ignores the deadline, because the deadline may
    /// move. When the wait is over, the end of the caller's context is polled first.
    fn schedule_next(&mut self) {
        let allowed = self.sent < self.hedge.max_attempts && Attempt::hedge_number(self.ctx) == 0;
        self.next = allowed.then(|| {
            Box::pin(match &self.hedge.clock {
                Some(clock) => self.ctx.with_clock(clock.clone()).sleep(self.hedge.delay),
                None => self.ctx.sleep(self.hedge.delay),
            })
        });
    }

    /// Sends another attempt if the budget has the tokens.
    fn hedge(&mut self) {
        self.next = None;
        let spent = match &self.hedge.budget {
            None => 0,
            Some(budget) => match RetryBudget::try_spend(budget, budget.cost(false)) {
                Some(spent) => spent.commit(),
                None => {
                    self.hedge.count(Count::BudgetRefused);
                    return;
                }
            },
        };
        self.hedge.count(Count::Hedges);
        self.send(spent);
        self.schedule_next();
    }

    /// Polls the attempts in the order in which they were sent. Returns `Ready` when one has succeeded or all have failed.
    fn poll_attempts(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<T, Error<E>>> {
        let mut index = 0;
        while index < self.attempts.len() {
            let future = &mut self.attempts[index].future;
            match guarded(&mut self.run, || future.as_mut().poll(cx)) {
                Poll::Pending => index += 1,
                Poll::Ready(Ok(value)) => {
                    let winner = self.attempts.remove(index);
                    self.win(&winner);
                    winner.canceler.detach();
                    return Poll::Ready(Ok(value));
                }
                Poll::Ready(Err(error)) => {
                    let InFlight { spent, canceler, .. } = self.attempts.remove(index);
                    canceler.detach();
                    self.unsent += u32::from(error.attempts() == 0);
                    // The attempt was not sent, so it costs nothing.
                    if let (Some(budget), true) = (&self.hedge.budget, error.is_rejected()) {
                        budget.refund(spent);
                    }
                    if self.last_error.is_none() || error.outcome() == Outcome::Failure {
                        self.last_error = Some(error);
                    }
                }
            }
        }
        match self.last_error.take() {
            Some(error) if self.attempts.is_empty() => Poll::Ready(Err(error)),
            error => {
                self.last_error = error;
                Poll::Pending
            }
        }
    }

    fn win(&self, winner: &InFlight<Fut>) {
        if winner.number > 0 {
            self.hedge.count(Count::HedgeWins);
        }
        match &self.hedge.budget {
            Some(budget) if winner.spent > 0 => budget.refund(winner.spent),
            Some(budget) if !self.hedge.is_below_retry => budget.refund_success(),
            _ => {}
        }
    }
}

impl<F, Fut, E> HedgedCall<'_, F, Fut, E> {
    /// Cancels and drops the remaining attempts.
    fn cancel_attempts(&mut self, why: &'static str) {
        for attempt in std::mem::take(&mut self.attempts) {
            // The attempt is canceled before it is dropped, because it may have started other work under its context.
            attempt.canceler.cancel_at(why, self.hedge.location);
            drop(attempt);
        }
        self.next = None;
    }
}

impl<F, Fut, T, E> Future for HedgedCall<'_, F, Fut, E>
where
    F: FnMut(Context) -> Fut,
    Fut: Future<Output = Result<T, Error<E>>>,
{
    type Output = Result<T, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            if let Poll::Ready(result) = this.poll_attempts(cx) {
                this.cancel_attempts("another attempt of the same call won");
                let result = result.map_err(|error| error.under(this.ctx).with_attempts(this.sent - this.unsent));
                if let Some(run) = this.run.take() {
                    run.end(Outcome::new(&result, Error::outcome));
                }
                return Poll::Ready(result);
            }
            if let Poll::Ready(error) = Pin::new(&mut this.done).poll(cx) {
                this.cancel_attempts("the caller's context has ended");
                return Poll::Ready(Err(Error::ended(error, None).with_attempts(this.sent - this.unsent)));
            }
            match this.next.as_mut().map(|next| next.as_mut().poll(cx)) {
                // The next iteration polls the new attempt.
                Some(Poll::Ready(Ok(()))) => this.hedge(),
                Some(Poll::Ready(Err(_))) => this.next = None,
                Some(Poll::Pending) | None => return Poll::Pending,
            }
        }
    }
}

/// Runs a part of the call. A panic counts as a failure and goes to the caller.
fn guarded<R>(run: &mut Option<CallGuard<'_, 3>>, part: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(part)).unwrap_or_else(|panic| {
        if let Some(run) = run.take() {
            run.end(Outcome::Failure);
        }
        resume_unwind(panic)
    })
}

impl<F, Fut, E> Drop for HedgedCall<'_, F, Fut, E> {
    fn drop(&mut self) {
        self.cancel_attempts("the call was dropped");
    }
}

// No field is pinned in place: attempts and sleeps are boxed.
impl<F, Fut, E> Unpin for HedgedCall<'_, F, Fut, E> {}
