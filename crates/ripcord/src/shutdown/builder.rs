//! The settings of a shutdown.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use super::Shutdown;
use super::phase::{Phase, PhaseOutput};
use crate::context::Context;

const DRAIN: Duration = Duration::from_secs(10);

/// A duration, and the line of code that set it.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    pub(super) time: Duration,
    pub(super) location: &'static Location<'static>,
}

/// Builds a [`Shutdown`]: see [`Shutdown::builder`].
#[must_use = "a builder does nothing until `build`"]
pub struct ShutdownBuilder {
    pub(super) root: Context,
    pub(super) drain: Limit,
    pub(super) drain_delay: Duration,
    pub(super) total: Limit,
    pub(super) phases: Vec<Phase>,
}

impl ShutdownBuilder {
    #[track_caller]
    pub(super) fn new() -> Self {
        let location = Location::caller();
        ShutdownBuilder {
            root: Context::background(),
            drain: Limit { time: DRAIN, location },
            drain_delay: Duration::ZERO,
            total: Limit { time: Duration::MAX, location },
            phases: Vec::new(),
        }
    }

    /// Sets the context above all work and all phases. Their values and clock come from this context. Default: the background.
    ///
    /// When this context ends, work and phases end at once. If the shutdown has not started, it starts with the same cause. No
    /// further phase runs. If this context is below another `Shutdown`, contexts below this shutdown are draining when either
    /// shutdown is draining.
    pub fn context(self, root: &Context) -> Self {
        ShutdownBuilder { root: root.clone(), ..self }
    }

    /// Sets the time limit for work in flight, counted from the stop request. Default: 10 seconds.
    ///
    /// Work that has not ended by then is canceled. With zero, all work is canceled at once. [`Duration::MAX`] sets no limit.
    #[track_caller]
    pub fn drain(self, time: Duration) -> Self {
        ShutdownBuilder { drain: Limit { time, location: Location::caller() }, ..self }
    }

    /// Sets how long listeners stay open after the stop request, while readiness is already false. Default: zero.
    ///
    /// The delay gives load balancers time to notice. It is a part of the drain time, and the end of the drain also ends the
    /// delay. If no listener is in flight, nothing is delayed. A server waits for the delay with
    /// [`Shutdown::drain_delay_over`].
    pub fn drain_delay(self, time: Duration) -> Self {
        ShutdownBuilder { drain_delay: time, ..self }
    }

    /// Adds a phase that runs after the drain and after the phases that were added before, for at most `limit`.
    ///
    /// `run` gets a context below the root. The context has the phase's name and ends with the limit. The future returns `()`
    /// or a `Result<(), E>`. The report includes the error.
    ///
    /// A phase that is late is dropped. A phase for which no time is left, as with a limit of zero, is not run. The report
    /// names such a phase, and also a phase that fails or panics. The shutdown continues with the next phase.
    ///
    /// A phase that blocks its thread cannot be dropped. In this case the shutdown continues one second after the end of the
    /// phase's time, and the report lists the phase in [`left`](crate::Report::left). On a single-threaded runtime, such a
    /// phase blocks the shutdown too.
    #[track_caller]
    pub fn phase<F, T>(mut self, name: impl Into<Cow<'static, str>>, limit: Duration, run: F) -> Self
    where
        F: FnOnce(Context) -> T + Send + 'static,
        T: Future<Output: PhaseOutput> + Send + 'static,
    {
        self.phases.push(Phase::new(name.into(), limit, Location::caller(), run));
        self
    }

    /// Sets the time limit for the drain and all phases together, counted from the stop request. Default: none.
    #[track_caller]
    pub fn total(self, time: Duration) -> Self {
        ShutdownBuilder { total: Limit { time, location: Location::caller() }, ..self }
    }

    /// Builds the shutdown.
    ///
    /// If the feature `tokio` is on and this is called on a tokio runtime, the shutdown and its phases run on that runtime.
    /// Otherwise they run on threads, which are started when the shutdown begins.
    pub fn build(self) -> Shutdown {
        Shutdown::new(self)
    }
}

impl fmt::Debug for ShutdownBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phases: Vec<_> = self.phases.iter().map(|phase| &phase.name).collect();
        f.debug_struct("ShutdownBuilder")
            .field("context", &self.root)
            .field("drain", &self.drain.time)
            .field("drain_delay", &self.drain_delay)
            .field("total", &self.total.time)
            .field("phases", &phases)
            .finish()
    }
}
