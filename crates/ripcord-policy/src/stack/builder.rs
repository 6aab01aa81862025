//! The builder of a stack, and its checks.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use ripcord::Clock;

use super::Stack;
use super::layers::{Breaker, CacheLayer, Layers, Timeout};
use super::order::Layer;
use crate::breaker::{CircuitBreakerBuilder, Classify};
use crate::bulkhead::BulkheadBuilder;
use crate::cache::Key;
use crate::config::above_zero;
use crate::fallback::FallbackBuilder;
use crate::hedge::HedgeBuilder;
use crate::limiter::RateLimiterBuilder;
use crate::retry::RetryBuilder;
use crate::tally::Tally;
use crate::{Bulkhead, Cache, CircuitBreaker, ConfigError, Fallback, Hedge, RateLimiter, Retry};

/// Builds a [`Stack`]. Create the builder with [`Stack::builder`]. Add the layers in the order from the outermost to the
/// innermost layer: see [the table of layers](Stack#the-layers-from-the-outside-in).
///
/// ```
/// use std::time::Duration;
/// use ripcord_policy::{Bulkhead, CircuitBreaker, ConfigError, Retry, Stack};
///
/// let stack: Stack<String, std::io::Error> = Stack::builder()
///     .deadline(Duration::from_secs(5))
///     .retry(Retry::builder().base(Duration::from_millis(50)).max_attempts(3))
///     .breaker(CircuitBreaker::builder("inventory").consecutive_failures(5))
///     .bulkhead(Bulkhead::builder().limit(10))
///     .attempt_timeout(Duration::from_secs(1))
///     .build()?;
/// assert!(stack.cache().is_none());
/// # Ok::<(), ConfigError>(())
/// ```
///
/// Each method that adds a policy accepts the policy, the builder of the policy, or an `Option` of either. `None` leaves the
/// layer out. A policy that is passed as a builder gets the stack's [`clock`](Self::clock), unless the builder has a clock
/// already. A policy that is already built keeps its clock, and can be shared with other stacks. A cache must be built already.
#[must_use = "a builder does nothing until it is built"]
pub struct StackBuilder<T, E, K = ()> {
    layers: Layers<T, E>,
    cache: Option<CacheLayer<K, T>>,
    /// The layer added last.
    innermost: Option<Layer>,
    /// The error of the first invalid setting.
    invalid: Option<ConfigError>,
}

impl<T: 'static, E: 'static> StackBuilder<T, E> {
    pub(super) fn new() -> Self {
        let layers = Layers {
            clock: None,
            fallback: None,
            deadline: None,
            retry: None,
            hedge: None,
            breaker: None,
            limiter: None,
            bulkhead: None,
            attempt_timeout: None,
            tally: Tally::new(),
        };
        Self { layers, cache: None, innermost: None, invalid: None }
    }

    /// Adds a cache, whose key type becomes the `K` of the stack. Only [`Stack::run_keyed`] and [`Stack::find_keyed`] use the
    /// cache. [`Stack::run`] does not.
    pub fn cache<K>(mut self, cache: impl IntoLayer<Cache<K, T>>) -> StackBuilder<T, E, K>
    where
        K: Key,
        T: Clone + Send + Sync,
    {
        let cache = self.layer(Layer::Cache, cache).map(CacheLayer::new);
        StackBuilder { layers: self.layers, cache, innermost: self.innermost, invalid: self.invalid }
    }
}

impl<T: 'static, E: 'static, K> StackBuilder<T, E, K> {
    /// Sets the clock that measures the timeouts and waits of the stack. The contexts that the call gets use this clock too.
    /// Call this method before adding layers: otherwise [`build`](Self::build) returns an error. Default: the clock of the
    /// context passed to [`Stack::run`].
    ///
    /// Layers that are passed as builders get the same clock, unless the builder has a clock already.
    pub fn clock(mut self, clock: Clock) -> Self {
        if self.innermost.is_some() {
            self.invalid.get_or_insert(ConfigError::new("clock", "set before all layers", "after a layer"));
        }
        self.layers.clock = Some(clock);
        self
    }

    /// Adds a fallback, which returns another value when the call fails or a layer below refuses it.
    pub fn fallback(mut self, fallback: impl IntoLayer<Fallback<T, E>>) -> Self {
        self.layers.fallback = self.layer(Layer::Fallback, fallback);
        self
    }

    /// Adds a deadline, which limits the time of all attempts of a call together, including the waits between the attempts.
    /// If the caller's context has an earlier deadline, the earlier deadline counts. `total` is a `Duration` or an
    /// `Option<Duration>`. The duration must be longer than zero. `None` leaves the layer out.
    ///
    /// The deadline of the stack counts as the caller's deadline. So a call that reaches this deadline is not a failure for the
    /// breaker. An attempt that reaches its [`attempt_timeout`](Self::attempt_timeout) is a failure. The error of a call that
    /// reaches the deadline names the line that called this method.
    #[track_caller]
    pub fn deadline(mut self, total: impl Into<Option<Duration>>) -> Self {
        self.layers.deadline = self.timeout(Layer::Deadline, total.into(), Location::caller());
        self
    }

