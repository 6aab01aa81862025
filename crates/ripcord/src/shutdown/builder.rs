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

/// Builds a [`Shutdown`]. [`Shutdown::builder`] returns it.
///
/// ```
/// use std::time::Duration;
/// use ripcord::{Shutdown, block_on};
///
/// let shutdown = Shutdown::builder()
///     .drain(Duration::from_secs(5))
///     .phase("flush", Duration::from_secs(1), |_ctx| async {})
///     .build();
/// shutdown.begin("deployment");
/// assert!(block_on(shutdown.run()).is_clean());
/// ```
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

    /// Sets the root: the context from which all work and all phases derive their contexts. Default:
    /// [`Context::background`].
    ///
    /// The root provides their values and their clock. When the root ends, all work and the current phase end at once,
    /// and no further phase runs. If the shutdown has not started, it starts with the root's cause.
    ///
    /// The root may belong to another `Shutdown`. Contexts of this shutdown are then [draining](Context::is_draining)
    /// when either shutdown is draining.
    pub fn context(self, root: &Context) -> Self {
        ShutdownBuilder { root: root.clone(), ..self }
    }

    /// Sets how long [work in flight](Shutdown) may continue after the stop request. Default: 10 seconds.
    ///
    /// Work that has not ended by then is canceled. With zero, all work is canceled at once. [`Duration::MAX`] sets no
    /// limit.
    #[track_caller]
    pub fn drain(self, time: Duration) -> Self {
        ShutdownBuilder { drain: Limit { time, location: Location::caller() }, ..self }
    }

    /// Sets how long servers still accept connections after the stop request. Default: zero.
    ///
    /// During the delay, readiness checks already fail, so that load balancers can stop sending requests. The delay is
    /// part of the drain time and ends with it. If no listener is open, there is no delay. A server waits for the delay
    /// with [`Shutdown::drain_delay_over`].
    pub fn drain_delay(self, time: Duration) -> Self {
        ShutdownBuilder { drain_delay: time, ..self }
    }

    /// Adds a phase: cleanup that runs after the drain and after the phases that were added before.
    ///
    /// `run` receives a child of the [root](ShutdownBuilder::context), which has the phase's name and ends after `limit`.
    /// `run` returns a future with the output `()` or `Result<(), E>`.
    ///
    /// A phase that exceeds its limit is dropped. A phase for which no time is left is not run, for example with a limit
    /// of zero. The [report](crate::Report) names such a phase, and a phase that fails or panics. In all these cases the
    /// shutdown continues with the next phase.
    ///
    /// A phase that blocks its thread cannot be dropped. The shutdown then continues one second after the limit, and the
    /// report lists the phase in [`left`](crate::Report::left). On a single-threaded runtime, such a phase also blocks
    /// the shutdown.
    #[track_caller]
    pub fn phase<F, T>(mut self, name: impl Into<Cow<'static, str>>, limit: Duration, run: F) -> Self
    where
        F: FnOnce(Context) -> T + Send + 'static,
        T: Future<Output: PhaseOutput> + Send + 'static,
    {
        self.phases.push(Phase::new(name.into(), limit, Location::caller(), run));
        self
    }

    /// Sets the time limit for the drain and all phases together, counted from the stop request. Default: no limit.
    #[track_caller]
    pub fn total(self, time: Duration) -> Self {
        ShutdownBuilder { total: Limit { time, location: Location::caller() }, ..self }
    }

    /// Creates the shutdown.
    ///
    /// If this is called on a tokio runtime and the feature `tokio` is on, the shutdown and its phases run on that
    /// runtime. Otherwise they run on threads, which start when the shutdown begins.
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
