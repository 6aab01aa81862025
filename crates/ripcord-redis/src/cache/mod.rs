//! A cache that several processes share: the second level of a [`ripcord_policy::Cache`].
//!
//! | file | content |
//! |---|---|
//! | `state` | looking for a value, waiting for other processes, and sending writes |
//! | `lease` | the permission to load a key |
//! | `writes` | the writes on their way to Redis, and the invariants of invalidation |
//! | `reports` | the server's reports of changed keys |
//! | `waiters` | the loads that wait for a load in another process |
//! | `commands` | the scripts |
//! | `names` | the names of the keys |

mod commands;
mod lease;
mod names;
mod reports;
mod state;
mod waiters;
mod writes;

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use ripcord::Context;
use ripcord_policy::cache::{Answer, FirstLevel, Key, SecondLevel, Write};
use ripcord_policy::{ConfigError, Random};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::{Client, Subscriber};
use crate::error::{Error, Kind};
use commands::Operation;
use names::Names;
use state::State;
use waiters::Waiters;
use writes::Writes;

/// The shortest duration of a lease.
const MIN_LEASE: Duration = Duration::from_millis(10);

/// The second level of a [`Cache`](ripcord_policy::Cache): values in Redis, which the caches of all processes share. The cache in
/// each process keeps its own copies in memory.
///
/// Keys and values are stored as JSON. Equal keys must have equal JSON, so a key must not contain a `HashMap`. A key that is
/// written as JSON and read again must be equal to the original key.
///
/// ```no_run
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_policy::Cache;
/// use ripcord_redis::{CacheLevel, Client};
///
/// # async fn load(id: u64) -> Result<String, std::io::Error> { Ok(id.to_string()) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ctx = Context::background();
/// let redis = Client::builder().url("redis://127.0.0.1").build()?;
/// let users: Cache<u64, String> = Cache::builder()
///     .capacity(10_000)
///     .ttl(Duration::from_secs(60))
///     .second_level(CacheLevel::builder(&redis, "users").build()?)
///     .build(&ctx)?;
///
/// // Of all processes that ask for this user, one calls `load`.
/// let user = users.get_or_load(&ctx, 7, |_ctx| load(7)).await?;
/// // Within about one round trip, the value leaves the memory of all processes.
/// users.remove(&ctx, &7)?;
/// # Ok(())
/// # }
/// ```
///
/// # Loads
///
/// A process that loads a key holds a *lease* of the key, which it extends while the load runs. The other processes wait for the
/// value, and each of their callers waits at most until its own context ends. If the load fails or is canceled, the process
/// releases the lease, and a waiting process loads the key. A lease that cannot be released during an outage is released after the
/// outage. If the process dies, the lease ends after its [duration](CacheLevelBuilder::lease).
///
/// If a process inserts or removes the key during the load, the lease is lost. The callers that wait for the load then still get
/// its value, but no cache stores the value.
///
/// # Changes
///
/// Redis reports each changed key to every process (client tracking in broadcast mode). The process then removes the key from its
/// memory. So a process may return an old value until it receives the report. If the connection for the reports is lost, the
/// process removes all keys from its memory: when it notices the loss, and when it has connected again.
///
/// # When Redis is unavailable
///
/// Each process loads for itself, without a lease. It keeps these values in memory for at most
/// [`ttl_while_disconnected`](CacheLevelBuilder::ttl_while_disconnected), because it does not learn of changes by other processes.
/// Values from before the outage are removed from memory, except if the server still answers and only refuses all writes: then they
/// stay until their TTL ends.
/// Inserts and removals are sent after the outage, unless the cache is dropped or the process ends before. If more than 10,000 keys
/// were changed during the outage, all keys of the cache are removed from Redis instead. The same limit applies while Redis refuses
/// changes.
///
/// If Redis refuses to store an inserted value, for example because the user has no permission, the process removes the key from
/// Redis instead. A refused removal is sent again every 100 ms. Until Redis accepts it, the process loads the key for itself. If
/// Redis refuses to store the value of a load, the value is not sent again.
///
/// A server that stops answering is noticed after at most the sum of [`retry_every`](crate::ClientBuilder::retry_every) and
/// [`timeout`](crate::ClientBuilder::timeout). Until then, a process may return values that another process has changed, but no
/// values whose TTL has ended.
pub struct CacheLevel<K: Key, V> {
    state: Arc<State<K>>,
    value: PhantomData<fn(V) -> V>,
}

/// Builds a [`CacheLevel`]. Create the builder with [`CacheLevel::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct CacheLevelBuilder {
    client: Client,
    name: String,
    lease: Duration,
    ttl_while_disconnected: Duration,
}

impl CacheLevel<(), ()> {
    /// Creates a builder of a second level in the Redis of `client`. Caches with the same `name` share their values. They must have
    /// the same type of keys and the same type of values. The name must not be empty or contain a brace.
    pub fn builder(client: &Client, name: impl Into<String>) -> CacheLevelBuilder {
        CacheLevelBuilder {
            client: client.clone(),
            name: name.into(),
            lease: Duration::from_secs(5),
            ttl_while_disconnected: Duration::from_secs(1),
        }
    }
}

