//! How a stack is put together, and what is checked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Stack;
use super::layers::{Breaker, Layers};
use crate::breaker::Classify;
use crate::config::above_zero;
use crate::retry::RetryBudget;
use crate::tally::Tally;
use crate::{Bulkhead, Cache, CircuitBreaker, ConfigError, Error, Fallback, Hedge, RateLimiter, Retry};

/// Puts a [`Stack`] together, from the outside in; from [`Stack::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct StackBuilder<T, E, K = ()> {
    layers: Layers<T, E, K>,
    /// The layer added last.
    innermost: Option<Layer>,
    invalid: Option<ConfigError>,
}

/// The layers in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Fallback,
    Cache,
    Deadline,
    Retry,
    Hedge,
    Breaker,
    Limiter,
    Bulkhead,
    AttemptTimeout,
}

const ORDER: &str = "fallback, cache, deadline, retry, hedge, breaker, limiter, bulkhead, attempt_timeout";

impl<T: 'static, E: 'static> StackBuilder<T, E> {
    pub(super) fn new() -> Self {
        let layers = Layers {
            fallback: None,
            cache: None,
            deadline: None,
            retry: None,
            hedge: None,
            breaker: None,
            limiter: None,
            bulkhead: None,
            attempt_timeout: None,
            tally: Tally::new(),
        };
        Self { layers, innermost: None, invalid: None }
    }

    /// Answers from a cache, for calls made with [`Stack::run_keyed`].
    pub fn cache<K>(mut self, cache: Cache<K, T>) -> StackBuilder<T, E, K> {
        self.place(Layer::Cache);
        let Layers { fallback, cache: _, deadline, retry, hedge, breaker, limiter, bulkhead, attempt_timeout, tally } =
            self.layers;
        let cache = Some(cache);
        let layers =
            Layers { fallback, cache, deadline, retry, hedge, breaker, limiter, bulkhead, attempt_timeout, tally };
        StackBuilder { layers, innermost: self.innermost, invalid: self.invalid }
    }
}

impl<T: 'static, E: 'static, K> StackBuilder<T, E, K> {
    /// Answers for what fails below.
    pub fn fallback(mut self, fallback: Fallback<T, E>) -> Self {
        self.place(Layer::Fallback);
        self.layers.fallback = Some(fallback);
        self
    }

    /// The time all attempts have together, if the caller's context leaves as much.
    ///
    /// It is part of the caller's: an attempt that it cuts off says nothing about the callee. What the callee is to be judged
    /// by is the [attempt's own timeout](Self::attempt_timeout).
    pub fn deadline(mut self, total: Duration) -> Self {
        self.place(Layer::Deadline);
        self.layers.deadline = Some(total);
        self
    }

    /// Attempts again what failed. It understands the errors of the layers below; `retry_if` and
    /// `retry_after` judge the call's own error.
    pub fn retry(mut self, retry: Retry<E>) -> Self {
        self.place(Layer::Retry);
        self.layers.retry = Some(retry);
        self
    }

    /// Doubles a slow attempt, paid from the retry's budget. A further attempt that a layer below refuses costs nothing.
    pub fn hedge(mut self, hedge: Hedge) -> Self {
        self.place(Layer::Hedge);
        self.layers.hedge = Some(hedge);
        self
    }

    /// Stops attempts to what keeps failing. Whatever its classifier says, the caller's end and local rejections are
    /// neutral. Its clocks, that of a slow call and that of a probe that hangs, start when the attempt is sent.
    pub fn breaker<C>(mut self, breaker: CircuitBreaker<C>) -> Self
    where
        C: Classify<T, Error<E>> + Send + Sync + 'static,
    {
        self.place(Layer::Breaker);
        self.layers.breaker = Some(Box::new(breaker) as Box<dyn Breaker<T, E>>);
        self
    }

    /// Has attempts wait for a token each. One that is refused or dropped before it is sent gives its token back.
    pub fn limiter(mut self, limiter: RateLimiter) -> Self {
        self.place(Layer::Limiter);
        self.layers.limiter = Some(limiter);
        self
    }

