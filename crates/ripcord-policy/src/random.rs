//! A seedable source of randomness, shared between threads without a lock.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A seedable source of random numbers for jitter and sampling. Not suitable for secrets.
///
/// Two sources with the same seed return the same sequence of numbers. So a test of a policy with jitter is repeatable. Threads
/// can share a source without a lock. The generator is SplitMix64.
///
/// ```
/// use ripcord_policy::Random;
///
/// let (a, b) = (Random::seeded(7), Random::seeded(7));
/// assert_eq!(a.next_u64(), b.next_u64());
/// assert!((0.0..1.0).contains(&a.fraction()));
/// ```
#[derive(Debug)]
pub struct Random {
    counter: AtomicU64,
}

impl Random {
    /// Creates a source with a random seed.
    pub fn new() -> Self {
        Random::seeded(RandomState::new().build_hasher().finish())
    }

    /// Returns the source of all policies without their own source.
    pub(crate) fn global() -> &'static Self {
        static SOURCE: LazyLock<Random> = LazyLock::new(Random::new);
        &SOURCE
    }

    /// Creates a source with the given seed.
    pub fn seeded(seed: u64) -> Self {
        Random { counter: AtomicU64::new(seed) }
    }

    /// Returns the next random number. All 64 bits are random.
    pub fn next_u64(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut mixed = self.counter.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a random number from 0 (inclusive) to 1 (exclusive).
    pub fn fraction(&self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns `true` with the probability `p`. Always returns `true` if `p` is 1 or more, and `false` if `p` is 0, negative
    /// or NaN.
    pub fn chance(&self, p: f64) -> bool {
        self.fraction() < p
    }

    /// Returns a random duration from `low` to `high`, both included. Returns `low` if `high` is shorter than `low`.
    pub fn duration_between(&self, low: Duration, high: Duration) -> Duration {
        let nanos = u64::try_from(high.saturating_sub(low).as_nanos()).unwrap_or(u64::MAX);
        // The high half of the product is uniform on 0..=nanos, without a division.
        let offset = (u128::from(self.next_u64()) * (u128::from(nanos) + 1)) >> 64;
        low.saturating_add(Duration::from_nanos(offset as u64))
    }
}

impl Default for Random {
    fn default() -> Self {
        Random::new()
    }
}
