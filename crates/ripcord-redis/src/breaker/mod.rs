//! The state of circuit breakers, shared by all processes.
//!
//! Redis keeps the last change of each name and gives it a number, its epoch. The server's clock decides how long a breaker stays
//! open.
//!
//! # Invariants
//!
//! 1. The epochs of a name only go up. A member applies a change only if its epoch is higher than every epoch that the member has
//!    seen. So a late message changes nothing.
//! 2. From the moment when a breaker changes by itself until this change is published, the member keeps the changes that it
//!    receives. It applies them afterwards, if their epoch is higher than the epoch of its own change. Until the publication
//!    begins, the breaker itself refuses them (`Followed::Unannounced`), because its own change may be on another thread.
//! 3. Changes of other processes are applied on the client's thread only, one after the other.
//! 4. A user's hook runs without a lock.

mod inner;
mod message;
mod stats;

use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use ripcord_policy::breaker::{BreakerHandle, SharedState};

pub use stats::SharedBreakerStats;

use crate::Client;
use inner::{Inner, Member, lock};
use stats::Counters;

/// Shares the state of circuit breakers with all processes that use the same Redis and
/// [prefix](crate::ClientBuilder::prefix). When a breaker opens in one process, the breakers with the same name open in all
/// processes.
///
/// Pass a clone of it to [`CircuitBreakerBuilder::shared`](ripcord_policy::breaker::CircuitBreakerBuilder::shared). Code that uses
/// the breaker does not change.
///
/// ```no_run
/// use ripcord_policy::CircuitBreaker;
/// use ripcord_redis::{Client, SharedBreaker};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder().url("redis://127.0.0.1").build()?;
/// let shared = SharedBreaker::new(&client);
/// let users = CircuitBreaker::builder("users").shared(shared.clone()).build()?;
/// let orders = CircuitBreaker::builder("orders").shared(shared).build()?;
/// # drop((users, orders));
/// # Ok(())
/// # }
/// ```
///
/// # What is shared
///
/// Each breaker counts its own calls. When its own rules open a breaker, the other breakers with its name open too. A breaker
/// that is built while the others are open opens for the rest of their time.
///
/// [`CircuitBreaker::reset`](ripcord_policy::CircuitBreaker::reset) closes the breakers of all processes.
/// [`force_open`](ripcord_policy::CircuitBreaker::force_open) opens one breaker, which then ignores the others until it is reset.
///
/// # Probes
///
/// The process whose breaker opened first makes the first probe, because the other breakers stay open a tenth of the time longer.
/// If the probe succeeds, all breakers close. If it fails, all breakers stay open. If the first process has ended or makes no
/// calls, the other processes probe when their breakers become half-open.
///
/// # When Redis is unavailable
///
/// Each breaker works as if it were not shared. If a breaker opens during the outage and is still open at the end of the outage, it
/// then opens the others.
///
/// No call waits for Redis, even if Redis is available: the client's thread sends and receives the changes.
///
/// Clones share all state.
#[derive(Clone)]
pub struct SharedBreaker {
    inner: Arc<Inner>,
}

impl SharedBreaker {
    /// Creates a value that shares breakers through the Redis of `client`. Does not wait for Redis.
    pub fn new(client: &Client) -> SharedBreaker {
        let inner = Arc::new_cyclic(|this| Inner {
            this: Weak::clone(this),
            client: client.clone(),
            members: Mutex::default(),
            counters: Counters::default(),
        });
        client.shared().subscribe(inner.this.clone());
        SharedBreaker { inner }
    }

    /// Returns the statistics of this value and its clones.
    pub fn stats(&self) -> SharedBreakerStats {
        let breakers = lock(&self.inner.members).values().flatten().filter(|member| member.breaker.is_alive()).count();
        self.inner.counters.read(breakers)
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn prefix(&self) -> &str {
        self.inner.client.prefix()
    }
}

impl SharedState for SharedBreaker {
    fn connect(&self, breaker: BreakerHandle) -> Box<dyn Fn() + Send + Sync> {
        let name = Arc::clone(breaker.name());
        let member = Arc::new(Member::new(breaker));
        self.inner.add(name, Arc::clone(&member));
        let inner = Arc::clone(&self.inner);
        inner.synchronize(&member);
        Box::new(move || inner.changed(&member))
    }
}

impl fmt::Debug for SharedBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBreaker")
            .field("client", &self.inner.client)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
