//! A limiter for each key, for as long as the key is in use.
//!
//! # Invariants
//!
//! 1. A full bucket cannot be told from a new one, so a key whose bucket is full and that nobody uses is forgotten.
//! 2. Shards are locked one at a time, `setting` before them. The quota function, wakers, and destructors of keys run
//!    under no lock. `Hash`, `Eq` and `Clone` of keys run under the lock of their shard.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ripcord::Context;

use super::RateLimiter;
use super::bucket::Bucket;
use super::builder::KeyedLimiterBuilder;
use super::rate::{Quota, Rate};
use super::reservation::{ExceedsBurst, Reservation};
use super::stats::{Count, LimiterStats, Numbers};
use super::time::Time;
use crate::config::at_least_one;
use crate::panics::wake;
use crate::{ConfigError, Error, Refused};

const SHARDS: usize = 16;

/// The number of keys below which a shard is not searched for idle ones.
const MIN_SWEEP: usize = 64;

/// Limits the rate of calls for each of many keys, such as a client address, a tenant or an API token.
///
/// ```
/// use ripcord::Context;
/// use ripcord_policy::{KeyedLimiter, Rate};
/// use ripcord_policy::limiter::Quota;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let vip = Quota::new(Rate::per_second(100.0), 2)?;
/// let limiter = KeyedLimiter::builder()
///     .rate(Rate::per_second(1.0))
///     .burst(1)
///     .quota(move |client: &&str| (*client == "alice").then_some(vip))
///     .build()?;
///
/// let ctx = Context::background();
/// limiter.wait(&ctx, &"bob").await?;
/// assert!(!limiter.allow(&"bob"));                             // his bucket is empty
/// assert!(limiter.allow(&"alice") && limiter.allow(&"alice")); // she has another quota
/// # Ok(())
/// # }
/// ```
///
/// Each key has a bucket, which earns tokens at a rate, holds a burst of them, and starts full. All keys have the rate and
/// burst of the builder, except those for which its [`quota`](KeyedLimiterBuilder::quota) function returns a quota.
///
/// Keys with a full bucket are forgotten, and nothing is lost by it: they start full when they come back. So memory
/// follows the keys that have been used lately. Searches for such keys happen on insertion, and in
/// [`forget_idle`](KeyedLimiter::forget_idle).
///
/// What is granted, how waiters are served, and which clock counts is as for a [`RateLimiter`].
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
    /// Held while the quota is changed in one shard after the other.
    setting: Mutex<()>,
}

/// Returns the quota of a key that has its own.
pub(super) type QuotaOf<K> = dyn Fn(&K) -> Option<Quota> + Send + Sync;

/// A part of the keys, under a lock of its own.
struct Shard<K> {
    keys: HashMap<K, Entry>,
    /// The quota of keys without their own.
    quota: Quota,
    /// The number of keys at which idle ones are looked for again.
    sweep_at: usize,
}

struct Entry {
    limiter: RateLimiter,
    own_quota: Option<Quota>,
}

impl<K: Hash + Eq + Clone> KeyedLimiter<K> {
    /// Returns a builder. The [`rate`](KeyedLimiterBuilder::rate) is required.
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

    pub(super) fn with(quota: Quota, quota_of: Option<Box<QuotaOf<K>>>, time: Time) -> Self {
        let shard = || Mutex::new(Shard { keys: HashMap::new(), quota, sweep_at: MIN_SWEEP });
        let shared = Shared {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            time,
            quota_of,
            numbers: Arc::new(Numbers::new()),
            setting: Mutex::new(()),
        };
        KeyedLimiter { shared: Arc::new(shared) }
    }

    /// Waits for a token of `key`, then makes a call. The statistics count the token, and not the result of the call.
    ///
    /// # Errors
    ///
    /// * The call's own error.
    /// * Those of [`wait`](KeyedLimiter::wait).
    /// * The end of `ctx`, if that has ended during the call, with the call's error as its source.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its token, as for [`wait`](KeyedLimiter::wait), or drops the call, whose token stays taken.
    pub async fn run<T, E, F, Fut>(&self, ctx: &Context, key: &K, call: F) -> Result<T, Error<E>>
    where
        F: FnOnce(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.wait(ctx, key).await?;
        call(ctx.clone()).await.map_err(|error| Error::new(error).under(ctx))
    }

    /// Waits for a token of `key`. Returns how long that took.
    ///
    /// # Errors
    ///
    /// * The context ended first, or had ended before.
    /// * The token would not come before the context's deadline. The wait fails at once and takes nothing;
    ///   [`Refused::is_deadline_exceeded`] is true.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its token, which is returned unless somebody behind it waits for a token of the key.
    pub async fn wait(&self, ctx: &Context, key: &K) -> Result<Duration, Refused> {
        self.wait_n(ctx, key, 1).await
    }

    /// Waits for `n` tokens of `key`. Returns how long that took.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](KeyedLimiter::wait), and one for which [`Refused::is_limited`] is true if `n` is above the
    /// key's burst; nothing is taken then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its tokens, as for [`wait`](KeyedLimiter::wait).
    pub async fn wait_n(&self, ctx: &Context, key: &K, n: u32) -> Result<Duration, Refused> {
        if let Err(end) = ctx.check() {
            self.shared.numbers.bump(Count::OtherRefused);
            return Err(Refused::ended(end));
        }
        self.limiter(key).wait_n(ctx, n).await
    }

    /// Takes a token of `key` if there is one.
    pub fn allow(&self, key: &K) -> bool {
        self.allow_n(key, 1)
    }

    /// Takes `n` tokens of `key` if there are that many, and otherwise none.
    ///
    /// Returns `false` if `n` is above the key's burst.
    pub fn allow_n(&self, key: &K, n: u32) -> bool {
        self.limiter(key).allow_n(n)
    }

