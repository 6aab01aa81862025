//! The breaker as a plain state machine: no lock, no clock, no counters.
//!
//! # Invariants
//!
//! 1. `generation` goes up with every change of state, and a result that bears an older one changes nothing.
//! 2. Half-open, `probes` holds one entry for each permit that is out, and never more than `half_open_calls`.
//! 3. A probe that has not answered in time is a failure at the moment its time was up, whenever that is noticed. Its time
//!    begins with its call: one that queues first has none yet.

use std::time::{Duration, Instant};

use super::state::State;
use super::window::{LastCalls, Recent, Sample, Tally};
use crate::Outcome;

#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// The rate of failures at which it opens.
    pub(super) failure_rate: Option<f64>,
    pub(super) minimum_calls: u64,
    pub(super) consecutive_failures: Option<u32>,
    /// How long a slow call takes, and the rate of those at which it opens.
    pub(super) slow: Option<(Duration, f64)>,
    pub(super) open_for: Duration,
    pub(super) half_open_calls: u32,
    pub(super) half_open_successes: u32,
    pub(super) half_open_timeout: Duration,
}

#[derive(Debug)]
pub(super) struct Machine {
    rules: Rules,
    phase: Phase,
    pub(super) generation: u64,
    recent: Recent,
    /// Failures since the last success.
    streak: u32,
    next_probe: u64,
}

#[derive(Debug)]
enum Phase {
    Closed,
    /// Until this time; none if until `reset`.
    Open(Option<Instant>),
    HalfOpen {
        probes: Vec<Probe>,
        successes: u32,
    },
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    id: u64,
    /// By when it has to answer; none if that is beyond all time, or if it is not sent yet.
    until: Option<Instant>,
}

/// A change of state.
pub(super) type Change = Option<(State, State)>;

/// An admitted call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    pub(super) generation: u64,
    /// The number of the probe, when half-open.
    pub(super) probe: Option<u64>,
}

impl Machine {
    pub(super) fn new(rules: Rules, recent: Recent) -> Self {
        Machine { rules, phase: Phase::Closed, generation: 0, recent, streak: 0, next_probe: 0 }
    }

    /// The state at `now`, and how long it stays open if it is.
    pub(super) fn state(&self, now: Instant) -> (State, Option<Duration>) {
        let opened = match &self.phase {
            Phase::Closed => return (State::Closed, None),
            Phase::Open(None) => return (State::Open, Some(self.rules.open_for)),
            Phase::Open(Some(until)) => *until,
            Phase::HalfOpen { probes, .. } => match hung(probes, now) {
                // Invariant 3: it has been open since, though nobody has noticed yet.
                Some(since) => match since.checked_add(self.rules.open_for) {
                    Some(until) => until,
                    None => return (State::Open, Some(self.rules.open_for)),
                },
                None => return (State::HalfOpen, None),
            },
        };
        match opened.checked_duration_since(now) {
            Some(left) if !left.is_zero() => (State::Open, Some(left)),
            _ => (State::HalfOpen, None),
        }
    }

    /// Admits a call, or tells when to come back. One that `queues` before it is sent says by [`Machine::sent`] when it is.
    pub(super) fn acquire(
        &mut self,
        queues: bool,
        now: Instant,
        changes: &mut Vec<(State, State)>,
    ) -> Result<Pass, Duration> {
        changes.extend(self.expire(now));
        if matches!(self.phase, Phase::Open(_)) {
            if let (State::Open, left) = self.state(now) {
                return Err(left.unwrap_or(self.rules.open_for));
            }
            changes.extend(self.enter(Phase::HalfOpen { probes: Vec::new(), successes: 0 }));
        }
        let generation = self.generation;
        let until = if queues { None } else { now.checked_add(self.rules.half_open_timeout) };
        match &mut self.phase {
            Phase::HalfOpen { probes, .. } if probes.len() >= self.rules.half_open_calls as usize => {
                Err(Duration::ZERO)
            }
            Phase::HalfOpen { probes, .. } => {
                let id = self.next_probe;
                self.next_probe += 1;
                probes.push(Probe { id, until });
                Ok(Pass { generation, probe: Some(id) })
            }
            Phase::Closed | Phase::Open(_) => Ok(Pass { generation, probe: None }),
        }
    }

    /// The call of `pass` is sent only now: a probe has from here on to answer, unless its time was up already.
    pub(super) fn sent(&mut self, pass: Pass, now: Instant, changes: &mut Vec<(State, State)>) {
        changes.extend(self.expire(now));
        if pass.generation != self.generation {
            return;
        }
        if let Phase::HalfOpen { probes, .. } = &mut self.phase {
            for probe in probes.iter_mut().filter(|probe| Some(probe.id) == pass.probe) {
                probe.until = now.checked_add(self.rules.half_open_timeout);
            }
        }
    }

