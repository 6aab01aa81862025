//! A part of the keys, under a lock of its own.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use crate::limiter::schedule::{BASE, LIMIT, Schedule};
use crate::limiter::time::Time;
use crate::limiter::tokens::Tokens;

pub(super) struct Shard<K> {
    pub(super) keys: HashMap<K, Bucket>,
    pub(super) schedule: Schedule,
    pub(super) burst: u32,
    /// How many keys there have to be before the next look through them.
    sweep_at: usize,
}

pub(super) enum Bucket {
    /// What has been spent.
    Number(u64),
    Limiter(Arc<Tokens>),
}

/// A shard smaller than this is not worth looking through.
const SMALL: usize = 64;

impl<K: Hash + Eq> Shard<K> {
    pub(super) fn new(schedule: Schedule, burst: u32) -> Self {
        Shard { keys: HashMap::new(), schedule, burst, sweep_at: SMALL }
    }

    /// Reads the clock, and begins the schedule again if it has got far.
    pub(super) fn settle(&mut self, time: &Time) -> u64 {
        let now = time.now();
        if !self.schedule.meter.is_infinite() && self.schedule.earned(now) >= LIMIT {
            let lowered = self.schedule.rebase(now);
            let full = BASE - self.schedule.burst;
            for bucket in self.keys.values_mut() {
                if let Bucket::Number(spent) = bucket {
                    *spent = spent.saturating_sub(lowered).max(full);
                }
            }
        }
        now
    }

    /// What has been spent by a key with a full bucket.
    pub(super) fn floor(&self, now: u64) -> u64 {
        self.schedule.earned(now) - self.schedule.burst
    }

    /// Takes out the keys whose buckets are full, if there are twice as many keys as after the last time.
    pub(super) fn sweep_if_grown(&mut self, now: u64) -> Vec<(K, Bucket)> {
        if self.keys.len() < self.sweep_at { Vec::new() } else { self.sweep(now) }
    }

    pub(super) fn sweep(&mut self, now: u64) -> Vec<(K, Bucket)> {
        let floor = self.floor(now);
        let endless = self.schedule.meter.is_infinite();
        let idle = |bucket: &Bucket| match bucket {
            Bucket::Number(spent) => endless || *spent <= floor,
            // Held by somebody else as well it may be about to be used. New handles are only made under this lock, so one stays one.
            Bucket::Limiter(limiter) => Arc::strong_count(limiter) == 1 && limiter.is_idle(),
        };
        let taken = self.keys.extract_if(|_, bucket| idle(bucket)).collect();
        self.sweep_at = (self.keys.len() * 2).max(SMALL);
        self.keys.shrink_to(self.sweep_at);
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Bucket, Shard};
    use crate::Rate;
    use crate::limiter::ledger::Ledger;
    use crate::limiter::schedule::Schedule;
    use crate::limiter::time::Time;
    use crate::limiter::tokens::Tokens;
    use crate::tally::Tally;

    #[test]
    fn a_full_bucket_that_somebody_is_about_to_use_is_not_forgotten() {
        let time = Time::system();
        let schedule = Schedule::new(Rate::per_second(1.0), 1, time.now());
        let ledger = Ledger::resume(schedule.clone(), 1, schedule.full(), time.clone());
        let handle = Arc::new(Tokens { ledger, counters: Arc::new(Tally::new()) });
        let mut shard = Shard::new(schedule, 1);
        shard.keys.insert("key", Bucket::Limiter(Arc::clone(&handle)));
        assert!(shard.sweep(time.now()).is_empty(), "a second one would grant the burst a second time");
        drop(handle);
        assert_eq!(shard.sweep(time.now()).len(), 1);
        assert!(shard.keys.is_empty());
    }
}
