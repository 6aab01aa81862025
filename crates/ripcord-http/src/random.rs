//! Random IDs.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Returns 128 bits that no other call returns: a hash of a count, with a random key per process.
///
/// The standard library promises only that this hash resists collisions. So the result is an ID and not a secret.
pub(crate) fn id() -> [u8; 16] {
    static KEY: LazyLock<(RandomState, RandomState)> = LazyLock::new(|| (RandomState::new(), RandomState::new()));
    static NEXT: AtomicU64 = AtomicU64::new(0);

    // Relaxed: no other memory depends on this number.
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    let (high, low) = (KEY.0.hash_one(count), KEY.1.hash_one(count));
    let id = u128::from(high) << 64 | u128::from(low);
    // An ID of all zeros is invalid.
    id.max(1).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn generated_ids_are_unique() {
        let ids: HashSet<_> = (0..10_000).map(|_| super::id()).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
