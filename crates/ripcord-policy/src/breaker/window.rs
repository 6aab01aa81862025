//! Recent results: the results of the last calls, or the results within a time.

use std::time::{Duration, Instant};

/// The facts about one call that the breaker counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CallResult {
    pub(super) failed: bool,
    pub(super) slow: bool,
}

/// The number of results, and the number of failed and slow calls among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) failed: u64,
    pub(super) slow: u64,
}

impl Counts {
    fn add(&mut self, result: CallResult) {
        self.calls += 1;
        self.failed += u64::from(result.failed);
        self.slow += u64::from(result.slow);
    }

    fn subtract(&mut self, counts: Counts) {
        self.calls -= counts.calls;
        self.failed -= counts.failed;
        self.slow -= counts.slow;
    }
}

#[derive(Debug)]
pub(super) enum Recent {
    Calls(LastCalls),
    Time(LastTime),
}

impl Recent {
    pub(super) fn last_calls(length: usize) -> Self {
        Recent::Calls(LastCalls::new(length))
    }

    pub(super) fn last_time(length: Duration, origin: Instant) -> Self {
        // A part of zero nanoseconds would have no number.
        let part = nanos(length / PARTS as u32).max(1);
        Recent::Time(LastTime { origin, part, current: 0, parts: Box::default(), counts: Counts::default() })
    }

    pub(super) fn add(&mut self, result: CallResult, now: Instant) {
        match self {
            Recent::Calls(calls) => calls.add(result),
            Recent::Time(time) => time.add(result, now),
        }
    }

    /// Returns the counts after the last result.
    pub(super) fn counts(&self) -> Counts {
        match self {
            Recent::Calls(calls) => calls.counts,
            Recent::Time(time) => time.counts,
        }
    }

    pub(super) fn length(&self) -> Length {
        match self {
            Recent::Calls(calls) => Length::Calls(calls.results.len() as u64),
            Recent::Time(time) => Length::Time(time.origin),
        }
    }

    /// Returns the number of successes from which `Closed` may continue to count.
    pub(super) fn successes(&self) -> u64 {
        match self {
            Recent::Calls(calls) => calls.counts.calls,
            Recent::Time(_) => 0,
        }
    }

    /// Sets the number of successes to the number in `Closed`. There are no other results, so the positions of the successes in a
    /// window of calls do not matter.
    pub(super) fn set_successes(&mut self, successes: u64) {
        match self {
            Recent::Calls(calls) => calls.counts.calls = successes,
            Recent::Time(time) => {
                time.part_mut(time.current).calls += successes;
                time.counts.calls += successes;
            }
        }
    }

    /// Returns when the current part of a window of time ends, in nanoseconds since its origin.
    pub(super) fn part_ends(&self) -> u64 {
        match self {
            Recent::Calls(_) => 0,
            Recent::Time(time) => (time.current + 1).saturating_mul(time.part),
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Recent::Calls(calls) => *calls = LastCalls::new(calls.results.len()),
            Recent::Time(time) => (*time.parts, time.counts) = Default::default(),
        }
    }
}

/// The length of a window.
#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    /// A window of this many calls.
    Calls(u64),
    /// A window of time. Its parts are numbered from this instant.
    Time(Instant),
}

/// The results of the last calls, in a ring buffer.
#[derive(Debug)]
pub(super) struct LastCalls {
    results: Box<[CallResult]>,
    next: usize,
    counts: Counts,
}

impl LastCalls {
    fn new(length: usize) -> Self {
        LastCalls { results: vec![CallResult::default(); length].into(), next: 0, counts: Counts::default() }
    }

    fn add(&mut self, result: CallResult) {
        // An unused slot holds a success. A success is not subtracted from the number of calls.
        let evicted = std::mem::replace(&mut self.results[self.next], result);
        let is_full = self.counts.calls == self.results.len() as u64;
        self.next = (self.next + 1) % self.results.len();
        self.counts.add(result);
        self.counts.subtract(Counts {
            calls: u64::from(is_full),
            failed: u64::from(evicted.failed),
            slow: u64::from(evicted.slow),
        });
    }
}

/// The number of parts in a window of time. The window moves on by one part at a time.
const PARTS: usize = 10;

/// The results of the calls that ended within a time. A call counts when it ends, whenever it started.
#[derive(Debug)]
pub(super) struct LastTime {
    origin: Instant,
    /// The length of a part, in nanoseconds.
    part: u64,
    /// The number of the current part. Parts are numbered from the origin.
    current: u64,
    /// The results of each part. The index of a part is its number modulo `PARTS`.
    parts: Box<[Counts; PARTS]>,
    /// The sum over all parts.
    counts: Counts,
}

impl LastTime {
    fn add(&mut self, result: CallResult, now: Instant) {
        let number = nanos(now.saturating_duration_since(self.origin)) / self.part;
        // An older reading of the clock counts for the current part: time only moves forward.
        let passed = number.saturating_sub(self.current);
        for next in 1..=passed.min(PARTS as u64) {
            let forgotten = std::mem::take(self.part_mut(self.current + next));
            self.counts.subtract(forgotten);
        }
        self.current += passed;
        self.part_mut(self.current).add(result);
        self.counts.add(result);
    }

    fn part_mut(&mut self, number: u64) -> &mut Counts {
        &mut self.parts[(number % PARTS as u64) as usize]
    }
}

/// Converts a duration to nanoseconds. The maximum is 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
