//! One breaker per key.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use super::{CircuitBreaker, CircuitBreakerBuilder, DefaultClassifier, State};
use crate::ConfigError;

/// Circuit breakers with the same settings, one per key, such as a host.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_policy::{CircuitBreaker, KeyedCircuitBreaker};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let settings = CircuitBreaker::builder("hosts").consecutive_failures(1);
/// let breakers = KeyedCircuitBreaker::new(settings)?;
///
/// let ctx = Context::background();
/// let _ = breakers.get(&"10.0.0.1").run(&ctx, |_ctx| async { Err::<(), _>("down") }).await;
/// let refused = breakers.get(&"10.0.0.1").run(&ctx, |_ctx| async { Ok::<_, &str>(()) }).await.unwrap_err();
/// assert_eq!(refused.to_string(), "circuit breaker 'hosts/10.0.0.1' is OPEN");
/// assert!(breakers.get(&"10.0.0.2").run(&ctx, |_ctx| async { Ok::<_, &str>(()) }).await.is_ok());
/// # Ok(())
/// # }
/// ```
///
/// A breaker that is closed, remembers no failure, and is not in use is forgotten from time to time: memory follows the number of
/// keys that fail. Its statistics are forgotten with it.
///
/// Clones share all state.
pub struct KeyedCircuitBreaker<K, C = DefaultClassifier> {
    shared: Arc<Shared<K, C>>,
}

struct Shared<K, C> {
    settings: CircuitBreakerBuilder<C>,
    breakers: Mutex<Breakers<K, C>>,
}

struct Breakers<K, C> {
    by_key: HashMap<K, CircuitBreaker<C>>,
    /// The number of breakers at which the idle ones are forgotten: twice as many as were left the last time.
    sweep_at: usize,
}

/// The number of breakers below which none is forgotten.
const MIN_SWEEP: usize = 64;

impl<K, C> KeyedCircuitBreaker<K, C>
where
    K: Hash + Eq + Clone + fmt::Display,
    C: Clone,
{
    /// Creates breakers with these settings. The name of each is that of `settings` and its key, as in `hosts/10.0.0.1`.
    ///
    /// # Errors
    ///
    /// Names the first setting out of bounds.
    pub fn new(settings: CircuitBreakerBuilder<C>) -> Result<Self, ConfigError> {
        settings.clone().build()?;
        let breakers = Mutex::new(Breakers { by_key: HashMap::new(), sweep_at: MIN_SWEEP });
        Ok(Self { shared: Arc::new(Shared { settings, breakers }) })
    }

    /// Returns the breaker of `key`. A new one is closed.
    pub fn get(&self, key: &K) -> CircuitBreaker<C> {
        let mut breakers = self.shared.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(breaker) = breakers.by_key.get(key) {
            return breaker.clone();
        }
        let name = format!("{}/{key}", self.shared.settings.name()).into();
        let breaker = self.shared.settings.clone().named(name).build().expect("the settings were checked");
        if breakers.by_key.len() >= breakers.sweep_at {
            breakers.by_key.retain(|_, breaker| !breaker.is_idle());
            breakers.sweep_at = (2 * breakers.by_key.len()).max(MIN_SWEEP);
        }
        breakers.by_key.insert(key.clone(), breaker.clone());
        breaker
    }

    /// Returns the number of breakers held.
    pub fn len(&self) -> usize {
        self.shared.breakers.lock().unwrap_or_else(PoisonError::into_inner).by_key.len()
    }

    /// Returns whether no breaker is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<C> CircuitBreaker<C> {
    /// Whether the breaker is like a new one, and nobody else holds it.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.shared) == 1 && self.state() == State::Closed && self.shared.remembers_no_failure()
    }
}

impl<K, C> Clone for KeyedCircuitBreaker<K, C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K, C> fmt::Debug for KeyedCircuitBreaker<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCircuitBreaker").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}
