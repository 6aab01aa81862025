//! A limiter's token bucket: the tokens that have been earned, and how many of them are spent.
//!
//! # Invariants
//!
//! 1. `spent` rises when tokens are granted or promised, and falls only by a refund. A grant at a time `t` raises it to
//!    at most what is earned by `t`. So no more is granted than was due.
//! 2. Before a grant, `spent` is raised to a burst below what is earned: no more than a burst can be saved up. What is
//!    earned depends on time alone, so a caller with an old reading of the clock sees less and takes nothing back.
//! 3. The words of `line` are written under the lock of `state`, between two steps of `version`, which is odd meanwhile.
//!    A writer reads the clock after the first step. A reader reads the clock first, then the words, and then finds
//!    `version` unchanged. So it has read the clock before any change that it does not see, and what was due at that
//!    time is due in every later schedule too.
//! 4. `spent` is changed by compare-and-swap from a value read while `version` was unchanged. A rebase lowers `spent` by
//!    about 2^61 units and steps `version`, so an old value cannot be mistaken for a new one, unless a thread sleeps
//!    between its check and its swap until exactly that amount has been spent again.
//! 5. No waker is woken or dropped under the lock.

use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::Duration;

use ripcord::Clock;

use super::queue::{Kind, Promise, PromiseId, Queue};
use super::rate::{Quota, Rate};
use super::schedule::{BASE, LIMIT, Schedule, Slope, TOKEN_BITS, units};
use super::stats::{Count, Numbers};
use super::time::Time;
use crate::cache_padded::CachePadded;
use crate::panics::{shielded, wake};
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, fence};

/// The most that can be promised ahead of what is earned, in units: sixteen of the largest bursts.
const MAX_AHEAD: u64 = 1 << 62;

#[derive(Debug)]
pub(super) struct Bucket {
    spent: CachePadded<AtomicU64>,
    version: AtomicU64,
    line: Line,
    pub(super) time: Time,
    state: CachePadded<Mutex<State>>,
    pub(super) numbers: Arc<Numbers>,
}

/// The part of the schedule that is read without the lock.
#[derive(Debug)]
struct Line {
    whole: AtomicU64,
    part: AtomicU64,
    anchor_time: AtomicU64,
    anchor_units: AtomicU64,
    burst: AtomicU64,
    horizon: AtomicU64,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) schedule: Schedule,
    pub(super) burst: u32,
    queue: Queue,
}

/// Who claims tokens that are not there yet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Claim {
    /// A waiter, and the time it has left.
    Wait {
        remaining: Option<Duration>,
    },
    Reserve,
}

/// The answer to a claim.
#[derive(Debug)]
pub(super) enum Claimed {
    /// Granted at this time.
    Now(u64),
    /// Promised at `since`, to be due at `act_at`, which is `None` if that is never at the present rate.
    Later { id: PromiseId, since: u64, act_at: Option<u64> },
    /// Refused: the bucket never holds this many.
    ExceedsBurst { burst: u32 },
    /// Refused: the tokens will not be there in the time that the waiter has left.
    TooLate { needed: Duration },
    /// Refused: the tokens will never be there.
    Never,
}

/// What a waiter sees of its promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The promise was due and is kept. The time that it took.
    Served(Duration),
    /// Due at this time; `None` is never.
    Due(Option<u64>),
}

impl Bucket {
    /// Creates a full bucket with a clock and numbers of its own.
    pub(super) fn full(quota: Quota, clock: Option<Clock>) -> Self {
        Bucket::new(quota, Time::new(clock), Arc::new(Numbers::new()))
    }

    /// Creates a full bucket.
    pub(super) fn new(quota: Quota, time: Time, numbers: Arc<Numbers>) -> Self {
        let schedule = Schedule::new(quota.rate(), quota.burst(), time.now());
        let spent = schedule.spent_when_full();
        Bucket::resume(schedule, quota.burst(), spent, time, numbers)
    }

