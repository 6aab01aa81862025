//! The machine behind its lock, and the way around it for healthy calls.
//!
//! # Invariants
//!
//! 1. While the breaker is closed, `closed` says so, with the generation. Then a call is let through for one load.
//! 2. While the breaker is closed and remembers nothing but successes, `closed` says that as well, with how many there are.
//!    Then a success is counted by one swap, or by nothing once a window of calls is full: more of the same change nothing.
//!    Of a window of time it counts those in its current part alone. Who comes after the end of the part, as `timed` says, is
//!    left to the machine; where the part ends only ever becomes later, so none is counted in one that is over.
//! 3. Everything else locks the machine. Who has the lock first takes what 2 says out of `closed`, with what was counted
//!    there, and writes `closed` anew before unlocking. So a success is counted in one of the two places, once; and a call
//!    that is let through meanwhile came before the change.
//! 4. Hooks run after unlocking, and after what the call was given is in safe hands: one that panics takes nothing along.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use ripcord::Clock;

use super::machine::{Machine, Pass};
use super::state::{BreakerOpen, BreakerStats, State, Transition};
use super::window::nanos;
use crate::Outcome;
use crate::cache_padded::CachePadded;
use crate::panics::discard;
use crate::stats::Call;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::tally::Tally;

/// `closed`: the count in the low bits, then these two, then the generation.
const IS_HEALTHY: u64 = 1 << COUNT_BITS;
const IS_CLOSED: u64 = IS_HEALTHY << 1;
const COUNT_BITS: u32 = 21;
const GENERATION: u32 = COUNT_BITS + 2;
const COUNT: u64 = IS_HEALTHY - 1;

/// The longest window of calls, so that its count fits.
pub(super) const LONGEST_WINDOW: usize = 1 << 20;

pub(super) type OnStateChange = Arc<dyn Fn(&Transition) + Send + Sync>;

pub(super) struct Shared {
    pub(super) name: Arc<str>,
    closed: CachePadded<AtomicU64>,
    /// As many successes as `closed` counts: those that fill a window of calls.
    most: u64,
    /// For a window of time.
    timed: Option<Timed>,
    machine: CachePadded<Mutex<Machine>>,
    pub(super) clock: Clock,
    pub(super) slow_after: Option<Duration>,
    on_state_change: Option<OnStateChange>,
    pub(super) tally: Tally<3>,
}

/// What a breaker counts beside its calls.
#[derive(Clone, Copy)]
pub(super) enum Count {
    Slow,
    Stale,
    Opened,
}

/// What a window spans.
#[derive(Clone, Copy, Debug)]
pub(super) enum Span {
    /// So many calls.
    Calls(u64),
    /// A time, counted from here.
    Since(Instant),
}

/// When the part of a window of time that is counted now ends.
struct Timed {
    origin: Instant,
    /// In nanoseconds since the origin.
    part_ends: AtomicU64,
}

impl Timed {
    #[inline]
    fn is_over(&self, now: Instant) -> bool {
        nanos(now.saturating_duration_since(self.origin)) >= self.part_ends.load(Ordering::Relaxed)
    }
}

impl Shared {
    pub(super) fn new(
        name: Arc<str>,
        machine: Machine,
        span: Span,
        clock: Clock,
        slow_after: Option<Duration>,
        on_state_change: Option<OnStateChange>,
    ) -> Self {
        let (most, timed) = match span {
            Span::Calls(calls) => (calls, None),
            Span::Since(origin) => (COUNT, Some(Timed { origin, part_ends: AtomicU64::new(0) })),
        };
        let shared = Shared {
            name,
            closed: CachePadded::new(AtomicU64::new(0)),
            most,
            timed,
            machine: CachePadded::new(Mutex::new(machine)),
            clock,
            slow_after,
            on_state_change,
            tally: Tally::new(),
        };
        shared.locked(|_, _, _| ());
        shared
    }

    /// Counts a call whose context had ended before it, by that end.
    #[cold]
    #[inline(never)]
    pub(super) fn refused(&self, end: ripcord::Error) -> ripcord::Error {
        self.tally.count(Call::Rejected);
        end
    }

    /// Lets a call through. One that `queues` says by [`Shared::sent`] when it is sent.
    #[inline]
    pub(super) fn acquire(&self, queues: bool) -> Result<Pass, BreakerOpen> {
        let closed = self.closed.load(Ordering::Acquire);
        let pass = if closed & IS_CLOSED != 0 {
            Pass { generation: closed >> GENERATION, probe: None }
        } else {
            self.acquire_locked(queues)?
        };
        self.tally.count(Call::Started);
        Ok(pass)
    }

    #[cold]
    fn acquire_locked(&self, queues: bool) -> Result<Pass, BreakerOpen> {
        let (acquired, changes) = self.change(|machine, now, changes| machine.acquire(queues, now, changes));
        // Invariant 4.
        let told = self.tell(&changes);
        match (acquired, told) {
            (Ok(pass), Ok(())) => Ok(pass),
            (Ok(pass), Err(panic)) => {
                self.record_locked(&pass, Outcome::Neutral, false);
                resume_unwind(panic)
            }
            (Err(retry_after), told) => {
                self.tally.count(Call::Rejected);
                told.unwrap_or_else(|panic| resume_unwind(panic));
                Err(BreakerOpen { name: Arc::clone(&self.name), retry_after })
            }
        }
    }

