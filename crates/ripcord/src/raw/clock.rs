//! The clock of a node. It measures time in ticks, which are nanoseconds since this process first read the system's clock.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::system_clock;
use super::timers::Timers;

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
pub struct Clock(pub(crate) Repr);

#[derive(Clone, Default)]
pub(crate) enum Repr {
    #[default]
    System,
    Other(Arc<dyn Source>),
}

/// A clock other than the system's.
pub(crate) trait Source: Send + Sync + UnwindSafe + RefUnwindSafe {
    /// Returns the time, in ticks of the system's clock.
    fn ticks(&self) -> i64;

    fn timers(&self) -> &Timers;

    /// Reports that a timer was armed for `when`, like [`Clock::armed`].
    fn armed(&self, when: i64) -> bool;

    /// Returns the constructor, for `Debug`.
    fn constructor(&self) -> &'static str;
}

impl Clock {
    pub(crate) const SYSTEM: &'static Clock = &Clock(Repr::System);

    /// Returns the time in nanoseconds since this process first read the clock.
    #[inline]
    pub(crate) fn ticks(&self) -> i64 {
        match &self.0 {
            Repr::System => ticks_of_system(),
            Repr::Other(clock) => clock.ticks(),
        }
    }

    /// Returns whether `when` has been reached.
    #[inline]
    pub(crate) fn has_come(&self, when: i64) -> bool {
        match &self.0 {
            Repr::System => system_clock::has_come(when),
            Repr::Other(clock) => when <= clock.ticks(),
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
        match &self.0 {
            Repr::System => false,
            Repr::Other(clock) => clock.armed(when),
        }
    }

    /// Returns an address that differs from the addresses of all other live clocks.
    #[cfg(feature = "tokio-util")]
    pub(crate) fn address(&self) -> usize {
        match &self.0 {
            Repr::System => 0,
            Repr::Other(clock) => Arc::as_ptr(clock).addr(),
        }
    }

    pub(crate) fn timers(&self) -> &Timers {
        match &self.0 {
            Repr::System => system_clock::timers(),
            Repr::Other(clock) => clock.timers(),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Repr::System => "Clock::system",
            Repr::Other(clock) => clock.constructor(),
        })
    }
}

/// Returns the time of the system's clock, in ticks.
#[inline]
pub(crate) fn ticks_of_system() -> i64 {
    let start = system_clock::start();
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
    let start = system_clock::start();
    match instant.checked_duration_since(start) {
        Some(after) => nanoseconds(after),
        None => nanoseconds(start.duration_since(instant)).map(|before| -before),
    }
}

/// Converts ticks to an instant: the inverse of `ticks_of`.
pub(crate) fn instant_of(ticks: i64) -> Instant {
    let distance = Duration::from_nanos(ticks.unsigned_abs());
    let start = system_clock::start();
    let instant = if ticks < 0 { start.checked_sub(distance) } else { start.checked_add(distance) };
    // Ticks come from instants, so only sums near the limits of `Instant` can be out of range.
    instant.unwrap_or(start)
}
