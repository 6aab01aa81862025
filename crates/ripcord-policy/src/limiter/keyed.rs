//! One bucket per key, for as long as the key is in use.
//!
//! # Invariants
//!
//! 1. A full bucket cannot be told from a new one, so a key whose bucket is full is forgotten.
//! 2. A key with the default quota that nobody waits on is one number: what it has spent of what its shard's schedule
//!    has earned. A wait, a reservation or a quota of its own gives it a [`Bucket`], which stays until it is full and
//!    nobody holds it.
//! 3. Shards are locked one at a time, `setting` before them. The quota function, wakers, and destructors of keys run
//!    under no lock. `Hash`, `Eq` and `Clone` of keys run under the lock of their shard.

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ripcord::{Clock, Context};

use super::bucket::Bucket;
use super::builder::KeyedLimiterBuilder;
use super::rate::{Quota, Rate};
use super::reservation::{ExceedsBurst, Reservation};
use super::schedule::units;
use super::shard::{Entry, Shard};
use super::stats::{Count, LimiterStats, Numbers};
use super::time::Time;
use super::wait;
use crate::config::at_least_one;
use crate::panics::wake;
use crate::{ConfigError, Refused};

const SHARDS: usize = 16;

/// A [`RateLimiter`](super::RateLimiter) for each key: a client address, a tenant, an API token.
///
/// ```
/// use ripcord_policy::{KeyedLimiter, Rate};
/// use ripcord_policy::limiter::Quota;
///
/// # fn main() -> Result<(), ripcord_policy::ConfigError> {
/// let vip = Quota::new(Rate::per_second(100.0), 2)?;
/// let limiter = KeyedLimiter::builder()
///     .rate(Rate::per_second(1.0))
///     .burst(1)
///     .quota(move |client: &&str| (*client == "alice").then_some(vip))
///     .build()?;
///
/// assert!(limiter.allow(&"bob"));
/// assert!(!limiter.allow(&"bob"));                          // his bucket is empty
/// assert!(limiter.allow(&"alice") && limiter.allow(&"alice")); // she has another quota
/// # Ok(())
/// # }
/// ```
///
/// All keys have the rate and burst of the builder, except those for which its
/// [`quota`](KeyedLimiterBuilder::quota) function returns a quota of their own.
///
/// Keys with a full bucket are forgotten, and nothing is lost by it: they start full when they come back. So memory
/// follows the keys that have been used lately. Searches for such keys happen on insertion, and in
/// [`forget_idle`](KeyedLimiter::forget_idle).
///
/// Clones share all state. `Hash`, `Eq` and `Clone` of a key must not use the limiter.
pub struct KeyedLimiter<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    shards: Box<[Mutex<Shard<K>>]>,
    hasher: RandomState,
    time: Time,
    quota_of: Option<Box<QuotaOf<K>>>,
    numbers: Arc<Numbers>,
    /// Held while a setting is changed in one shard after the other.
    setting: Mutex<()>,
}

/// Returns the quota of a key that has its own.
pub(super) type QuotaOf<K> = dyn Fn(&K) -> Option<Quota> + Send + Sync;

impl<K: Hash + Eq + Clone> KeyedLimiter<K> {
    /// Returns a builder.
    pub fn builder() -> KeyedLimiterBuilder<K> {
        KeyedLimiterBuilder::new()
    }

    /// Creates a limiter in which all keys have `rate` and `burst`: short for [`builder`](KeyedLimiter::builder) with
    /// both.
    ///
    /// # Errors
    ///
    /// Names the setting that is out of bounds.
    pub fn new(rate: Rate, burst: u32) -> Result<Self, ConfigError> {
        KeyedLimiter::builder().rate(rate).burst(burst).build()
    }

