//! The clocks of contexts: they measure time and wake the waiters of deadlines.

mod manual;
pub(crate) mod queue;
mod system;
#[cfg(feature = "tokio")]
mod tokio;
pub(crate) mod wheel;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub use manual::{ManualTime, WaitForTimers};

use crate::raw::timers::Timers;

/// The source of time for deadlines and sleeps: the system's clock, a manual clock for tests, or tokio's clock.
///
/// The constructors are [`Clock::system`], [`Clock::manual`] and `Clock::tokio` (feature `tokio`).
/// [`Context::with_clock`](crate::Context::with_clock) sets the clock of a context and of all contexts derived from it.
/// The default is the system's clock.
///
/// A clock measures in [`Instant`], which is monotonic: a change of the system's date neither extends nor shortens a
/// deadline.
///
/// ```
/// use std::time::Duration;
/// use ripcord::{Clock, Context};
///
/// let (clock, time) = Clock::manual();
/// let ctx = Context::background().with_clock(clock).with_timeout(Duration::from_secs(5));
/// assert!(!ctx.is_done());
/// time.advance(Duration::from_secs(5)); // returns immediately
/// assert!(ctx.is_done());
/// ```
#[derive(Clone, Default)]
pub struct Clock(Repr);

#[derive(Clone, Default)]
enum Repr {
    #[default]
    System,
    Manual(Arc<manual::Manual>),
    #[cfg(feature = "tokio")]
    Tokio(Arc<tokio::Tokio>),
}

impl Clock {
    pub(crate) const SYSTEM: &'static Clock = &Clock(Repr::System);

    /// Returns the system's monotonic clock.
    ///
    /// Contexts use this clock by default.
    ///
    /// One background thread per process wakes the futures that wait for deadlines, and starts the functions of
    /// [`after_func`](crate::Context::after_func) at deadlines. The thread is started when a future or a function first
    /// waits for a deadline. If the system cannot start the thread, the next wait for a deadline tries again.
    ///
    /// After a `fork`, the child process does not have this thread. In the child process, methods such as
    /// [`is_done`](crate::Context::is_done) and blocking waits such as [`wait`](crate::Context::wait) still notice
    /// deadlines, but futures are not woken and functions are not started.
    pub const fn system() -> Clock {
        Clock(Repr::System)
    }

    /// Returns a clock for tests, and the [`ManualTime`] that advances it. The time of the clock changes only in calls of
    /// `ManualTime`, such as [`advance`](ManualTime::advance).
    ///
    /// The thread that calls `advance` ends the contexts whose deadlines have passed, in the order of the deadlines, and
    /// wakes their waiters before `advance` returns.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context};
    ///
    /// let (clock, time) = Clock::manual();
    /// let ctx = Context::background().with_clock(clock).with_timeout(Duration::from_secs(5));
    /// time.advance(Duration::from_secs(4));
    /// assert!(!ctx.is_done());
    /// time.advance(Duration::from_secs(1));
    /// assert!(ctx.err().is_some_and(|error| error.is_deadline_exceeded()));
    /// ```
    pub fn manual() -> (Clock, ManualTime) {
        let manual = Arc::new(manual::Manual::new());
        (Clock(Repr::Manual(Arc::clone(&manual))), ManualTime::new(manual))
    }

    /// Returns the clock of the current tokio runtime, which follows `tokio::time::pause` and `tokio::time::advance`.
    ///
    /// A task of this runtime wakes the futures that wait for deadlines. If this function is called outside of a
    /// runtime, or if the runtime is shut down later, a thread wakes the futures according to the system's time.
    ///
    /// Use contexts with this clock only on threads of the runtime. On other threads, the clock shows the system's time,
    /// which differs from tokio's time if tokio's time was paused or advanced.
    #[cfg(feature = "tokio")]
    pub fn tokio() -> Clock {
        Clock(Repr::Tokio(tokio::Tokio::new()))
    }

    /// Returns whether this clock is the system's clock, as [`Clock::system`] returns it.
    pub fn is_system(&self) -> bool {
        matches!(self.0, Repr::System)
    }

    /// Returns the time that the clock shows. The time never goes backwards.
    pub fn now(&self) -> Instant {
        instant_of(self.ticks())
    }

