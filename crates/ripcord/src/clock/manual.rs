//! The manual clock, which tests advance.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as Task, Poll, Waker};
use std::time::{Duration, Instant};

use super::{instant_of, nanoseconds};
use crate::atomic::{AtomicI64, Ordering};
use crate::background;
use crate::raw::clock::{Source, ticks_of_system};
use crate::raw::timers::Timers;

/// The state of a manual clock.
pub(super) struct Manual {
    now: AtomicI64,
    /// The time that `now` will have when all calls of `advance` have returned.
    goal: AtomicI64,
    timers: Timers,
    /// The wakers of `WaitForTimers`. Woken, without the lock, whenever a timer is armed.
    watchers: Mutex<Vec<Waker>>,
}

impl Manual {
    pub(super) fn new() -> Self {
        let now = ticks_of_system();
        Manual {
            now: AtomicI64::new(now),
            goal: AtomicI64::new(now),
            // No thread sleeps until a deadline of this clock, so no thread has to be woken.
            timers: Timers::exact(|| true),
            watchers: Mutex::new(Vec::new()),
        }
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fires every deadline up to `goal`, each at its own time, and sets the clock to `goal`.
    fn run_to(&self, goal: i64) {
        // The time is set under the queue's lock, so a caller that arms a deadline later sees the new time and fires it.
        while let Some(next) = self.timers.next_until(goal, || {
            self.now.fetch_max(goal, Ordering::SeqCst);
        }) {
            self.now.fetch_max(next, Ordering::SeqCst);
            while self.timers.fire(next).is_none() {}
        }
    }
}

impl Source for Manual {
    fn ticks(&self) -> i64 {
        self.now.load(Ordering::SeqCst)
    }

    fn timers(&self) -> &Timers {
        &self.timers
    }

    /// Wakes the watchers. The caller holds no lock, because wakers are user code.
    fn armed(&self, when: i64) -> bool {
        let watchers = std::mem::take(&mut *self.watchers());
        watchers.into_iter().for_each(|waker| background::shielded(|| waker.wake()));
        // The clock may have passed `when` before the timer was in the queue.
        when <= self.ticks()
    }

    fn constructor(&self) -> &'static str {
        "Clock::manual"
    }
}

/// Advances a manual clock in a test, and waits until the code under test sleeps or waits for a deadline on this clock.
/// [`Clock::manual`](crate::Clock::manual) returns a `ManualTime` together with its clock.
///
/// Clones advance the same clock.
///
/// ```
/// use std::time::Duration;
/// use ripcord::{Clock, Context, block_on};
///
/// let (clock, time) = Clock::manual();
/// let ctx = Context::background().with_clock(clock);
/// let sleeping = std::thread::spawn(move || ctx.sleep_blocking(Duration::from_secs(60)));
/// block_on(time.wait_for_timers(1)); // until the other thread sleeps
/// assert!(time.advance_to_next());
/// assert!(sleeping.join().unwrap().is_ok());
/// ```
#[derive(Clone)]
pub struct ManualTime(Arc<Manual>);

impl ManualTime {
    pub(super) fn new(manual: Arc<Manual>) -> Self {
        ManualTime(manual)
    }

    /// Advances the clock by `duration`. Ends all contexts whose deadlines or idle timeouts this clock reaches, in the order
    /// of these times.
    ///
    /// The calling thread calls the wakers of the futures that wait for these contexts, and of the sleeps that are over.
    /// While a waker runs, the clock shows the time of the deadline. This method does not poll the futures: on a
    /// single-threaded runtime, they are polled after it has returned, when the clock shows the new time. A task that
    /// sleeps twice in a row then needs two calls of this method.
    ///
    /// If a waker or another thread sets a deadline at or before the new time during the call, it has also passed when this
    /// method returns.
    ///
    /// A waker may call this method. If several threads call this method at the same time, the clock advances by the sum of
    /// their durations. The clock advances by at most 292 years in total.
    pub fn advance(&self, duration: Duration) {
        let by = nanoseconds(duration).unwrap_or(i64::MAX);
        let manual = &*self.0;
        let before = manual.goal.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |goal| Some(goal.saturating_add(by)));
        manual.run_to(before.unwrap_or_default().saturating_add(by));
    }

    /// Advances the clock to the earliest time at which a [timer](ManualTime::timers) expires: the deadline or the idle timeout
    /// of a context, the end of a grace period, or the end of a sleep. Returns `false`, and leaves the clock unchanged, if no
    /// timer is active.
    ///
    /// A deadline for which no code has waited has no timer: the clock may advance past it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context};
    ///
    /// let (clock, time) = Clock::manual();
    /// let ctx = Context::background().with_clock(clock).with_timeout(Duration::from_secs(5));
    /// assert!(!time.advance_to_next()); // no code waits for `ctx`
    /// let _after = ctx.after_func(|| {});
    /// assert!(time.advance_to_next());
    /// assert!(ctx.is_done());
    /// ```
    pub fn advance_to_next(&self) -> bool {
        let manual = &*self.0;
        let Some(next) = manual.timers.next_until(i64::MAX, || {}) else { return false };
        manual.goal.fetch_max(next, Ordering::SeqCst);
        manual.run_to(next);
        true
    }

    /// Returns the number of active timers. A sleep in progress has one timer. A deadline, an idle timeout or a
    /// running grace period has one timer once code has waited for the end of its context or of a context derived from
    /// it. A sleep counts as such a wait.
    ///
    /// A timer stays active until it expires or its context is dropped. Neither a cancel of the context nor the drop of
    /// a future that waits for the context's end removes the timer. Dropping a [`Sleep`](crate::Sleep) removes the
    /// timer of the sleep.
    pub fn timers(&self) -> usize {
        self.0.timers.len()
    }

    /// Waits until at least `count` [timers](ManualTime::timers) are active. A test calls this method before it advances
    /// the clock, so that the code under test is already sleeping or waiting for a deadline.
    ///
    /// On a plain thread, use [`block_on`](crate::block_on): `block_on(time.wait_for_timers(1))`.
    ///
    /// # Cancel safety
    ///
    /// The returned future may be dropped at any time.
    pub fn wait_for_timers(&self, count: usize) -> WaitForTimers {
        WaitForTimers { time: self.clone(), count }
    }

    /// Returns the time that the clock shows.
    pub fn now(&self) -> Instant {
        instant_of(self.0.ticks())
    }
}

impl fmt::Debug for ManualTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualTime").field(&self.now()).finish()
    }
}

/// The future that [`ManualTime::wait_for_timers`] returns. Ready when at least the requested number of timers is active.
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct WaitForTimers {
    time: ManualTime,
    count: usize,
}

impl Future for WaitForTimers {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        let mut waker = Some(task.waker().clone());
        // Registered before the count is read, so that a timer that is armed after that wakes this future.
        let mut watchers = self.time.0.watchers();
        if !watchers.iter().any(|known| known.will_wake(task.waker())) {
            watchers.extend(waker.take());
        }
        drop(watchers);
        if self.time.timers() >= self.count { Poll::Ready(()) } else { Poll::Pending }
    }
}
