//! Finished entries: the last few entries of each latency bucket, and the last few failed entries.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::entry::FinishedEntry;

/// The bounds between buckets.
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

/// Returns the bucket for a latency. A bound belongs to the bucket above.
pub(super) fn bucket_for(latency: Duration) -> usize {
    BOUNDS.partition_point(|bound| *bound <= latency)
}

/// Entries faster than this are very common under load, so only some of them are kept.
const QUICK: Duration = BOUNDS[0];
/// The length of an interval. The first few quick entries of each interval are kept.
const WINDOW: Duration = Duration::from_millis(100);

/// Decides which quick, successful entries are kept: the first entries of each [`WINDOW`], up to the size of a ring.
/// Keeping an entry approximately doubles the inspector's cost of a request.
#[derive(Default)]
pub(super) struct Quick {
    since: Option<Instant>,
    kept: usize,
}

impl Quick {
    /// Returns whether to keep an entry with this start and latency. Entries that are not quick are always kept.
    pub(super) fn keeps(&mut self, started: Instant, latency: Duration, max: usize) -> bool {
        if latency >= QUICK {
            return true;
        }
        if self.since.is_none_or(|since| since > started || started - since >= WINDOW) {
            *self = Quick { since: Some(started), kept: 0 };
        }
        self.kept += 1;
        self.kept <= max
    }
}

/// The finished entries. Each ring keeps the last `max` entries.
pub(super) struct Finished {
    max: usize,
    buckets: [Ring; BUCKETS],
    cut_short: Ring,
}

#[derive(Default)]
struct Ring(Mutex<VecDeque<Arc<FinishedEntry>>>);

impl Finished {
    pub(super) fn new(max: usize) -> Self {
        Finished { max, buckets: Default::default(), cut_short: Ring::default() }
    }

    /// Returns the maximum number of entries in a ring.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    pub(super) fn push(&self, over: FinishedEntry) {
        let over = Arc::new(over);
        if over.is_cut_short {
            self.cut_short.push(Arc::clone(&over), self.max);
        }
        self.buckets[bucket_for(over.ended.latency)].push(over, self.max);
    }

    /// Returns the kept entries of a bucket, latest first.
    pub(super) fn bucket(&self, number: usize) -> Vec<Arc<FinishedEntry>> {
        self.buckets[number].latest_first()
    }

    /// Returns the kept failed entries, latest first.
    pub(super) fn cut_short(&self) -> Vec<Arc<FinishedEntry>> {
        self.cut_short.latest_first()
    }

    pub(super) fn find(&self, id: u64) -> Option<Arc<FinishedEntry>> {
        let rings = self.buckets.iter().chain([&self.cut_short]);
        rings.flat_map(Ring::latest_first).find(|over| over.id == id)
    }
}

impl Ring {
    fn push(&self, over: Arc<FinishedEntry>, max: usize) {
        let oldest = {
            let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            ring.push_back(over);
            if ring.len() > max { ring.pop_front() } else { None }
        };
        // Dropped outside the lock, because this may drop a user's cause.
        drop(oldest);
    }

    fn latest_first(&self) -> Vec<Arc<FinishedEntry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().map(Arc::clone).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{BOUNDS, BUCKETS, QUICK, Quick, WINDOW, bucket_for};

    #[test]
    fn bound_belongs_to_the_bucket_that_starts_with_it() {
        assert_eq!(bucket_for(Duration::ZERO), 0);
        for (number, bound) in BOUNDS.into_iter().enumerate() {
            assert_eq!(bucket_for(bound - Duration::from_nanos(1)), number);
            assert_eq!(bucket_for(bound), number + 1);
        }
        assert_eq!(bucket_for(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn first_quick_entries_of_a_window_and_all_slow_ones_are_kept() {
        let (start, mut quick) = (Instant::now(), Quick::default());
        let quicker = QUICK - Duration::from_nanos(1);
        let mut keeps = |after, latency| quick.keeps(start + after, latency, 2);
        let kept = [(); 4].map(|()| keeps(Duration::ZERO, quicker));
        assert_eq!(kept, [true, true, false, false]);
        assert!(!keeps(WINDOW - Duration::from_nanos(1), Duration::ZERO));
        assert!([(); 4].map(|()| keeps(Duration::ZERO, QUICK)).into_iter().all(|kept| kept));
        let kept = [(); 3].map(|()| keeps(WINDOW, quicker));
        assert_eq!(kept, [true, true, false]);
        // An earlier start, from another clock, opens a new window.
        assert!(keeps(Duration::ZERO, quicker));
    }
}
