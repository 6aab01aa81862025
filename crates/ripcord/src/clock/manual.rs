//! A clock moved by hand.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::{instant_of, nanoseconds, ticks_of_system};
use crate::raw::timers::Timers;

/// The clock's side.
pub(super) struct Manual {
    now: AtomicI64,
    /// Where the calls of `advance` so far lead; `now` is on its way there.
    goal: AtomicI64,
    timers: Timers,
}

impl Manual {
    pub(super) fn new() -> Self {
        let now = ticks_of_system();
        // Nobody sleeps on this clock, so nobody is to be told of an earlier deadline.
        Manual { now: AtomicI64::new(now), goal: AtomicI64::new(now), timers: Timers::exact(|| true) }
    }

    pub(super) fn ticks(&self) -> i64 {
        self.now.load(Ordering::SeqCst)
    }

    pub(super) fn timers(&self) -> &Timers {
        &self.timers
    }
}

/// The hand that moves a manual [`Clock`](crate::Clock).
#[derive(Clone)]
pub struct ManualTime(Arc<Manual>);

impl ManualTime {
    pub(super) fn new(manual: Arc<Manual>) -> Self {
        ManualTime(manual)
    }

    /// Moves the clock on by `duration`.
    ///
    /// Deadlines on the way fire in their order, each at its own moment, in this thread: when this returns, contexts are
    /// done and those that wait have been woken. Deadlines that are set by what was woken, and fall on the way, fire too.
    /// May be called from a waker. Calls from several threads add up. What would lead beyond 292 years stays there.
    pub fn advance(&self, duration: Duration) {
        let by = nanoseconds(duration).unwrap_or(i64::MAX);
        let manual = &*self.0;
        // The first to come goes all the way; a sum that is out of range stays at its end.
        let before = manual.goal.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |goal| Some(goal.saturating_add(by)));
        let goal = before.unwrap_or_default().saturating_add(by);
        // Under the queue's lock, so that who arms a deadline later sees the new time and fires it itself.
        while let Some(next) = manual.timers.next_until(goal, || {
            manual.now.fetch_max(goal, Ordering::SeqCst);
        }) {
            manual.now.fetch_max(next, Ordering::SeqCst);
            while manual.timers.fire(next).is_none() {}
        }
    }

    /// What time the clock shows.
    pub fn now(&self) -> Instant {
        instant_of(self.0.ticks())
    }
}

impl fmt::Debug for ManualTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualTime").field(&self.now()).finish()
    }
}
