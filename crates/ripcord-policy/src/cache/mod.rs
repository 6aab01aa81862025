//! Caches values by key. Callers that request the same key at the same time share one load. See [`Cache`].
//!
//! * A method that reads, loads, writes or removes values takes the caller's [`Context`]. It fails if this context was
//!   canceled or its deadline has passed. Another context is passed to [`CacheBuilder::build`]. When that context ends, the
//!   cache is closed, its loads are canceled, and the background task that removes expired entries stops.
//! * If several callers of [`Cache::get_or_load`] request the same key at the same time, they share one load. A caller stops
//!   waiting when its own context ends. The load is canceled when no caller waits for it any more.
//! * The cache returns an expired value only during the time set by [`stale_for`](CacheBuilder::stale_for). Such a value is
//!   called stale.
//!
//! | to | use |
//! |---|---|
//! | read, write or remove a value | [`get`](Cache::get), [`insert`](Cache::insert), [`remove`](Cache::remove) |
//! | read a value, and load it if it is missing | [`get_or_load`](Cache::get_or_load) |
//! | read or load a value, and learn where it came from | [`run`](Cache::run) |
//! | load a value again although it has not expired | [`refresh`](Cache::refresh) |
//! | set the TTL (time to live) of a loaded value | [`set_load_ttl`] |
//! | share values with other processes | [`second_level`](CacheBuilder::second_level) |
//! | observe the cache | [`stats`](Cache::stats), [`on_evict`](CacheBuilder::on_evict) |
//!
//! The `Hash`, `Eq`, `Clone` and `Drop` implementations of a key run under locks. They must be cheap, must not panic, and must
//! not use the same cache. Put large keys into an `Arc`. All other user code runs outside all locks: loaders, weighers,
//! eviction listeners, and the `Clone` and `Drop` implementations of values.

mod builder;
mod entry;
mod flight;
mod load;
mod request;
mod running;
mod second_level;
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
pub use second_level::{Answer, FirstLevel, Lease, SecondLevel, Write};
pub use stats::CacheStats;
pub use waits::set_load_ttl;

use crate::Refused;
use crate::sync::Runtime;
use builder::Settings;
use entry::Lookup;
use shared::Shared;
use stats::Count;

/// Stores a bounded number of values by key. Values can expire, and can be loaded when they are requested. A background task
/// removes expired values.
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
/// | read a value, and load it if there is none | [`get_or_load`](Self::get_or_load); [`run`](Self::run) also reports where the value came from |
/// | read a value, without a load | [`get`](Self::get) |
/// | load a value again | [`refresh`](Self::refresh) |
/// | write a value | [`insert`](Self::insert), [`insert_with_ttl`](Self::insert_with_ttl) |
/// | remove values | [`remove`](Self::remove), [`clear`](Self::clear), [`cleanup`](Self::cleanup) |
/// | read the statistics | [`stats`](Self::stats), [`len`](Self::len), [`is_empty`](Self::is_empty) |
/// | wait until the [second level](CacheBuilder::second_level) has received all changes | [`sync`](Self::sync) |
/// | close the cache | [`close`](Self::close) |
///
/// A method that reads, loads, writes or removes values takes the caller's context. It fails if this context was canceled or its
/// deadline has passed. Callers that request the same key at the same time share one load, which runs in a tokio task of its
/// own. When no caller waits for the load any more, it is canceled. [`run`](Self::run) describes the context and the
/// deadline of a load.
///
/// A clone is another handle to the same cache. The cache closes when the last handle is dropped, or when the context passed to
/// [`build`](CacheBuilder::build) is canceled or its deadline passes.
pub struct Cache<K, V> {
    shared: Arc<Shared<K, V>>,
    owner: Arc<dyn Send + Sync>,
}

/// A type that can be a key of a [`Cache`]. Every type with the listed supertraits implements `Key` automatically.
///
/// `Debug` is required because an error message can contain keys: see [`Error::is_load_cycle`](crate::Error::is_load_cycle).
pub trait Key: Hash + Eq + Clone + Debug + Send + Sync + 'static {}

impl<K: Hash + Eq + Clone + Debug + Send + Sync + 'static> Key for K {}

/// The requirements on a value of a cache.
trait CacheValue: Clone + Send + Sync + 'static {}

impl<V: Clone + Send + Sync + 'static> CacheValue for V {}

/// The owner of a cache. It closes the cache when the last handle is dropped. Loads and the sweeper hold the shared part only while
/// they work on it.
struct Owner<K: Key, V: CacheValue>(Arc<Shared<K, V>>);

