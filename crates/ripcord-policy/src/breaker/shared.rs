//! The machine behind its lock, and a path without the lock for healthy calls.
//!
//! # Invariants
//!
//! 1. While the breaker is closed, `closed` holds its generation. Then a call is admitted without the lock.
//! 2. Every success that `closed` does not count locks the machine. So does every other operation. The thread that gets the lock
//!    first takes the successes out of `closed`, and publishes the new state there before it unlocks the machine. So each success
//!    is counted exactly once, in one of the two places. A call that is admitted meanwhile came before the change.
//! 3. Hooks run after the machine is unlocked, while the permit of the call exists. If a hook panics, the permit is dropped, and
//!    a probe frees its slot.

use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ripcord::Clock;

use super::closed::Closed;
use super::machine::{Admission, Change, Machine};
use super::peers::{Announcement, Followed};
use super::state::{CircuitBreakerStats, State, Transition};
use crate::cache_padded::CachePadded;
use crate::panics::discard;
use crate::stats::Call;
use crate::sync::Mutex;
use crate::tally::Tally;
use crate::{Outcome, Refused};

pub(super) type Announce = Box<dyn Fn() + Send + Sync>;

pub(super) type OnStateChange = Arc<dyn Fn(&Transition) + Send + Sync>;

pub(super) struct Shared {
    pub(super) name: Arc<str>,
    /// The line that created the breaker's builder.
    pub(super) built_at: &'static Location<'static>,
    closed: Closed,
    machine: CachePadded<Mutex<Machine>>,
    pub(super) clock: Clock,
    pub(super) slow_after: Option<Duration>,
    on_state_change: Option<OnStateChange>,
    /// Announces the state to other processes.
    pub(super) announce: OnceLock<Announce>,
    pub(super) tally: Tally<4>,
}

/// The counters of a breaker besides its calls.
#[derive(Clone, Copy)]
pub(super) enum Count {
    Slow,
    Stale,
    Opened,
    OpenedByPeer,
}

impl Shared {
    pub(super) fn new(
        name: Arc<str>,
        built_at: &'static Location<'static>,
        mut machine: Machine,
        clock: Clock,
        slow_after: Option<Duration>,
        on_state_change: Option<OnStateChange>,
    ) -> Self {
        let shared = Shared {
            name,
            built_at,
            closed: Closed::new(machine.recent().length()),
            machine: CachePadded::new(Mutex::new(machine)),
            clock,
            slow_after,
            on_state_change,
            announce: OnceLock::new(),
            tally: Tally::new(),
        };
        shared.change(|_, _| ());
        shared
    }

    /// Counts a call whose context had ended before the call.
    pub(super) fn refused(&self, end: ripcord::Error) -> Refused {
        self.tally.count(Call::Rejected);
        Refused::ended(end)
    }

    /// Returns the generation if the breaker is closed. A call is then admitted. (Invariant 1.)
    #[inline]
    pub(super) fn closed_generation(&self) -> Option<u64> {
        self.closed.generation()
    }

    /// Restarts the timeout of a probe when it is sent.
    pub(super) fn restart(&self, admission: Admission) {
        if admission.probe.is_some() {
            self.change_and_tell(|machine, now| machine.restart(admission, now));
        }
    }

    #[inline]
    pub(super) fn record(&self, admission: Admission, outcome: Outcome, slow: bool) {
        let is_healthy = outcome == Outcome::Success && !slow;
        if !(is_healthy && self.closed.count_success(admission.generation, &self.clock)) {
            self.record_locked(admission, outcome, slow);
        }
    }

    #[cold]
    fn record_locked(&self, admission: Admission, outcome: Outcome, slow: bool) {
        // A neutral call only frees the slot of a probe.
        if outcome == Outcome::Neutral && admission.probe.is_none() {
            return;
        }
        if !self.change_and_tell(|machine, now| machine.record(admission, outcome, slow, now)) {
            self.tally.bump(Count::Stale as usize);
        }
    }

    pub(super) fn state(&self) -> State {
        match self.closed.generation() {
            Some(_) => State::Closed,
            None => self.look(|machine, now| machine.state(now)).0,
        }
    }

