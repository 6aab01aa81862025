//! The settings of a cache.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use ripcord::{Clock, Context};

use super::{Cache, Eviction, Key, SecondLevel};
use crate::config::{above_zero, at_least_one, within};
use crate::sync::Runtime;
use crate::{ConfigError, Random};

/// The maximum capacity. The sum of the weights could overflow above it.
const MAX_CAPACITY: u64 = u64::MAX / 4;
const SWEEP_EVERY: Duration = Duration::from_secs(1);

pub(super) type Weigher<K, V> = Arc<dyn Fn(&K, &V) -> u32 + Send + Sync>;
pub(super) type EvictionListener<K, V> = Arc<dyn Fn(&K, &V, Eviction) + Send + Sync>;

/// Builds a [`Cache`]. Create the builder with [`Cache::builder`].
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_policy::Cache;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ripcord_policy::ConfigError> {
/// let cache: Cache<u64, String> = Cache::builder()
///     .capacity(10_000)
///     .ttl(Duration::from_secs(60))
///     .stale_for(Duration::from_secs(30))
///     .negative_ttl(Duration::from_secs(1))
///     .build(&Context::background())?;
/// assert!(cache.is_empty());
/// # Ok(())
/// # }
/// ```
///
/// Only [`capacity`](Self::capacity) is required. By default, entries do not expire, expired values are not returned, the
/// errors of failed loads are not remembered, and expired entries are removed once per second. The defaults may change.
#[must_use = "a builder does nothing until it is built"]
pub struct CacheBuilder<K, V> {
    capacity: Option<u64>,
    clock: Option<Clock>,
    settings: Settings<K, V>,
}

/// The settings that a cache keeps.
pub(super) struct Settings<K, V> {
    pub(super) ttl: Option<Duration>,
    pub(super) idle: Option<Duration>,
    /// The stale window, and the line that set it.
    pub(super) stale_for: Option<(Duration, &'static Location<'static>)>,
    pub(super) negative_ttl: Option<Duration>,
    pub(super) ttl_jitter: f64,
    pub(super) sweep_every: Duration,
    pub(super) weigher: Option<Weigher<K, V>>,
    pub(super) on_evict: Option<EvictionListener<K, V>>,
    pub(super) random: Random,
    pub(super) second_level: Option<Arc<dyn SecondLevel<K, V>>>,
    /// The line that built the cache.
    pub(super) location: &'static Location<'static>,
}

impl<K, V> CacheBuilder<K, V>
where
    K: Key,
    V: Clone + Send + Sync + 'static,
{
    #[track_caller]
    pub(super) fn new() -> Self {
        let settings = Settings {
            ttl: None,
            idle: None,
            stale_for: None,
            negative_ttl: None,
            ttl_jitter: 0.0,
            sweep_every: SWEEP_EVERY,
            weigher: None,
            on_evict: None,
            random: Random::new(),
            second_level: None,
            location: Location::caller(),
        };
        Self { capacity: None, clock: None, settings }
    }

    /// Sets the maximum number of entries or, with a [`weigher`](Self::weigher), their maximum total weight. Required.
    ///
    /// The capacity must be from 1 to 2^62 - 1. The cache never exceeds its capacity. A cache without a weigher and with a
    /// capacity of at least 64 divides its entries between up to 32 parts of equal size. If one part is full, the cache
    /// evicts an entry of this part although other parts have room. If the capacity is not a multiple of the number
    /// of parts, up to 31 entries of it are not used.
    ///
    /// Loads in flight do not count. A cache that only shares loads, and is read with [`refresh`](Cache::refresh), needs a
    /// capacity of 1.
    pub fn capacity(mut self, entries: u64) -> Self {
        self.capacity = Some(entries);
        self
    }

    /// Sets the weigher: a function that returns the weight of an entry, given its key and value. The
    /// [`capacity`](Self::capacity) is then the maximum total weight. A weight of 0 counts as 1. Default: every entry has
    /// the weight 1.
    ///
    /// An entry that is heavier than the whole capacity is not kept. The weigher runs once per inserted or loaded value,
    /// outside all locks. A panic of the weigher goes to the caller of [`insert`](Cache::insert). If the weigher panics for
    /// a loaded value, this counts as a panic of the load. A cache with a weigher has a single lock: threads that use the
    /// cache at the same time may wait for each other.
    pub fn weigher(mut self, weigher: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        self.settings.weigher = Some(Arc::new(weigher));
        self
    }

    /// Sets the time to live (TTL) of the entries: an entry expires when this time has passed since the insert or load of
    /// its value. Reads do not extend this time. The time must be longer than zero. Default: entries do not expire.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.settings.ttl = Some(ttl);
        self
    }

    /// Makes an entry expire when nobody has read it for the time `limit`. The insert or load of a value counts as the first
    /// read. If a [`ttl`](Self::ttl) is set too, an entry expires at the earlier of both times.
    /// [`stale_for`](Self::stale_for) has no effect on an entry that expired because it was not read. The time must be
    /// longer than zero. Default: no limit.
    pub fn idle(mut self, limit: Duration) -> Self {
        self.settings.idle = Some(limit);
        self
    }

    /// Sets how long the cache still returns a value after its TTL has passed. During this time the value is *stale*. When
    /// [`get_or_load`](Cache::get_or_load) returns a stale value, it also loads a new value in the background. Default: expired
    /// values are not returned.
    ///
    /// Requires a [`ttl`](Self::ttl). If all TTLs come from [`insert_with_ttl`](Cache::insert_with_ttl) or
    /// [`set_load_ttl`](super::set_load_ttl), set the `ttl` to `Duration::MAX`. `window` must be longer than zero.
    ///
    /// If a background load fails, the cache still returns the stale value. The cache then waits for the time
    /// [`negative_ttl`](Self::negative_ttl) before it loads the key in the background again. If the error of the load is not
    /// remembered, the cache waits for one second. After the time `window`, the stale value is no longer returned, and
    /// callers wait for a load.
    #[track_caller]
    pub fn stale_for(mut self, window: Duration) -> Self {
        self.settings.stale_for = Some((window, Location::caller()));
        self
    }

    /// Sets how long the error of a failed load is remembered. During this time, callers of
    /// [`get_or_load`](Cache::get_or_load) and [`run`](Cache::run) for the same key get the error, and no new load starts.
    /// The time must be longer than zero. Default: errors are not remembered, and the next caller after a failed load starts
    /// a new load.
    ///
    /// Errors that say nothing about the key are never remembered: panics, errors of loads whose context has ended, and
    /// refusals by another policy, such as an open circuit breaker.
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.settings.negative_ttl = Some(ttl);
        self
    }

    /// Shortens the [`ttl`](Self::ttl) of each entry by a random part. `fraction` is the maximum part, from 0 to 1. For
    /// example, with a `fraction` of 0.1 an entry expires after 90% to 100% of the `ttl`. Then values that were loaded at
    /// the same time do not expire at the same time. Default: 0.
    ///
    /// Requires a `ttl`. TTLs set by [`insert_with_ttl`](Cache::insert_with_ttl) and [`set_load_ttl`](super::set_load_ttl) are
    /// not changed.
    pub fn ttl_jitter(mut self, fraction: f64) -> Self {
        self.settings.ttl_jitter = fraction;
        self
    }

    /// Sets the interval at which a background task removes expired entries. The interval must be longer than zero.
    /// Tutorials on Go's `context` call this setting `cleanupInterval`. Default: one second.
    ///
    /// The task visits every entry, and does not lock the cache for the whole time. An expired entry occupies memory until it
    /// is removed, but the cache does not return it. While a value is stale (see [`stale_for`](Self::stale_for)), the cache
    /// still returns the value, and the task does not remove it.
    pub fn sweep_every(mut self, interval: Duration) -> Self {
        self.settings.sweep_every = interval;
        self
    }

    /// Sets the eviction listener: a function that the cache calls for every value that has left the cache. The arguments of
    /// the listener are the key, the value and the reason. A panic of the listener is caught. Default: no listener.
    ///
    /// The listener runs outside all locks, on the thread of the operation that removed the value, before this operation
    /// returns. It runs in a task if the background task or the [second level](Self::second_level) removed the value, or if
    /// the context passed to [`build`](Self::build) has ended. The listener may use caches, including this cache. If the
    /// listener removes another value, it is called again inside its own call. So a listener that removes a value in every
    /// call overflows the call stack.
    pub fn on_evict(mut self, listener: impl Fn(&K, &V, Eviction) + Send + Sync + 'static) -> Self {
        self.settings.on_evict = Some(Arc::new(listener));
        self
    }

    /// Sets the source of random numbers for the [`ttl_jitter`](Self::ttl_jitter). A [seeded](Random::seeded) source makes a
    /// test repeatable. Default: a source with a random seed.
    pub fn random(mut self, random: Random) -> Self {
        self.settings.random = random;
        self
    }

    /// Sets the second level: a store that the caches of several processes share, such as `ripcord_redis::CacheLevel`. This cache
    /// is then the first level in front of it. Default: no second level.
    ///
    /// | operation | effect |
    /// |---|---|
    /// | [`get_or_load`](Cache::get_or_load), [`run`](Cache::run) | If this cache has no value, they ask the second level. If it has none either, one process loads the key, and the others wait for the result. |
    /// | [`refresh`](Cache::refresh) | Loads the key, or waits for a load in another process. |
    /// | [`get`](Cache::get), [`len`](Cache::len) | See only the values in this process. |
    /// | [`insert`](Cache::insert), [`remove`](Cache::remove), [`clear`](Cache::clear) | Change this process at once, and the second level in the background, in the same order for each key. |
    ///
    /// A method that changes the cache does not wait for the second level. This process sees the change at once. Another process
    /// sees it when the second level has received it, normally within a round trip. To wait for that, call
    /// [`sync`](Cache::sync). If the second level is unavailable, it receives the change after the outage.
    ///
    /// Values that change in another process are removed from this cache. The errors of loads
    /// ([`negative_ttl`](Self::negative_ttl)) and the [`idle`](Self::idle) limit concern only this process.
    pub fn second_level(mut self, second: impl SecondLevel<K, V>) -> Self {
        self.settings.second_level = Some(Arc::new(second));
        self
    }

    /// Sets the clock by which entries expire. Default: the clock of the context passed to [`build`](Self::build).
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Builds the cache, and starts the background task that removes expired entries. The cache closes when `ctx` is canceled
    /// or its deadline passes: all operations then fail, loads are canceled, and the entries are dropped.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] in these cases:
    ///
    /// * The `capacity` is not set, is 0, or is above 2^62 - 1.
    /// * A duration was set to zero.
    /// * The `ttl_jitter` is outside 0 to 1.
    /// * `stale_for` or a `ttl_jitter` is set without a `ttl`.
    /// * The method is called outside of a tokio runtime. The cache needs a runtime for its loads and its background task.
    #[track_caller]
    pub fn build(self, ctx: &Context) -> Result<Cache<K, V>, ConfigError> {
        let Self { capacity, clock, settings } = self;
        let settings = Settings { location: Location::caller(), ..settings };
        let Some(capacity) = capacity else {
            return Err(ConfigError::new("capacity", "at least 1", "nothing"));
        };
        at_least_one("capacity", capacity)?;
        if capacity > MAX_CAPACITY {
            return Err(ConfigError::new("capacity", "at most 2^62 - 1", capacity));
        }
        let stale_for = settings.stale_for.map(|(window, _)| window);
        let durations = [
            ("ttl", settings.ttl),
            ("idle", settings.idle),
            ("stale_for", stale_for),
            ("negative_ttl", settings.negative_ttl),
            ("sweep_every", Some(settings.sweep_every)),
        ];
        for (field, duration) in durations {
            duration.map(|duration| above_zero(field, duration)).transpose()?;
        }
        within("ttl_jitter", settings.ttl_jitter, 0.0, 1.0)?;
        if settings.ttl.is_none() {
            if let Some(window) = stale_for {
                return Err(ConfigError::new("stale_for", "set with a ttl", format_args!("{window:?} without")));
            }
            if settings.ttl_jitter > 0.0 {
                let given = format!("{} without", settings.ttl_jitter);
                return Err(ConfigError::new("ttl_jitter", "set with a ttl", given));
            }
        }
        let runtime =
            Runtime::try_current().ok_or_else(|| ConfigError::new("build", "called within a tokio runtime", "none"))?;
        let ctx = clock.map_or_else(|| ctx.clone(), |clock| ctx.with_clock(clock));
        Ok(Cache::start(&ctx, capacity, settings, runtime))
    }
}

impl<K, V> fmt::Debug for CacheBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder").field("capacity", &self.capacity).field("ttl", &self.settings.ttl).finish()
    }
}
