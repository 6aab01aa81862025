//! The clock of a limiter.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use ripcord::Clock;

/// The processor's time stamp counter. It takes milliseconds to calibrate, so it is created once.
static COUNTER: LazyLock<quanta::Clock> = LazyLock::new(quanta::Clock::new);

/// The clock of a limiter. It returns nanoseconds since the limiter was built.
#[derive(Clone, Debug)]
pub(super) struct Time {
    origin: Instant,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    /// The system's time, read from the time stamp counter. See DESIGN.md, "The policies".
    Counter { clock: quanta::Clock, origin: u64 },
    /// A clock given by the user.
    Clock(Clock),
    /// Readings set by a test, including stale readings.
    #[cfg(test)]
    Given(std::sync::Arc<crate::sync::AtomicU64>),
}

impl Time {
    /// Creates the time of a limiter. A `clock` of `None` means the system's clock.
    pub(super) fn new(clock: Option<Clock>) -> Self {
        match clock {
            Some(clock) if !clock.is_system() => Time { origin: clock.now(), source: Source::Clock(clock) },
            _ => {
                let clock = COUNTER.clone();
                let origin = clock.raw();
                Time { origin: Instant::now(), source: Source::Counter { clock, origin } }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn given(reading: std::sync::Arc<crate::sync::AtomicU64>) -> Self {
        Time { origin: Instant::now(), source: Source::Given(reading) }
    }

    #[inline]
    pub(super) fn now(&self) -> u64 {
        match &self.source {
            Source::Counter { clock, origin } => {
                let reading = clock.raw();
                clock.delta_as_nanos(*origin, reading)
            }
            Source::Clock(clock) => {
                let since = clock.now().saturating_duration_since(self.origin);
                u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
            }
            #[cfg(test)]
            Source::Given(reading) => reading.load(crate::sync::Ordering::Relaxed),
        }
    }

    pub(super) fn instant(&self, nanos: u64) -> Option<Instant> {
        self.origin.checked_add(Duration::from_nanos(nanos))
    }
}
