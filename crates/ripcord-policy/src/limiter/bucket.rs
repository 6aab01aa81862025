//! A limiter's token bucket: the tokens that have been earned, and how many of them are spent.
//!
//! # Invariants
//!
//! 1. `spent` rises when tokens are granted or promised, and falls only by a refund. A grant at a time `t` raises it to
//!    at most what is earned by `t`. So no more is granted than was due.
//! 2. Before a grant, `spent` is raised to a burst below what is earned: no more than a burst can be saved up. What is
//!    earned depends on time alone, so a caller with an old reading of the clock sees less and takes nothing back.
//! 3. A change of the schedule reads the clock while `published` is being written. A reader reads the clock first and
//!    then the schedule. So it has read the clock before any change that it does not see, and what was due at that time
//!    is due in every later schedule too.
//! 4. `spent` is changed by compare-and-swap from a value read while the schedule was unchanged. A schedule that starts
//!    again lowers `spent` by about 2^61 units, so an old value cannot be mistaken for a new one, unless a thread sleeps
//!    between its check and its swap until exactly that amount has been spent again.
//! 5. No waker is woken or dropped under the lock.

use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::Duration;

use super::published::Published;
use super::queue::{Kind, Promise, PromiseId, Queue};
use super::rate::Quota;
use super::schedule::{BASE, Schedule, TOKEN_BITS, units};
use super::stats::{Count, Numbers};
use super::time::Time;
use crate::panics::wake;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering};

/// The most that can be promised ahead of what is earned, in units: sixteen of the largest bursts.
const MAX_AHEAD: u64 = 1 << 62;

#[derive(Debug)]
pub(super) struct Bucket {
    spent: AtomicU64,
    published: Published,
    pub(super) time: Time,
    state: Mutex<State>,
    pub(super) numbers: Arc<Numbers>,
}

#[derive(Debug)]
struct State {
    quota: Quota,
    schedule: Schedule,
    queue: Queue,
}

