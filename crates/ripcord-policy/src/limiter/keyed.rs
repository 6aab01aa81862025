//! One bucket a key, for as long as the key is in use.
//!
//! # Invariants
//!
//! 1. A bucket that is full again cannot be told from a new one, so a key whose bucket is full is forgotten. Whenever a
//!    shard has doubled since the last time, an insertion looks through it: each key pays for a constant share of that.
//! 2. A key nobody waits on is a number: what it has spent of what the shard's schedule has earned. A wait or a
//!    reservation turns it into a limiter of its own, which stays until it is full and nobody holds it.
//! 3. Shards are locked one at a time, `setting` before them. Wakers and keys' destructors run without any of these; of what
//!    is the user's, a map runs `Hash`, `Eq` and `Clone` of keys alone under the lock of their shard.

mod shard;

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ripcord::{Clock, Context};

use self::shard::{Bucket, Shard};
use super::WaitError;
use super::ledger::Ledger;
use super::rate::Rate;
use super::reservation::{self, ExceedsBurst, Reservation};
use super::schedule::{Schedule, units};
use super::time::Time;
use super::tokens::{Count, LimiterStats, Tokens, counted};
use super::wait;
use crate::ConfigError;
use crate::block_on::block_on;
use crate::caller::end_of;
use crate::config::at_least_one;
use crate::panics::wake;
use crate::tally::Tally;

const SHARDS: usize = 16;

/// A [`RateLimiter`](super::RateLimiter) for each key, all of one rate and burst: a client address, a tenant.
///
/// Memory follows the keys whose buckets are not full: a key that has not been used for as long as it takes to fill its
/// bucket is forgotten, and begins full when it comes back, which is what it would have been. A key's `Hash`, `Eq` and `Clone`
/// must not use the limiter.
///
/// ```
/// use ripcord_policy::{KeyedLimiter, Rate};
///
/// # fn main() -> Result<(), ripcord_policy::ConfigError> {
/// let limiter = KeyedLimiter::new(Rate::per_second(1.0), 1)?;
/// assert!(limiter.allow(&"alice"));
/// assert!(!limiter.allow(&"alice"));
/// assert!(limiter.allow(&"bob"));
/// # Ok(())
/// # }
/// ```
pub struct KeyedLimiter<K> {
    shards: Box<[Mutex<Shard<K>>]>,
    hasher: RandomState,
    time: Time,
    counters: Arc<Tally<8>>,
    /// Held while the rate or burst is set in one shard after the other.
    setting: Mutex<()>,
}

impl<K: Hash + Eq + Clone> KeyedLimiter<K> {
    /// No keys yet; each will begin with a full burst.
    ///
    /// # Errors
    ///
    /// As [`RateLimiter::new`](super::RateLimiter::new).
    pub fn new(rate: Rate, burst: u32) -> Result<Self, ConfigError> {
        let (rate, burst) = (rate.check()?, at_least_one("burst", burst)?);
        Ok(KeyedLimiter::with_time(rate, burst, Time::system()))
    }

