//! What is over, by how long it took: the last few of each bucket, and of those that did not end well.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::entry::Entry;

/// Where one bucket ends and the next begins.
pub(super) const BOUNDS: [Duration; BUCKETS - 1] = [
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

pub(super) const BUCKETS: usize = 9;

/// The bucket for a latency: a bound belongs to the one that begins with it.
pub(super) fn bucket_of(latency: Duration) -> usize {
    BOUNDS.partition_point(|bound| *bound <= latency)
}

/// Bounded: each ring keeps its last few.
pub(super) struct Finished {
    most: usize,
    buckets: [Ring; BUCKETS],
    cut_short: Ring,
}

#[derive(Default)]
struct Ring(Mutex<VecDeque<Arc<Entry>>>);

impl Finished {
    pub(super) fn new(most: usize) -> Self {
        Finished { most, buckets: Default::default(), cut_short: Ring::default() }
    }

    /// What has ended, with the bucket of its latency.
    pub(super) fn push(&self, entry: Arc<Entry>, bucket: usize) {
        if entry.is_cut_short() {
            self.cut_short.push(Arc::clone(&entry), self.most);
        }
        self.buckets[bucket].push(entry, self.most);
    }

    /// The last ones of a bucket, the latest first.
    pub(super) fn bucket(&self, number: usize) -> Vec<Arc<Entry>> {
        self.buckets[number].latest_first()
    }

    /// The last ones that did not end well, the latest first.
    pub(super) fn cut_short(&self) -> Vec<Arc<Entry>> {
        self.cut_short.latest_first()
    }

    pub(super) fn find(&self, id: u64) -> Option<Arc<Entry>> {
        let rings = self.buckets.iter().chain([&self.cut_short]);
        rings.flat_map(Ring::latest_first).find(|entry| entry.id == id)
    }
}

impl Ring {
    fn push(&self, entry: Arc<Entry>, most: usize) {
        let oldest = {
            let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            ring.push_back(entry);
            if ring.len() > most { ring.pop_front() } else { None }
        };
        // Outside of the lock, for it may be the last of a cause of the user's.
        drop(oldest);
    }

    fn latest_first(&self) -> Vec<Arc<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().map(Arc::clone).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BOUNDS, BUCKETS, bucket_of};

    #[test]
    fn a_bound_belongs_to_the_bucket_that_begins_with_it() {
        assert_eq!(bucket_of(Duration::ZERO), 0);
        for (number, bound) in BOUNDS.into_iter().enumerate() {
            assert_eq!(bucket_of(bound - Duration::from_nanos(1)), number);
            assert_eq!(bucket_of(bound), number + 1);
        }
        assert_eq!(bucket_of(Duration::MAX), BUCKETS - 1);
    }
}