    pub(super) fn with(quota: Quota, quota_of: Option<Box<QuotaOf<K>>>, clock: Option<Clock>) -> Self {
        let time = Time::new(clock);
        let now = time.now();
        let shared = Shared {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new(quota, now))).collect(),
            hasher: RandomState::new(),
            time,
            quota_of,
            numbers: Arc::new(Numbers::new()),
            setting: Mutex::new(()),
        };
        KeyedLimiter { shared: Arc::new(shared) }
    }

    /// Takes a token of `key` if there is one.
    pub fn allow(&self, key: &K) -> bool {
        self.allow_n(key, 1)
    }

    /// Takes `n` tokens of `key` if there are that many, and otherwise none.
    ///
    /// Returns `false` if `n` is above the key's burst.
    pub fn allow_n(&self, key: &K, n: u32) -> bool {
        let granted = self.take(key, n);
        self.shared.numbers.bump(if granted { Count::Allowed } else { Count::Denied });
        granted
    }

    /// Waits for a token of `key`. Returns how long that took.
    ///
    /// # Errors
    ///
    /// Those of [`RateLimiter::wait`](super::RateLimiter::wait): the context ended, or its deadline is too near.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its token, as for [`RateLimiter::wait`](super::RateLimiter::wait).
    pub async fn wait(&self, ctx: &Context, key: &K) -> Result<Duration, Refused> {
        self.wait_n(ctx, key, 1).await
    }

    /// Waits for `n` tokens of `key`. Returns how long that took.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](KeyedLimiter::wait), and one for which [`Refused::is_limited`] is true if `n` is above the
    /// key's burst.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its tokens.
    pub async fn wait_n(&self, ctx: &Context, key: &K, n: u32) -> Result<Duration, Refused> {
        if let Err(end) = ctx.check() {
            self.shared.numbers.bump(Count::OtherRefused);
            return Err(Refused::ended(end));
        }
        if self.take(key, n) {
            self.shared.numbers.bump(Count::Waited);
            return Ok(Duration::ZERO);
        }
        let bucket = self.bucket(key);
        wait::wait(&bucket, ctx, n).await
    }

    /// Takes a token of `key` that may be yet to come, and says when it will.
    pub fn reserve(&self, key: &K) -> Reservation {
        Reservation::new(self.bucket(key), 1).expect("a burst is at least 1")
    }

    /// Takes `n` tokens of `key` that may be yet to come, and says when they will.
    ///
    /// # Errors
    ///
    /// [`ExceedsBurst`] if `n` is above the key's burst; nothing is taken.
    pub fn reserve_n(&self, key: &K, n: u32) -> Result<Reservation, ExceedsBurst> {
        Reservation::new(self.bucket(key), n)
    }

    /// Sets the rate of all keys that have no quota of their own, from now on. Waiters get new times, reservations keep
    /// theirs.
    ///
    /// # Errors
    ///
    /// Names the bound that `rate` breaks; nothing has changed then.
    pub fn set_rate(&self, rate: Rate) -> Result<(), ConfigError> {
        let rate = rate.check()?;
        let mut wakers = Vec::new();
        let setting = self.shared.setting.lock().unwrap_or_else(PoisonError::into_inner);
        for shard in &self.shared.shards {
            let mut shard = lock(shard);
            // Read under the lock: what was granted by the old rate was granted before this time.
            let now = shard.settle(&self.shared.time);
            shard.change_rate(rate, now);
            for bucket in default_buckets(&shard) {
                wakers.extend(bucket.set_rate(rate));
            }
        }
        drop(setting);
        wakers.into_iter().for_each(wake);
        Ok(())
    }

    /// Sets the burst of all keys that have no quota of their own, from now on. A key that is not remembered starts with
    /// a full bucket of the new size.
    ///
    /// # Errors
    ///
    /// Names `burst` if it is 0; nothing has changed then.
    pub fn set_burst(&self, burst: u32) -> Result<(), ConfigError> {
        let burst = at_least_one("burst", burst)?;
        let _setting = self.shared.setting.lock().unwrap_or_else(PoisonError::into_inner);
        for shard in &self.shared.shards {
            let mut shard = lock(shard);
            let now = shard.settle(&self.shared.time);
            shard.change_burst(burst, now);
            default_buckets(&shard).for_each(|bucket| bucket.set_burst(burst));
        }
        Ok(())
    }

    /// Returns the rate of `key` at present.
    pub fn rate(&self, key: &K) -> Rate {
        self.quota(key).unwrap_or_else(|| lock(self.shard(key)).quota()).rate()
    }

    /// Returns the burst of `key` at present.
    pub fn burst(&self, key: &K) -> u32 {
        self.quota(key).unwrap_or_else(|| lock(self.shard(key)).quota()).burst()
    }

    /// Returns the tokens that `key` has: below zero when more are promised than are earned.
    pub fn tokens(&self, key: &K) -> f64 {
        if let Some(quota) = self.quota(key) {
            let is_new = !lock(self.shard(key)).keys.contains_key(key);
            return if is_new { f64::from(quota.burst()) } else { self.bucket(key).tokens() };
        }
        let mut shard = lock(self.shard(key));
        let now = shard.settle(&self.shared.time);
        let left = match shard.keys.get(key) {
            Some(Entry::Bucket { bucket, .. }) => return bucket.tokens(),
            Some(Entry::Spent(spent)) if !shard.schedule.is_infinite() => {
                shard.schedule.earned(now) - (*spent).max(shard.spent_when_full(now))
            }
            _ => shard.schedule.burst,
        };
        left as f64 / units(1) as f64
    }

    /// Returns the number of keys that are remembered.
    pub fn len(&self) -> usize {
        self.shared.shards.iter().map(|shard| lock(shard).keys.len()).sum()
    }

    /// Returns whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all keys whose buckets are full. Insertions do so from time to time.
    pub fn forget_idle(&self) {
        for shard in &self.shared.shards {
            let idle = {
                let mut shard = lock(shard);
                let now = shard.settle(&self.shared.time);
                shard.sweep(now)
            };
            drop(idle);
        }
    }

    /// Returns the numbers of all keys so far.
    pub fn stats(&self) -> LimiterStats {
        self.shared.numbers.stats()
    }

    fn shard(&self, key: &K) -> &Mutex<Shard<K>> {
        // The high bits of the hash: the map in a shard uses a hash of its own.
        &self.shared.shards[(self.shared.hasher.hash_one(key) >> 60) as usize % SHARDS]
    }

    /// Returns the quota of `key` if it has its own. Not to be called under a lock.
    fn quota(&self, key: &K) -> Option<Quota> {
        self.shared.quota_of.as_ref()?(key)
    }

    /// Takes `n` tokens of `key` if there are that many.
    fn take(&self, key: &K, n: u32) -> bool {
        if self.quota(key).is_some() {
            return self.bucket(key).take(n);
        }
        let mut shard = lock(self.shard(key));
        let now = shard.settle(&self.shared.time);
        if let Some(Entry::Bucket { .. }) = shard.keys.get(key) {
            drop(shard);
            return self.bucket(key).take(n);
        }
        if shard.schedule.is_infinite() {
            return true;
        }
        if n > shard.burst {
            return false;
        }
        let (earned, spent_when_full) = (shard.schedule.earned(now), shard.spent_when_full(now));
        if let Some(Entry::Spent(spent)) = shard.keys.get_mut(key) {
            let next = (*spent).max(spent_when_full) + units(n);
            let granted = next <= earned;
            if granted {
                *spent = next;
            }
            return granted;
        }
        let idle = shard.sweep_if_grown(now);
        shard.keys.insert(key.clone(), Entry::Spent(spent_when_full + units(n)));
        drop(shard);
        drop(idle);
        true
    }

    /// Returns the bucket of `key`, which is created if it has none.
    fn bucket(&self, key: &K) -> Arc<Bucket> {
        let quota = self.quota(key);
        let mut shard = lock(self.shard(key));
        let now = shard.settle(&self.shared.time);
        let default = shard.quota();
        let spent = match shard.keys.get_mut(key) {
            Some(Entry::Bucket { bucket, own_quota }) => {
                let bucket = Arc::clone(bucket);
                let mut wakers = Vec::new();
                if *own_quota != quota {
                    *own_quota = quota;
                    let new = quota.unwrap_or(default);
                    bucket.set_burst(new.burst());
                    wakers = bucket.set_rate(new.rate());
                }
                drop(shard);
                wakers.into_iter().for_each(wake);
                return bucket;
            }
            Some(Entry::Spent(spent)) => *spent,
            None => shard.schedule.spent_when_full(),
        };
        let idle = shard.sweep_if_grown(now);
        let (time, numbers) = (self.shared.time.clone(), Arc::clone(&self.shared.numbers));
        let bucket = Arc::new(match quota {
            Some(quota) => Bucket::new(quota, time, numbers),
            None => Bucket::resume(shard.schedule.clone(), default.burst(), spent, time, numbers),
        });
        let entry = Entry::Bucket { bucket: Arc::clone(&bucket), own_quota: quota };
        // An insertion would drop a second key under the lock.
        match shard.keys.get_mut(key) {
            Some(old) => *old = entry,
            None => drop(shard.keys.insert(key.clone(), entry)),
        }
        drop(shard);
        drop(idle);
        bucket
    }
}

impl<K> Clone for KeyedLimiter<K> {
    fn clone(&self) -> Self {
        KeyedLimiter { shared: Arc::clone(&self.shared) }
    }
}

impl<K> fmt::Debug for KeyedLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, burst) = {
            let shard = lock(&self.shared.shards[0]);
            (shard.schedule.rate, shard.burst)
        };
        f.debug_struct("KeyedLimiter").field("rate", &rate).field("burst", &burst).finish_non_exhaustive()
    }
}

fn lock<K>(shard: &Mutex<Shard<K>>) -> MutexGuard<'_, Shard<K>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the buckets of the keys that have no quota of their own.
fn default_buckets<K>(shard: &Shard<K>) -> impl Iterator<Item = &Arc<Bucket>> {
    shard.keys.values().filter_map(|entry| match entry {
        Entry::Bucket { bucket, own_quota: None } => Some(bucket),
        _ => None,
    })
}
