//! The machine behind its lock, and the way around it for healthy calls.
//!
//! # Invariants
//!
//! 1. While the breaker is closed and remembers nothing but successes, `healthy` says so, with the generation and how
//!    many successes there are. Then a call is let through for one load, and its success counted by one swap, or by
//!    nothing once the window is full: more of the same change nothing.
//! 2. Everything else locks the machine. Who has the lock first takes `healthy` away, with what was counted there, and
//!    puts it back before unlocking if it is true again. So a success is counted in one of the two places, once.
//! 3. Hooks run after unlocking.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ripcord::Clock;

use super::machine::{Machine, Pass};
use super::state::{BreakerStats, Open, State, Transition};
use crate::Outcome;
use crate::stats::Counters;

const STARTED: usize = 0;
pub(super) const SUCCEEDED: usize = 1;
pub(super) const FAILED: usize = 2;
pub(super) const CANCELED: usize = 3;
const REJECTED: usize = 4;
pub(super) const SLOW: usize = 5;
const STALE: usize = 6;
const OPENED: usize = 7;

/// `healthy`: the count in the low bits, then this one, then the generation.
const IS_HEALTHY: u64 = 1 << COUNT_BITS;
const COUNT_BITS: u32 = 21;
const COUNT: u64 = IS_HEALTHY - 1;

/// The longest window of calls, so that its count fits.
pub(super) const LONGEST_WINDOW: usize = 1 << 20;

pub(super) type OnStateChange = Box<dyn Fn(&Transition) + Send + Sync>;

pub(super) struct Shared {
    pub(super) name: Arc<str>,
    healthy: AtomicU64,
    /// Successes that fill the window; zero if it is one of time, which is never left to `healthy`.
    window: u64,
    machine: Mutex<Machine>,
    pub(super) clock: Clock,
    pub(super) slow_after: Option<Duration>,
    on_state_change: Option<OnStateChange>,
    pub(super) counters: Counters<8>,
}

impl Shared {
    pub(super) fn new(
        name: Arc<str>,
        machine: Machine,
        window: u64,
        clock: Clock,
        slow_after: Option<Duration>,
        on_state_change: Option<OnStateChange>,
    ) -> Self {
        let shared = Shared {
            name,
            healthy: AtomicU64::new(0),
            window,
            machine: Mutex::new(machine),
            clock,
            slow_after,
            on_state_change,
            counters: Counters::new(),
        };
        shared.locked(|_, _, _| ());
        shared
    }

    #[inline]
    pub(super) fn acquire(&self) -> Result<Pass, Open> {
        let healthy = self.healthy.load(Ordering::Acquire);
        let pass = if healthy & IS_HEALTHY != 0 {
            Pass { generation: healthy >> (COUNT_BITS + 1), probe: None }
        } else {
            self.acquire_locked()?
        };
        self.counters.bump(STARTED);
        Ok(pass)
    }

    #[cold]
    fn acquire_locked(&self) -> Result<Pass, Open> {
        self.locked(|machine, now, changes| machine.acquire(now, changes)).map_err(|retry_after| {
            self.counters.bump(REJECTED);
            Open { name: Arc::clone(&self.name), retry_after }
        })
    }

    #[inline]
    pub(super) fn record(&self, pass: Pass, outcome: Outcome, slow: bool) {
        if outcome == Outcome::Success && !slow && self.record_healthy(pass) {
            return;
        }
        self.record_locked(pass, outcome, slow);
    }

    /// Counts a success where nothing else has been seen. False if that is not so.
    #[inline]
    fn record_healthy(&self, pass: Pass) -> bool {
        let mut healthy = self.healthy.load(Ordering::Acquire);
        loop {
            if healthy & IS_HEALTHY == 0 || healthy >> (COUNT_BITS + 1) != pass.generation {
                return false;
            }
            if healthy & COUNT >= self.window {
                return true;
            }
            match self.healthy.compare_exchange_weak(healthy, healthy + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(current) => healthy = current,
            }
        }
    }

    #[cold]
    fn record_locked(&self, pass: Pass, outcome: Outcome, slow: bool) {
        // Neutral, and no probe whose place was to be given back.
        if outcome == Outcome::Neutral && pass.probe.is_none() {
            return;
        }
        if !self.locked(|machine, now, changes| machine.record(pass, outcome, slow, now, changes)) {
            self.counters.bump(STALE);
        }
    }

    pub(super) fn state(&self) -> State {
        match self.healthy.load(Ordering::Acquire) & IS_HEALTHY {
            0 => self.look(|machine, now| machine.state(now)).0,
            _ => State::Closed,
        }
    }

    pub(super) fn remaining_delay(&self) -> Option<Duration> {
        self.look(|machine, now| machine.state(now)).1
    }

    pub(super) fn force_open(&self) {
        self.locked(|machine, _, changes| changes.extend(machine.force_open()));
    }

    pub(super) fn reset(&self) {
        self.locked(|machine, _, changes| changes.extend(machine.reset()));
    }

    pub(super) fn stats(&self) -> BreakerStats {
        let [started, succeeded, failed, canceled, rejected, slow, stale, opened] = self.counters.read();
        BreakerStats { started, succeeded, failed, canceled, rejected, slow, stale, opened, state: self.state() }
    }

    /// Looks at the machine without changing anything.
    fn look<R>(&self, look: impl FnOnce(&Machine, Instant) -> R) -> R {
        let now = self.clock.now();
        look(&self.machine.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    /// Changes the machine, then tells of changes of its state.
    fn locked<R>(&self, change: impl FnOnce(&mut Machine, Instant, &mut Vec<(State, State)>) -> R) -> R {
        let now = self.clock.now();
        let mut changes = Vec::new();
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        // Invariant 2.
        let healthy = self.healthy.swap(0, Ordering::AcqRel);
        if healthy & IS_HEALTHY != 0 {
            machine.set_successes(healthy & COUNT);
        }
        let result = change(&mut machine, now, &mut changes);
        if let Some(successes) = machine.only_successes(now) {
            let healthy = machine.generation << (COUNT_BITS + 1) | IS_HEALTHY | successes;
            self.healthy.store(healthy, Ordering::Release);
        }
        drop(machine);
        self.tell(&changes);
        result
    }

    fn tell(&self, changes: &[(State, State)]) {
        for (_, to) in changes {
            if *to == State::Open {
                self.counters.bump(OPENED);
            }
        }
        if let Some(hook) = &self.on_state_change {
            for (from, to) in changes {
                hook(&Transition { name: Arc::clone(&self.name), from: *from, to: *to });
            }
        }
    }
}