    /// Limits the attempts under way at once. Where there is a breaker, how an attempt went is what that says: for the
    /// statistics, and for an [adaptive limit](crate::bulkhead::AdaptiveLimit).
    pub fn bulkhead(mut self, bulkhead: Bulkhead) -> Self {
        self.place(Layer::Bulkhead);
        self.layers.bulkhead = Some(bulkhead);
        self
    }

    /// The time one attempt has, if as much is left.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.place(Layer::AttemptTimeout);
        self.layers.attempt_timeout = Some(timeout);
        self
    }

    /// Builds the stack.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for layers out of order or given twice, a deadline or timeout of zero, an attempt's timeout above
    /// the total deadline, a hedge that would never be sent for it, a retry that is misconfigured, and a retry and a hedge
    /// with two different budgets.
    pub fn build(self) -> Result<Stack<T, E, K>, ConfigError> {
        let Self { mut layers, invalid, .. } = self;
        if let Some(error) = invalid {
            return Err(error);
        }
        if let Some(deadline) = layers.deadline {
            above_zero("deadline", deadline)?;
        }
        if let Some(timeout) = layers.attempt_timeout {
            above_zero("attempt_timeout", timeout)?;
        }
        let limits = [(layers.attempt_timeout, "attempt_timeout"), (layers.deadline, "deadline")];
        if let (Some(timeout), Some(deadline)) = (layers.attempt_timeout, layers.deadline)
            && timeout > deadline
        {
            let bound = format!("at most the deadline ({deadline:?})");
            return Err(ConfigError::new("attempt_timeout", bound, format!("{timeout:?}")));
        }
        if let Some(hedge) = &layers.hedge {
            for (limit, name) in limits {
                if let Some(limit) = limit.filter(|limit| hedge.delay() >= *limit) {
                    let bound = format!("sent after less than the {name} ({limit:?})");
                    return Err(ConfigError::new("hedge", bound, format!("{:?}", hedge.delay())));
                }
            }
        }
        layers.retry = layers.retry.map(Retry::build).transpose()?;
        share_budget(&mut layers.retry, &mut layers.hedge)?;
        Ok(Stack { layers: Arc::new(layers) })
    }

    fn place(&mut self, layer: Layer) {
        if let Some(innermost) = self.innermost.filter(|innermost| *innermost >= layer) {
            let error = if innermost == layer {
                ConfigError::new(layer.name(), "given once", "a second one")
            } else {
                ConfigError::new(
                    layer.name(),
                    format!("in its place in: {ORDER}"),
                    format!("after {}", innermost.name()),
                )
            };
            self.invalid.get_or_insert(error);
        }
        self.innermost = self.innermost.max(Some(layer));
    }
}

/// Retry and hedge multiply the same calls, so what they may cost is one sum.
fn share_budget<E>(retry: &mut Option<Retry<E>>, hedge: &mut Option<Hedge>) -> Result<(), ConfigError> {
    let (repeat, double) = match (retry.take(), hedge.take()) {
        (Some(repeat), Some(double)) => (repeat, double),
        alone => {
            (*retry, *hedge) = alone;
            return Ok(());
        }
    };
    let budget: Option<Arc<RetryBudget>> = match (repeat.shared_budget(), double.budget()) {
        (Some(a), Some(b)) if !Arc::ptr_eq(a, b) => {
            return Err(ConfigError::new("hedge", "paid from the retry's budget", "another budget"));
        }
        (a, b) => a.or(b).cloned(),
    };
    (*retry, *hedge) = match budget {
        Some(budget) => (Some(repeat.budget(Arc::clone(&budget))), Some(double.below_retry(budget))),
        None => (Some(repeat), Some(double)),
    };
    Ok(())
}

impl Layer {
    fn name(self) -> &'static str {
        match self {
            Self::Fallback => "fallback",
            Self::Cache => "cache",
            Self::Deadline => "deadline",
            Self::Retry => "retry",
            Self::Hedge => "hedge",
            Self::Breaker => "breaker",
            Self::Limiter => "limiter",
            Self::Bulkhead => "bulkhead",
            Self::AttemptTimeout => "attempt_timeout",
        }
    }
}

impl<T, E, K> fmt::Debug for StackBuilder<T, E, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackBuilder").field("innermost", &self.innermost).finish_non_exhaustive()
    }
}
