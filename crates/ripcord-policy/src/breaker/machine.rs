//! The breaker as a plain state machine: no lock, no clock, no counters.
//!
//! # Invariants
//!
//! 1. `generation` goes up with every change of phase. A result of an older generation changes nothing.
//! 2. While half-open, `probes` holds one entry for each permit in use, and at most `half_open_calls` entries.
//! 3. A probe that exceeds its timeout fails at the moment when the timeout expires, even if the machine notices the timeout later.
//!    The timeout starts when the call is sent: a probe that waits in a queue first has no timeout yet.
//! 4. The change of another process that reaches the breaker before the breaker's own change is announced is older than this
//!    change. So it does not undo it.

use std::panic::Location;
use std::time::{Duration, Instant};

use super::peers::{Announcement, Followed};
use super::state::State;
use super::window::{CallResult, Counts, Recent};
use crate::Outcome;

#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// The failure rate at which the breaker opens.
    pub(super) failure_rate: Option<f64>,
    pub(super) minimum_calls: u64,
    pub(super) consecutive_failures: Option<u32>,
    /// The duration from which a call is slow, and the rate of slow calls at which the breaker opens.
    pub(super) slow: Option<(Duration, f64)>,
    pub(super) open_for: Duration,
    pub(super) half_open_calls: usize,
    pub(super) half_open_successes: u32,
    pub(super) half_open_timeout: Duration,
}

#[derive(Debug)]
pub(super) struct Machine {
    rules: Rules,
    phase: Phase,
    generation: u64,
    recent: Recent,
    /// Failures since the last success.
    failures_in_row: u32,
    next_probe: u64,
    /// The line that opened the breaker by hand, while it stays open.
    forced_at: Option<&'static Location<'static>>,
    /// Changes of state for which the hook has not run yet.
    changes: Vec<Change>,
    /// The breaker has opened or closed by itself, and has not announced it to other processes yet.
    is_unannounced: bool,
}

#[derive(Debug)]
enum Phase {
    Closed,
    /// Open until this time, or until `reset` if `None`.
    Open(Option<Instant>),
    HalfOpen {
        probes: Vec<Probe>,
        successes: u32,
    },
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    id: u64,
    /// The end of the probe's timeout. `None` if it is later than any `Instant`, or if the probe is not sent yet.
    until: Option<Instant>,
}

/// A change of state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) from: State,
    pub(super) to: State,
    /// Whether a breaker of another process caused the change.
    pub(super) is_by_peer: bool,
}

/// An admitted call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admission {
    pub(super) generation: u64,
    /// The number of the probe. `None` if the breaker was closed.
    pub(super) probe: Option<u64>,
}

/// A refused call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The time until the next try.
    pub(super) retry_after: Duration,
    /// The line that opened the breaker by hand, if it did.
    pub(super) forced_at: Option<&'static Location<'static>>,
}

impl Machine {
    pub(super) fn new(rules: Rules, recent: Recent) -> Self {
        Machine {
            rules,
            phase: Phase::Closed,
            generation: 0,
            recent,
            failures_in_row: 0,
            next_probe: 0,
            forced_at: None,
            changes: Vec::new(),
            is_unannounced: false,
        }
    }

