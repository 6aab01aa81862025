//! A part of the keys of a keyed limiter, under a lock of its own.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::bucket::Bucket;
use super::rate::{Quota, Rate};
use super::schedule::{BASE, Schedule, units};
use super::time::Time;

pub(super) struct Shard<K> {
    pub(super) keys: HashMap<K, Entry>,
    /// Of all keys with the default quota.
    pub(super) schedule: Schedule,
    pub(super) burst: u32,
    /// The number of keys at which idle ones are looked for again.
    sweep_at: usize,
}

pub(super) enum Entry {
    /// The units spent by a key with the default quota that nobody waits on.
    Spent(u64),
    /// A key that somebody waits on or has reserved from, or one with a quota of its own.
    Bucket { bucket: Arc<Bucket>, own_quota: Option<Quota> },
}

/// The size below which a shard is not searched for idle keys.
const MIN_SWEEP: usize = 64;

impl<K: Hash + Eq> Shard<K> {
    pub(super) fn new(quota: Quota, now: u64) -> Self {
        let schedule = Schedule::new(quota.rate(), quota.burst(), now);
        Shard { keys: HashMap::new(), schedule, burst: quota.burst(), sweep_at: MIN_SWEEP }
    }

    /// Reads the clock, and starts the schedule again if it has reached its limit.
    pub(super) fn settle(&mut self, time: &Time) -> u64 {
        let now = time.now();
        let lowered = self.schedule.rebase_at_limit(now);
        if lowered > 0 {
            let full = BASE - self.schedule.burst;
            self.each_spent(|spent| spent.saturating_sub(lowered).max(full));
        }
        now
    }

    pub(super) fn change_rate(&mut self, rate: Rate, now: u64) {
        if self.schedule.rate == rate {
            return;
        }
        let was_infinite = self.schedule.is_infinite();
        self.schedule.change_rate(rate, now);
        if was_infinite {
            // Nothing was counted meanwhile.
            let full = self.schedule.spent_when_full();
            self.each_spent(|_| full);
        }
    }

    pub(super) fn change_burst(&mut self, burst: u32, now: u64) {
        // What the old burst did not keep does not come back under a larger one.
        let spent_when_full = self.spent_when_full(now);
        self.each_spent(|spent| spent.max(spent_when_full));
        self.burst = burst;
        self.schedule.burst = units(burst);
    }

    /// Returns the default quota, which has been checked.
    pub(super) fn quota(&self) -> Quota {
        Quota::checked(self.schedule.rate, self.burst)
    }

    /// Returns what a key with a full bucket has spent.
    pub(super) fn spent_when_full(&self, now: u64) -> u64 {
        self.schedule.earned(now) - self.schedule.burst
    }

    fn each_spent(&mut self, change: impl Fn(u64) -> u64) {
        for entry in self.keys.values_mut() {
            if let Entry::Spent(spent) = entry {
                *spent = change(*spent);
            }
        }
    }

    /// Takes out the idle keys if there are twice as many keys as after the last search. So each insertion pays for a
    /// constant share of the searches.
    pub(super) fn sweep_if_grown(&mut self, now: u64) -> Vec<(K, Entry)> {
        if self.keys.len() < self.sweep_at { Vec::new() } else { self.sweep(now) }
    }

    /// Takes out the keys whose buckets are full, to be dropped without the lock.
    pub(super) fn sweep(&mut self, now: u64) -> Vec<(K, Entry)> {
        let (spent_when_full, is_infinite) = (self.spent_when_full(now), self.schedule.is_infinite());
        let is_idle = |entry: &Entry| match entry {
            Entry::Spent(spent) => is_infinite || *spent <= spent_when_full,
            // A second holder may be about to use it. New holders need the lock, so one that is alone stays alone.
            Entry::Bucket { bucket, .. } => Arc::strong_count(bucket) == 1 && bucket.is_idle(),
        };
        let idle = self.keys.extract_if(|_, entry| is_idle(entry)).collect();
        self.sweep_at = (self.keys.len() * 2).max(MIN_SWEEP);
        self.keys.shrink_to(self.sweep_at);
        idle
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::stats::Numbers;
    use super::*;

    #[test]
    fn idle_bucket_that_somebody_holds_is_not_forgotten() {
        let (time, quota) = (Time::new(None), Quota::new(Rate::per_second(1.0), 1).unwrap());
        let held = Arc::new(Bucket::new(quota, time.clone(), Arc::new(Numbers::new())));
        let mut shard = Shard::new(quota, time.now());
        shard.keys.insert("key", Entry::Bucket { bucket: Arc::clone(&held), own_quota: None });
        assert!(shard.sweep(time.now()).is_empty(), "a second bucket would grant the burst a second time");
        drop(held);
        assert_eq!(shard.sweep(time.now()).len(), 1);
        assert!(shard.keys.is_empty());
    }
}
