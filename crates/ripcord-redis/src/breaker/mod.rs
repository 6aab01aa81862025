//! The state of circuit breakers, shared by all processes.
//!
//! Redis keeps the last change of each name and gives it a number, its epoch. The server's clock decides how long a breaker stays
//! open.
//!
//! # Invariants
//!
//! 1. The epochs of a name only go up. A member applies a change only if its epoch is higher than every epoch that the member has
//!    seen. So a late message changes nothing.
//! 2. While a member publishes a change of its own, it keeps what it hears, and applies it only if its epoch turns out to be
//!    higher than that of its own change.
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

/// Shares the state of circuit breakers with all processes that use the same Redis and prefix, so that all learn from the failures
/// of one.
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
/// Breakers with the same name share their state. Each breaker counts its own calls. When its rules open it, it tells the others,
/// which then open too. A breaker that is built later opens for the rest of the time.
///
/// [`CircuitBreaker::reset`](ripcord_policy::CircuitBreaker::reset) closes the breakers of all processes.
/// [`force_open`](ripcord_policy::CircuitBreaker::force_open) opens one breaker, which then ignores the others until it is reset.
///
/// # Probes
///
/// The process whose breaker opened probes first: the other breakers stay open a tenth of the time longer. If its probe succeeds,
/// all breakers close. If it fails, all stay open. If the process has ended or makes no calls, the others probe after that tenth.
///
/// # When Redis is unavailable
///
/// Each breaker works as if it was not shared. When Redis is available again, the breakers that are still open tell the others.
///
/// No call waits for Redis: a background task sends and receives the changes.
///
/// Clones share all state.
#[derive(Clone)]
pub struct SharedBreaker {
    inner: Arc<Inner>,
}

impl SharedBreaker {
    /// Shares states over `client`.
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
