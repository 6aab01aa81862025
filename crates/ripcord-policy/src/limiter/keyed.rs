//! One limiter for each key, as long as the key is in use.
//!
//! # Invariants
//!
//! 1. A full bucket behaves like a new one, so a key is forgotten when its bucket is full and nobody uses it.
//! 2. Shards are locked one at a time, and after `setting`. The quota function, wakers, and destructors of keys run under no
//!    lock. `Hash`, `Eq` and `Clone` of keys run under the lock of their shard.

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

/// The minimum number of keys in a shard for a search for idle keys.
const MIN_SWEEP: usize = 64;

/// Limits the rate of calls separately for each key, such as a client address, a tenant or an API token.
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
/// Create a limiter with [`builder`](KeyedLimiter::builder) or [`new`](KeyedLimiter::new). Make calls with
/// [`run`](KeyedLimiter::run), or take tokens with [`wait`](KeyedLimiter::wait), [`allow`](KeyedLimiter::allow) and
/// [`reserve`](KeyedLimiter::reserve).
///
/// # Buckets
///
/// Each key has its own bucket of tokens. The bucket starts full and earns tokens at a rate. The *burst* is the maximum number
/// of tokens in the bucket. All keys have the rate and burst of the builder, except the keys for which the function
/// [`quota`](KeyedLimiterBuilder::quota) returns a quota. The rules about accuracy, waiting and clocks are the same as for a
/// [`RateLimiter`].
///
/// # Memory
///
/// The limiter removes keys with a full bucket from memory. This has no effect on the limits, because a key that is used again
/// starts with a full bucket. So the memory depends on the number of recently used keys. When the limiter adds a key, it
/// sometimes searches for keys with full buckets. To remove these keys immediately, call
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
    /// Held while the quota is changed in all shards, one after the other.
    setting: Mutex<()>,
}

/// The function that returns the quota of a key with its own quota.
pub(super) type QuotaOf<K> = dyn Fn(&K) -> Option<Quota> + Send + Sync;

/// A part of the keys, under its own lock.
struct Shard<K> {
    keys: HashMap<K, Entry>,
    /// The quota of keys without their own quota.
    quota: Quota,
    /// The number of keys at which the next search for idle keys starts.
    sweep_at: usize,
}

struct Entry {
    limiter: RateLimiter,
    own_quota: Option<Quota>,
}

impl<K: Hash + Eq + Clone> KeyedLimiter<K> {
    /// Creates a builder. The [`rate`](KeyedLimiterBuilder::rate) is required.
    pub fn builder() -> KeyedLimiterBuilder<K> {
        KeyedLimiterBuilder::new()
    }

    /// Creates a limiter in which each key has the same `rate` and `burst`. The limiter uses the system's clock.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `rate` is negative, NaN or has a period of zero, or if `burst` is 0.
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

    /// Waits for a token of `key`, then calls `call` with a clone of `ctx` and awaits the returned future. The
    /// [`stats`](KeyedLimiter::stats) count the token, but not the result of the call.
    ///
    /// If `ctx` ends during the wait, the wait ends. If `ctx` ends during the call, the limiter does not drop the call. The
    /// call must observe its context.
    ///
    /// # Errors
    ///
    /// * The call's own error.
    /// * The limiter refused the call, for the reasons listed for [`wait`](KeyedLimiter::wait).
    /// * `ctx` was canceled or its deadline passed during the call ([`Error::end`]). The call's error is the source.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped during the wait, the token returns to the bucket as described for [`wait`](KeyedLimiter::wait).
    /// If the future is dropped during the call, the call is dropped, and the token does not return.
    pub async fn run<T, E, F, Fut>(&self, ctx: &Context, key: &K, call: F) -> Result<T, Error<E>>
    where
        F: FnOnce(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.wait(ctx, key).await?;
        call(ctx.clone()).await.map_err(|error| Error::new(error).under(ctx))
    }

    /// Waits for a token of `key`, and takes it. Returns the duration of the wait.
    ///
    /// If the token becomes available at the moment when `ctx` ends, the wait succeeds.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed before or during the wait ([`Refused::end`]).
    /// * The token would not be available before the deadline of `ctx` ([`Refused::is_deadline_exceeded`]). The method then
    ///   fails at once, without waiting for the deadline, and takes no token.
    /// * The waiters and reservations of the key, including this wait, would need more than 2^36 (69 billion) tokens
    ///   ([`Refused::is_limited`]).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped during the wait, its token returns to the bucket, unless there is a later waiter or a later
    /// [`Reservation`] of the same key. See [Waiting](RateLimiter#waiting).
    pub async fn wait(&self, ctx: &Context, key: &K) -> Result<Duration, Refused> {
        self.wait_n(ctx, key, 1).await
    }

    /// Waits for `n` tokens of `key`, and takes them. Returns the duration of the wait. See [`wait`](KeyedLimiter::wait).
    ///
    /// # Errors
    ///
    /// * The errors listed for [`wait`](KeyedLimiter::wait).
    /// * `n` is above the [`burst`](KeyedLimiter::burst) of the key, and its rate is not [`Rate::INFINITE`]
    ///   ([`Refused::is_limited`]). The method then takes no token.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped during the wait, its tokens return to the bucket as described for [`wait`](KeyedLimiter::wait).
    pub async fn wait_n(&self, ctx: &Context, key: &K, n: u32) -> Result<Duration, Refused> {
        if let Err(end) = ctx.check() {
            self.shared.numbers.bump(Count::OtherRefused);
            return Err(Refused::ended(end));
        }
        self.limiter(key).wait_n(ctx, n).await
    }