    /// Learns what became of a call. Returns whether the result was gone by.
    pub(super) fn record(
        &mut self,
        pass: Pass,
        outcome: Outcome,
        slow: bool,
        now: Instant,
        changes: &mut Vec<(State, State)>,
    ) -> bool {
        changes.extend(self.expire(now));
        if pass.generation != self.generation {
            return false;
        }
        if let (Phase::HalfOpen { probes, .. }, Some(id)) = (&mut self.phase, pass.probe) {
            probes.retain(|probe| probe.id != id);
        }
        if outcome == Outcome::Neutral {
            return true;
        }
        let failed = outcome == Outcome::Failure;
        let change = match &mut self.phase {
            Phase::Closed => self.record_closed(Sample { failed, slow }, now),
            // A probe that is slow is no sign of health.
            Phase::HalfOpen { .. } if failed || slow => self.open(now),
            Phase::HalfOpen { successes, .. } => {
                *successes += 1;
                if *successes >= self.rules.half_open_successes { self.enter(Phase::Closed) } else { None }
            }
            Phase::Open(_) => None,
        };
        changes.extend(change);
        true
    }

    pub(super) fn force_open(&mut self) -> Change {
        self.enter(Phase::Open(None))
    }

    pub(super) fn reset(&mut self) -> Change {
        self.enter(Phase::Closed)
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Closed, with nothing but successes in sight: the number from which they may be counted on elsewhere. Of a window of
    /// calls it is how many there are, of one of time zero.
    pub(super) fn only_successes(&self) -> Option<u64> {
        match (&self.phase, self.recent.tally()) {
            (Phase::Closed, Tally { calls, failed: 0, slow: 0 }) if self.streak == 0 => match self.recent {
                Recent::Last(_) => Some(calls),
                Recent::Time(_) => Some(0),
            },
            _ => None,
        }
    }

    /// What was counted elsewhere since [`Machine::only_successes`], from that number on; in a window of time all before the
    /// end of its current part.
    pub(super) fn counted_on(&mut self, count: u64) {
        match &mut self.recent {
            Recent::Last(last) => last.set_successes(count),
            Recent::Time(time) => time.add_successes(count),
        }
    }

    /// For a window of time, when the part that is counted now ends, in nanoseconds since the origin.
    pub(super) fn part_ends(&self) -> Option<u64> {
        match &self.recent {
            Recent::Last(_) => None,
            Recent::Time(time) => Some(time.part_ends()),
        }
    }

    fn record_closed(&mut self, sample: Sample, now: Instant) -> Change {
        self.recent.add(sample, now);
        self.streak = if sample.failed { self.streak.saturating_add(1) } else { 0 };
        let in_a_row = self.rules.consecutive_failures.is_some_and(|limit| self.streak >= limit);
        if in_a_row || self.exceeds_rates() { self.open(now) } else { None }
    }

    fn exceeds_rates(&self) -> bool {
        let Tally { calls, failed, slow } = self.recent.tally();
        if calls < self.rules.minimum_calls || failed + slow == 0 {
            return false;
        }
        // Divided, as 7 of 100 is then exactly what is written as 0.07; a hundred times that is more than 7.
        let exceeds = |count: u64, rate: f64| count as f64 / calls as f64 >= rate;
        self.rules.failure_rate.is_some_and(|rate| exceeds(failed, rate))
            || self.rules.slow.is_some_and(|(_, rate)| exceeds(slow, rate))
    }

    fn open(&mut self, since: Instant) -> Change {
        // Beyond all time is the same as until reset.
        self.enter(Phase::Open(since.checked_add(self.rules.open_for)))
    }

    /// Opens if a probe hangs.
    fn expire(&mut self, now: Instant) -> Change {
        match &self.phase {
            Phase::HalfOpen { probes, .. } => hung(probes, now).and_then(|since| self.open(since)),
            _ => None,
        }
    }

    fn enter(&mut self, phase: Phase) -> Change {
        let name = |phase: &Phase| match phase {
            Phase::Closed => State::Closed,
            Phase::Open(_) => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        };
        let change = (name(&self.phase), name(&phase));
        self.phase = phase;
        self.generation += 1;
        self.recent.clear();
        self.streak = 0;
        (change.0 != change.1).then_some(change)
    }
}

/// When the first of the probes whose time is up by `now` was up.
fn hung(probes: &[Probe], now: Instant) -> Option<Instant> {
    probes.iter().filter_map(|probe| probe.until).filter(|until| *until <= now).min()
}

/// For rules that look at the last calls.
pub(super) fn last_calls(length: usize) -> Recent {
    Recent::Last(LastCalls::new(length))
}
