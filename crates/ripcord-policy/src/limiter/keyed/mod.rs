//! One limiter for each key, as long as the key is in use.
//!
//! # Invariants
//!
//! 1. A full bucket behaves like a new one, so a key is forgotten when its bucket is full and nobody uses it.
//! 2. Shards are locked one at a time, and `quota` is locked last. The quota function, wakers, and destructors of keys run under
//!    no lock. `Hash`, `Eq` and `Clone` of keys run under the lock of their shard.
//! 3. A change of the quota writes `quota` first and then visits each shard. An insertion and a visit read `quota` under the lock
//!    of the shard. So after the visits of concurrent changes, every key has the quota that was written last.

mod builder;

pub use builder::KeyedLimiterBuilder;

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ripcord::{Context, block_on};

use super::backend::Backend;
use super::bucket::Bucket;
use super::remote::Remote;
use super::stats::{Count, Numbers};
use super::time::Time;
use super::{ExceedsBurst, Quota, Rate, RateLimiter, RateLimiterStats, Reservation, Source};
use crate::config::at_least_one;
use crate::idle_map::IdleMap;
use crate::panics::wake;
use crate::{ConfigError, Error, Refused};

const SHARDS: usize = 16;

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
/// The limiter removes keys with a full bucket from memory. This has no effect on the limits, because a key that is used
/// again starts with a full bucket. So the memory depends on the number of recently used keys. The limiter searches for keys
/// with full buckets when it adds a key. It does so if at least about 1000 keys are in memory and their number has doubled
/// since the last search. To remove these keys immediately, call [`forget_idle`](KeyedLimiter::forget_idle).
///
/// Clones share all state. `Hash`, `Eq` and `Clone` of a key must not use the limiter.
pub struct KeyedLimiter<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    shards: Box<[Mutex<IdleMap<K, Entry>>]>,
    hasher: RandomState,
    time: Time,
    /// The quota of keys without their own quota.
    quota: Mutex<Quota>,
    quota_of: Option<Box<QuotaOf<K>>>,
    /// Holds the buckets. If `None`, they are in the shards.
    backend: Option<KeyedBackend<K>>,
    numbers: Arc<Numbers>,
    /// The line that created the limiter's builder.
    built_at: &'static Location<'static>,
}

/// The function that returns the quota of a key with its own quota.
type QuotaOf<K> = dyn Fn(&K) -> Option<Quota> + Send + Sync;

/// A backend, and the function that returns the name of a key.
type KeyedBackend<K> = (Arc<dyn Backend>, Box<dyn Fn(&K) -> String + Send + Sync>);

struct Entry {
    bucket: Arc<Bucket>,
    own_quota: Option<Quota>,
}

impl<K: Hash + Eq + Clone> KeyedLimiter<K> {
    /// Creates a builder. The [`rate`](KeyedLimiterBuilder::rate) is required.
    ///
    /// If the limiter refuses a request, the long text (`{:#}`) of the error shows the line that called `builder`.
    #[track_caller]
    pub fn builder() -> KeyedLimiterBuilder<K> {
        KeyedLimiterBuilder::new()
    }

    /// Creates a limiter in which each key has the same `rate` and `burst`. The limiter uses the system's clock.
    ///
    /// If the limiter refuses a request, the long text (`{:#}`) of the error shows the line that called `new`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `rate` is negative, NaN or has a period of zero, or if `burst` is 0.
    #[track_caller]
    pub fn new(rate: Rate, burst: u32) -> Result<Self, ConfigError> {
        KeyedLimiter::builder().rate(rate).burst(burst).build()
    }

    fn with(
        quota: Quota,
        quota_of: Option<Box<QuotaOf<K>>>,
        backend: Option<KeyedBackend<K>>,
        time: Time,
        built_at: &'static Location<'static>,
    ) -> Self {
        let shared = Shared {
            shards: (0..SHARDS).map(|_| Mutex::new(IdleMap::new())).collect(),
            hasher: RandomState::new(),
            time,
            quota: Mutex::new(quota),
            quota_of,
            backend,
            numbers: Arc::new(Numbers::new()),
            built_at,
        };
        KeyedLimiter { shared: Arc::new(shared) }
    }

