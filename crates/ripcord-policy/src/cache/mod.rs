//! A cache that respects its callers' contexts and has one of its own.
//!
//! * Every operation takes the caller's [`Context`] and refuses if it has ended. The cache lives under a second context, given
//!   when it is built: the end of that context closes the cache, cancels its loads and ends its sweeper.
//! * [`Cache::get_or_load`] loads a key once, however many callers ask for it at the same time. Each caller waits as long as
//!   its own context allows. The load is canceled when the last caller has left.
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
//! [`get`](Cache::get) does not block for long: it takes one shard's lock for reading. A key's `Hash`,
//! `Eq`, `Clone` and `Drop` run under locks: keep them cheap (put large keys into an `Arc`), let them not panic, and do not use
//! the same cache from them. All other user code runs outside all locks: the value's `Clone`, loaders, weighers, listeners and drops.

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
/// Every operation takes the caller's context and fails if that has ended. A load is shared by all callers of its key, and goes on
/// for as long as one of them waits: [`run`](Self::run) describes its context and its deadline.
///
/// A clone is another handle to the same cache.
pub struct Cache<K, V> {
    shared: Arc<Shared<K, V>>,
    owner: Arc<dyn Send + Sync>,
}

/// A key of a cache. Every type with the traits that a key needs is one: do not implement this trait.
///
/// `Debug` is needed because the error of a load that would wait for itself shows the keys.
pub trait Key: Hash + Eq + Clone + Debug + Send + Sync + 'static {}

impl<K: Hash + Eq + Clone + Debug + Send + Sync + 'static> Key for K {}

/// What a value of a cache needs.
trait CacheValue: Clone + Send + Sync + 'static {}

impl<V: Clone + Send + Sync + 'static> CacheValue for V {}

/// Lives as long as a handle does, and closes the cache then. Loads and the sweeper hold the shared part only while they work
/// on it.
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
    /// A load that another caller had started.
    Joined,
    /// A load that this caller started.
    Loaded,
    /// The fallback of a [`Stack`](crate::Stack). A cache alone never reports this.
    Fallback,
}

/// Why a value left the cache. More reasons may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Eviction {
    /// The value made room for others, or was too heavy to be kept.
    Capacity,
    /// The value had expired.
    Expired,
    /// Another value of the same key replaced it.
    Replaced,
    /// `remove`, `clear`, or the end of the cache.
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

    /// Returns the value of `key`: a fresh value, or a stale one inside its window. `None` if there is neither.
    ///
    /// A value has expired at the very moment at which its TTL ends. Loads have no effect on this method, nor it on them.
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

    /// Inserts a value with the cache's TTL. If a load of the key is in flight, its callers still get its result, but the
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

    /// Inserts a value with a TTL of its own: a Go program's `Set`. See [`insert`](Self::insert).
    ///
    /// A TTL of zero inserts a value that has expired. It is served only inside the window of
    /// [`stale_for`](CacheBuilder::stale_for), while the next value is loaded.
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

    /// Removes a key and returns its value, if there was one to serve. If a load of the key is in flight, its callers still get
    /// its result, but the cache does not store it, and a later caller starts a new load.
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

    /// Removes all keys, with the effect of [`remove`](Self::remove) for each.
    ///
    /// # Errors
    ///
    /// See [`get`](Self::get).
    pub fn clear(&self, ctx: &Context) -> Result<(), Refused> {
        self.shared.admit(ctx)?;
        self.shared.clear();
        Ok(())
    }

    /// Removes expired entries now, rather than at the next sweep, and returns how many. Stops early if the caller's context
    /// ends; the sweeper removes the rest.
    ///
    /// # Errors
    ///
    /// See [`get`](Self::get).
    pub fn cleanup(&self, ctx: &Context) -> Result<usize, Refused> {
        self.shared.admit(ctx)?;
        Ok(self.shared.clean_up(ctx))
    }

    /// Closes the cache: every later operation fails, loads are canceled, and all entries are dropped. The end of the cache's
    /// context has the same effect. Closing a closed cache has none.
    #[track_caller]
    pub fn close(&self) {
        self.shared.close("Cache::close was called", Location::caller());
    }

    /// Returns whether the cache was closed or its context has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.ctx.is_done()
    }

    /// Returns the number of entries, including remembered errors and expired entries that await their sweep.
    pub fn len(&self) -> usize {
        self.shared.store.len()
    }

    /// Returns whether the cache has no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of loads in the table.
    #[cfg(all(test, ripcord_shuttle))]
    pub(crate) fn flights(&self) -> usize {
        self.shared.flights.len()
    }

    /// Returns the figures of the cache.
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