    /// Returns the state at `now` and, for an open breaker, how long it stays open.
    pub(super) fn state(&self, now: Instant) -> (State, Option<Duration>) {
        let opened = match &self.phase {
            Phase::Closed => return (State::Closed, None),
            Phase::Open(None) => return (State::Open, Some(self.rules.open_for)),
            Phase::Open(Some(until)) => *until,
            Phase::HalfOpen { probes, .. } => match hung(probes, now) {
                // Invariant 3: the breaker has been open since this timeout, although no call has noticed the timeout yet.
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

    /// Admits or refuses a call. A call that `queues` calls [`Machine::restart`] when it is sent.
    pub(super) fn acquire(&mut self, queues: bool, now: Instant) -> Result<Admission, Refusal> {
        self.expire(now);
        if matches!(self.phase, Phase::Open(_)) {
            if let (State::Open, left) = self.state(now) {
                let retry_after = left.unwrap_or(self.rules.open_for);
                return Err(Refusal { retry_after, forced_at: self.forced_at });
            }
            self.enter(Phase::HalfOpen { probes: Vec::new(), successes: 0 });
        }
        let generation = self.generation;
        let until = if queues { None } else { now.checked_add(self.rules.half_open_timeout) };
        match &mut self.phase {
            Phase::HalfOpen { probes, .. } if probes.len() >= self.rules.half_open_calls => {
                Err(Refusal { retry_after: Duration::ZERO, forced_at: None })
            }
            Phase::HalfOpen { probes, .. } => {
                let id = self.next_probe;
                self.next_probe += 1;
                probes.push(Probe { id, until });
                Ok(Admission { generation, probe: Some(id) })
            }
            Phase::Closed | Phase::Open(_) => Ok(Admission { generation, probe: None }),
        }
    }

    /// Restarts the timeout of a probe when it is sent, unless the timeout has expired already.
    pub(super) fn restart(&mut self, admission: Admission, now: Instant) {
        self.expire(now);
        if admission.generation != self.generation {
            return;
        }
        if let Phase::HalfOpen { probes, .. } = &mut self.phase {
            for probe in probes.iter_mut().filter(|probe| Some(probe.id) == admission.probe) {
                probe.until = now.checked_add(self.rules.half_open_timeout);
            }
        }
    }

    /// Records the outcome of a call. Returns `false` if the call is of an older generation.
    pub(super) fn record(&mut self, admission: Admission, outcome: Outcome, slow: bool, now: Instant) -> bool {
        self.expire(now);
        if admission.generation != self.generation {
            return false;
        }
        if let (Phase::HalfOpen { probes, .. }, Some(id)) = (&mut self.phase, admission.probe) {
            probes.retain(|probe| probe.id != id);
        }
        if outcome == Outcome::Neutral {
            return true;
        }
        let failed = outcome == Outcome::Failure;
        match &mut self.phase {
            Phase::Closed => self.record_closed(CallResult { failed, slow }, now),
            // A slow probe does not show that the callee is healthy.
            Phase::HalfOpen { .. } if failed || slow => self.open(now),
            Phase::HalfOpen { successes, .. } => {
                *successes += 1;
                if *successes >= self.rules.half_open_successes {
                    self.enter(Phase::Closed);
                }
            }
            Phase::Open(_) => {}
        }
        true
    }

    /// Opens the breaker until [`Machine::reset`]. `location` is the line that asked for it.
    pub(super) fn force_open(&mut self, location: &'static Location<'static>) {
        self.enter(Phase::Open(None));
        self.forced_at = Some(location);
    }

    /// Closes the breaker. The breakers of other processes close too, so this is news for them even if this breaker is closed.
    pub(super) fn reset(&mut self) {
        self.enter(Phase::Closed);
        self.is_unannounced = true;
    }

    /// Opens the breaker until `until`, because the breaker of another process has opened.
    pub(super) fn open_by_peer(&mut self, until: Option<Instant>, now: Instant) -> Followed {
        self.expire(now);
        // Invariant 4.
        if self.is_unannounced {
            return Followed::Unannounced;
        }
        let is_later = match self.phase {
            Phase::Open(None) => false,
            Phase::Open(Some(own)) => until.is_none_or(|until| until > own),
            Phase::Closed | Phase::HalfOpen { .. } => true,
        };
        if !is_later {
            return Followed::Unchanged;
        }
        self.enter_by(Phase::Open(until), true);
        Followed::Changed
    }

    /// Closes the breaker, because the breaker of another process has closed.
    pub(super) fn close_by_peer(&mut self) -> Followed {
        // Invariant 4.
        if self.is_unannounced {
            return Followed::Unannounced;
        }
        match self.phase {
            Phase::Closed | Phase::Open(None) => Followed::Unchanged,
            Phase::Open(Some(_)) | Phase::HalfOpen { .. } => {
                self.enter_by(Phase::Closed, true);
                Followed::Changed
            }
        }
    }

    /// Returns the state that other processes may know. An open breaker without an end was opened by hand.
    pub(super) fn announcement(&self, now: Instant) -> Option<Announcement> {
        match (&self.phase, self.state(now)) {
            (Phase::Closed, _) => Some(Announcement::Closed),
            (Phase::Open(Some(_)), (State::Open, Some(left))) => Some(Announcement::Open(left)),
            _ => None,
        }
    }

    /// Returns the state that other processes may know, if the breaker has changed by itself since the last call.
    pub(super) fn take_announcement(&mut self, now: Instant) -> Option<Announcement> {
        std::mem::take(&mut self.is_unannounced).then(|| self.announcement(now)).flatten()
    }

    /// Returns the changes of state since the last call of this method.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Returns the generation if the breaker is closed.
    pub(super) fn closed_generation(&self) -> Option<u64> {
        matches!(self.phase, Phase::Closed).then_some(self.generation)
    }

    /// Returns whether the breaker is closed and remembers only successes.
    pub(super) fn is_healthy(&self) -> bool {
        let Counts { failed, slow, .. } = self.recent.counts();
        matches!(self.phase, Phase::Closed) && failed + slow == 0 && self.failures_in_row == 0
    }

    /// Returns the results that the breaker remembers.
    pub(super) fn recent(&mut self) -> &mut Recent {
        &mut self.recent
    }

    fn record_closed(&mut self, result: CallResult, now: Instant) {
        self.recent.add(result, now);
        self.failures_in_row = if result.failed { self.failures_in_row.saturating_add(1) } else { 0 };
        let in_a_row = self.rules.consecutive_failures.is_some_and(|limit| self.failures_in_row >= limit);
        if in_a_row || self.exceeds_rates() {
            self.open(now);
        }
    }

    fn exceeds_rates(&self) -> bool {
        let Counts { calls, failed, slow } = self.recent.counts();
        if calls < self.rules.minimum_calls || failed + slow == 0 {
            return false;
        }
        // A division: 7 / 100 is exactly the number 0.07. The product 0.07 * 100 would be more than 7.
        let exceeds = |count: u64, rate: f64| count as f64 / calls as f64 >= rate;
        self.rules.failure_rate.is_some_and(|rate| exceeds(failed, rate))
            || self.rules.slow.is_some_and(|(_, rate)| exceeds(slow, rate))
    }

    fn open(&mut self, since: Instant) {
        // A time later than any `Instant` means "until reset".
        self.enter(Phase::Open(since.checked_add(self.rules.open_for)));
    }

    /// Opens the breaker if a probe has timed out.
    fn expire(&mut self, now: Instant) {
        if let Phase::HalfOpen { probes, .. } = &self.phase
            && let Some(since) = hung(probes, now)
        {
            self.open(since);
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.enter_by(phase, false);
    }

    fn enter_by(&mut self, phase: Phase, is_by_peer: bool) {
        let (from, to) = (self.phase.name(), phase.name());
        self.phase = phase;
        self.forced_at = None;
        self.generation += 1;
        self.recent.clear();
        self.failures_in_row = 0;
        if from != to {
            let change = Change { from, to, is_by_peer };
            self.is_unannounced |= change.is_news();
            self.changes.push(change);
        }
    }
}

impl Change {
    /// Returns whether other processes should hear of the change.
    pub(super) fn is_news(&self) -> bool {
        !self.is_by_peer && self.to != State::HalfOpen
    }
}

impl Phase {
    fn name(&self) -> State {
        match self {
            Phase::Closed => State::Closed,
            Phase::Open(_) => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }
}

/// Returns the earliest timeout that has expired by `now`.
fn hung(probes: &[Probe], now: Instant) -> Option<Instant> {
    probes.iter().filter_map(|probe| probe.until).filter(|until| *until <= now).min()
}