    /// Adds a retry, which repeats failed attempts. If a layer below refused the attempt and a later attempt can succeed, the
    /// retry waits at least for the time [`Error::retry_after`](crate::Error::retry_after). The functions
    /// [`retry_if`](RetryBuilder::retry_if) and [`retry_after`](RetryBuilder::retry_after) get the error that the call itself
    /// returned.
    pub fn retry(mut self, retry: impl IntoLayer<Retry<E>>) -> Self {
        self.layers.retry = self.layer(Layer::Retry, retry);
        self
    }

    /// Adds a hedge, which sends a second attempt when an attempt is slow. The delay of the hedge must be shorter than the
    /// [`attempt_timeout`](Self::attempt_timeout) and the [`deadline`](Self::deadline).
    ///
    /// The retry and the hedge of a stack share one budget. If only one of them has a budget, the other uses it too. If both
    /// have one, both budgets must be clones of the same `Arc`. If a layer below refuses the second attempt, the tokens of this
    /// attempt return to the budget.
    pub fn hedge(mut self, hedge: impl IntoLayer<Hedge>) -> Self {
        self.layers.hedge = self.layer(Layer::Hedge, hedge);
        self
    }

    /// Adds a circuit breaker, which refuses attempts while the called service keeps failing. The breaker's
    /// [classifier](CircuitBreakerBuilder::classify) judges only the results that the call returned. An attempt timeout is a
    /// failure. A refusal by a layer below is neutral.
    ///
    /// The duration of a [slow call](CircuitBreakerBuilder::slow_call) and the [timeout of a
    /// probe](CircuitBreakerBuilder::half_open_timeout) are measured from the moment when the attempt is sent. The waits in the
    /// limiter and the bulkhead do not count.
    pub fn breaker<C>(mut self, breaker: impl IntoLayer<CircuitBreaker<C>>) -> Self
    where
        C: Classify<T, E> + Send + Sync + 'static,
    {
        self.layers.breaker = self
            .layer(Layer::Breaker, breaker)
            .map(|breaker| Breaker { handle: breaker.handle(), classify: Box::new(breaker.into_classifier()) });
        self
    }

    /// Adds a rate limiter. Each attempt waits for a token before it is sent. If the attempt is then refused by the bulkhead or
    /// dropped before it is sent, the token returns to the limiter.
    pub fn limiter(mut self, limiter: impl IntoLayer<RateLimiter>) -> Self {
        self.layers.limiter = self.layer(Layer::Limiter, limiter);
        self
    }

    /// Adds a bulkhead, which limits the attempts in flight. Each attempt waits for a permit, or is refused if the queue is
    /// full. If the stack has a breaker, the breaker's [classifier](CircuitBreakerBuilder::classify) also judges the
    /// results for the bulkhead's statistics and its [adaptive limit](crate::bulkhead::AdaptiveLimit).
    pub fn bulkhead(mut self, bulkhead: impl IntoLayer<Bulkhead>) -> Self {
        self.layers.bulkhead = self.layer(Layer::Bulkhead, bulkhead);
        self
    }

    /// Adds a timeout for each attempt. The timeout starts when the attempt is sent. If the caller's context has an earlier
    /// deadline, the earlier deadline counts. `timeout` is a `Duration` or an `Option<Duration>`. The duration must be
    /// longer than zero and at most the [`deadline`](Self::deadline) of the stack. `None` leaves the layer out.
    ///
    /// When the timeout expires, the context of the attempt ends, the future of the call is dropped, and the attempt counts
    /// as failed. The error of the attempt names the line that called this method, or the line that called the
    /// `#[track_caller]` function that contains the call. If no further attempt follows,
    /// [`Error::is_attempt_timeout`](crate::Error::is_attempt_timeout) is true for the error of the call.
    ///
    /// The context of the attempt keeps its timeout after the call has succeeded. So the body of an HTTP response that the call
    /// returns is cut off when the timeout expires. Read the body inside the call. To open a long stream, use a
    /// [`Retry`] without a stack, or a stack without an attempt timeout and a [`deadline`](Self::deadline).
    #[track_caller]
    pub fn attempt_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.layers.attempt_timeout = self.timeout(Layer::AttemptTimeout, timeout.into(), Location::caller());
        self
    }

    /// Builds the stack.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] in these cases:
    ///
    /// * A setting of a layer is invalid.
    /// * A layer is out of order or was added twice.
    /// * The clock was set after a layer.
    /// * The deadline or the attempt timeout is zero.
    /// * The attempt timeout is longer than the deadline.
    /// * The delay of the hedge is not shorter than the attempt timeout or the deadline.
    /// * The retry and the hedge have different budgets.
    pub fn build(self) -> Result<Stack<T, E, K>, ConfigError> {
        let Self { mut layers, cache, invalid, .. } = self;
        if let Some(error) = invalid {
            return Err(error);
        }
        let limits = [(&layers.attempt_timeout, "attempt_timeout"), (&layers.deadline, "deadline")];
        let limits = limits.map(|(limit, name)| (limit.as_ref().map(|limit| limit.after), name));
        if let [(Some(timeout), _), (Some(deadline), _)] = limits
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
        share_budget(&mut layers)?;
        Ok(Stack { layers: Arc::new(layers), cache })
    }

    fn layer<P>(&mut self, layer: Layer, given: impl IntoLayer<P>) -> Option<P> {
        match given.into_layer(self.layers.clock.as_ref()) {
            Ok(Some(policy)) => {
                self.place(layer);
                Some(policy)
            }
            Ok(None) => None,
            Err(error) => {
                self.invalid.get_or_insert(error);
                None
            }
        }
    }

    fn timeout(
        &mut self,
        layer: Layer,
        after: Option<Duration>,
        location: &'static Location<'static>,
    ) -> Option<Timeout> {
        let after = after?;
        self.place(layer);
        if let Err(error) = above_zero(layer.name(), after) {
            self.invalid.get_or_insert(error);
        }
        Some(Timeout { after, location, cause: format!("the stack's {}", layer.name()).into() })
    }

    fn place(&mut self, layer: Layer) {
        if let Err(error) = layer.check_after(self.innermost) {
            self.invalid.get_or_insert(error);
        }
        self.innermost = self.innermost.max(Some(layer));
    }
}

