//! Where a limiter reads the time.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use ripcord::Clock;

/// Asking the processor what its counter is good for takes longer than all else in making a limiter: once is enough.
static COUNTER: LazyLock<quanta::Clock> = LazyLock::new(quanta::Clock::new);

/// Nanoseconds since the limiter was made.
#[derive(Clone, Debug)]
pub(super) struct Time {
    origin: Instant,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    /// The time stamp counter where there is a steady one: a third of the price of `Instant::now`.
    Counter { clock: quanta::Clock, origin: u64 },
    /// A clock given by the user.
    Clock(Clock),
    /// Readings made up by a test, stale ones among them.
    #[cfg(test)]
    Given(std::sync::Arc<crate::sync::AtomicU64>),
}

impl Time {
    pub(super) fn system() -> Self {
        let clock = COUNTER.clone();
        let origin = clock.raw();
        Time { origin: Instant::now(), source: Source::Counter { clock, origin } }
    }

    pub(super) fn of(clock: Clock) -> Self {
        Time { origin: clock.now(), source: Source::Clock(clock) }
    }

    #[cfg(test)]
    pub(super) fn given(reading: std::sync::Arc<crate::sync::AtomicU64>) -> Self {
        Time { origin: Instant::now(), source: Source::Given(reading) }
    }

    #[inline]
    pub(super) fn now(&self) -> u64 {
        match &self.source {
            Source::Counter { clock, origin } => {
                // The origin is read after the call, not kept across it.
                let reading = clock.raw();
                clock.delta_as_nanos(*origin, reading)
            }
            Source::Clock(clock) => self.nanos(clock.now()),
            #[cfg(test)]
            Source::Given(reading) => reading.load(crate::sync::Ordering::Relaxed),
        }
    }

    pub(super) fn instant(&self, nanos: u64) -> Option<Instant> {
        self.origin.checked_add(Duration::from_nanos(nanos))
    }

    fn nanos(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
    }
}
