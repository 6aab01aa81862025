//! The limiter's state: what has been earned, and what has been spent of it.
//!
//! # Invariants
//!
//! 1. `spent` moves up when tokens are granted or promised, and down only by a refund. A grant at a time `t` moves it to
//!    at most what is earned by `t`: no more is ever granted than was due.
//! 2. Before a grant, `spent` is lifted to a burst below what is earned: that is the cap on what can be saved up. What
//!    is earned only depends on time, so a caller with an old reading of the clock sees less, and takes nothing back.
//!    Both are rounded down to a unit, so `spent` is never a whole unit below what exact amounts would make it: what
//!    is granted in all is never more than due, and what is granted after a cap is by less than a unit early.
//! 3. The schedule's words are written under the lock of `book`, between two steps of `version`, which is odd meanwhile.
//!    A writer reads the clock after the first step. So whoever reads the clock first, and then finds the version unchanged
//!    around the words, has read it before any change that these do not know of; and what was due by then is due in every
//!    schedule that follows.
//! 4. `spent` is moved by compare-and-swap from a value read while the version was unchanged. A rebase lowers it by
//!    2^61 units or so and steps the version, so a value of before cannot be mistaken for one of after, short of a
//!    thread asleep between its check and its swap until all of that has been spent again, to the unit.

use std::sync::PoisonError;
use std::time::Duration;

use super::meter::Slope;
use super::queue::{CalledOff, Queue};
use super::rate::Rate;
use super::schedule::{BASE, LIMIT, Line, Schedule, units};
use super::time::Time;
use crate::cache_line::CacheLine;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, fence};

/// The most that can be promised ahead of what is earned, in units: sixteen of the largest bursts.
const MOST_AHEAD: u64 = 1 << 62;

#[derive(Debug)]
pub(super) struct Ledger {
    spent: CacheLine<AtomicU64>,
    version: AtomicU64,
    whole: AtomicU64,
    part: AtomicU64,
    anchor_time: AtomicU64,
    anchor_units: AtomicU64,
    burst: AtomicU64,
    horizon: AtomicU64,
    pub(super) time: Time,
    book: CacheLine<Mutex<Book>>,
}

/// What only slow paths look at.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) schedule: Schedule,
    pub(super) burst: u32,
    pub(super) queue: Queue,
    pub(super) total_wait: Duration,
    pub(super) longest_wait: Duration,
}

/// What became of a request for tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// Granted at this time.
    Granted(u64),
    /// Not before this much more time; none if never.
    Later(Option<Duration>),
}

/// Units taken ahead of being earned.
pub(super) struct Ahead {
    pub(super) start: u64,
    pub(super) act_at: Option<u64>,
}

impl Ledger {
    pub(super) fn new(rate: Rate, burst: u32, time: Time) -> Self {
        let schedule = Schedule::new(rate, burst, time.now());
        let spent = schedule.full();
        Ledger::resume(schedule, burst, spent, time)
    }

