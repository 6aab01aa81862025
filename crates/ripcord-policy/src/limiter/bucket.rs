//! The token bucket of a limiter: how many tokens have been earned, and how many have been spent.
//!
//! # Invariants
//!
//! 1. `spent` rises when tokens are granted or promised, and falls only by a refund. A grant at a time `t` raises `spent` to at
//!    most the amount earned by `t`. So the grants never exceed the earned tokens.
//! 2. Before a grant, `spent` is raised to at least the earned amount minus one burst. So at most one burst can be saved up. The
//!    earned amount depends on time alone, so a caller with an old reading of the clock sees fewer tokens and undoes nothing.
//! 3. A change of the schedule reads the clock while `published` is being written. A reader reads the clock first and then the
//!    schedule. So its reading is older than any change that it does not see, and the tokens that were due at that time are due
//!    in every later schedule too.
//! 4. `spent` is changed by compare-and-swap from a value that was read while the schedule was unchanged. A schedule that starts
//!    again lowers `spent` by about 2^61 units. So an old value cannot be mistaken for a new one, unless a thread sleeps between
//!    its check and its swap until exactly that amount has been spent again.
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

/// The maximum amount promised ahead of the earned amount, in units: sixteen of the largest bursts.
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

/// The kind of caller that claims tokens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Claim {
    /// A caller that takes tokens only if the bucket has them now.
    Take,
    /// A waiter, and the time until its deadline.
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
    /// Promised at `since`. The tokens are due at `act_at`, or never at the present rate if `act_at` is `None`.
    Later { id: PromiseId, since: u64, act_at: Option<u64> },
    /// Refused: the bucket never holds this many tokens.
    ExceedsBurst { burst: u32 },
    /// Refused: the tokens are due after the caller's deadline.
    TooLate { needed: Duration },
    /// Refused: the tokens are never due.
    Never,
}

/// The state of a promise, as its waiter sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The promise was due and is kept. Holds the time since the promise was made.
    Served(Duration),
    /// The promise is due at this time, or never if `None`.
    Due(Option<u64>),
}

impl Bucket {
    /// Creates a full bucket.
    pub(super) fn new(quota: Quota, time: Time, numbers: Arc<Numbers>) -> Self {
        let schedule = Schedule::new(quota.rate().slope(), units(quota.burst()), time.now());
        Bucket {
            spent: AtomicU64::new(schedule.spent_when_full()),
            published: Published::new(&schedule),
            time,
            state: Mutex::new(State { quota, schedule, queue: Queue::default() }),
            numbers,
        }
    }

    /// Takes `tokens` if the bucket has them now.
    #[inline]
    pub(super) fn take(&self, tokens: u32) -> bool {
        self.take_without_lock(units(tokens))
            .unwrap_or_else(|| matches!(self.claim(tokens, Claim::Take), Claimed::Now(_)))
    }

    /// Takes the units if the bucket has them now. Returns `None` if only a caller with the lock can decide.
    #[inline]
    fn take_without_lock(&self, wanted: u64) -> Option<bool> {
        // Invariant 3: the clock is read first.
        let now = self.time.now();
        let (reading, mut spent) = self.published.read_with(|| self.spent.load(Ordering::Acquire))?;
        let schedule = &reading.schedule;
        let since = now.saturating_sub(schedule.anchor_time);
        if since >= reading.horizon {
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
            if !self.published.is_current(&reading) {
                return None;
            }
        }
    }

    /// Takes `tokens`, or makes a promise of them.
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

    /// Serves a waiter if its promise is due. Otherwise keeps `waker`, which is woken when the rate is set.
    pub(super) fn progress(&self, id: PromiseId, since: u64, waker: Waker) -> Progress {
        let mut state = self.state();
        let now = self.settle(&mut state);
        let end = state.queue.end_of(id);
        // An infinite rate removes all promises: every waiter is served.
        if end.is_none_or(|end| end <= state.schedule.earned(now)) {
            let kept = state.queue.remove(id);
            let next = state.queue.take_stale_waker();
            drop(state);
            drop(kept);
            next.into_iter().for_each(wake);
            return Progress::Served(Duration::from_nanos(now.saturating_sub(since)));
        }
        let due = end.and_then(|end| state.schedule.time_of(end));
        let replaced = state.queue.set_waker(id, waker);
        drop(state);
        drop(replaced);
        Progress::Due(due)
    }

    /// Gives up a promise. Returns the number of units that are free again.
    pub(super) fn give_up(&self, id: PromiseId) -> u64 {
        let mut state = self.state();
        let Some((promise, is_free)) = state.queue.give_up(id) else { return 0 };
        let Promise { start, end, kind } = promise;
        // If the rate was raised, units may have been spent beyond the end of the span. Then the span counts as spent.
        let is_free = is_free && self.spent.compare_exchange(end, start, Ordering::AcqRel, Ordering::Acquire).is_ok();
        let next = state.queue.take_stale_waker();
        drop(state);
        drop(kind);
        next.into_iter().for_each(wake);
        let free = if is_free { end - start } else { 0 };
        self.numbers.add(Count::Refunded, free >> TOKEN_BITS);
        free
    }

    /// Takes back a token that was granted and not used. All promises move forward by one token. If the bucket is full, the token
    /// is lost.
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
        // The spans keep their distance below `spent`.
        state.queue.move_up(before - lowered(before));
        let first = state.queue.take_stale_waker();
        drop(state);
        first.into_iter().for_each(wake);
        self.numbers.add(Count::Refunded, 1);
    }

    pub(super) fn quota(&self) -> Quota {
        self.state().quota
    }

    /// Changes the quota. Returns the waiters' wakers, which the caller wakes without any lock.
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
                schedule.change_slope(new.rate().slope(), now);
            }
            if was_infinite {
                // No token was counted under the infinite rate: the bucket is full, and every waiter is served.
                queue.clear();
                self.spent.store(schedule.spent_when_full(), Ordering::Release);
            } else if !schedule.is_infinite() {
                // Tokens beyond the old burst were lost. They do not come back under a larger burst.
                self.spent.fetch_max(schedule.earned(now) - kept, Ordering::AcqRel);
            }
        });
        wakers
    }

    /// Returns the number of tokens left. The number is negative when more tokens are promised than earned.
    pub(super) fn tokens(&self) -> f64 {
        self.units_left(&mut self.state()) as f64 / units(1) as f64
    }

    /// Returns whether this bucket behaves like a new one.
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
            // Tokens beyond one burst were lost already. They must not become a negative balance.
            let lowest = BASE - state.schedule.burst;
            let lower = |spent: u64| Some(spent.saturating_sub(lowered).max(lowest));
            let _ = self.spent.fetch_update(Ordering::AcqRel, Ordering::Acquire, lower);
        });
    }

    /// Changes the schedule. `change` gets the time of the change.
    fn write(&self, state: &mut State, change: impl FnOnce(&mut State, u64)) {
        self.published.write(|| {
            // Invariant 3.
            change(state, self.time.now());
            state.schedule
        });
    }
}

/// Returns the reason to refuse a claim on tokens that are due at `act_at`, or `None` if the claim is accepted.
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
