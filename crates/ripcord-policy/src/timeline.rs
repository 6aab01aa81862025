//! Time as the cache and the pool count it: nanoseconds since they were built, read from their Context's clock.
//!
//! A cache hit must know whether its entry has expired, and reading the system's clock costs more than the rest of the
//! hit. On Linux the kernel also publishes the reading it took at its last tick, for a third of the price. That reading is
//! only ever early, and by a bounded amount, so it can prove that an entry is *not yet* expired, and nothing else:
//! whatever it cannot prove is decided by the exact clock. An entry is therefore never taken for fresh after its time.

use std::time::{Duration, Instant};

use ripcord::{Clock, Context};

/// An instant on a [`Timeline`]: nanoseconds since that was made.
pub(crate) type Moment = u64;

/// A moment that never comes.
pub(crate) const NEVER: Moment = u64::MAX;

#[derive(Debug)]
pub(crate) struct Timeline {
    clock: Clock,
    epoch: Instant,
    tick: Option<tick::TickClock>,
}

impl Timeline {
    pub(crate) fn new(ctx: &Context) -> Self {
        let clock = ctx.clock();
        // The tick clock is read first, so that its epoch is not later than the exact one.
        let tick = tick::TickClock::new(&clock);
        let epoch = clock.now();
        Self { clock, epoch, tick }
    }

    /// The exact time.
    pub(crate) fn now(&self) -> Moment {
        nanos(self.clock.now().saturating_duration_since(self.epoch))
    }

    /// `moment` as its clock tells it. None for one that never comes.
    pub(crate) fn instant(&self, moment: Moment) -> Option<Instant> {
        (moment != NEVER).then(|| self.epoch.checked_add(Duration::from_nanos(moment)))?
    }

    /// Whether `moment` has come. At the moment itself it has.
    #[inline]
    pub(crate) fn has_come(&self, moment: Moment) -> bool {
        if moment == NEVER {
            return false;
        }
        if let Some(tick) = &self.tick
            && tick.latest_possible_now() < moment
        {
            return false;
        }
        self.now() >= moment
    }
}

/// `start + duration`, where what would overflow never comes.
pub(crate) fn after(start: Moment, duration: Duration) -> Moment {
    start.saturating_add(nanos(duration))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

#[cfg(target_os = "linux")]
mod tick {
    use super::{Clock, Moment};
    use rustix::time::{ClockId, Timespec, clock_gettime};
    use std::time::Duration;

    /// How far `CLOCK_MONOTONIC_COARSE` may lag behind `CLOCK_MONOTONIC`. A tick is at most 10 ms (`CONFIG_HZ` is 100 at
    /// least), and a kernel whose timekeeping processor stalls has another one take over after five ticks. Twice that.
    const LAG: Duration = Duration::from_millis(120);

    /// [`LAG`], as a difference of moments.
    pub(crate) const LAG_NANOS: u64 = LAG.as_nanos() as u64;

    /// The kernel's clock as of its last tick.
    #[derive(Debug)]
    pub(crate) struct TickClock {
        /// What to subtract from a reading to have the latest moment that it may be: the epoch less [`LAG`], in nanoseconds.
        base: u64,
    }

    impl TickClock {
        /// None for any clock but the system's: a manual or a paused clock has nothing to do with the kernel's.
        pub(crate) fn new(clock: &Clock) -> Option<Self> {
            if !clock.is_system() {
                return None;
            }
            let epoch = nanos_of(clock_gettime(ClockId::Monotonic));
            epoch.checked_sub(LAG_NANOS).map(|base| Self { base })
        }

        /// A moment that the exact time has not passed: now, or up to [`LAG`] later.
        #[inline]
        pub(crate) fn latest_possible_now(&self) -> Moment {
            nanos_of(clock_gettime(ClockId::MonotonicCoarse)).saturating_sub(self.base)
        }
    }

    /// In one word, since a hit waits for it. It is enough for 584 years since the machine's start.
    #[inline]
    fn nanos_of(time: Timespec) -> u64 {
        time.tv_sec.unsigned_abs().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec.unsigned_abs())
    }
}

#[cfg(not(target_os = "linux"))]
mod tick {
    use super::{Clock, Moment};

    pub(crate) const LAG_NANOS: u64 = 0;

    /// No clock is known here that is cheaper than the exact one and bounded.
    #[derive(Debug)]
    pub(crate) enum TickClock {}

    impl TickClock {
        pub(crate) fn new(_: &Clock) -> Option<Self> {
            None
        }

        pub(crate) fn latest_possible_now(&self) -> Moment {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Context, Duration, NEVER, Timeline, after};

    #[test]
    #[cfg(target_os = "linux")]
    fn the_systems_clock_is_told_from_all_others() {
        let ctx = Context::background();
        assert!(Timeline::new(&ctx).tick.is_some());
        assert!(Timeline::new(&ctx.with_clock(Clock::manual().0)).tick.is_none());
    }

    #[test]
    fn the_tick_bounds_the_exact_time_from_both_sides() {
        let time = Timeline::new(&Context::background());
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(100) {
            let now = time.now();
            // What has not come by the tick's reckoning has not come by the exact one.
            assert!(time.has_come(now));
            #[cfg(target_os = "linux")]
            assert!(time.tick.as_ref().is_some_and(|tick| tick.latest_possible_now() >= now));
        }
    }

    #[test]
    fn what_overflows_never_comes() {
        let (clock, hand) = Clock::manual();
        let time = Timeline::new(&Context::background().with_clock(clock));
        assert_eq!(after(1, Duration::MAX), NEVER);
        hand.advance(Duration::from_secs(1 << 30));
        assert!(!time.has_come(NEVER));
        assert!(time.has_come(after(0, Duration::from_secs(1 << 30))));
    }
}