    /// Creates a bucket in which `spent` units of what `schedule` has earned are spent.
    pub(super) fn resume(schedule: Schedule, burst: u32, spent: u64, time: Time, numbers: Arc<Numbers>) -> Self {
        let line = Line {
            whole: AtomicU64::new(schedule.slope.whole),
            part: AtomicU64::new(schedule.slope.part),
            anchor_time: AtomicU64::new(schedule.anchor_time),
            anchor_units: AtomicU64::new(schedule.anchor_units),
            burst: AtomicU64::new(schedule.burst),
            horizon: AtomicU64::new(schedule.horizon()),
        };
        let state = State { schedule, burst, queue: Queue::default() };
        Bucket {
            spent: CachePadded::new(AtomicU64::new(spent)),
            version: AtomicU64::new(0),
            line,
            time,
            state: CachePadded::new(Mutex::new(state)),
            numbers,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `tokens` if they are there.
    #[inline]
    pub(super) fn take(&self, tokens: u32) -> bool {
        self.take_without_lock(units(tokens)).unwrap_or_else(|| self.take_with_lock(tokens))
    }

    /// Returns `None` if only the lock can tell.
    #[inline]
    fn take_without_lock(&self, wanted: u64) -> Option<bool> {
        // Invariant 3: the clock is read first.
        let now = self.time.now();
        let version = self.version.load(Ordering::Acquire);
        let slope =
            Slope { whole: self.line.whole.load(Ordering::Relaxed), part: self.line.part.load(Ordering::Relaxed) };
        let anchor_time = self.line.anchor_time.load(Ordering::Relaxed);
        let anchor_units = self.line.anchor_units.load(Ordering::Relaxed);
        let burst = self.line.burst.load(Ordering::Relaxed);
        let horizon = self.line.horizon.load(Ordering::Relaxed);
        let mut spent = self.spent.load(Ordering::Acquire);
        self.is_unchanged_since(version)?;
        let since = now.saturating_sub(anchor_time);
        if since >= horizon {
            return slope.is_infinite().then_some(true);
        }
        if wanted > burst {
            return Some(false);
        }
        let earned = anchor_units + slope.earned_before_horizon(since);
        loop {
            let next = spent.max(earned.saturating_sub(burst)) + wanted;
            if next > earned {
                return Some(false);
            }
            match self.spent.compare_exchange_weak(spent, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(true),
                Err(current) => spent = current,
            }
            // Invariant 4: the value just read must belong to the same schedule.
            self.is_unchanged_since(version)?;
        }
    }

    #[inline]
    fn is_unchanged_since(&self, version: u64) -> Option<()> {
        // Keeps the reads before it from moving behind the check.
        fence(Ordering::Acquire);
        (version & 1 == 0 && self.version.load(Ordering::Relaxed) == version).then_some(())
    }

    #[cold]
    fn take_with_lock(&self, tokens: u32) -> bool {
        let mut state = self.state();
        let now = self.settle(&mut state);
        if state.schedule.is_infinite() {
            return true;
        }
        let (earned, wanted) = (state.schedule.earned(now), units(tokens));
        let floor = earned - state.schedule.burst;
        let taken = self.spent.fetch_update(Ordering::AcqRel, Ordering::Acquire, |spent| {
            let next = spent.max(floor) + wanted;
            (next <= earned && tokens <= state.burst).then_some(next)
        });
        taken.is_ok()
    }

    /// Takes `tokens`, or a promise of them.
    pub(super) fn claim(&self, tokens: u32, claim: Claim) -> Claimed {
        let mut state = self.state();
        let now = self.settle(&mut state);
        state.queue.prune(now);
        if state.schedule.is_infinite() {
            return Claimed::Now(now);
        }
        if tokens > state.burst {
            return Claimed::ExceedsBurst { burst: state.burst };
        }
        let earned = state.schedule.earned(now);
        let floor = earned - state.schedule.burst;
        let mut spent = self.spent.load(Ordering::Acquire);
        loop {
            let start = spent.max(floor);
            let end = start + units(tokens);
            let mut act_at = None;
            if end > earned {
                act_at = state.schedule.time_of(end);
                if let Some(refusal) = refusal(claim, act_at, now) {
                    return refusal;
                }
                if end - earned > MAX_AHEAD {
                    return Claimed::Never;
                }
            }
            match self.spent.compare_exchange(spent, end, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if end <= earned => return Claimed::Now(now),
                Ok(_) => {
                    let kind = match (claim, act_at) {
                        (Claim::Reserve, Some(act_at)) => Kind::Reservation { act_at },
                        _ => Kind::Waiter(None),
                    };
                    if matches!(claim, Claim::Wait { .. }) {
                        self.numbers.waiter_joins();
                    }
                    let id = state.queue.push(Promise { start, end, kind });
                    return Claimed::Later { id, since: now, act_at };
                }
                Err(current) => spent = current,
            }
        }
    }

    /// Serves a waiter if its promise is due. Otherwise keeps `waker`, to be woken when the rate is set.
    pub(super) fn progress(&self, id: PromiseId, since: u64, waker: Option<Waker>) -> Progress {
        let mut state = self.state();
        let now = self.settle(&mut state);
        let end = state.queue.end_of(id);
        // A promise is removed by an infinite rate, which serves everybody.
        if end.is_none_or(|end| end <= state.schedule.earned(now)) {
            let kept = state.queue.remove(id);
            let next = state.queue.take_stale_waker();
            drop(state);
            shielded(|| drop((kept, waker)));
            next.into_iter().for_each(wake);
            let waited = Duration::from_nanos(now.saturating_sub(since));
            self.numbers.waiter_is_served(waited);
            return Progress::Served(waited);
        }
        let due = end.and_then(|end| state.schedule.time_of(end));
        let replaced = waker.and_then(|waker| state.queue.set_waker(id, waker));
        drop(state);
        shielded(|| drop(replaced));
        Progress::Due(due)
    }

    /// Gives up a promise. Returns how many units are free again.
    pub(super) fn give_up(&self, id: PromiseId) -> u64 {
        let mut state = self.state();
        let Some((promise, is_free)) = state.queue.give_up(id) else { return 0 };
        let Promise { start, end, kind } = promise;
        // Units may have been spent beyond the end, if the rate was raised: then the span is as good as spent.
        let is_free = is_free && self.spent.compare_exchange(end, start, Ordering::AcqRel, Ordering::Acquire).is_ok();
        let next = state.queue.take_stale_waker();
        drop(state);
        shielded(|| drop(kind));
        next.into_iter().for_each(wake);
        let free = if is_free { end - start } else { 0 };
        self.numbers.add(Count::Refunded, free >> TOKEN_BITS);
        free
    }

    /// Takes back a token that was granted and not used. All promises move up by it. It is lost if the bucket is full.
    pub(super) fn give_back(&self) {
        let mut state = self.state();
        let now = self.settle(&mut state);
        if state.schedule.is_infinite() {
            return;
        }
        let lowest = state.schedule.earned(now) - state.schedule.burst;
        let lowered = |spent: u64| (spent - units(1)).max(lowest);
        let before = self
            .spent
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |spent| (spent > lowest).then(|| lowered(spent)));
        let Ok(before) = before else { return };
        // The spans stay where they are below what is spent.
        state.queue.move_up(before - lowered(before));
        let first = state.queue.take_stale_waker();
        drop(state);
        first.into_iter().for_each(wake);
        self.numbers.add(Count::Refunded, 1);
    }

    /// Reads the clock, and starts the schedule again if it has reached its limit.
    pub(super) fn settle(&self, state: &mut State) -> u64 {
        let now = self.time.now();
        if state.schedule.is_infinite() || state.schedule.earned(now) < LIMIT {
            return now;
        }
        self.write(state, |state, now| state.rebase_at_limit(now));
        self.time.now()
    }

    /// Sets the rate. Returns the waiters' wakers, to be woken without any lock.
    #[must_use]
    pub(super) fn set_rate(&self, rate: Rate) -> Vec<Waker> {
        let mut state = self.state();
        if state.schedule.rate == rate {
            return Vec::new();
        }
        let wakers = state.queue.take_wakers();
        self.write(&mut state, |state, now| {
            let was_infinite = state.schedule.is_infinite();
            let lowered = state.rebase_at_limit(now);
            state.schedule.change_rate(rate, now);
            if was_infinite {
                // Nothing was counted meanwhile: the bucket is full, and everybody who waited is served.
                state.queue.clear();
                self.spent.store(state.schedule.spent_when_full(), Ordering::Release);
            }
            lowered
        });
        wakers
    }

    pub(super) fn set_burst(&self, burst: u32) {
        let mut state = self.state();
        self.settle(&mut state);
        self.write(&mut state, |state, now| {
            // What the old burst did not keep does not come back under a larger one.
            if !state.schedule.is_infinite() {
                let kept = state.schedule.burst.min(units(burst));
                self.spent.fetch_max(state.schedule.earned(now) - kept, Ordering::AcqRel);
            }
            state.burst = burst;
            state.schedule.burst = units(burst);
            0
        });
    }

    /// Returns the tokens left: below zero when more are promised than are earned.
    pub(super) fn tokens(&self) -> f64 {
        let mut state = self.state();
        if state.schedule.is_infinite() {
            return f64::from(state.burst);
        }
        self.units_left(&mut state) as f64 / units(1) as f64
    }

    /// Returns whether this bucket cannot be told from a new one.
    pub(super) fn is_idle(&self) -> bool {
        let mut state = self.state();
        let now = self.settle(&mut state);
        state.queue.prune(now);
        let is_full = state.schedule.is_infinite() || self.units_left(&mut state) == state.schedule.burst as i64;
        is_full && state.queue.is_empty()
    }

    fn units_left(&self, state: &mut State) -> i64 {
        let now = self.settle(state);
        let earned = state.schedule.earned(now);
        let spent = self.spent.load(Ordering::Acquire).max(earned - state.schedule.burst);
        earned as i64 - spent as i64
    }

    /// Changes the schedule, and lowers what is spent by what `change` returns.
    fn write(&self, state: &mut State, change: impl FnOnce(&mut State, u64) -> u64) {
        // Invariant 3: odd before the clock is read. The swap keeps the reading from moving ahead of it.
        self.version.swap(self.version.load(Ordering::Relaxed) + 1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let now = self.time.now();
        let lowered = change(state, now);
        let schedule = &state.schedule;
        if lowered > 0 {
            // Tokens beyond a burst were lost already, and must not become a debt below zero.
            let _ = self.spent.fetch_update(Ordering::AcqRel, Ordering::Acquire, |spent| {
                Some(spent.saturating_sub(lowered).max(BASE - schedule.burst))
            });
        }
        self.line.whole.store(schedule.slope.whole, Ordering::Relaxed);
        self.line.part.store(schedule.slope.part, Ordering::Relaxed);
        self.line.anchor_time.store(schedule.anchor_time, Ordering::Relaxed);
        self.line.anchor_units.store(schedule.anchor_units, Ordering::Relaxed);
        self.line.burst.store(schedule.burst, Ordering::Relaxed);
        self.line.horizon.store(schedule.horizon(), Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
    }
}

impl State {
    fn rebase_at_limit(&mut self, now: u64) -> u64 {
        let lowered = self.schedule.rebase_at_limit(now);
        if lowered > 0 {
            self.queue.lower(lowered);
        }
        lowered
    }
}

/// Returns why a claim on tokens that will be there at `act_at` is refused, if it is.
fn refusal(claim: Claim, act_at: Option<u64>, now: u64) -> Option<Claimed> {
    match claim {
        Claim::Reserve => act_at.is_none().then_some(Claimed::Never),
        Claim::Wait { remaining } => {
            let needed = act_at.map_or(Duration::MAX, |at| Duration::from_nanos(at.saturating_sub(now)));
            remaining.is_some_and(|remaining| needed >= remaining).then_some(Claimed::TooLate { needed })
        }
    }
}

#[cfg(test)]
mod tests;