    /// The same rate and burst by another clock, the system's unless this is called; no keys. As
    /// [`RateLimiter::with_clock`](super::RateLimiter::with_clock), it is not the contexts' clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        let (rate, burst) = {
            let shard = lock(&self.shards[0]);
            (shard.schedule.meter.rate, shard.burst)
        };
        KeyedLimiter::with_time(rate, burst, Time::of(clock))
    }

    fn with_time(rate: Rate, burst: u32, time: Time) -> Self {
        let now = time.now();
        let shard = |_| Mutex::new(Shard::new(Schedule::new(rate, burst, now), burst));
        KeyedLimiter {
            shards: (0..SHARDS).map(shard).collect(),
            hasher: RandomState::new(),
            time,
            counters: Arc::new(Tally::new()),
            setting: Mutex::new(()),
        }
    }

    /// [`RateLimiter::allow`](super::RateLimiter::allow) for `key`.
    pub fn allow(&self, key: &K) -> bool {
        self.allow_n(key, 1)
    }

    /// [`RateLimiter::allow_n`](super::RateLimiter::allow_n) for `key`.
    pub fn allow_n(&self, key: &K, n: u32) -> bool {
        let granted = self.take(key, n);
        let count = if granted { Count::Allowed } else { Count::Denied };
        self.counters.bump(count as usize);
        granted
    }

    /// [`RateLimiter::wait`](super::RateLimiter::wait) for `key`.
    ///
    /// # Errors
    ///
    /// As `wait`.
    ///
    /// # Cancel safety
    ///
    /// As `wait`.
    pub async fn wait(&self, ctx: &Context, key: &K) -> Result<Duration, WaitError> {
        self.wait_n(ctx, key, 1).await
    }

    /// [`RateLimiter::wait_n`](super::RateLimiter::wait_n) for `key`.
    ///
    /// # Errors
    ///
    /// As `wait_n`.
    ///
    /// # Cancel safety
    ///
    /// As `wait_n`.
    pub async fn wait_n(&self, ctx: &Context, key: &K, n: u32) -> Result<Duration, WaitError> {
        if let Some(end) = end_of(ctx) {
            self.counters.bump(Count::Canceled as usize);
            return Err(end.into());
        }
        if self.take(key, n) {
            self.counters.bump(Count::Waited as usize);
            return Ok(Duration::ZERO);
        }
        let limiter = self.limiter(key);
        wait::wait(&limiter, ctx, n).await
    }

    /// [`KeyedLimiter::wait`] for threads.
    ///
    /// # Errors
    ///
    /// As `wait`.
    pub fn wait_blocking(&self, ctx: &Context, key: &K) -> Result<Duration, WaitError> {
        block_on(self.wait(ctx, key))
    }

    /// [`RateLimiter::reserve_n`](super::RateLimiter::reserve_n) for `key`.
    ///
    /// # Errors
    ///
    /// As `reserve_n`.
    pub fn reserve_n(&self, key: &K, n: u32) -> Result<Reservation, ExceedsBurst> {
        reservation::reserve(&self.limiter(key), n)
    }

    /// [`RateLimiter::set_rate`](super::RateLimiter::set_rate) for all keys.
    ///
    /// # Errors
    ///
    /// As `set_rate`.
    pub fn set_rate(&self, rate: Rate) -> Result<(), ConfigError> {
        let rate = rate.check()?;
        let mut wakers = Vec::new();
        let setting = self.setting.lock().unwrap_or_else(PoisonError::into_inner);
        for shard in &self.shards {
            let mut shard = lock(shard);
            // Read under the lock: what was granted by the old rate was granted before this time.
            let now = shard.settle(&self.time);
            let endless = shard.schedule.meter.is_infinite();
            shard.schedule.change_rate(rate, now);
            let full = shard.schedule.full();
            for bucket in shard.keys.values_mut() {
                match bucket {
                    Bucket::Number(spent) if endless => *spent = full,
                    Bucket::Number(_) => {}
                    Bucket::Limiter(limiter) => wakers.extend(limiter.set_rate(rate)),
                }
            }
        }
        drop(setting);
        wakers.into_iter().for_each(wake);
        Ok(())
    }

    /// [`RateLimiter::set_burst`](super::RateLimiter::set_burst) for all keys. One that is not remembered begins with all of
    /// the new burst.
    ///
    /// # Errors
    ///
    /// As `set_burst`.
    pub fn set_burst(&self, burst: u32) -> Result<(), ConfigError> {
        let burst = at_least_one("burst", burst)?;
        let _setting = self.setting.lock().unwrap_or_else(PoisonError::into_inner);
        for shard in &self.shards {
            let mut shard = lock(shard);
            let now = shard.settle(&self.time);
            let floor = shard.floor(now);
            for bucket in shard.keys.values_mut() {
                match bucket {
                    Bucket::Number(spent) => *spent = (*spent).max(floor),
                    Bucket::Limiter(limiter) => limiter.set_burst(burst),
                }
            }
            shard.burst = burst;
            shard.schedule.burst = units(burst);
        }
        Ok(())
    }

    /// Tokens `key` has now; see [`RateLimiter::tokens`](super::RateLimiter::tokens).
    pub fn tokens(&self, key: &K) -> f64 {
        let mut shard = lock(self.shard(key));
        let now = shard.settle(&self.time);
        let left = match shard.keys.get(key) {
            Some(Bucket::Limiter(limiter)) => return limiter.left(),
            Some(Bucket::Number(spent)) if !shard.schedule.meter.is_infinite() => {
                shard.schedule.earned(now) - (*spent).max(shard.floor(now))
            }
            _ => shard.schedule.burst,
        };
        left as f64 / units(1) as f64
    }

    /// Keys remembered.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).keys.len()).sum()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all keys whose buckets are full. Insertions do so by themselves from time to time.
    pub fn forget_idle(&self) {
        for shard in &self.shards {
            let idle = {
                let mut shard = lock(shard);
                let now = shard.settle(&self.time);
                shard.sweep(now)
            };
            drop(idle);
        }
    }

    /// The numbers of all keys so far; those on waits are of the keys remembered.
    pub fn stats(&self) -> LimiterStats {
        let mut stats = counted(&self.counters);
        for shard in &self.shards {
            for bucket in lock(shard).keys.values() {
                if let Bucket::Limiter(limiter) = bucket {
                    let one = limiter.stats();
                    stats.waiters += one.waiters;
                    stats.total_wait += one.total_wait;
                    stats.longest_wait = stats.longest_wait.max(one.longest_wait);
                }
            }
        }
        stats
    }

    fn shard(&self, key: &K) -> &Mutex<Shard<K>> {
        // The high bits: the map inside of a shard uses the low ones, of a hash of its own.
        &self.shards[(self.hasher.hash_one(key) >> 60) as usize % SHARDS]
    }

    /// Takes `n` tokens of `key` if there are as many.
    fn take(&self, key: &K, n: u32) -> bool {
        let idle;
        let granted = {
            let mut shard = lock(self.shard(key));
            let now = shard.settle(&self.time);
            if shard.schedule.meter.is_infinite() {
                return true;
            }
            if n > shard.burst {
                return false;
            }
            let (earned, floor) = (shard.schedule.earned(now), shard.floor(now));
            match shard.keys.get_mut(key) {
                Some(Bucket::Limiter(limiter)) => return limiter.ledger.take(n),
                Some(Bucket::Number(spent)) => {
                    let next = (*spent).max(floor) + units(n);
                    if next <= earned {
                        *spent = next;
                    }
                    return next <= earned;
                }
                None => {
                    idle = shard.sweep_if_grown(now);
                    shard.keys.insert(key.clone(), Bucket::Number(floor + units(n)));
                    true
                }
            }
        };
        drop(idle);
        granted
    }

    /// The limiter of `key`, made from its number if it has none.
    fn limiter(&self, key: &K) -> Arc<Tokens> {
        let idle;
        let limiter = {
            let mut shard = lock(self.shard(key));
            let now = shard.settle(&self.time);
            let spent = match shard.keys.get(key) {
                Some(Bucket::Limiter(limiter)) => return Arc::clone(limiter),
                Some(Bucket::Number(spent)) => *spent,
                None => shard.schedule.full(),
            };
            idle = shard.sweep_if_grown(now);
            let ledger = Ledger::resume(shard.schedule.clone(), shard.burst, spent, self.time.clone());
            let limiter = Arc::new(Tokens { ledger, counters: Arc::clone(&self.counters) });
            let bucket = Bucket::Limiter(Arc::clone(&limiter));
            // In place, as an insertion would drop a second key under the lock.
            match shard.keys.get_mut(key) {
                Some(number) => *number = bucket,
                None => drop(shard.keys.insert(key.clone(), bucket)),
            }
            limiter
        };
        drop(idle);
        limiter
    }
}

impl<K> fmt::Debug for KeyedLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, burst) = {
            let shard = lock(&self.shards[0]);
            (shard.schedule.meter.rate, shard.burst)
        };
        f.debug_struct("KeyedLimiter").field("rate", &rate).field("burst", &burst).finish_non_exhaustive()
    }
}

fn lock<K>(shard: &Mutex<Shard<K>>) -> MutexGuard<'_, Shard<K>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
