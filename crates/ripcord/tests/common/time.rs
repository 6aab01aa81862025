//! Clocks whose time a test advances.

use std::time::{Duration, Instant};

use ripcord::{Clock, ManualTime};

/// The time of a clock that is stopped until a test advances it, or the real time.
pub(crate) enum Time {
    Manual(ManualTime),
    #[cfg(feature = "tokio")]
    Tokio(tokio::runtime::Runtime),
    Real,
}

impl Time {
    pub(crate) fn manual() -> (Clock, Time) {
        let (clock, time) = Clock::manual();
        (clock, Time::Manual(time))
    }

    /// Returns the clock of a runtime whose time is paused. The clock shows that time where [`Time::enter_all`] was called.
    #[cfg(feature = "tokio")]
    pub(crate) fn paused() -> (Clock, Time) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
        let clock = runtime.block_on(async { Clock::tokio() });
        (clock, Time::Tokio(runtime))
    }

    /// Calls `run` inside the runtime among `times`, if there is one, because tokio's clock shows the time of the current
    /// runtime.
    #[cfg_attr(
        not(feature = "tokio"),
        expect(unused_variables, reason = "only tokio's clock depends on where it is read")
    )]
    pub(crate) fn enter_all<'a>(times: impl IntoIterator<Item = &'a Time>, run: impl FnOnce()) {
        #[cfg(feature = "tokio")]
        let runtime = times.into_iter().find_map(|time| match time {
            Time::Tokio(runtime) => Some(runtime.handle().clone()),
            _ => None,
        });
        #[cfg(feature = "tokio")]
        let _entered = runtime.as_ref().map(tokio::runtime::Handle::enter);
        run();
    }

    pub(crate) fn now(&self) -> Instant {
        match self {
            Time::Manual(time) => time.now(),
            #[cfg(feature = "tokio")]
            Time::Tokio(runtime) => runtime.block_on(async { tokio::time::Instant::now().into_std() }),
            Time::Real => Instant::now(),
        }
    }

    pub(crate) fn pass(&self, duration: Duration) {
        match self {
            Time::Manual(time) => time.advance(duration),
            #[cfg(feature = "tokio")]
            Time::Tokio(runtime) => runtime.block_on(async {
                tokio::time::advance(duration).await;
                // The task that fires the deadlines runs before this one continues.
                for _ in 0..4 {
                    tokio::task::yield_now().await;
                }
            }),
            Time::Real => {
                let until = Instant::now() + duration;
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
            }
        }
    }

    pub(crate) fn stands_still(&self) -> bool {
        !matches!(self, Time::Real)
    }
}