/// A value of a [`Cache`], and its source. Returned by [`Cache::run`] and [`Stack::find_keyed`](crate::Stack::find_keyed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Found<V> {
    /// The value.
    pub value: V,
    /// Where the value came from: the cache, its second level, a load or a fallback.
    pub source: Source,
}

/// The source of a [`Found`] value: the cache, its second level, a load or a fallback. More sources may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The cache had a value that has not expired.
    Hit,
    /// The cache had an expired value and still returned it: see [`CacheBuilder::stale_for`].
    Stale,
    /// The value came from a load that another caller had started.
    Joined,
    /// The value came from a load that this caller started.
    Loaded,
    /// The value came from the [second level](CacheBuilder::second_level). No load ran.
    SecondLevel,
    /// The value came from the fallback of a [`Stack`](crate::Stack). A cache alone never reports this source.
    Fallback,
}

/// The reason why a value left a [`Cache`]. This is an argument of the [eviction listener](CacheBuilder::on_evict). More
/// reasons may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Eviction {
    /// The value was removed to make room for other values, or its [weight](CacheBuilder::weigher) was above the capacity of
    /// the cache.
    Capacity,
    /// The value had expired.
    Expired,
    /// Another value was stored for the same key.
    Replaced,
    /// The value was removed by [`remove`](Cache::remove) or [`clear`](Cache::clear), or the cache was closed.
    Removed,
    /// The [second level](CacheBuilder::second_level) removed the value, because it had changed in another process, or
    /// because changes may have been missed.
    Invalidated,
}