    /// Returns whether this clock has reached `instant`, like `now() >= instant`.
    ///
    /// On the system's clock, a call costs less than [`now`](Clock::now) if `instant` is more than about 120 ms in the
    /// future.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::Clock;
    ///
    /// let (clock, time) = Clock::manual();
    /// let expires = clock.now() + Duration::from_secs(60);
    /// assert!(!clock.has_passed(expires));
    /// time.advance(Duration::from_secs(60));
    /// assert!(clock.has_passed(expires));
    /// ```
    // Inlined, with all that it calls: a third of its cost (row P4).
    #[inline]
    pub fn has_passed(&self, instant: Instant) -> bool {
        match ticks_of(instant) {
            Some(when) => self.has_come(when),
            // The instant is more than 292 years away, in the past or in the future.
            None => instant <= self.now(),
        }
    }

    /// Returns the time in nanoseconds since this process first read the clock.
    #[inline]
    pub(crate) fn ticks(&self) -> i64 {
        match &self.0 {
            Repr::System => ticks_of_system(),
            Repr::Manual(clock) => clock.ticks(),
            #[cfg(feature = "tokio")]
            Repr::Tokio(clock) => clock.ticks(),
        }
    }

    /// Returns whether `when` has been reached.
    #[inline]
    pub(crate) fn has_come(&self, when: i64) -> bool {
        match &self.0 {
            Repr::System => system::has_come(when),
            _ => when <= self.ticks(),
        }
    }

    /// Returns a number that orders the cancels at one time of a clock that is stopped or has a low resolution. The number
    /// wraps.
    pub(crate) fn number_cancel(&self) -> u32 {
        // Not one of loom's atomics: the number only orders two cancels, one of which happens before the other.
        static CANCELS: AtomicU32 = AtomicU32::new(0);
        // On Linux the times differ, because the clock counts nanoseconds and a cancel takes several nanoseconds.
        if self.is_system() && cfg!(target_os = "linux") { 0 } else { CANCELS.fetch_add(1, Relaxed) }
    }

    /// Reports that a timer was armed for `when`. The caller holds no lock. Returns true if the caller has to fire the timer,
    /// because a manual clock may have passed `when` before the timer was in its queue.
    pub(crate) fn armed(&self, when: i64) -> bool {
        let Repr::Manual(clock) = &self.0 else { return false };
        clock.armed();
        self.has_come(when)
    }

    /// Returns an address that differs from the addresses of all other live clocks.
    #[cfg(feature = "tokio-util")]
    pub(crate) fn address(&self) -> usize {
        match &self.0 {
            Repr::System => 0,
            Repr::Manual(clock) => Arc::as_ptr(clock).addr(),
            #[cfg(feature = "tokio")]
            Repr::Tokio(clock) => Arc::as_ptr(clock).addr(),
        }
    }

    pub(crate) fn timers(&self) -> &Timers {
        match &self.0 {
            Repr::System => system::timers(),
            Repr::Manual(clock) => clock.timers(),
            #[cfg(feature = "tokio")]
            Repr::Tokio(clock) => clock.timers(),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Repr::System => "Clock::system",
            Repr::Manual(_) => "Clock::manual",
            #[cfg(feature = "tokio")]
            Repr::Tokio(_) => "Clock::tokio",
        })
    }
}

#[inline]
fn ticks_of_system() -> i64 {
    let start = system::start();
    let since = Instant::now().saturating_duration_since(start);
    // Exact for a process that runs for up to 292 years.
    (since.as_secs() as i64).wrapping_mul(1_000_000_000).wrapping_add(i64::from(since.subsec_nanos()))
}

/// Converts a duration to nanoseconds. Returns `None` for 292 years or more.
#[inline]
pub(crate) fn nanoseconds(duration: Duration) -> Option<i64> {
    let seconds = i64::try_from(duration.as_secs()).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(i64::from(duration.subsec_nanos()))
}

/// Converts an instant to ticks, exactly. Returns `None` if the instant is more than 292 years away.
#[inline]
pub(crate) fn ticks_of(instant: Instant) -> Option<i64> {
    let start = system::start();
    match instant.checked_duration_since(start) {
        Some(after) => nanoseconds(after),
        None => nanoseconds(start.duration_since(instant)).map(|before| -before),
    }
}

/// Converts ticks to an instant: the inverse of `ticks_of`.
pub(crate) fn instant_of(ticks: i64) -> Instant {
    let distance = Duration::from_nanos(ticks.unsigned_abs());
    let start = system::start();
    let instant = if ticks < 0 { start.checked_sub(distance) } else { start.checked_add(distance) };
    // Ticks come from instants, so only sums near the limits of `Instant` can be out of range.
    instant.unwrap_or(start)
}