    /// Returns whether the breaker is closed and remembers only successes.
    pub(super) fn remembers_no_failure(&self) -> bool {
        self.look(|machine, _| machine.is_healthy())
    }

    pub(super) fn remaining_delay(&self) -> Option<Duration> {
        self.look(|machine, now| machine.state(now)).1
    }

    pub(super) fn force_open(&self, location: &'static Location<'static>) {
        self.change_and_tell(|machine, _| machine.force_open(location));
    }

    pub(super) fn reset(&self) {
        let ((), changes) = self.change(|machine, _| machine.reset());
        if changes.is_empty() {
            self.announce();
        }
        self.tell(&changes);
    }

    /// Opens the breaker for `duration`, because the breaker of another process has opened.
    pub(super) fn open_by_peer(&self, duration: Duration) -> Followed {
        self.change_and_tell(|machine, now| machine.open_by_peer(now.checked_add(duration), now))
    }

    /// Closes the breaker, because the breaker of another process has closed.
    pub(super) fn close_by_peer(&self) -> Followed {
        self.change_and_tell(|machine, _| machine.close_by_peer())
    }

    /// Returns the state that other processes may know.
    pub(super) fn announcement(&self) -> Option<Announcement> {
        self.look(Machine::announcement)
    }

    /// Returns the state that other processes may know, if the breaker has changed by itself since the last call.
    pub(super) fn take_announcement(&self) -> Option<Announcement> {
        self.change_and_tell(Machine::take_announcement)
    }

    pub(super) fn stats(&self) -> CircuitBreakerStats {
        let [slow, stale, opened, opened_by_peer] = self.tally.read();
        CircuitBreakerStats { calls: self.tally.calls(), slow, stale, opened, opened_by_peer, state: self.state() }
    }

    /// Reads the machine. The successes in `closed` are not in the machine.
    fn look<R>(&self, look: impl FnOnce(&Machine, Instant) -> R) -> R {
        let now = self.clock.now();
        look(&self.machine.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    /// Changes the machine, then runs the hook for the changes of state.
    fn change_and_tell<R>(&self, change: impl FnOnce(&mut Machine, Instant) -> R) -> R {
        let (result, changes) = self.change(change);
        self.tell(&changes);
        result
    }

    /// Changes the machine. Returns the changes of state, for which the caller runs the hook.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut Machine, Instant) -> R) -> (R, Vec<Change>) {
        let now = self.clock.now();
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        // Invariant 2.
        if let Some(successes) = self.closed.take_successes() {
            machine.recent().set_successes(successes);
        }
        let result = change(&mut machine, now);
        let (generation, is_healthy, recent) = (machine.closed_generation(), machine.is_healthy(), machine.recent());
        self.closed.publish(generation, is_healthy.then(|| recent.successes()), recent.part_ends());
        (result, machine.take_changes())
    }

    /// Announces the changes to other processes. Then runs the hook for each change, even if the hook has panicked for an earlier
    /// change. Passes the first panic on to the caller.
    pub(super) fn tell(&self, changes: &[Change]) {
        if changes.iter().any(Change::is_news) {
            self.announce();
        }
        let mut panic = None;
        for Change { from, to, is_by_peer } in changes {
            if *to == State::Open {
                self.tally.bump(Count::Opened as usize);
                if *is_by_peer {
                    self.tally.bump(Count::OpenedByPeer as usize);
                }
            }
            let Some(hook) = &self.on_state_change else { continue };
            let transition = Transition { name: Arc::clone(&self.name), from: *from, to: *to, is_by_peer: *is_by_peer };
            match catch_unwind(AssertUnwindSafe(|| hook(&transition))) {
                Ok(()) => {}
                Err(payload) if panic.is_none() => panic = Some(payload),
                Err(payload) => discard(payload),
            }
        }
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Tells the [`SharedState`](super::SharedState), if there is one, that the breaker has an announcement.
    fn announce(&self) {
        if let Some(announce) = self.announce.get() {
            announce();
        }
    }
}
