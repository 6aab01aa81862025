//! The layers that a call passes through.

use std::convert::identity;
use std::future::Future;
use std::panic::{Location, resume_unwind};
use std::pin::pin;
use std::time::Duration;

use ripcord::{Cause, Clock, Context};

use crate::breaker::Classify;
use crate::cache::Key;
use crate::panics::keep_catching;
use crate::tally::Tally;
use crate::{Bulkhead, Cache, CircuitBreaker, Error, Fallback, Hedge, Outcome, RateLimiter, Refused, Retry};

/// All layers except the cache.
pub(super) struct Layers<T, E> {
    pub(super) clock: Option<Clock>,
    pub(super) fallback: Option<Fallback<T, E>>,
    pub(super) deadline: Option<Timeout>,
    pub(super) retry: Option<Retry<E>>,
    pub(super) hedge: Option<Hedge>,
    pub(super) breaker: Option<Breaker<T, E>>,
    pub(super) limiter: Option<RateLimiter>,
    pub(super) bulkhead: Option<Bulkhead>,
    pub(super) attempt_timeout: Option<Timeout>,
    pub(super) tally: Tally<1>,
}

/// A cache, and a function that records its metrics.
pub(super) struct CacheLayer<K, V> {
    pub(super) handle: Cache<K, V>,
    /// `Cache::record_metrics`. A stack without a cache records its metrics without the cache's bounds on `K` and `V`.
    #[cfg(feature = "metrics")]
    pub(super) record: fn(&Cache<K, V>, &str),
}

impl<K: Key, V: Clone + Send + Sync + 'static> CacheLayer<K, V> {
    pub(super) fn new(handle: Cache<K, V>) -> Self {
        Self {
            handle,
            #[cfg(feature = "metrics")]
            record: Cache::record_metrics,
        }
    }
}

impl<K, V> Clone for CacheLayer<K, V> {
    fn clone(&self) -> Self {
        Self {
            handle: self.handle.clone(),
            #[cfg(feature = "metrics")]
            record: self.record,
        }
    }
}

/// A breaker, and its classifier as a trait object.
pub(super) struct Breaker<T, E> {
    pub(super) handle: CircuitBreaker,
    pub(super) classify: Box<dyn Classify<T, E> + Send + Sync>,
}

/// A time limit, and the line that set it.
#[derive(Clone, Debug)]
pub(super) struct Timeout {
    pub(super) after: Duration,
    pub(super) location: &'static Location<'static>,
    /// The cause, which names the setting. It is created once for all calls.
    pub(super) cause: Cause,
}

impl Timeout {
    fn start(&self, ctx: &Context) -> Context {
        ctx.with_timeout_cause_at(self.after, self.cause.clone(), self.location)
    }
}

impl<T, E> Layers<T, E> {
    /// Returns the caller's context, with the stack's clock if the stack has one.
    pub(super) fn on_own_clock(&self, ctx: &Context) -> Context {
        match &self.clock {
            Some(clock) => ctx.with_clock(clock.clone()),
            None => ctx.clone(),
        }
    }

    /// Runs all layers from the total deadline inwards.
    pub(super) async fn timed<F, Fut>(&self, ctx: &Context, call: &F) -> Result<T, Error<E>>
    where
        F: Fn(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        match &self.deadline {
            Some(deadline) => self.retried(&deadline.start(ctx), call).await,
            None => self.retried(ctx, call).await,
        }
    }

    async fn retried<F, Fut>(&self, ctx: &Context, call: &F) -> Result<T, Error<E>>
    where
        F: Fn(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        match &self.retry {
            Some(retry) => retry.run_over(ctx, |ctx| self.hedged(ctx, call), identity).await,
            None => self.hedged(ctx.clone(), call).await,
        }
    }

    async fn hedged<F, Fut>(&self, ctx: Context, call: &F) -> Result<T, Error<E>>
    where
        F: Fn(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        match &self.hedge {
            Some(hedge) => hedge.run_over(&ctx, |ctx| self.admitted(ctx, call)).await,
            None => self.admitted(ctx, call).await,
        }
    }

    /// Makes one attempt: breaker, limiter, bulkhead.
    async fn admitted<F, Fut>(&self, ctx: Context, call: &F) -> Result<T, Error<E>>
    where
        F: Fn(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        if let Err(end) = ctx.check() {
            return Err(end.into());
        }
        let mut probe = match &self.breaker {
            Some(breaker) => Some(breaker.handle.try_acquire_to_queue().map_err(Refused::from)?),
            None => None,
        };
        let token = match &self.limiter {
            Some(limiter) => Some(limiter.token(&ctx).await?),
            None => None,
        };
        let permit = match &self.bulkhead {
            Some(bulkhead) => Some(bulkhead.acquire(&ctx).await?),
            None => None,
        };
        // The caller's time may have run out when the wait ended.
        if let Err(end) = ctx.check() {
            return Err(end.into());
        }
        if let Some(token) = token {
            token.spend();
        }
        if let Some(probe) = &mut probe {
            probe.restart_clock();
        }

        let attempt = keep_catching(pin!(self.attempt(&ctx, call))).await;

        // All layers that judge the attempt get the same outcome.
        let outcome = attempt.as_ref().map_or(Outcome::Failure, |(_, outcome)| *outcome);
        if let Some(permit) = permit {
            permit.record(outcome);
        }
        if let Some(probe) = probe {
            probe.record(outcome);
        }
        match attempt {
            Ok((result, _)) => result,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Makes the call under its own timeout. Returns the result and its outcome.
    async fn attempt<F, Fut>(&self, ctx: &Context, call: &F) -> (Result<T, Error<E>>, Outcome)
    where
        F: Fn(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.tally.bump(0);
        let attempt = match &self.attempt_timeout {
            Some(timeout) => timeout.start(ctx),
            None => ctx.clone(),
        };
        let result = match attempt.run(call(attempt.clone())).await {
            // A success counts even if it is late.
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => match attempt.err() {
                Some(end) => return self.ended(ctx, end, Some(error)),
                None => Err(error),
            },
            Err(end) => return self.ended(ctx, end, None),
        };
        let outcome = match &self.breaker {
            Some(breaker) => breaker.classify.classify(&result),
            None => Outcome::new(&result, |_| Outcome::Failure),
        };
        (result.map_err(Error::new), outcome)
    }

    /// Returns the result of an attempt whose context has ended with `end`. The end of the caller's context takes precedence,
    /// because it says nothing about the callee.
    fn ended(&self, ctx: &Context, end: ripcord::Error, error: Option<E>) -> (Result<T, Error<E>>, Outcome) {
        let error = match (ctx.err(), &self.attempt_timeout) {
            (None, Some(timeout)) => Error::timed_out(timeout.after, end, error),
            (callers, _) => Error::ended(callers.unwrap_or(end), error),
        };
        let outcome = error.outcome();
        (Err(error), outcome)
    }
}