    /// Waits for a token of `key`, then calls `call` with a clone of `ctx` and awaits the returned future. The
    /// [`stats`](KeyedLimiter::stats) count the token, but not the result of the call.
    ///
    /// If `ctx` ends during the wait, the wait ends. If `ctx` ends during the call, the limiter does not drop the call. The
    /// call must observe its context. If the call succeeds, its value is returned even if `ctx` has ended meanwhile.
    ///
    /// # Errors
    ///
    /// * The call's own error.
    /// * The limiter refused the call, for the reasons listed for [`wait`](KeyedLimiter::wait).
    /// * `ctx` was canceled or its deadline passed during a call that failed ([`Error::context_error`]). The call's error is
    ///   the source.
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
    /// If the token becomes available at the moment when `ctx` ends, the wait succeeds. If the bucket is empty and the rate
    /// of the key is zero, no token becomes available. If `ctx` has no deadline, the wait then ends only when the rate is
    /// changed or `ctx` is canceled.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed before or during the wait ([`Refused::context_error`]).
    /// * The token would not be available before the deadline of `ctx` ([`Refused::is_deadline_exceeded`]). The method then
    ///   fails at once, without waiting for the deadline, and takes no token. If the rate of the key is lowered during the
    ///   wait, the wait can end with this error too.
    /// * The waiters and reservations of the key, including this wait, would need more than 2^36 (69 billion) tokens
    ///   ([`Refused::is_limited`]).
    /// * The [`backend`](KeyedLimiterBuilder::backend) of the limiter is unavailable, and refuses requests
    ///   ([`Refused::is_unavailable`]).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped during the wait, the token returns to the bucket, unless the key has a later waiter or a later
    /// [`Reservation`]. See [Waiting](RateLimiter#waiting).
    pub async fn wait(&self, ctx: &Context, key: &K) -> Result<Duration, Refused> {
        self.wait_n(ctx, key, 1).await
    }

    /// Waits for `n` tokens of `key`, and takes them. Returns the duration of the wait. See [`wait`](KeyedLimiter::wait).
    ///
    /// # Errors
    ///
    /// * The errors listed for [`wait`](KeyedLimiter::wait).
    /// * `n` is above the [`burst`](KeyedLimiter::burst) of the key, and the rate of the key is not [`Rate::INFINITE`]
    ///   ([`Refused::is_limited`]). The method then takes no token.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped during the wait, the tokens return to the bucket as described for
    /// [`wait`](KeyedLimiter::wait).
    pub async fn wait_n(&self, ctx: &Context, key: &K, n: u32) -> Result<Duration, Refused> {
        if let Err(end) = ctx.check() {
            self.shared.numbers.bump(Count::OtherRefused);
            return Err(Refused::ended(end));
        }
        self.limiter(key).wait_n(ctx, n).await
    }

    /// Takes a token and returns `true` if the bucket of `key` has a token. Otherwise returns `false`. Never waits for a token.
    /// With a [`backend`](KeyedLimiterBuilder::backend), blocks the thread until the backend answers.
    pub fn allow(&self, key: &K) -> bool {
        self.allow_n(key, 1)
    }

    /// Takes `n` tokens and returns `true` if the bucket of `key` has `n` tokens. Otherwise takes no token and returns `false`.
    /// Never waits for tokens. With a [`backend`](KeyedLimiterBuilder::backend), blocks the thread until the backend answers.
    ///
    /// If `n` is above the [`burst`](KeyedLimiter::burst) of the key, always returns `false`, unless the rate of the key is
    /// [`Rate::INFINITE`].
    pub fn allow_n(&self, key: &K, n: u32) -> bool {
        self.limiter(key).allow_n(n)
    }

    /// Reserves a token of `key` without waiting for it. If the bucket of `key` has no token, the reserved token may be used only
    /// after a delay. If the rate of the key is zero, it may never be used. See [`RateLimiter::reserve`].
    pub fn reserve(&self, key: &K) -> Reservation {
        self.limiter(key).reserve()
    }