impl CacheLevelBuilder {
    /// Sets the duration of a lease, the permission to load a key. A load may take longer, because the process extends its lease
    /// while the load runs. If the process dies during the load, the other processes wait for this time before one of them loads
    /// the key. At least 10 ms. Default: 5 s.
    pub fn lease(mut self, duration: Duration) -> Self {
        self.lease = duration;
        self
    }

    /// Sets the maximum time to live of the values that a process keeps in memory while its connection to Redis is lost. During
    /// this time, the process does not learn of changes by other processes. If the time is zero, values are not kept. Default: 1 s.
    pub fn ttl_while_disconnected(mut self, ttl: Duration) -> Self {
        self.ttl_while_disconnected = ttl;
        self
    }

    /// Builds the second level of one cache. Pass it to
    /// [`CacheBuilder::second_level`](ripcord_policy::cache::CacheBuilder::second_level). Does not wait for Redis.
    ///
    /// # Errors
    ///
    /// [`Error::config_error`] if the name is empty or contains a brace, or the lease is shorter than 10 ms.
    #[track_caller]
    pub fn build<K, V>(self) -> Result<CacheLevel<K, V>, Error>
    where
        K: Key + Serialize + DeserializeOwned,
        V: Serialize + DeserializeOwned + 'static,
    {
        let location = Location::caller();
        let invalid = |error| Error::new("build", location, Kind::Config(error));
        // Braces decide on the node of a cluster.
        if self.name.is_empty() || self.name.contains(['{', '}']) {
            let given = format!("{:?}", self.name);
            return Err(invalid(ConfigError::new("name", "a text without braces that is not empty", given)));
        }
        if self.lease < MIN_LEASE {
            return Err(invalid(ConfigError::new("lease", "at least 10ms", format!("{:?}", self.lease))));
        }
        let random = Random::new();
        let state = Arc::new_cyclic(|this| State {
            names: Names::new(&self.client.shared().key(&["cache", &self.name])),
            client: self.client,
            name: self.name,
            id: commands::token(&random),
            lease_for: self.lease,
            ttl_while_disconnected: self.ttl_while_disconnected,
            random,
            first: OnceLock::new(),
            waiters: Waiters::default(),
            writes: Writes::default(),
            is_closed: AtomicBool::new(false),
            is_failing: AtomicBool::new(false),
            this: Weak::clone(this),
        });
        state.shared().runtime().spawn(Arc::clone(&state).send_writes());
        Ok(CacheLevel { state, value: PhantomData })
    }
}

impl<K, V> SecondLevel<K, V> for CacheLevel<K, V>
where
    K: Key + Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned + 'static,
{
    fn attach(&self, first: FirstLevel<K>) {
        let Ok(()) = self.state.first.set(first) else { return };
        let subscriber = Arc::downgrade(&self.state) as Weak<dyn Subscriber>;
        self.state.shared().subscribe(subscriber);
    }

    fn find<'a>(
        &'a self,
        ctx: &'a Context,
        key: &'a K,
        reload: bool,
    ) -> Pin<Box<dyn Future<Output = Answer<V>> + Send + 'a>> {
        Box::pin(self.state.find(ctx, key, reload))
    }

    fn insert(&self, key: &K, value: &V, ttl: Option<Duration>) -> Write {
        self.write(key, self.state.storing(value, ttl, None).unwrap_or(Operation::Remove))
    }

    fn remove(&self, key: &K) -> Write {
        self.write(key, Operation::Remove)
    }

    fn clear(&self) -> Write {
        let state = Arc::clone(&self.state);
        Box::new(move || state.writes.clear())
    }

    fn sync(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.state.all_writes_answered())
    }

    fn first_level_ttl(&self, ttl: Option<Duration>) -> Option<Duration> {
        let shared = self.state.shared();
        // A server that refuses all writes still sends its reports, but no process can tell the others of a change.
        if shared.is_listening() && shared.is_available() {
            return ttl;
        }
        let limit = self.state.ttl_while_disconnected;
        Some(ttl.map_or(limit, |ttl| ttl.min(limit)))
    }
}

impl<K: Key + Serialize, V> CacheLevel<K, V> {
    fn write(&self, key: &K, operation: Operation) -> Write {
        let Ok(name) = self.state.names.value(key) else {
            self.state.count_failed_write();
            return Box::new(|| {});
        };
        let state = Arc::clone(&self.state);
        let token = commands::token(&state.random);
        Box::new(move || state.put(name, token, operation))
    }
}

impl<K: Key, V> Drop for CacheLevel<K, V> {
    fn drop(&mut self) {
        self.state.is_closed.store(true, Ordering::SeqCst);
        self.state.writes.added.notify_one();
    }
}

impl<K: Key, V> fmt::Debug for CacheLevel<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLevel").field("name", &self.state.name).finish_non_exhaustive()
    }
}
