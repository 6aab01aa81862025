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

    /// What there is since the time window moved on the last time, with the last [`Recent::add`].
    pub(super) fn tally(&self) -> Tally {
        match self {
            Recent::Last(last) => last.tally,
            Recent::Time(time) => time.tally,
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Recent::Last(last) => *last = LastCalls::new(last.samples.len()),
            Recent::Time(time) => time.clear(),
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
const PARTS: usize = 10;

/// The calls that ended within the last so long. A call counts when it ends, however long ago it began.
#[derive(Debug)]
pub(super) struct LastTime {
    origin: Instant,
    /// The length of a part, in nanoseconds.
    part: u64,
    /// The part that is counted now, by its number since the origin, and the first moment behind it, if there is one.
    current: u64,
    ends: Option<Instant>,
    /// What each part has seen, at its number modulo their count.
    parts: Box<[Tally; PARTS]>,
    /// The sum over all parts.
    tally: Tally,
}

impl LastTime {
    pub(super) fn new(length: Duration, origin: Instant) -> Self {
        let part = nanos(length / PARTS as u32).max(1);
        let parts = Box::new([Tally::default(); PARTS]);
        let mut window = LastTime { origin, part, current: 0, ends: None, parts, tally: Tally::default() };
        window.begin(0);
        window
    }

    fn add(&mut self, sample: Sample, now: Instant) {
        if self.ends.is_some_and(|ends| now >= ends) {
            self.move_on(now);
        }
        // A reading older than the current part counts as that part's: time only moves forward.
        for tally in [&mut self.parts[(self.current % PARTS as u64) as usize], &mut self.tally] {
            tally.calls += 1;
            tally.failed += u64::from(sample.failed);
            tally.slow += u64::from(sample.slow);
        }
    }

    /// Forgets the parts that are no longer within the window.
    #[cold]
    fn move_on(&mut self, now: Instant) {
        let number = nanos(now.saturating_duration_since(self.origin)) / self.part;
        for passed in 1..=(number - self.current).min(PARTS as u64) {
            let part = &mut self.parts[((self.current + passed) % PARTS as u64) as usize];
            let Tally { calls, failed, slow } = std::mem::take(part);
            self.tally.calls -= calls;
            self.tally.failed -= failed;
            self.tally.slow -= slow;
        }
        self.begin(number);
    }

    fn begin(&mut self, number: u64) {
        self.current = number;
        let ends = (number + 1).checked_mul(self.part).map(Duration::from_nanos);
        self.ends = ends.and_then(|ends| self.origin.checked_add(ends));
    }

    /// Successes of the current part that were counted elsewhere.
    pub(super) fn add_successes(&mut self, count: u64) {
        self.parts[(self.current % PARTS as u64) as usize].calls += count;
        self.tally.calls += count;
    }

    /// The end of the current part, in nanoseconds since the origin; the largest number if there is none.
    pub(super) fn part_ends(&self) -> u64 {
        (self.current + 1).saturating_mul(self.part)
    }

    fn clear(&mut self) {
        *self.parts = [Tally::default(); PARTS];
        self.tally = Tally::default();
    }
}

/// As a number of 64 bits, which reaches for five hundred years.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