    /// Reserves `n` tokens of `key` without waiting for them. If the bucket of `key` has fewer tokens, the reserved tokens may be
    /// used only after a delay. If the rate of the key is zero, they may never be used. See [`RateLimiter::reserve`].
    ///
    /// # Errors
    ///
    /// [`ExceedsBurst`] if `n` is above the [`burst`](KeyedLimiter::burst) of the key, and the rate of the key is not
    /// [`Rate::INFINITE`]. The method then takes no token.
    pub fn reserve_n(&self, key: &K, n: u32) -> Result<Reservation, ExceedsBurst> {
        self.limiter(key).reserve_n(n)
    }

    /// Changes the rate of all keys that have no [`quota`](KeyedLimiterBuilder::quota) of their own. Each waiter gets its
    /// tokens earlier or later, as the new rate requires. Reservations keep their times. With a
    /// [`backend`](KeyedLimiterBuilder::backend), blocks the thread until the backend answers.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `rate` is negative, NaN or has a period of zero, or if the [`backend`](KeyedLimiterBuilder::backend) of
    /// the limiter could not store the rate. All keys then keep their old rates.
    pub fn set_rate(&self, rate: Rate) -> Result<(), ConfigError> {
        let rate = rate.check()?;
        match &self.shared.backend {
            Some((backend, _)) => block_on(backend.set_rate(rate))?,
            None => self.set_quota(|quota| Quota { rate, ..quota }),
        }
        Ok(())
    }

    /// Changes the burst of all keys that have no [`quota`](KeyedLimiterBuilder::quota) of their own. The burst is the maximum
    /// number of tokens in the bucket of a key.
    ///
    /// If the burst grows, the bucket of a key in memory has to earn the additional tokens. If the burst shrinks, the bucket
    /// loses the tokens above the new burst. A key that is not in memory starts with a full bucket of the new size. Waiters and
    /// reservations keep their times. With a [`backend`](KeyedLimiterBuilder::backend), blocks the thread until the backend
    /// answers.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `burst` is 0, or if the [`backend`](KeyedLimiterBuilder::backend) of the limiter could not store the
    /// burst. All keys then keep their old bursts.
    pub fn set_burst(&self, burst: u32) -> Result<(), ConfigError> {
        let burst = at_least_one("burst", burst)?;
        match &self.shared.backend {
            Some((backend, _)) => block_on(backend.set_burst(burst))?,
            None => self.set_quota(|quota| Quota { burst, ..quota }),
        }
        Ok(())
    }

    /// Returns the current rate of `key`. With a [`backend`](KeyedLimiterBuilder::backend), blocks the thread until the backend
    /// answers.
    pub fn rate(&self, key: &K) -> Rate {
        self.quota(key).rate
    }

    /// Returns the current burst of `key`: the maximum number of tokens in its bucket. With a
    /// [`backend`](KeyedLimiterBuilder::backend), blocks the thread until the backend answers.
    pub fn burst(&self, key: &K) -> u32 {
        self.quota(key).burst
    }

    /// Returns the number of tokens in the bucket of `key`, including the fraction of the next token.
    ///
    /// The number is negative if waiters and reservations need more tokens than the bucket has. Returns the burst if the key is
    /// not in memory, or if its rate is [`Rate::INFINITE`]. With a [`backend`](KeyedLimiterBuilder::backend), asks the backend,
    /// and blocks the thread until the backend answers.
    pub fn tokens(&self, key: &K) -> f64 {
        let is_new = self.shared.backend.is_none() && lock(self.shard(key)).get(key).is_none();
        if is_new { f64::from(self.burst(key)) } else { self.limiter(key).tokens() }
    }

