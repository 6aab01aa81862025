//! A cache that respects its callers' contexts and has its own context.
//!
//! * Every operation takes the caller's [`Context`] and fails if it has ended. The cache has a second context, which is passed
//!   when the cache is built. The end of that context closes the cache, cancels its loads and stops its sweeper.
//! * [`Cache::get_or_load`] loads a key once, however many callers request it at the same time. Each caller waits until its own
//!   context ends. The load is canceled when the last caller has left.
//! * An expired value is never returned, except inside the window of [`stale_for`](CacheBuilder::stale_for).
//!
//! | to | use |
//! |---|---|
//! | read, write, remove | [`get`](Cache::get), [`insert`](Cache::insert), [`remove`](Cache::remove) |
//! | read, and load what is missing | [`get_or_load`](Cache::get_or_load) |
//! | the same, and know where the value came from | [`run`](Cache::run) |
//! | replace a value that is still fresh | [`refresh`](Cache::refresh) |
//! | set the TTL of a loaded value | [`set_load_ttl`] |
//! | see what the cache does | [`stats`](Cache::stats), [`on_evict`](CacheBuilder::on_evict) |
//!
//! [`get`](Cache::get) blocks only while it takes one shard's lock for reading. A key's `Hash`, `Eq`, `Clone` and `Drop` run
//! under locks. They must be cheap (put large keys into an `Arc`), must not panic, and must not use the same cache. All other
//! user code runs outside all locks: the value's `Clone`, loaders, weighers, listeners and drops.

mod builder;
mod entry;
mod flight;
mod load;
mod running;
mod shared;
mod stats;
mod store;
mod sweep;
mod table;
mod waits;

use std::borrow::Borrow;
use std::fmt::{self, Debug};
use std::hash::Hash;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use ripcord::Context;

pub use builder::CacheBuilder;
pub(crate) use load::sharing;
pub use stats::CacheStats;
pub use waits::set_load_ttl;

use crate::Refused;
use crate::sync::Runtime;
use builder::Settings;
use entry::Lookup;
use shared::Shared;
use stats::Count;

/// A concurrent, bounded cache with expiry, shared loads and background cleanup.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_policy::cache::Cache;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ctx = Context::background();
/// let cache = Cache::builder().capacity(1_000).ttl(Duration::from_secs(60)).build(&ctx)?;
///
/// cache.insert(&ctx, "greeting", "hello".to_owned())?;
/// assert_eq!(cache.get(&ctx, "greeting")?.as_deref(), Some("hello"));
///
/// let loaded = cache
///     .get_or_load(&ctx, "farewell", |_ctx| async { Ok::<_, std::io::Error>("good bye".to_owned()) })
///     .await?;
/// assert_eq!(loaded, "good bye");
/// # Ok(())
/// # }
/// ```
///
/// # Methods
///
/// | to | use |
/// |---|---|
/// | create a cache | [`builder`](Self::builder) |
/// | read a value, and load it if there is none | [`get_or_load`](Self::get_or_load); [`run`](Self::run) also reports where it came from |
/// | read only | [`get`](Self::get) |
/// | load a value again | [`refresh`](Self::refresh) |
/// | write | [`insert`](Self::insert), [`insert_with_ttl`](Self::insert_with_ttl) |
/// | remove | [`remove`](Self::remove), [`clear`](Self::clear), [`cleanup`](Self::cleanup) |
/// | look at it | [`stats`](Self::stats), [`len`](Self::len), [`is_empty`](Self::is_empty) |
/// | close it | [`close`](Self::close), the end of its context, or dropping the last handle |
///
/// Every operation takes the caller's context and fails if it has ended. All callers of a key share one load, which continues as
/// long as a caller waits for it. [`run`](Self::run) describes the load's context and deadline.
///
/// A clone is another handle to the same cache.
pub struct Cache<K, V> {
    shared: Arc<Shared<K, V>>,
    owner: Arc<dyn Send + Sync>,
}

/// A key of a cache. Every type with the required traits is a key. Do not implement this trait.
///
/// `Debug` is required because the error of a load that would wait for itself shows the keys.
pub trait Key: Hash + Eq + Clone + Debug + Send + Sync + 'static {}

impl<K: Hash + Eq + Clone + Debug + Send + Sync + 'static> Key for K {}

/// The requirements on a value of a cache.
trait CacheValue: Clone + Send + Sync + 'static {}

impl<V: Clone + Send + Sync + 'static> CacheValue for V {}

/// The owner of a cache. It exists as long as a handle of the cache, and then closes the cache. Loads and the sweeper hold the
/// shared part only while they work on it.
struct Owner<K: Key, V: CacheValue>(Arc<Shared<K, V>>);

/// A value and where it came from. See [`Cache::run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Found<V> {
    /// The value.
    pub value: V,
    /// Where the value came from.
    pub source: Source,
}

/// Where a value came from. More sources may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The cache had a fresh value.
    Hit,
    /// The cache had a stale value inside its window.
    Stale,
    /// The value came from a load that another caller had started.
    Joined,
    /// The value came from a load that this caller started.
    Loaded,
    /// The value came from the fallback of a [`Stack`](crate::Stack). A cache alone never reports this source.
    Fallback,
}