    /// Reserves a token of `key`, possibly a future one.
    pub fn reserve(&self, key: &K) -> Reservation {
        self.limiter(key).reserve()
    }

    /// Reserves `n` tokens of `key`, possibly future ones.
    ///
    /// # Errors
    ///
    /// [`ExceedsBurst`] if `n` is above the key's burst; nothing is taken.
    pub fn reserve_n(&self, key: &K, n: u32) -> Result<Reservation, ExceedsBurst> {
        self.limiter(key).reserve_n(n)
    }

    /// Sets the rate of all keys that have no quota of their own, from now on. Waiters get new times, reservations keep
    /// theirs.
    ///
    /// # Errors
    ///
    /// Names the bound that `rate` breaks; nothing has changed then.
    pub fn set_rate(&self, rate: Rate) -> Result<(), ConfigError> {
        let rate = rate.check()?;
        self.set_quota(|quota| Quota { rate, ..quota });
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
        self.set_quota(|quota| Quota { burst, ..quota });
        Ok(())
    }

    /// Returns the rate of `key` at present.
    pub fn rate(&self, key: &K) -> Rate {
        self.quota(key).rate
    }

    /// Returns the burst of `key` at present, in tokens.
    pub fn burst(&self, key: &K) -> u32 {
        self.quota(key).burst
    }

    /// Returns the tokens that `key` has: below zero when more are promised than are earned.
    pub fn tokens(&self, key: &K) -> f64 {
        let is_new = !lock(self.shard(key)).keys.contains_key(key);
        if is_new { f64::from(self.burst(key)) } else { self.limiter(key).tokens() }
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
            let idle = lock(shard).take_idle();
            drop(idle);
        }
    }

    /// Returns the statistics of all keys so far.
    pub fn stats(&self) -> LimiterStats {
        self.shared.numbers.stats()
    }

    /// Returns the limiter of `key`, with the quota that the key has at present.
    fn limiter(&self, key: &K) -> RateLimiter {
        let own_quota = self.own_quota(key);
        let mut shard = lock(self.shard(key));
        let quota = own_quota.unwrap_or(shard.quota);
        if let Some(entry) = shard.keys.get_mut(key) {
            let limiter = entry.limiter.clone();
            let mut wakers = Vec::new();
            if entry.own_quota != own_quota {
                entry.own_quota = own_quota;
                wakers = limiter.bucket.set_quota(|_| quota);
            }
            drop(shard);
            wakers.into_iter().for_each(wake);
            return limiter;
        }
        let idle = if shard.keys.len() < shard.sweep_at { Vec::new() } else { shard.take_idle() };
        let bucket = Bucket::new(quota, self.shared.time.clone(), Arc::clone(&self.shared.numbers));
        let limiter = RateLimiter { bucket: Arc::new(bucket) };
        shard.keys.insert(key.clone(), Entry { limiter: limiter.clone(), own_quota });
        drop(shard);
        drop(idle);
        limiter
    }

    /// Changes the quota of all keys that have none of their own.
    fn set_quota(&self, change: impl Fn(Quota) -> Quota) {
        let mut wakers = Vec::new();
        let setting = lock(&self.shared.setting);
        for shard in &self.shared.shards {
            let mut shard = lock(shard);
            shard.quota = change(shard.quota);
            for entry in shard.keys.values().filter(|entry| entry.own_quota.is_none()) {
                wakers.extend(entry.limiter.bucket.set_quota(|_| shard.quota));
            }
        }
        drop(setting);
        wakers.into_iter().for_each(wake);
    }

    fn quota(&self, key: &K) -> Quota {
        self.own_quota(key).unwrap_or_else(|| lock(self.shard(key)).quota)
    }

    /// Calls the quota function. Not to be called under a lock.
    fn own_quota(&self, key: &K) -> Option<Quota> {
        self.shared.quota_of.as_ref()?(key)
    }

    fn shard(&self, key: &K) -> &Mutex<Shard<K>> {
        // The high bits of the hash: the map in a shard uses a hash of its own.
        &self.shared.shards[(self.shared.hasher.hash_one(key) >> 60) as usize % SHARDS]
    }
}

impl<K: Hash + Eq> Shard<K> {
    /// Takes out the keys whose buckets are full, to be dropped without the lock. The next insertion searches again when
    /// there are twice as many keys as are left, so each insertion pays for a constant share of the searches.
    fn take_idle(&mut self) -> Vec<(K, Entry)> {
        let idle = self.keys.extract_if(|_, entry| entry.is_idle()).collect();
        self.sweep_at = (self.keys.len() * 2).max(MIN_SWEEP);
        self.keys.shrink_to(self.sweep_at);
        idle
    }
}

impl Entry {
    /// Whether the limiter is like a new one, and nobody is about to use it: new holders need the shard's lock.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.limiter.bucket) == 1 && self.limiter.bucket.is_idle()
    }
}

impl<K> Clone for KeyedLimiter<K> {
    fn clone(&self) -> Self {
        KeyedLimiter { shared: Arc::clone(&self.shared) }
    }
}

impl<K> fmt::Debug for KeyedLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quota { rate, burst } = lock(&self.shared.shards[0]).quota;
        f.debug_struct("KeyedLimiter").field("rate", &rate).field("burst", &burst).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_bucket_that_somebody_is_about_to_use_is_not_forgotten() {
        let keyed = KeyedLimiter::new(Rate::per_second(1.0), 1).unwrap();
        let held = keyed.limiter(&"key");
        keyed.forget_idle();
        assert_eq!(keyed.len(), 1, "a second bucket would grant the burst a second time");
        drop(held);
        keyed.forget_idle();
        assert!(keyed.is_empty());
    }
}