    /// A ledger in which `spent` units of what `schedule` has earned are gone.
    pub(super) fn resume(schedule: Schedule, burst: u32, spent: u64, time: Time) -> Self {
        let Line { slope, anchor_time, anchor_units, burst: burst_units, horizon } = schedule.line();
        let (queue, no_wait) = (Queue::default(), Duration::ZERO);
        Ledger {
            spent: CacheLine::new(AtomicU64::new(spent)),
            version: AtomicU64::new(0),
            whole: AtomicU64::new(slope.whole),
            part: AtomicU64::new(slope.part),
            anchor_time: AtomicU64::new(anchor_time),
            anchor_units: AtomicU64::new(anchor_units),
            burst: AtomicU64::new(burst_units),
            horizon: AtomicU64::new(horizon),
            time,
            book: CacheLine::new(Mutex::new(Book {
                schedule,
                burst,
                queue,
                total_wait: no_wait,
                longest_wait: no_wait,
            })),
        }
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `tokens` if they are there.
    #[inline]
    pub(super) fn take(&self, tokens: u32) -> bool {
        match self.take_without_lock(units(tokens)) {
            Some(granted) => granted,
            None => self.take_with_lock(tokens),
        }
    }

    /// [`Ledger::take`] without the lock; none if it takes the lock to tell.
    #[inline]
    fn take_without_lock(&self, wanted: u64) -> Option<bool> {
        // Invariant 3. First also as it is a call, and what is read before one has to be kept across it.
        let now = self.time.now();
        let version = self.version.load(Ordering::Acquire);
        let slope = Slope { whole: self.whole.load(Ordering::Relaxed), part: self.part.load(Ordering::Relaxed) };
        let anchor_time = self.anchor_time.load(Ordering::Relaxed);
        let anchor_units = self.anchor_units.load(Ordering::Relaxed);
        let burst = self.burst.load(Ordering::Relaxed);
        let horizon = self.horizon.load(Ordering::Relaxed);
        let mut spent = self.spent.load(Ordering::Acquire);
        self.unchanged(version)?;
        let since = now.saturating_sub(anchor_time);
        if since >= horizon {
            return slope.is_infinite().then_some(true);
        }
        if wanted > burst {
            return Some(false);
        }
        // Before the horizon, so less than the limit.
        let earned = anchor_units + slope.certain(since)?;
        loop {
            let next = spent.max(earned.saturating_sub(burst)) + wanted;
            if next > earned {
                return Some(false);
            }
            match self.spent.compare_exchange_weak(spent, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(true),
                Err(current) => spent = current,
            }
            // Invariant 4: what was just read has to belong to the same schedule.
            self.unchanged(version)?;
        }
    }

    /// Whether no schedule has been written since `version` was read.
    #[inline]
    fn unchanged(&self, version: u64) -> Option<()> {
        // Keeps the reads before it from moving behind the check.
        fence(Ordering::Acquire);
        (version & 1 == 0 && self.version.load(Ordering::Relaxed) == version).then_some(())
    }

    #[cold]
    fn take_with_lock(&self, tokens: u32) -> bool {
        matches!(self.take_or_tell(&mut self.book(), tokens), Some(Take::Granted(_)))
    }

    /// Takes `tokens`, or tells when they will be there; none if there are never as many at once.
    pub(super) fn take_or_tell(&self, book: &mut Book, tokens: u32) -> Option<Take> {
        let now = self.settle(book);
        if book.schedule.meter.is_infinite() {
            return Some(Take::Granted(now));
        }
        if tokens > book.burst {
            return None;
        }
        let (earned, wanted) = (book.schedule.earned(now), units(tokens));
        let floor = earned - book.schedule.burst;
        let taken = self.spent.fetch_update(Ordering::AcqRel, Ordering::Acquire, |spent| {
            let next = spent.max(floor) + wanted;
            (next <= earned).then_some(next)
        });
        Some(match taken {
            Ok(_) => Take::Granted(now),
            Err(spent) => {
                let at = book.schedule.time_of(spent.max(floor) + wanted);
                Take::Later(at.map(|at| Duration::from_nanos(at.saturating_sub(now))))
            }
        })
    }

    /// Takes `tokens` that are yet to be earned, if `agree` does with the place and the time they will be.
    pub(super) fn take_ahead(
        &self,
        book: &Book,
        tokens: u32,
        now: u64,
        agree: impl Fn(&Ahead) -> bool,
    ) -> Option<Ahead> {
        let (earned, wanted) = (book.schedule.earned(now), units(tokens));
        let floor = earned - book.schedule.burst;
        let mut spent = self.spent.load(Ordering::Acquire);
        loop {
            let start = spent.max(floor);
            let end = start + wanted;
            let ahead = Ahead { start, act_at: book.schedule.time_of(end) };
            if end > earned.saturating_add(MOST_AHEAD) || !agree(&ahead) {
                return None;
            }
            match self.spent.compare_exchange(spent, end, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(ahead),
                Err(current) => spent = current,
            }
        }
    }

    /// Calls a promise off.
    pub(super) fn call_off(&self, book: &mut Book, id: u64) -> CalledOff {
        let tail = book.queue.tail();
        let refund = self.spent.load(Ordering::Acquire) == tail;
        let CalledOff { free, waker } = book.queue.call_off(id, refund);
        CalledOff { free: self.move_back(tail, free), waker }
    }

    /// Takes back tokens that were granted and have not been used; returns the units that are there again. Those beyond a
    /// burst are lost.
    ///
    /// The holder might have used them at this moment, and so may now whoever gets them next.
    pub(super) fn give_back(&self, book: &mut Book, tokens: u32) -> u64 {
        let now = self.settle(book);
        if book.schedule.meter.is_infinite() {
            return 0;
        }
        if !book.queue.is_empty() {
            let tail = book.queue.tail();
            if self.spent.load(Ordering::Acquire) == tail {
                let free = book.queue.move_up(units(tokens));
                return self.move_back(tail, free);
            }
        }
        // What is promised stays so: if more has been spent since, all of the promises are due.
        let mut lowest = book.schedule.earned(now) - book.schedule.burst;
        if !book.queue.is_empty() {
            lowest = lowest.max(book.queue.tail());
        }
        let lowered = |spent: u64| spent.saturating_sub(units(tokens)).max(lowest).min(spent);
        let change = |spent| Some(lowered(spent));
        match self.spent.fetch_update(Ordering::AcqRel, Ordering::Acquire, change) {
            Ok(spent) | Err(spent) => spent - lowered(spent),
        }
    }

    /// Moves what is spent from the tail back by `free`; returns by how much it did.
    fn move_back(&self, tail: u64, free: u64) -> u64 {
        // Somebody may have spent beyond the tail this very moment, if the rate was raised: then it is as good as spent.
        match self.spent.compare_exchange(tail, tail - free, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => free,
            Err(_) => 0,
        }
    }

    /// Reads the clock, and begins the schedule again if it has got far.
    pub(super) fn settle(&self, book: &mut Book) -> u64 {
        let now = self.time.now();
        if book.schedule.earned(now) >= LIMIT && !book.schedule.meter.is_infinite() {
            self.write(book, |book, now| {
                let lowered = book.schedule.rebase(now);
                book.queue.lower(lowered);
                lowered
            });
        }
        now
    }

    /// Everybody who waits has to be told: see [`Queue::wakers`].
    pub(super) fn set_rate(&self, book: &mut Book, rate: Rate) {
        self.write(book, |book, now| {
            if book.schedule.meter.is_infinite() {
                book.schedule.change_rate(rate, now);
                // Nothing was counted meanwhile: a full burst, and nothing promised.
                book.queue.clear();
                self.spent.store(book.schedule.full(), Ordering::Release);
                return 0;
            }
            let lowered = match book.schedule.earned(now) {
                far if far >= LIMIT => book.schedule.rebase(now),
                _ => 0,
            };
            book.queue.lower(lowered);
            book.schedule.change_rate(rate, now);
            lowered
        });
    }

    pub(super) fn set_burst(&self, book: &mut Book, burst: u32) {
        self.settle(book);
        self.write(book, |book, now| {
            // What the old burst kept from being saved up does not come back under a larger one.
            if !book.schedule.meter.is_infinite() {
                let kept = book.schedule.burst.min(units(burst));
                self.spent.fetch_max(book.schedule.earned(now) - kept, Ordering::AcqRel);
            }
            book.burst = burst;
            book.schedule.burst = units(burst);
            0
        });
    }

    /// Units left; below zero when more has been promised than is earned.
    pub(super) fn left(&self, book: &mut Book) -> i64 {
        let now = self.settle(book);
        let earned = book.schedule.earned(now);
        let spent = self.spent.load(Ordering::Acquire).max(earned - book.schedule.burst);
        earned as i64 - spent as i64
    }

    /// Changes the schedule, and lowers what is spent by what `change` returns.
    fn write(&self, book: &mut Book, change: impl FnOnce(&mut Book, u64) -> u64) {
        // Invariant 3: odd before the clock is read. The swap keeps the reading from moving ahead of it.
        self.version.swap(self.version.load(Ordering::Relaxed) + 1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let now = self.time.now();
        let lowered = change(book, now);
        if lowered > 0 {
            let burst = book.schedule.burst;
            // What was not spent in time is lost beyond a burst, and that must not become a debt below zero.
            let _ = self.spent.fetch_update(Ordering::AcqRel, Ordering::Acquire, |spent| {
                Some(spent.saturating_sub(lowered).max(BASE - burst))
            });
        }
        let Line { slope, anchor_time, anchor_units, burst, horizon } = book.schedule.line();
        self.whole.store(slope.whole, Ordering::Relaxed);
        self.part.store(slope.part, Ordering::Relaxed);
        self.anchor_time.store(anchor_time, Ordering::Relaxed);
        self.anchor_units.store(anchor_units, Ordering::Relaxed);
        self.burst.store(burst, Ordering::Relaxed);
        self.horizon.store(horizon, Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