    /// Takes a token if the bucket of `key` has one. Returns `true` if it took the token. Never waits.
    pub fn allow(&self, key: &K) -> bool {
        self.allow_n(key, 1)
    }

    /// Takes `n` tokens and returns `true` if the bucket of `key` has `n` tokens. Otherwise takes no token and returns `false`.
    /// Never waits.
    ///
    /// If `n` is above the [`burst`](KeyedLimiter::burst) of the key, always returns `false`, unless the rate of the key is
    /// [`Rate::INFINITE`].
    pub fn allow_n(&self, key: &K, n: u32) -> bool {
        self.limiter(key).allow_n(n)
    }

    /// Reserves a token of `key` without waiting. If the bucket of `key` has no token, the reserved token may be used only
    /// after a delay. See [`RateLimiter::reserve`].
    pub fn reserve(&self, key: &K) -> Reservation {
        self.limiter(key).reserve()
    }

    /// Reserves `n` tokens of `key` without waiting. If the bucket of `key` has fewer tokens, the reserved tokens may be used
    /// only after a delay. See [`RateLimiter::reserve`].
    ///
    /// # Errors
    ///
    /// [`ExceedsBurst`] if `n` is above the [`burst`](KeyedLimiter::burst) of the key, and its rate is not [`Rate::INFINITE`].
    /// The method then takes no token.
    pub fn reserve_n(&self, key: &K, n: u32) -> Result<Reservation, ExceedsBurst> {
        self.limiter(key).reserve_n(n)
    }

    /// Changes the rate of all keys that have no [`quota`](KeyedLimiterBuilder::quota) of their own. Each waiter gets its
    /// tokens earlier or later, as the new rate requires. Reservations keep their times.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `rate` is negative, NaN or has a period of zero. All keys then keep their old rates.
    pub fn set_rate(&self, rate: Rate) -> Result<(), ConfigError> {
        let rate = rate.check()?;
        self.set_quota(|quota| Quota { rate, ..quota });
        Ok(())
    }

    /// Changes the burst of all keys that have no [`quota`](KeyedLimiterBuilder::quota) of their own. The burst is the maximum
    /// number of tokens in the bucket of a key.
    ///
    /// If the burst grows, the bucket of a key in memory has to earn the additional tokens. If the burst shrinks, the bucket
    /// loses the tokens above the new burst. A key that is not in memory starts with a full bucket of the new size. Waiters and
    /// reservations keep their times.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `burst` is 0. All keys then keep their old bursts.
    pub fn set_burst(&self, burst: u32) -> Result<(), ConfigError> {
        let burst = at_least_one("burst", burst)?;
        self.set_quota(|quota| Quota { burst, ..quota });
        Ok(())
    }

    /// Returns the current rate of `key`.
    pub fn rate(&self, key: &K) -> Rate {
        self.quota(key).rate
    }

    /// Returns the current burst of `key`: the maximum number of tokens in its bucket.
    pub fn burst(&self, key: &K) -> u32 {
        self.quota(key).burst
    }

    /// Returns the number of tokens in the bucket of `key`, including the fraction of the next token.
    ///
    /// The number is negative if waiters and reservations need more tokens than the bucket has. If the rate of the key is
    /// [`Rate::INFINITE`], returns the burst.
    pub fn tokens(&self, key: &K) -> f64 {
        let is_new = !lock(self.shard(key)).keys.contains_key(key);
        if is_new { f64::from(self.burst(key)) } else { self.limiter(key).tokens() }
    }

    /// Returns the number of keys in memory. Keys with a full bucket may be removed from memory: see
    /// [Memory](KeyedLimiter#memory).
    pub fn len(&self) -> usize {
        self.shared.shards.iter().map(|shard| lock(shard).keys.len()).sum()
    }

    /// Returns whether no key is in memory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all keys with a full bucket from memory. This has no effect on the limits: see [Memory](KeyedLimiter#memory).
    pub fn forget_idle(&self) {
        for shard in &self.shared.shards {
            let idle = lock(shard).take_idle();
            drop(idle);
        }
    }

    /// Returns the statistics of all keys together.
    pub fn stats(&self) -> LimiterStats {
        self.shared.numbers.stats()
    }

    /// Returns the limiter of `key`, with the present quota of the key.
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

    /// Changes the quota of all keys without their own quota.
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

    /// Calls the quota function. Must not be called under a lock.
    fn own_quota(&self, key: &K) -> Option<Quota> {
        self.shared.quota_of.as_ref()?(key)
    }

    fn shard(&self, key: &K) -> &Mutex<Shard<K>> {
        // The shard is selected by the high bits of this hash. The map inside the shard uses its own hash.
        &self.shared.shards[(self.shared.hasher.hash_one(key) >> 60) as usize % SHARDS]
    }
}

impl<K: Hash + Eq> Shard<K> {
    /// Removes the keys whose buckets are full. The caller drops them without the lock. The next search starts at twice the
    /// number of keys left, so each insertion pays for a constant share of the searches.
    fn take_idle(&mut self) -> Vec<(K, Entry)> {
        let idle = self.keys.extract_if(|_, entry| entry.is_idle()).collect();
        self.sweep_at = (self.keys.len() * 2).max(MIN_SWEEP);
        self.keys.shrink_to(self.sweep_at);
        idle
    }
}

impl Entry {
    /// Returns whether the limiter is like a new one and nobody is about to use it. A new user needs the shard's lock.
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