    /// Returns the number of keys in memory. The limiter removes keys with a full bucket: see [Memory](KeyedLimiter#memory). With
    /// a [`backend`](KeyedLimiterBuilder::backend), no key is in memory.
    pub fn len(&self) -> usize {
        self.shared.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Returns whether no key is in memory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all keys with a full bucket from memory. This has no effect on the limits: see [Memory](KeyedLimiter#memory).
    pub fn forget_idle(&self) {
        for shard in &self.shared.shards {
            let idle = lock(shard).take_idle(Entry::is_idle);
            drop(idle);
        }
    }

    /// Returns the statistics of all keys together, including the keys that are no longer in memory.
    pub fn stats(&self) -> RateLimiterStats {
        self.shared.numbers.stats()
    }

    /// Returns the limiter of `key`, with the present quota of the key.
    fn limiter(&self, key: &K) -> RateLimiter {
        let own_quota = self.own_quota(key);
        let source = match &self.shared.backend {
            Some((backend, name)) => Source::Remote(Arc::new(self.remote(backend, name(key), own_quota))),
            None => Source::Bucket(self.bucket(key, own_quota)),
        };
        RateLimiter { source, built_at: self.shared.built_at }
    }

    fn remote(&self, backend: &Arc<dyn Backend>, key: String, own_quota: Option<Quota>) -> Remote {
        Remote {
            backend: Arc::clone(backend),
            key,
            quota: own_quota.unwrap_or_else(|| *lock(&self.shared.quota)),
            has_own_quota: own_quota.is_some(),
            time: self.shared.time.clone(),
            numbers: Arc::clone(&self.shared.numbers),
        }
    }

    /// Returns the bucket of `key` in this process.
    fn bucket(&self, key: &K, own_quota: Option<Quota>) -> Arc<Bucket> {
        let mut shard = lock(self.shard(key));
        // Invariant 3.
        let quota = || own_quota.unwrap_or_else(|| *lock(&self.shared.quota));
        if let Some(entry) = shard.get_mut(key) {
            let bucket = Arc::clone(&entry.bucket);
            let mut wakers = Vec::new();
            if entry.own_quota != own_quota {
                entry.own_quota = own_quota;
                wakers = bucket.set_quota(|_| quota());
            }
            drop(shard);
            wakers.into_iter().for_each(wake);
            return bucket;
        }
        let bucket = Bucket::new(quota(), self.shared.time.clone(), Arc::clone(&self.shared.numbers));
        let bucket = Arc::new(bucket);
        let idle = shard.insert(key.clone(), Entry { bucket: Arc::clone(&bucket), own_quota }, Entry::is_idle);
        drop(shard);
        drop(idle);
        bucket
    }

    /// Changes the quota of all keys without their own quota.
    fn set_quota(&self, change: impl FnOnce(Quota) -> Quota) {
        {
            let mut quota = lock(&self.shared.quota);
            *quota = change(*quota);
        }
        let mut wakers = Vec::new();
        for shard in &self.shared.shards {
            let shard = lock(shard);
            // Invariant 3.
            let quota = *lock(&self.shared.quota);
            for entry in shard.values().filter(|entry| entry.own_quota.is_none()) {
                wakers.extend(entry.bucket.set_quota(|_| quota));
            }
        }
        wakers.into_iter().for_each(wake);
    }

    fn quota(&self, key: &K) -> Quota {
        if self.shared.backend.is_some() {
            return self.limiter(key).quota();
        }
        self.own_quota(key).unwrap_or_else(|| *lock(&self.shared.quota))
    }

    /// Calls the quota function. Must not be called under a lock.
    fn own_quota(&self, key: &K) -> Option<Quota> {
        self.shared.quota_of.as_ref()?(key)
    }

    fn shard(&self, key: &K) -> &Mutex<IdleMap<K, Entry>> {
        // The shard is selected by the high bits of this hash. The map inside the shard uses its own hash.
        &self.shared.shards[(self.shared.hasher.hash_one(key) >> 60) as usize % SHARDS]
    }
}

impl Entry {
    /// Returns whether the limiter is like a new one and nobody is about to use it. A new user needs the shard's lock.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.bucket) == 1 && self.bucket.is_idle()
    }
}

impl<K> Clone for KeyedLimiter<K> {
    fn clone(&self) -> Self {
        KeyedLimiter { shared: Arc::clone(&self.shared) }
    }
}

impl<K> fmt::Debug for KeyedLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quota { rate, burst } = *lock(&self.shared.quota);
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

    #[test]
    fn keys_that_appear_while_the_rate_changes_have_the_last_rate() {
        const KEYS: u32 = 2000;
        let keyed = KeyedLimiter::new(Rate::per_second(1.0), 1).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (1..200).for_each(|n| keyed.set_rate(Rate::per_second(f64::from(n))).unwrap()));
            }
            scope.spawn(|| (0..KEYS).for_each(|key| assert!(keyed.allow(&key))));
        });
        let last = keyed.rate(&0);
        assert!((0..KEYS).all(|key| keyed.limiter(&key).rate() == last));
    }
}