/// Why a value left the cache. More reasons may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Eviction {
    /// The value made room for other values, or was too heavy to be kept.
    Capacity,
    /// The value had expired.
    Expired,
    /// Another value of the same key replaced it.
    Replaced,
    /// The value was removed by `remove` or `clear`, or the cache was closed.
    Removed,
}

impl<K, V> Cache<K, V>
where
    K: Key,
    V: Clone + Send + Sync + 'static,
{
    /// Returns a builder. The [`capacity`](CacheBuilder::capacity) is required.
    #[doc(alias("NewCache"))]
    #[track_caller]
    pub fn builder() -> CacheBuilder<K, V> {
        CacheBuilder::new()
    }

    fn start(ctx: &Context, capacity: u64, settings: Settings<K, V>, runtime: Runtime) -> Self {
        let shared = Arc::new(Shared::new(ctx, capacity, settings, runtime));
        Shared::start_sweeper(&shared);
        let owner = Arc::new(Owner(Arc::clone(&shared)));
        Self { shared, owner }
    }

    /// Returns the value of `key`: a fresh value, or a stale value inside its window. Returns `None` if there is neither.
    ///
    /// A value expires at the exact moment at which its TTL ends. Loads do not affect this method, and this method does not
    /// affect loads.
    ///
    /// # Errors
    ///
    /// The caller's context has ended, which is checked first, or the cache is closed
    /// ([`is_closed`](crate::Refused::is_closed)).
    pub fn get<Q>(&self, ctx: &Context, key: &Q) -> Result<Option<V>, Refused>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shared.admit(ctx)?;
        Ok(match self.shared.look_up(key) {
            Lookup::Fresh(value) => {
                self.shared.count(Count::Hit);
                Some(value)
            }
            Lookup::Stale { value, .. } => {
                self.shared.count(Count::StaleHit);
                Some(value)
            }
            Lookup::Failure(_) | Lookup::Absent => {
                self.shared.count(Count::Miss);
                None
            }
        })
    }

    /// Inserts a value with the cache's TTL. If a load of the key is in flight, its callers still get the load's result, but the
    /// cache does not store it.
    ///
    /// # Errors
    ///
    /// See [`get`](Self::get).
    #[doc(alias("Set"))]
    pub fn insert(&self, ctx: &Context, key: K, value: V) -> Result<(), Refused> {
        self.shared.admit(ctx)?;
        self.shared.insert(key, value, self.shared.default_ttl());
        Ok(())
    }

    /// Inserts a value with its own TTL. Go programs call this `Set`. See [`insert`](Self::insert).
    ///
    /// A TTL of zero inserts an expired value. It is served only inside the window of [`stale_for`](CacheBuilder::stale_for),
    /// while the next value is loaded.
    ///
    /// # Errors
    ///
    /// See [`get`](Self::get).
    #[doc(alias("Set"))]
    pub fn insert_with_ttl(&self, ctx: &Context, key: K, value: V, ttl: Duration) -> Result<(), Refused> {
        self.shared.admit(ctx)?;
        self.shared.insert(key, value, Some(ttl));
        Ok(())
    }

    /// Removes a key and returns its value, if the value could still be served. If a load of the key is in flight, its callers
    /// still get the load's result, but the cache does not store it. A later caller starts a new load.
    ///
    /// # Errors
    ///
    /// See [`get`](Self::get).
    #[doc(alias("Delete"))]
    pub fn remove<Q>(&self, ctx: &Context, key: &Q) -> Result<Option<V>, Refused>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shared.admit(ctx)?;
        Ok(self.shared.remove(key))
    }

    /// Removes all keys, each as by [`remove`](Self::remove).
    ///
    /// # Errors
    ///
    /// See [`get`](Self::get).
    pub fn clear(&self, ctx: &Context) -> Result<(), Refused> {
        self.shared.admit(ctx)?;
        self.shared.clear();
        Ok(())
    }

    /// Removes expired entries now instead of at the next sweep. Returns the number of removed entries. Stops early if the
    /// caller's context ends. The sweeper then removes the other expired entries.
    ///
    /// # Errors
    ///
    /// See [`get`](Self::get).
    pub fn cleanup(&self, ctx: &Context) -> Result<usize, Refused> {
        self.shared.admit(ctx)?;
        Ok(self.shared.clean_up(ctx))
    }

    /// Closes the cache: every later operation fails, loads are canceled, and all entries are dropped. The end of the cache's
    /// context has the same effect. Closing a closed cache has no effect.
    #[track_caller]
    pub fn close(&self) {
        self.shared.close("Cache::close was called", Location::caller());
    }

    /// Returns whether the cache was closed or its context has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.ctx.is_done()
    }

    /// Returns the number of entries, including remembered errors and expired entries that are not swept yet.
    pub fn len(&self) -> usize {
        self.shared.store.len()
    }

    /// Returns whether the cache has no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of loads in the table.
    #[cfg(all(test, ripcord_shuttle))]
    pub(crate) fn flights(&self) -> usize {
        self.shared.flights.len()
    }

    /// Returns the statistics of the cache.
    pub fn stats(&self) -> CacheStats {
        self.shared.stats()
    }
}

impl<K: Key, V: CacheValue> Drop for Owner<K, V> {
    fn drop(&mut self) {
        self.0.close("the last handle of the cache was dropped", self.0.settings.location);
    }
}

impl<K, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), owner: Arc::clone(&self.owner) }
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("context", &self.shared.ctx.to_string()).finish_non_exhaustive()
    }
}