/// Who claims tokens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Claim {
    /// A caller that takes tokens that are there.
    Take,
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
    /// Refused: the tokens will not be there in the time that the caller has left.
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
    /// Creates a full bucket.
    pub(super) fn new(quota: Quota, time: Time, numbers: Arc<Numbers>) -> Self {
        let schedule = Schedule::new(quota, time.now());
        Bucket {
            spent: AtomicU64::new(schedule.spent_when_full()),
            published: Published::new(&schedule),
            time,
            state: Mutex::new(State { quota, schedule, queue: Queue::default() }),
            numbers,
        }
    }

    /// Takes `tokens` if they are there.
    #[inline]
    pub(super) fn take(&self, tokens: u32) -> bool {
        self.take_without_lock(units(tokens))
            .unwrap_or_else(|| matches!(self.claim(tokens, Claim::Take), Claimed::Now(_)))
    }

    /// Returns `None` if only the lock can tell.
    #[inline]
    fn take_without_lock(&self, wanted: u64) -> Option<bool> {
        // Invariant 3: the clock is read first.
        let now = self.time.now();
        let (found, mut spent) = self.published.read_with(|| self.spent.load(Ordering::Acquire))?;
        let schedule = &found.schedule;
        let since = now.saturating_sub(schedule.anchor_time);
        if since >= found.horizon {
            return schedule.is_infinite().then_some(true);
        }
        if wanted > schedule.burst {
            return Some(false);
        }
        let earned = schedule.anchor_units + schedule.slope.earned_before_horizon(since);
        loop {
            let next = spent.max(earned.saturating_sub(schedule.burst)) + wanted;
            if next > earned {
                return Some(false);
            }
            match self.spent.compare_exchange_weak(spent, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(true),
                Err(current) => spent = current,
            }
            // Invariant 4: the value just read must belong to the same schedule.
            if !self.published.is_current(&found) {
                return None;
            }
        }
    }

    /// Takes `tokens`, or a promise of them.
    pub(super) fn claim(&self, tokens: u32, claim: Claim) -> Claimed {
        let mut state = self.state();
        let now = self.settle(&mut state);
        state.queue.prune(now);
        if state.schedule.is_infinite() {
            return Claimed::Now(now);
        }
        let burst = state.quota.burst();
        if tokens > burst {
            return Claimed::ExceedsBurst { burst };
        }
        let earned = state.schedule.earned(now);
        let mut spent = self.spent.load(Ordering::Acquire);
        loop {
            let start = spent.max(earned - state.schedule.burst);
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
            drop(kept);
            next.into_iter().for_each(wake);
            return Progress::Served(Duration::from_nanos(now.saturating_sub(since)));
        }
        let due = end.and_then(|end| state.schedule.time_of(end));
        let replaced = waker.and_then(|waker| state.queue.set_waker(id, waker));
        drop(state);
        drop(replaced);
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
        drop(kind);
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

    pub(super) fn quota(&self) -> Quota {
        self.state().quota
    }

    /// Changes the quota. Returns the waiters' wakers, to be woken without any lock.
    #[must_use]
    pub(super) fn set_quota(&self, change: impl FnOnce(Quota) -> Quota) -> Vec<Waker> {
        let mut state = self.state();
        let (old, new) = (state.quota, change(state.quota));
        if new == old {
            return Vec::new();
        }
        self.settle(&mut state);
        let wakers = if new.rate() == old.rate() { Vec::new() } else { state.queue.take_wakers() };
        self.write(&mut state, |State { quota, schedule, queue }, now| {
            let was_infinite = schedule.is_infinite();
            let kept = schedule.burst.min(units(new.burst()));
            *quota = new;
            schedule.burst = units(new.burst());
            if new.rate() != old.rate() {
                schedule.change_rate(new.rate(), now);
            }
            if was_infinite {
                // Nothing was counted meanwhile: the bucket is full, and everybody who waited is served.
                queue.clear();
                self.spent.store(schedule.spent_when_full(), Ordering::Release);
            } else if !schedule.is_infinite() {
                // What the old burst did not keep does not come back under a larger one.
                self.spent.fetch_max(schedule.earned(now) - kept, Ordering::AcqRel);
            }
        });
        wakers
    }

    /// Returns the tokens left: below zero when more are promised than are earned.
    pub(super) fn tokens(&self) -> f64 {
        self.units_left(&mut self.state()) as f64 / units(1) as f64
    }

    /// Returns whether this bucket cannot be told from a new one.
    pub(super) fn is_idle(&self) -> bool {
        let mut state = self.state();
        let is_full = self.units_left(&mut state) == state.schedule.burst as i64;
        state.queue.prune(self.time.now());
        is_full && state.queue.is_empty()
    }

    fn units_left(&self, state: &mut State) -> i64 {
        let now = self.settle(state);
        if state.schedule.is_infinite() {
            return state.schedule.burst as i64;
        }
        let earned = state.schedule.earned(now);
        let spent = self.spent.load(Ordering::Acquire).max(earned - state.schedule.burst);
        earned as i64 - spent as i64
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the clock, and starts the schedule again if it has reached its limit.
    fn settle(&self, state: &mut State) -> u64 {
        let now = self.time.now();
        if !state.schedule.is_at_limit(now) {
            return now;
        }
        self.start_again(state);
        self.time.now()
    }

    fn start_again(&self, state: &mut State) {
        self.write(state, |state, now| {
            let lowered = state.schedule.start_again(now);
            state.queue.lower(lowered);
            // Tokens beyond a burst were lost already, and must not become a debt below zero.
            let lowest = BASE - state.schedule.burst;
            let lower = |spent: u64| Some(spent.saturating_sub(lowered).max(lowest));
            let _ = self.spent.fetch_update(Ordering::AcqRel, Ordering::Acquire, lower);
        });
    }

    /// Changes the schedule at the time that `change` gets.
    fn write(&self, state: &mut State, change: impl FnOnce(&mut State, u64)) {
        self.published.write(|| {
            // Invariant 3.
            change(state, self.time.now());
            state.schedule
        });
    }
}

/// Returns why a claim on tokens that will be there at `act_at` is refused, if it is.
fn refusal(claim: Claim, act_at: Option<u64>, now: u64) -> Option<Claimed> {
    match claim {
        Claim::Take => Some(Claimed::Never),
        Claim::Reserve => act_at.is_none().then_some(Claimed::Never),
        Claim::Wait { remaining } => {
            let needed = act_at.map_or(Duration::MAX, |at| Duration::from_nanos(at.saturating_sub(now)));
            remaining.is_some_and(|remaining| needed >= remaining).then_some(Claimed::TooLate { needed })
        }
    }
}

#[cfg(test)]
mod tests;