    /// The call of `pass` is sent only now.
    pub(super) fn sent(&self, pass: Pass) {
        if pass.probe.is_some() {
            self.locked(|machine, now, changes| machine.sent(pass, now, changes));
        }
    }

    #[inline]
    pub(super) fn record(&self, pass: &Pass, outcome: Outcome, slow: bool) {
        if outcome == Outcome::Success && !slow && self.record_healthy(pass) {
            return;
        }
        self.record_locked(pass, outcome, slow);
    }

    /// Counts a success where nothing else has been seen. False if that is not so.
    #[inline]
    fn record_healthy(&self, pass: &Pass) -> bool {
        let mut closed = self.closed.load(Ordering::Acquire);
        if closed & IS_HEALTHY != 0 && self.timed.as_ref().is_some_and(|timed| timed.is_over(self.clock.now())) {
            return false;
        }
        loop {
            if closed & IS_HEALTHY == 0 || closed >> GENERATION != pass.generation {
                return false;
            }
            if closed & COUNT >= self.most {
                return self.timed.is_none();
            }
            match self.closed.compare_exchange_weak(closed, closed + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(current) => closed = current,
            }
        }
    }

    #[cold]
    fn record_locked(&self, pass: &Pass, outcome: Outcome, slow: bool) {
        // Neutral, and no probe whose place was to be given back.
        if outcome == Outcome::Neutral && pass.probe.is_none() {
            return;
        }
        if !self.locked(|machine, now, changes| machine.record(*pass, outcome, slow, now, changes)) {
            self.tally.bump(Count::Stale as usize);
        }
    }

    pub(super) fn state(&self) -> State {
        match self.closed.load(Ordering::Acquire) & IS_CLOSED {
            0 => self.look(|machine, now| machine.state(now)).0,
            _ => State::Closed,
        }
    }

    /// Whether the breaker is closed and has counted nothing but successes.
    pub(super) fn remembers_no_failure(&self) -> bool {
        self.closed.load(Ordering::Acquire) & IS_HEALTHY != 0
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
        let [slow, stale, opened] = self.tally.read();
        BreakerStats { calls: self.tally.calls(), slow, stale, opened, state: self.state() }
    }

    /// Looks at the machine without changing anything.
    fn look<R>(&self, look: impl FnOnce(&Machine, Instant) -> R) -> R {
        let now = self.clock.now();
        look(&self.machine.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    /// Changes the machine, then tells of changes of its state.
    fn locked<R>(&self, change: impl FnOnce(&mut Machine, Instant, &mut Vec<(State, State)>) -> R) -> R {
        let (result, changes) = self.change(change);
        self.tell(&changes).unwrap_or_else(|panic| resume_unwind(panic));
        result
    }

    /// Changes the machine; of the changes of its state that this returns is yet to be told.
    fn change<R>(
        &self,
        change: impl FnOnce(&mut Machine, Instant, &mut Vec<(State, State)>) -> R,
    ) -> (R, Vec<(State, State)>) {
        let now = self.clock.now();
        let mut changes = Vec::new();
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        // Invariant 3. Only who has the lock sets the bit.
        let mut closed = self.closed.load(Ordering::Acquire);
        if closed & IS_HEALTHY != 0 {
            closed = self.closed.fetch_and(!(IS_HEALTHY | COUNT), Ordering::AcqRel);
            machine.counted_on(closed & COUNT);
            closed &= !(IS_HEALTHY | COUNT);
        }
        let result = change(&mut machine, now, &mut changes);
        let new = match (machine.is_closed(), machine.only_successes()) {
            (false, _) => 0,
            (true, None) => machine.generation << GENERATION | IS_CLOSED,
            (true, Some(successes)) => machine.generation << GENERATION | IS_CLOSED | IS_HEALTHY | successes,
        };
        if let (Some(timed), Some(part_ends)) = (&self.timed, machine.part_ends()) {
            timed.part_ends.store(part_ends, Ordering::Relaxed);
        }
        if new != closed {
            self.closed.store(new, Ordering::Release);
        }
        drop(machine);
        (result, changes)
    }

    /// Tells of changes, of all of them whatever the hook does. Returns its first panic.
    fn tell(&self, changes: &[(State, State)]) -> Result<(), Box<dyn Any + Send>> {
        let mut told = Ok(());
        for (from, to) in changes {
            if *to == State::Open {
                self.tally.bump(Count::Opened as usize);
            }
            if let Some(hook) = &self.on_state_change {
                let transition = Transition { name: Arc::clone(&self.name), from: *from, to: *to };
                match (&told, catch_unwind(AssertUnwindSafe(|| hook(&transition)))) {
                    (Ok(()), panicked) => told = panicked,
                    (Err(_), panicked) => panicked.unwrap_or_else(discard),
                }
            }
        }
        told
    }
}