impl<K, V> Cache<K, V>
where
    K: Key,
    V: Clone + Send + Sync + 'static,
{
    /// Creates a builder. The [`capacity`](CacheBuilder::capacity) is required.
    #[doc(alias("NewCache"))]
    #[track_caller]
    pub fn builder() -> CacheBuilder<K, V> {
        CacheBuilder::new()
    }

    fn start(ctx: &Context, capacity: u64, settings: Settings<K, V>, runtime: Runtime) -> Self {
        let shared = Arc::new(Shared::new(ctx, capacity, settings, runtime));
        if let Some(second) = &shared.settings.second_level {
            second.attach(FirstLevel::new(&shared));
        }
        Shared::start_sweeper(&shared);
        let owner = Arc::new(Owner(Arc::clone(&shared)));
        Self { shared, owner }
    }

    /// Returns the value of `key`, without loading it. Returns `None` if the cache has no value, only an expired value, or
    /// only the remembered error of a failed load ([`negative_ttl`](CacheBuilder::negative_ttl)).
    ///
    /// A value expires at the exact moment at which its TTL (time to live) ends. If [`stale_for`](CacheBuilder::stale_for)
    /// is set, this method still returns the expired value for the time `stale_for`. If a load of the key is in flight, this
    /// method does not wait for it. A [`second_level`](CacheBuilder::second_level) is not asked.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline has passed ([`Refused::context_error`]). If the cache is closed too, the method
    ///   returns this error.
    /// * The cache is closed ([`Refused::is_closed`]).
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

    /// Inserts `value` for `key`, and replaces the old value of the key, if any. The value expires after the cache's
    /// [`ttl`](CacheBuilder::ttl). If no `ttl` is set, only the [`idle`](CacheBuilder::idle) limit can make the value expire.
    ///
    /// If a load of the key is in flight, its callers still get its result, but the cache does not store the result.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline has passed ([`Refused::context_error`]). If the cache is closed too, the method
    ///   returns this error.
    /// * The cache is closed ([`Refused::is_closed`]).
    #[doc(alias("Set"))]
    pub fn insert(&self, ctx: &Context, key: K, value: V) -> Result<(), Refused> {
        self.shared.admit(ctx)?;
        self.shared.insert(key, value, self.shared.default_ttl());
        Ok(())
    }

    /// Inserts `value` for `key`, like [`insert`](Self::insert). The value expires after `ttl` instead of the cache's own
    /// [`ttl`](CacheBuilder::ttl). Tutorials on Go's `context` call this method `Set`.
    ///
    /// If `ttl` is zero, the value is already expired. The cache returns such a value only if
    /// [`stale_for`](CacheBuilder::stale_for) is set.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline has passed ([`Refused::context_error`]). If the cache is closed too, the method
    ///   returns this error.
    /// * The cache is closed ([`Refused::is_closed`]).
    #[doc(alias("Set"))]
    pub fn insert_with_ttl(&self, ctx: &Context, key: K, value: V, ttl: Duration) -> Result<(), Refused> {
        self.shared.admit(ctx)?;
        self.shared.insert(key, value, Some(ttl));
        Ok(())
    }

    /// Removes `key` from the cache. Returns the value that [`get`](Self::get) would have returned, or `None`.
    ///
    /// If a load of the key is in flight, its callers still get its result, but the cache does not store the result. A later
    /// caller starts a new load.
    ///
    /// A borrowed form of the key is enough if the key can be created from it, because a
    /// [second level](CacheBuilder::second_level) needs the key itself: for keys of type `String`, pass a `&str`. In all other
    /// cases, pass a reference to the key: for keys of type `&str`, `cache.remove(&ctx, &"gopher")`.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline has passed ([`Refused::context_error`]). If the cache is closed too, the method
    ///   returns this error.
    /// * The cache is closed ([`Refused::is_closed`]).
    #[doc(alias("Delete"))]
    pub fn remove<Q>(&self, ctx: &Context, key: &Q) -> Result<Option<V>, Refused>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned: Into<K>> + ?Sized,
    {
        self.shared.admit(ctx)?;
        let write = self.shared.settings.second_level.as_ref().map(|second| second.remove(&key.to_owned().into()));
        Ok(self.shared.remove(key, write))
    }

    /// Removes all keys from the cache. The callers that wait for loads in flight still get the results, but the cache does not
    /// store these results.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline has passed ([`Refused::context_error`]). If the cache is closed too, the method
    ///   returns this error.
    /// * The cache is closed ([`Refused::is_closed`]).
    pub fn clear(&self, ctx: &Context) -> Result<(), Refused> {
        self.shared.admit(ctx)?;
        if let Some(second) = &self.shared.settings.second_level {
            // The second level comes first: a value that is inserted after this moment may stay in both levels.
            second.clear()();
        }
        self.shared.clear();
        Ok(())
    }

    /// Waits until the second level has received all inserts and removals made before the call. Returns at once if the cache has no
    /// [`second_level`](CacheBuilder::second_level).
    ///
    /// During an outage of the second level, this method waits for the end of the outage. When the program ends, writes that
    /// the second level has not received are lost. So call this method with a deadline before the program ends.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed before or during the wait ([`Refused::context_error`]).
    /// * The cache is closed ([`Refused::is_closed`]).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect on the writes.
    pub async fn sync(&self, ctx: &Context) -> Result<(), Refused> {
        self.shared.admit(ctx)?;
        if let Some(second) = &self.shared.settings.second_level {
            ctx.run(second.sync()).await.map_err(Refused::ended)?;
        }
        Ok(())
    }

    /// Removes all expired entries. Returns the number of removed entries. Does not remove expired values that the cache still
    /// returns because of [`stale_for`](CacheBuilder::stale_for).
    ///
    /// The cache also removes expired entries in the background: see [`CacheBuilder::sweep_every`]. If `ctx` ends while this
    /// method runs, the method stops early and returns the number of entries removed so far.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline has passed ([`Refused::context_error`]). If the cache is closed too, the method
    ///   returns this error.
    /// * The cache is closed ([`Refused::is_closed`]).
    pub fn cleanup(&self, ctx: &Context) -> Result<usize, Refused> {
        self.shared.admit(ctx)?;
        Ok(self.shared.clean_up(ctx))
    }

    /// Closes the cache. Later operations fail with an error for which [`Refused::is_closed`] or
    /// [`Error::is_closed`](crate::Error::is_closed) is true. All loads are canceled, and all entries are dropped.
    ///
    /// The cache also closes when the context passed to [`CacheBuilder::build`] ends, and when the last handle of the cache is
    /// dropped. Closing a closed cache has no effect.
    #[track_caller]
    pub fn close(&self) {
        self.shared.close("Cache::close was called", Location::caller());
    }

    /// Returns whether the cache is closed, by [`close`](Self::close) or because the context passed to [`CacheBuilder::build`]
    /// has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.ctx.is_done()
    }

    /// Returns the number of entries in memory. Remembered errors of loads (see [`negative_ttl`](CacheBuilder::negative_ttl))
    /// and expired entries that are not removed yet count too.
    pub fn len(&self) -> usize {
        self.shared.store.len()
    }

    /// Returns whether the cache has no entries in memory: [`len`](Self::len) is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of loads in the table.
    #[cfg(all(test, ripcord_shuttle))]
    pub(crate) fn flights(&self) -> usize {
        self.shared.flights.len()
    }

    /// Returns the statistics of this cache and its clones.
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
