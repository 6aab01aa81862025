//! One breaker per key.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ripcord::{Clock, Context};

use super::{CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerStats, Classify, DefaultClassifier, State};
use crate::idle_map::IdleMap;
use crate::stats::CallStats;
use crate::{ConfigError, Error};

/// Keeps one [`CircuitBreaker`] per key, such as a host. All breakers have the same settings.
///
/// ```
/// use ripcord::Context;
/// use ripcord_policy::{CircuitBreaker, KeyedCircuitBreaker};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let each = CircuitBreaker::builder("hosts").consecutive_failures(1);
/// let breakers = KeyedCircuitBreaker::builder(each).build()?;
///
/// let ctx = Context::background();
/// let _ = breakers.run(&ctx, &"10.0.0.1", |_ctx| async { Err::<(), _>("down") }).await;
/// let refused = breakers.run(&ctx, &"10.0.0.1", |_ctx| async { Ok::<_, &str>(()) }).await.unwrap_err();
/// assert_eq!(refused.to_string(), "circuit breaker 'hosts/10.0.0.1' is OPEN");
///
/// // Another host has its own breaker.
/// assert!(breakers.run(&ctx, &"10.0.0.2", |_ctx| async { Ok::<_, &str>(()) }).await.is_ok());
/// assert_eq!(breakers.stats().open, 1);
/// # Ok(())
/// # }
/// ```
///
/// `K` is the type of the keys, and `C` is the type of the classifier. [`CircuitBreaker`] describes the states of a breaker,
/// and its probes: the calls that a half-open breaker admits.
///
/// Create the breakers with [`builder`](KeyedCircuitBreaker::builder) or [`new`](KeyedCircuitBreaker::new). Make calls with
/// [`run`](KeyedCircuitBreaker::run).
///
/// A breaker is idle if it is closed, remembers no failed or slow call, and is not in use. Idle breakers are removed from
/// memory when a breaker is added. This happens if at least 64 breakers are in memory and their number has doubled since the
/// last removal. So the memory depends on the number of keys whose calls fail, and not on the number of all keys.
/// [`stats`](KeyedCircuitBreaker::stats) includes the counters of the removed breakers.
///
/// Clones share all state. `Hash`, `Eq`, `Clone` and `Display` of a key must not use the `KeyedCircuitBreaker`.
pub struct KeyedCircuitBreaker<K, C = DefaultClassifier> {
    shared: Arc<Shared<K, C>>,
}

/// Builds a [`KeyedCircuitBreaker`]. Create the builder with [`KeyedCircuitBreaker::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct KeyedCircuitBreakerBuilder<K, C = DefaultClassifier> {
    each: CircuitBreakerBuilder<C>,
    keys: PhantomData<fn(K)>,
}

struct Shared<K, C> {
    each: CircuitBreakerBuilder<C>,
    breakers: Mutex<Breakers<K, C>>,
}

struct Breakers<K, C> {
    by_key: IdleMap<K, CircuitBreaker<C>>,
    /// The figures of the forgotten breakers.
    forgotten: KeyedCircuitBreakerStats,
}

/// Statistics of all breakers of a [`KeyedCircuitBreaker`]. The module [`stats`](crate::stats) describes counters and gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedCircuitBreakerStats {
    /// Admitted calls by result, and refused calls.
    pub calls: CallStats,
    /// Calls that were [slow](super::CircuitBreakerBuilder::slow_call), both successes and failures.
    pub slow: u64,
    /// Results that were ignored because the breaker of the key changed its state during the call.
    pub stale: u64,
    /// The number of times that the breakers opened, all breakers together.
    pub opened: u64,
    /// The number of times that the breakers opened because a breaker of another process had opened. Included in `opened`.
    pub opened_by_peer: u64,
    /// Breakers in memory: a gauge.
    pub breakers: usize,
    /// Breakers that are open: a gauge.
    pub open: usize,
    /// Breakers that are half-open: a gauge.
    pub half_open: usize,
}

