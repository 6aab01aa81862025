//! How a cache is set up.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use ripcord::Context;

use super::{Cache, Eviction};
use crate::config::{above_zero, at_least_one, within};
use crate::sync::Runtime;
use crate::{ConfigError, Random};

/// Weights are added up; more than this could overflow.
const MOST: u64 = u64::MAX / 4;
const SWEEP_EVERY: Duration = Duration::from_secs(1);

pub(super) type Weigher<K, V> = Arc<dyn Fn(&K, &V) -> u32 + Send + Sync>;
pub(super) type EvictHook<K, V> = Arc<dyn Fn(&K, &V, Eviction) + Send + Sync>;

/// Sets up a [`Cache`]; from [`Cache::builder`].
///
/// Only `capacity` is required. Defaults are not a promise and may change: entries do not expire, nothing is served
/// stale, failures are not kept, and a sweep runs once a second.
#[must_use = "a builder does nothing until it is built"]
pub struct CacheBuilder<K, V> {
    capacity: Option<u64>,
    settings: Settings<K, V>,
}

/// What a built cache goes by.
pub(super) struct Settings<K, V> {
    pub(super) ttl: Option<Duration>,
    pub(super) idle: Option<Duration>,
    pub(super) stale_for: Option<Duration>,
    pub(super) negative_ttl: Option<Duration>,
    pub(super) ttl_jitter: f64,
    pub(super) sweep_every: Duration,
    pub(super) weigher: Option<Weigher<K, V>>,
    pub(super) on_evict: Option<EvictHook<K, V>>,
    pub(super) random: Arc<Random>,
}

impl<K, V> CacheBuilder<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
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
            random: Arc::new(Random::new()),
        };
        Self { capacity: None, settings }
    }

    /// How many entries the cache holds at most or, with a [`weigher`](Self::weigher), how much weight. Required.
    ///
    /// It is never exceeded. A capacity above 64 is divided between shards, so that a few entries less may fit.
    pub fn capacity(mut self, entries: u64) -> Self {
        self.capacity = Some(entries);
        self
    }

    /// What an entry weighs against the capacity; a weight of 0 counts as 1.
    ///
    /// An entry heavier than the whole capacity is not kept. The weigher runs once per insert, in the call that
    /// inserts and outside of all locks: its panic is that call's own. A weighed cache has one shard.
    pub fn weigher(mut self, weigher: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        self.settings.weigher = Some(Arc::new(weigher));
        self
    }

    /// How long an entry is fresh, counted from its insert; reads do not extend it.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.settings.ttl = Some(ttl);
        self
    }

    /// Lets an entry go that was not read for this long. With [`ttl`](Self::ttl) whichever comes first ends it.
    pub fn idle(mut self, limit: Duration) -> Self {
        self.settings.idle = Some(limit);
        self
    }

    /// How long past its TTL a value may still be served, while [`get_or_load`](Cache::get_or_load) loads the next one
    /// in the background. Needs a [`ttl`](Self::ttl), if only `Duration::MAX`.
    ///
    /// A load that failed meanwhile is not tried again in the background for as long as its error is remembered by
    /// [`negative_ttl`](Self::negative_ttl) or, where it is not, for a second: the value is served and nothing else happens.
    /// When the window is over, callers load as for any other key.
    pub fn stale_for(mut self, window: Duration) -> Self {
        self.settings.stale_for = Some(window);
        self
    }

    /// How long the error of a failed load is remembered and given to those who ask next. Without it every caller
    /// after a failed load tries again. What says nothing about the key is never remembered: panics, cancellations, and errors
    /// with a local rejection in their chain of sources.
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.settings.negative_ttl = Some(ttl);
        self
    }

    /// Shortens each [`ttl`](Self::ttl) by a random part of up to this fraction (0 to 1), so that what was loaded
    /// together does not expire together. It never lengthens one, and leaves `insert_with_ttl` alone. Needs a `ttl`.
    pub fn ttl_jitter(mut self, fraction: f64) -> Self {
        self.settings.ttl_jitter = fraction;
        self
    }

    /// How often the expired are removed in the background: a Go program's `cleanupInterval`. Once a
    /// second if not set.
    ///
    /// A sweep looks at every entry, one lock of one entry at a time. An expired entry that waits for its sweep takes
    /// up room and is never served.
    pub fn sweep_every(mut self, interval: Duration) -> Self {
        self.settings.sweep_every = interval;
        self
    }

    /// Called for every value that leaves the cache, after it left and outside of all locks. A panic in it is caught.
    ///
    /// It may use a cache, this one too. A hook never runs within a hook: those for what it lets go itself are called one after the
    /// other once it has returned, by the same thread. One that lets something go each time it is called never ends.
    pub fn on_evict(mut self, hook: impl Fn(&K, &V, Eviction) + Send + Sync + 'static) -> Self {
        self.settings.on_evict = Some(Arc::new(hook));
        self
    }

    /// The source of the jitter.
    pub fn random(mut self, random: Arc<Random>) -> Self {
        self.settings.random = random;
        self
    }

    /// Builds the cache under a context: its clock is the cache's, and its end closes the cache.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a capacity of 0, none, or above 2^62 - 1; a duration of zero; a jitter outside of 0 to 1;
    /// `stale_for` or a jitter without a `ttl`; and when there is no tokio runtime to run loads and the sweeper in.
    pub fn build(self, ctx: &Context) -> Result<Cache<K, V>, ConfigError> {
        let Self { capacity, settings } = self;
        let Some(capacity) = capacity else {
            return Err(ConfigError::new("capacity", "at least 1", "nothing"));
        };
        at_least_one("capacity", capacity)?;
        if capacity > MOST {
            return Err(ConfigError::new("capacity", "at most 2^62 - 1", capacity));
        }
        let durations = [
            ("ttl", settings.ttl),
            ("idle", settings.idle),
            ("stale_for", settings.stale_for),
            ("negative_ttl", settings.negative_ttl),
            ("sweep_every", Some(settings.sweep_every)),
        ];
        for (field, duration) in durations {
            duration.map(|duration| above_zero(field, duration)).transpose()?;
        }
        within("ttl_jitter", settings.ttl_jitter, 0.0, 1.0)?;
        if settings.ttl.is_none() {
            if let Some(window) = settings.stale_for {
                return Err(ConfigError::new("stale_for", "set with a ttl", format_args!("{window:?} without")));
            }
            if settings.ttl_jitter > 0.0 {
                let given = format_args!("{} without", settings.ttl_jitter);
                return Err(ConfigError::new("ttl_jitter", "set with a ttl", given));
            }
        }
        let runtime =
            Runtime::try_current().ok_or_else(|| ConfigError::new("build", "called within a tokio runtime", "none"))?;
        Ok(Cache::start(ctx, capacity, settings, runtime))
    }
}

impl<K, V> fmt::Debug for CacheBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder").field("capacity", &self.capacity).field("ttl", &self.settings.ttl).finish()
    }
}
