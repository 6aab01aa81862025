//! The keys that the server has denied, with the times until which they are denied. A claim on such a key needs no round trip.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ripcord_policy::Quota;

/// Maximum number of keys. Other keys are not recorded, and each claim on them is a round trip.
const MAX_KEYS: usize = 10_000;

#[derive(Default)]
pub(super) struct Denied(Mutex<Keys>);

#[derive(Default)]
struct Keys {
    keys: HashMap<String, Entry>,
    /// The time before which no key is forgotten.
    sweep_at: Option<Instant>,
    /// How often tokens may have become available earlier than the server has said before.
    changes: u64,
}

struct Entry {
    /// The smallest number of tokens that was denied.
    tokens: u32,
    quota: Quota,
    until: Instant,
}

impl Denied {
    /// If the server would deny the claim, returns the time until a claim can succeed.
    pub(super) fn check(&self, key: &str, quota: Quota, tokens: u32, longest: Option<Duration>) -> Option<Duration> {
        let longest = longest?;
        let mut keys = self.lock();
        let entry = keys.keys.get(key)?;
        let left = entry.until.saturating_duration_since(Instant::now());
        if left.is_zero() || entry.quota != quota {
            keys.keys.remove(key);
            return None;
        }
        (tokens >= entry.tokens && longest <= left).then_some(left)
    }

    /// Returns a number that [`insert`](Self::insert) needs. Call this before the question is sent.
    pub(super) fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// Records that `tokens` tokens are available only after the time `after`. Records nothing if a key was forgotten since `changes`
    /// was read, because the server may have answered before the reason to forget it.
    pub(super) fn insert(&self, changes: u64, key: &str, quota: Quota, tokens: u32, after: Duration) {
        let now = Instant::now();
        let Some(until) = now.checked_add(after) else { return };
        let mut keys = self.lock();
        if keys.changes != changes {
            return;
        }
        let entry = Entry { tokens, quota, until };
        if let Some(known) = keys.keys.get_mut(key) {
            if known.tokens >= tokens || known.until <= now || known.quota != quota {
                *known = entry;
            }
            return;
        }
        if keys.keys.len() >= MAX_KEYS {
            if keys.sweep_at.is_some_and(|at| now < at) {
                return;
            }
            keys.keys.retain(|_, entry| entry.until > now);
            keys.sweep_at = keys.keys.values().map(|entry| entry.until).min();
            if keys.keys.len() >= MAX_KEYS {
                return;
            }
        }
        keys.keys.insert(key.to_owned(), entry);
    }

    /// Forgets a key: its tokens may be available earlier.
    pub(super) fn remove(&self, key: &str) {
        let mut keys = self.lock();
        keys.changes += 1;
        keys.keys.remove(key);
    }

    /// Forgets all keys.
    pub(super) fn clear(&self) {
        let mut keys = self.lock();
        *keys = Keys { changes: keys.changes + 1, ..Keys::default() };
    }

    pub(super) fn len(&self) -> usize {
        self.lock().keys.len()
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use ripcord_policy::Rate;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn quota() -> Quota {
        Quota::new(Rate::per_second(1.0), 10).unwrap()
    }

    #[test]
    fn claim_is_denied_if_it_needs_no_fewer_tokens_and_cannot_wait() {
        let denied = Denied::default();
        denied.insert(0, "key", quota(), 3, HOUR);
        let check = |tokens, longest| denied.check("key", quota(), tokens, longest).is_some();
        assert!(check(3, Some(Duration::ZERO)) && check(4, Some(HOUR / 2)));
        assert!(!check(2, Some(Duration::ZERO)), "fewer tokens may be there");
        assert!(!check(3, Some(2 * HOUR)) && !check(3, None), "the claim may wait long enough");
        assert!(denied.check("other", quota(), 3, Some(Duration::ZERO)).is_none());
        denied.insert(0, "key", quota(), 5, 2 * HOUR);
        assert!(check(3, Some(Duration::ZERO)), "the smaller number stays");
        let other = Quota::new(Rate::per_second(2.0), 10).unwrap();
        assert!(denied.check("key", other, 3, Some(Duration::ZERO)).is_none(), "the quota has changed");
    }

    #[test]
    fn denial_ends_with_its_time_and_with_a_refund() {
        let denied = Denied::default();
        denied.insert(0, "over", quota(), 1, Duration::ZERO);
        assert!(denied.check("over", quota(), 1, Some(Duration::ZERO)).is_none());
        denied.insert(0, "key", quota(), 1, HOUR);
        denied.remove("key");
        assert!(denied.check("key", quota(), 1, Some(Duration::ZERO)).is_none() && denied.len() == 0);
    }

    #[test]
    fn denial_from_before_a_change_is_not_recorded() {
        let denied = Denied::default();
        for forget in [|denied: &Denied| denied.clear(), |denied: &Denied| denied.remove("key")] {
            let before = denied.changes();
            forget(&denied);
            denied.insert(before, "key", quota(), 1, HOUR);
            assert_eq!(denied.len(), 0);
        }
        denied.insert(denied.changes(), "key", quota(), 1, HOUR);
        assert_eq!(denied.len(), 1);
    }

    #[test]
    fn number_of_keys_is_bounded() {
        let denied = Denied::default();
        for key in 0..2 * MAX_KEYS {
            let after = if key < MAX_KEYS / 2 { Duration::ZERO } else { HOUR };
            denied.insert(0, &key.to_string(), quota(), 1, after);
        }
        assert_eq!(denied.len(), MAX_KEYS);
        let last = (MAX_KEYS + MAX_KEYS / 2 - 1).to_string();
        assert!(denied.check(&last, quota(), 1, Some(Duration::ZERO)).is_some(), "keys whose time is over made room");
    }
}
