//! Recent results: the last so many, or those of the last so long.

use std::time::{Duration, Instant};

/// One result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) failed: bool,
    pub(super) slow: bool,
}

/// How many results there are, and of which kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) calls: u64,
    pub(super) failed: u64,
    pub(super) slow: u64,
}

#[derive(Debug)]
pub(super) enum Recent {
    Last(LastCalls),
    Time(LastTime),
}

impl Recent {
    pub(super) fn add(&mut self, sample: Sample, now: Instant) {
        match self {
            Recent::Last(last) => last.add(sample),
            Recent::Time(time) => time.add(sample, now),
        }
    }

    pub(super) fn tally(&self, now: Instant) -> Tally {
        match self {
            Recent::Last(last) => last.tally,
            Recent::Time(time) => time.tally(now),
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Recent::Last(last) => *last = LastCalls::new(last.samples.len()),
            Recent::Time(time) => *time.buckets = [Bucket::default(); BUCKETS],
        }
    }
}

/// The last calls, in a ring.
#[derive(Debug)]
pub(super) struct LastCalls {
    samples: Box<[Sample]>,
    next: usize,
    tally: Tally,
}

impl LastCalls {
    pub(super) fn new(length: usize) -> Self {
        LastCalls { samples: vec![Sample::default(); length].into(), next: 0, tally: Tally::default() }
    }

    /// How many successes a ring holds that holds nothing else: where they lie does not matter.
    pub(super) fn set_successes(&mut self, count: u64) {
        self.tally.calls = count;
    }

    fn add(&mut self, sample: Sample) {
        // Places not used yet hold successes, which no tally of failures misses.
        let evicted = std::mem::replace(&mut self.samples[self.next], sample);
        self.next = (self.next + 1) % self.samples.len();
        self.tally.calls = (self.tally.calls + 1).min(self.samples.len() as u64);
        self.tally.failed += u64::from(sample.failed);
        self.tally.failed -= u64::from(evicted.failed);
        self.tally.slow += u64::from(sample.slow);
        self.tally.slow -= u64::from(evicted.slow);
    }
}

/// A window of time is counted in this many parts, and moves on by one of them at a time.
const BUCKETS: usize = 10;

/// The calls that ended within the last so long. A call counts when it ends, however long ago it began.
#[derive(Debug)]
pub(super) struct LastTime {
    origin: Instant,
    part: Duration,
    buckets: Box<[Bucket; BUCKETS]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Which part of time since the origin it counts.
    number: u64,
    tally: Tally,
}

impl LastTime {
    pub(super) fn new(length: Duration, origin: Instant) -> Self {
        let part = (length / BUCKETS as u32).max(Duration::from_nanos(1));
        LastTime { origin, part, buckets: Box::new([Bucket::default(); BUCKETS]) }
    }

    fn add(&mut self, sample: Sample, now: Instant) {
        let number = self.number(now);
        let bucket = &mut self.buckets[(number % BUCKETS as u64) as usize];
        if bucket.number < number {
            *bucket = Bucket { number, tally: Tally::default() };
        }
        // A reading older than the bucket counts as the bucket's: time only moves forward.
        bucket.tally.calls += 1;
        bucket.tally.failed += u64::from(sample.failed);
        bucket.tally.slow += u64::from(sample.slow);
    }

    fn tally(&self, now: Instant) -> Tally {
        let oldest = (self.number(now) + 1).saturating_sub(BUCKETS as u64);
        let current = self.buckets.iter().filter(|bucket| bucket.number >= oldest);
        current.fold(Tally::default(), |sum, Bucket { tally, .. }| Tally {
            calls: sum.calls + tally.calls,
            failed: sum.failed + tally.failed,
            slow: sum.slow + tally.slow,
        })
    }

    fn number(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(since / self.part.as_nanos()).unwrap_or(u64::MAX)
    }
}
