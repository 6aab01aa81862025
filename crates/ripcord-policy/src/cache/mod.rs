//! A cache that respects its callers' contexts and one of its own.
//!
//! * Every operation takes the caller's [`Context`] and refuses when that has ended. The cache lives under a second one,
//!   given when it is built: its end closes the cache, calls off its loads and ends its sweeper.
//! * [`Cache::get_or_load`] loads a key once however many ask for it. The load belongs to nobody in particular: each
//!   caller waits as long as its own context lets it, and the load is called off when the last one has left.
//! * An expired value is never returned, except within the [`stale_for`](CacheBuilder::stale_for) window.
//!
//! `get` is synchronous, costs little more than the map below it, and takes one shard's lock for reading. The key's `Eq` runs
//! under that lock, in a sweep its `Clone` too: keep them cheap (put what is large in an `Arc`), and do not use the same cache from
//! within them. One that panics ends the call it runs in and leaves the cache whole; a sweep passes over the entry. Everything else
//! of yours, the key's `Hash` and the value's `Clone`, loaders, weighers, hooks, drops, runs under none.

mod builder;
mod deadline;
mod entry;
mod farewell;
mod flight;
mod hashed;
mod landing;
mod load;
mod shared;
mod stats;
mod store;
mod sweep;
mod table;

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use ripcord::Context;

pub use builder::CacheBuilder;
pub(crate) use deadline::{EarlierDeadline, time_left};
pub use deadline::{load_deadline, with_load_deadline};
pub use stats::CacheStats;

use crate::sync::Runtime;
use crate::{Error, SharedError};
use builder::Settings;
use entry::Found;
use shared::Shared;
use stats::Count;

/// A concurrent, bounded cache with expiry, shared loads and background cleanup. A clone is another handle to it.
///
/// When the last handle is dropped the cache is closed.
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
pub struct Cache<K, V> {
    shared: Arc<Shared<K, V>>,
    owner: Arc<dyn Send + Sync>,
}

/// Lives as long as a handle does. Loads and the sweeper hold the shared part alone, while they work on it.
struct Owner<K, V>(Arc<Shared<K, V>>)
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static;

/// Why a value left the cache. More reasons may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Eviction {
    /// It made room for others, or was too heavy to be kept at all.
    Capacity,
    /// Its time was over.
    Expired,
    /// Another value took its place.
    Replaced,
    /// `remove`, `clear`, or the end of the cache.
    Removed,
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Starts setting up a cache.
    #[doc(alias("NewCache"))]
    pub fn builder() -> CacheBuilder<K, V> {
        CacheBuilder::new()
    }

    fn start(ctx: &Context, capacity: u64, settings: Settings<K, V>, runtime: Runtime) -> Self {
        let shared = Arc::new(Shared::new(ctx, capacity, settings, runtime));
        Shared::start_sweeper(&shared);
        let owner = Arc::new(Owner(Arc::clone(&shared)));
        Self { shared, owner }
    }

    /// The value of `key`, if there is one to serve: a fresh one, or a stale one inside its window.
    ///
    /// At the very moment its TTL is over a value has expired. Never blocks for long and is not affected by loads.
    ///
    /// # Errors
    ///
    /// The caller's context has ended, which is looked at first; or the cache is closed.
    #[inline]
    pub fn get<Q>(&self, ctx: &Context, key: &Q) -> Result<Option<V>, Error<SharedError>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shared.admit(ctx)?;
        Ok(match self.shared.look_up(self.shared.sought(key)) {
            Found::Fresh(value) => {
                self.shared.tally.add(Count::Hit);
                Some(value)
            }
            Found::Stale { value, .. } => {
                self.shared.tally.add(Count::StaleHit);
                Some(value)
            }
            Found::Failure(_) | Found::Absent => {
                self.shared.tally.add(Count::Miss);
                None
            }
        })
    }

    /// Puts a value in, with the TTL of the cache. The result of a load of the same key that is under way is not
    /// stored any more; those who wait for it still get it.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    #[doc(alias("Set"))]
    pub fn insert(&self, ctx: &Context, key: K, value: V) -> Result<(), Error<SharedError>> {
        self.shared.admit(ctx)?;
        self.shared.insert(key, value, self.shared.jittered_ttl());
        Ok(())
    }

    /// Puts a value in with a TTL of its own: a Go program's `Set`.
    ///
    /// A TTL of zero has expired at once: the value is served inside of the window of [`stale_for`](CacheBuilder::stale_for), while
    /// the next one is loaded, and never without one.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    #[doc(alias("Set"))]
    pub fn insert_with_ttl(&self, ctx: &Context, key: K, value: V, ttl: Duration) -> Result<(), Error<SharedError>> {
        self.shared.admit(ctx)?;
        self.shared.insert(key, value, Some(ttl));
        Ok(())
    }

    /// Takes a key out and returns its value, if there was one to serve. The result of a load that is under way is
    /// not stored any more, and whoever asks next starts a load afresh.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    #[doc(alias("Delete"))]
    pub fn remove<Q>(&self, ctx: &Context, key: &Q) -> Result<Option<V>, Error<SharedError>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shared.admit(ctx)?;
        Ok(self.shared.remove(key))
    }

    /// Takes everything out, and discards the results of the loads that are under way, as [`remove`](Self::remove).
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn clear(&self, ctx: &Context) -> Result<(), Error<SharedError>> {
        self.shared.admit(ctx)?;
        self.shared.clear();
        Ok(())
    }

    /// Removes what has expired now rather than at the next sweep, and says how many entries that were. When the
    /// caller's context ends on the way it stops; the sweeper does the rest.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn cleanup(&self, ctx: &Context) -> Result<usize, Error<SharedError>> {
        self.shared.admit(ctx)?;
        Ok(self.shared.clean_up(ctx))
    }

    /// Closes the cache: every operation fails from now on, loads are called off, everything is dropped. Done again it
    /// does nothing. The end of the cache's context does the same.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Whether the cache was closed or its context has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.ctx.is_done()
    }

    /// How many entries the store holds. The expired that await their sweep are among them, and remembered errors too.
    pub fn len(&self) -> usize {
        self.shared.store.len()
    }

    /// Whether the store holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many loads callers may board: what no number tells that users see.
    #[cfg(all(test, ripcord_shuttle))]
    pub(crate) fn flights(&self) -> usize {
        self.shared.flights.len()
    }

    /// What the cache has done so far.
    pub fn stats(&self) -> CacheStats {
        self.shared.tally.stats(self.shared.store.len(), self.shared.store.weight())
    }
}

impl<K, V> Drop for Owner<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn drop(&mut self) {
        self.0.close();
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
