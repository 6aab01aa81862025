//! Random IDs.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Returns 128 bits that no other call returns: a hash of a count, with a random key per process.
///
/// The standard library promises only that this hash resists collisions. So the result is an ID and not a secret.
pub(crate) fn id() -> [u8; 16] {
    let count = next_count();
    let (high, low) = (KEYS.0.hash_one(count), KEYS.1.hash_one(count));
    let id = u128::from(high) << 64 | u128::from(low);
    // An ID of all zeros is invalid.
    id.max(1).to_be_bytes()
}

/// Returns 64 bits in the same way, at half the cost.
pub(crate) fn short_id() -> [u8; 8] {
    KEYS.0.hash_one(next_count()).max(1).to_be_bytes()
}

static KEYS: LazyLock<(RandomState, RandomState)> = LazyLock::new(|| (RandomState::new(), RandomState::new()));

/// Returns a number that no other call returns.
fn next_count() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);

    // Relaxed: no other memory depends on this number.
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn generated_ids_are_unique() {
        let ids: HashSet<_> = (0..10_000).map(|_| super::id()).collect();
        assert_eq!(ids.len(), 10_000);
        let ids: HashSet<_> = (0..10_000).map(|_| super::short_id()).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
