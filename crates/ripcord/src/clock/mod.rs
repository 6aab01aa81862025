//! The clocks that users create. `raw/clock.rs` has the type itself and the system's clock.

mod manual;
#[cfg(feature = "tokio")]
mod tokio;

use std::sync::Arc;
use std::time::Instant;

pub use manual::{ManualTime, WaitForTimers};

pub use crate::raw::clock::Clock;
use crate::raw::clock::Repr;
pub(crate) use crate::raw::clock::{instant_of, nanoseconds, ticks_of};

impl Clock {
    /// Returns the system's monotonic clock.
    ///
    /// Contexts use this clock by default.
    ///
    /// One background thread per process wakes the futures that wait for deadlines, and starts the functions of
    /// [`after_func`](crate::Context::after_func) at deadlines. The thread is started when a future or a function first
    /// waits for a deadline. If the system cannot start the thread, deadlines wake no future. The next wait for a
    /// deadline tries again.
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
        (Clock(Repr::Other(Arc::clone(&manual) as _)), ManualTime::new(manual))
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
        Clock(Repr::Other(tokio::Tokio::new()))
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
}