/// Makes the retry and the hedge share one budget, because both multiply the same calls.
fn share_budget<T, E>(layers: &mut Layers<T, E>) -> Result<(), ConfigError> {
    let (Some(retry), Some(hedge)) = (&layers.retry, &layers.hedge) else {
        return Ok(());
    };
    let budget = match (retry.budget(), hedge.budget()) {
        (Some(retries), Some(hedges)) if !Arc::ptr_eq(retries, hedges) => {
            return Err(ConfigError::new("hedge", "paid from the retry's budget", "another budget"));
        }
        (Some(budget), _) => Arc::clone(budget),
        (None, Some(budget)) => {
            let budget = Arc::clone(budget);
            layers.retry = Some(retry.with_budget(Arc::clone(&budget)));
            budget
        }
        (None, None) => return Ok(()),
    };
    layers.hedge = layers.hedge.take().map(|hedge| hedge.below_retry(budget));
    Ok(())
}

/// A value that a [`StackBuilder`] accepts as a layer. `P` is the type of the policy. The policy, its builder, and an
/// `Option` of either implement this trait, except the builder of a cache.
pub trait IntoLayer<P> {
    /// Returns the policy, or `None` if the layer is left out. `clock` is the clock of the stack. A builder that has no clock
    /// yet is built with `clock`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a setting of the builder is out of bounds.
    fn into_layer(self, clock: Option<&Clock>) -> Result<Option<P>, ConfigError>;
}

impl<P, L: IntoLayer<P>> IntoLayer<P> for Option<L> {
    fn into_layer(self, clock: Option<&Clock>) -> Result<Option<P>, ConfigError> {
        self.map_or(Ok(None), |layer| layer.into_layer(clock))
    }
}

/// Makes a policy its own layer.
macro_rules! policy {
    ($([$($parameter:ident),*] $policy:ty;)*) => {$(
        impl<$($parameter),*> IntoLayer<$policy> for $policy {
            fn into_layer(self, _: Option<&Clock>) -> Result<Option<$policy>, ConfigError> {
                Ok(Some(self))
            }
        }
    )*};
}

policy! {
    [T, E] Fallback<T, E>;
    [K, V] Cache<K, V>;
    [E] Retry<E>;
    [] Hedge;
    [C] CircuitBreaker<C>;
    [] RateLimiter;
    [] Bulkhead;
}

/// Makes a builder a layer of its policy's type. `$with_clock` sets the stack's clock.
macro_rules! builder {
    ($([$($parameter:ident),*] $builder:ty => $policy:ty, $with_clock:expr;)*) => {$(
        impl<$($parameter: 'static),*> IntoLayer<$policy> for $builder {
            fn into_layer(self, clock: Option<&Clock>) -> Result<Option<$policy>, ConfigError> {
                match clock {
                    Some(clock) => $with_clock(self, clock).build().map(Some),
                    None => self.build().map(Some),
                }
            }
        }
    )*};
}

builder! {
    [T, E] FallbackBuilder<T, E> => Fallback<T, E>, |fallback, _| fallback;
    // A retry and a hedge use the context's clock, which the stack sets.
    [E] RetryBuilder<E> => Retry<E>, |retry, _| retry;
    [] HedgeBuilder => Hedge, |hedge, _| hedge;
    [C] CircuitBreakerBuilder<C> => CircuitBreaker<C>, CircuitBreakerBuilder::default_clock;
    [] RateLimiterBuilder => RateLimiter, RateLimiterBuilder::default_clock;
    [] BulkheadBuilder => Bulkhead, BulkheadBuilder::default_clock;
}

impl<T, E, K> fmt::Debug for StackBuilder<T, E, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackBuilder").field("innermost", &self.innermost).finish_non_exhaustive()
    }
}