impl<K, C> KeyedCircuitBreaker<K, C>
where
    K: Hash + Eq + Clone + fmt::Display,
    C: Clone,
{
    /// Creates a builder. Each breaker gets the settings of `each`.
    ///
    /// The name of a breaker consists of the name in `each`, a slash and the key. For example, the name is `hosts/10.0.0.1` if
    /// the name in `each` is `hosts` and the key is `10.0.0.1`.
    pub fn builder(each: CircuitBreakerBuilder<C>) -> KeyedCircuitBreakerBuilder<K, C> {
        KeyedCircuitBreakerBuilder { each, keys: PhantomData }
    }

    /// Creates a `KeyedCircuitBreaker` whose breakers get the settings of `each`. This is short for
    /// [`builder`](KeyedCircuitBreaker::builder) and [`build`](KeyedCircuitBreakerBuilder::build).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a setting of `each` is out of bounds. The error names the first such setting.
    pub fn new(each: CircuitBreakerBuilder<C>) -> Result<Self, ConfigError> {
        KeyedCircuitBreaker::builder(each).build()
    }

    /// Makes a call if the breaker of `key` admits it, and records the result. `call` gets a clone of `ctx`.
    ///
    /// The [classifier](CircuitBreakerBuilder::classify) of the breaker judges the result. If `ctx` ends during the call, the
    /// breaker does not drop the call. The call must observe its context. If the call succeeds, its value is returned even if
    /// `ctx` has ended meanwhile.
    ///
    /// # Errors
    ///
    /// * The call's own error.
    /// * The breaker refused the call ([`Error::is_breaker_open`]): it is open, or it is half-open and all its probes are in
    ///   flight. See [States](CircuitBreaker#states).
    /// * `ctx` was canceled or its deadline passed before the call, or during a call that failed ([`Error::context_error`]).
    ///   The call's error, if any, is the source.
    ///
    /// # Panics
    ///
    /// Passes on a panic of the call. The panic counts as a failure.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the call. The call then counts as canceled, not as a failure. If the call was a probe, another
    /// probe may start.
    pub async fn run<T, E, F, Fut>(&self, ctx: &Context, key: &K, call: F) -> Result<T, Error<E>>
    where
        C: Classify<T, E>,
        F: FnOnce(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.get(key).run(ctx, call).await
    }

    /// Returns the breaker of `key`. The breaker of a new key is closed.
    ///
    /// The returned value is a handle: it shares its state with the breaker in this `KeyedCircuitBreaker`. The breaker is
    /// not removed from memory while a handle exists. So drop the handle after the call.
    pub fn get(&self, key: &K) -> CircuitBreaker<C> {
        let mut breakers = self.lock();
        if let Some(breaker) = breakers.by_key.get(key) {
            return breaker.clone();
        }
        let name = format!("{}/{key}", self.shared.each.name()).into();
        let breaker = self.shared.each.clone().named(name).build().expect("the settings were checked");
        let idle = breakers.by_key.insert(key.clone(), breaker.clone(), CircuitBreaker::is_idle);
        // Only the map holds the idle breakers, so their figures no longer change.
        idle.iter().for_each(|(_, idle)| breakers.forgotten.add(&idle.stats()));
        drop(breakers);
        breaker
    }

    /// Returns the statistics of all breakers together. The counters include the breakers that were removed from memory. The
    /// gauges include only the breakers in memory.
    pub fn stats(&self) -> KeyedCircuitBreakerStats {
        let (mut stats, breakers) = {
            let breakers = self.lock();
            (breakers.forgotten, breakers.by_key.values().map(CircuitBreaker::handle).collect::<Vec<_>>())
        };
        for breaker in breakers {
            let one = breaker.stats();
            stats.add(&one);
            stats.breakers += 1;
            stats.open += usize::from(one.state == State::Open);
            stats.half_open += usize::from(one.state == State::HalfOpen);
        }
        stats
    }

    fn lock(&self) -> MutexGuard<'_, Breakers<K, C>> {
        self.shared.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, C> KeyedCircuitBreakerBuilder<K, C>
where
    K: Hash + Eq + Clone + fmt::Display,
    C: Clone,
{
    /// Sets the clock by which all breakers measure time. Default: the clock in the settings passed to
    /// [`KeyedCircuitBreaker::builder`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.each = self.each.clock(clock);
        self
    }

    /// Builds the [`KeyedCircuitBreaker`]. The breaker of a key is created when the key is first used, and starts closed.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a setting of the builder passed to [`KeyedCircuitBreaker::builder`] is out of bounds. The error names
    /// the first such setting.
    pub fn build(self) -> Result<KeyedCircuitBreaker<K, C>, ConfigError> {
        self.each.check()?;
        let breakers = Breakers { by_key: IdleMap::new(), forgotten: KeyedCircuitBreakerStats::default() };
        let shared = Shared { each: self.each, breakers: Mutex::new(breakers) };
        Ok(KeyedCircuitBreaker { shared: Arc::new(shared) })
    }
}

impl<C> CircuitBreaker<C> {
    /// Returns whether the breaker is like a new one and nobody else holds it.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.shared) == 1 && self.state() == State::Closed && self.shared.remembers_no_failure()
    }
}

impl KeyedCircuitBreakerStats {
    fn add(&mut self, one: &CircuitBreakerStats) {
        self.calls = self.calls + one.calls;
        self.slow += one.slow;
        self.stale += one.stale;
        self.opened += one.opened;
        self.opened_by_peer += one.opened_by_peer;
    }
}

impl<K, C> Clone for KeyedCircuitBreaker<K, C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K, C> fmt::Debug for KeyedCircuitBreaker<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCircuitBreaker").field("each", &self.shared.each).finish_non_exhaustive()
    }
}

impl<K, C> fmt::Debug for KeyedCircuitBreakerBuilder<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCircuitBreakerBuilder").field("each", &self.each).finish_non_exhaustive()
    }
}
