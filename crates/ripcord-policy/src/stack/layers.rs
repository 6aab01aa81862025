//! What a call passes through, layer by layer.

use std::future::Future;
use std::time::Duration;

use ripcord::Context;

use crate::breaker::{Classify, Open, Permit};
use crate::caller::end_of;
use crate::tally::Tally;
use crate::{Bulkhead, Cache, CircuitBreaker, Error, Fallback, Hedge, Outcome, RateLimiter, Refused, Retry};

pub(super) struct Layers<T, E, K> {
    pub(super) fallback: Option<Fallback<T, E>>,
    pub(super) cache: Option<Cache<K, T>>,
    pub(super) deadline: Option<Duration>,
    pub(super) retry: Option<Retry<E>>,
    pub(super) hedge: Option<Hedge>,
    pub(super) breaker: Option<Box<dyn Breaker<T, E>>>,
    pub(super) limiter: Option<RateLimiter>,
    pub(super) bulkhead: Option<Bulkhead>,
    pub(super) attempt_timeout: Option<Duration>,
    pub(super) tally: Tally<1>,
}

impl<T, E, K> Layers<T, E, K> {
    /// From the total deadline inwards.
    pub(super) async fn timed<F, Fut>(&self, ctx: &Context, call: &F) -> Result<T, Error<E>>
    where
        F: Fn(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        match self.deadline {
            Some(deadline) => self.retried(&ctx.with_timeout(deadline), call).await,
            None => self.retried(ctx, call).await,
        }
    }

    async fn retried<F, Fut>(&self, ctx: &Context, call: &F) -> Result<T, Error<E>>
    where
        F: Fn(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        match &self.retry {
            Some(retry) => retry.run_over(ctx, |ctx, _| self.hedged(ctx, call)).await,
            None => self.hedged(ctx.clone(), call).await,
        }
    }

    async fn hedged<F, Fut>(&self, ctx: Context, call: &F) -> Result<T, Error<E>>
    where
        F: Fn(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        match &self.hedge {
            Some(hedge) => hedge.run_over(&ctx, |ctx, _| self.admitted(ctx, call)).await,
            None => self.admitted(ctx, call).await,
        }
    }

    /// One attempt: breaker, limiter, bulkhead.
    async fn admitted<F, Fut>(&self, ctx: Context, call: &F) -> Result<T, Error<E>>
    where
        F: Fn(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        if let Some(end) = end_of(&ctx) {
            return Err(end.into());
        }
        let permit = match &self.breaker {
            Some(breaker) => Some((breaker, breaker.acquire().map_err(Refused::from)?)),
            None => None,
        };
        let token = match &self.limiter {
            Some(limiter) => Some(limiter.token(&ctx).await?),
            None => None,
        };
        let place = match &self.bulkhead {
            Some(bulkhead) => Some(bulkhead.enter(&ctx).await?),
            None => None,
        };
        // The wait may have ended together with the caller's time.
        if let Some(end) = end_of(&ctx) {
            return Err(end.into());
        }
        if let Some(token) = token {
            token.spend();
        }
        let permit = permit.map(|(breaker, mut permit)| {
            permit.restart_clock();
            (breaker, permit)
        });

        let result = self.attempt(&ctx, call).await.map_err(|error| error.under(&ctx));

        // One outcome for all who judge by it: the breaker's, whose classifier knows best what is a failure.
        let neutral = result.as_ref().is_err_and(|error| error.outcome() == Outcome::Neutral);
        let outcome = match &permit {
            _ if neutral => Outcome::Neutral,
            Some((breaker, _)) => breaker.judge(&result),
            None => Outcome::of(&result, Error::outcome),
        };
        if let Some(place) = place {
            place.record(outcome);
        }
        if let Some((_, permit)) = permit {
            permit.record(outcome);
        }
        result
    }

    /// The call itself, within its own timeout.
    async fn attempt<F, Fut>(&self, ctx: &Context, call: &F) -> Result<T, Error<E>>
    where
        F: Fn(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.tally.bump(0);
        let Some(timeout) = self.attempt_timeout else {
            return match ctx.run(call(ctx.clone())).await {
                Ok(result) => result.map_err(Error::new),
                Err(end) => Err(Error::ended(end, None)),
            };
        };
        let attempt = ctx.with_timeout(timeout);
        match attempt.run(call(attempt.clone())).await {
            Ok(Ok(value)) => Ok(value),
            // The caller's end, which says nothing about the callee, comes before the attempt's.
            Ok(Err(error)) => Err(match attempt.err().filter(|_| ctx.err().is_none()) {
                Some(end) => Error::timed_out(timeout, end, Some(error)),
                None => Error::new(error),
            }),
            Err(end) => Err(match ctx.err() {
                Some(callers) => Error::ended(callers, None),
                None => Error::timed_out(timeout, end, None),
            }),
        }
    }
}

/// A circuit breaker whose way of judging is forgotten.
pub(super) trait Breaker<T, E>: Send + Sync {
    fn acquire(&self) -> Result<Permit<'_>, Open>;

    fn judge(&self, result: &Result<T, Error<E>>) -> Outcome;
}

impl<T, E, C: Classify<T, Error<E>> + Send + Sync> Breaker<T, E> for CircuitBreaker<C> {
    fn acquire(&self) -> Result<Permit<'_>, Open> {
        self.try_acquire_to_queue()
    }

    fn judge(&self, result: &Result<T, Error<E>>) -> Outcome {
        self.verdict(result)
    }
}
