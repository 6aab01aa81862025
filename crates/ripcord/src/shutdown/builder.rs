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

    /// Sets the root context, which is the parent of [`Shutdown::context`] and of the contexts of all phases. Default:
    /// [`Context::background`].
    ///
    /// Work and phases inherit the values and the clock of the root context. When it ends, the contexts of all work and of
    /// the current phase end too, and no further phase runs. If the shutdown has not started, it starts with the
    /// cause of that end.
    ///
    /// The root context may be derived from the context of another `Shutdown`. In this case, contexts of this shutdown are
    /// [draining](Context::is_draining) when either shutdown is draining.
    pub fn context(self, root: &Context) -> Self {
        ShutdownBuilder { root: root.clone(), ..self }
    }

    /// Sets the drain time: how long [work in flight](Shutdown) may continue after the [stop request](Shutdown).
    /// Default: 10 seconds.
    ///
    /// When the drain time is over, [`Shutdown::context`] is canceled, and with it the contexts of all work that has
    /// not ended. With a drain time of zero, this happens immediately after the stop request. [`Duration::MAX`] sets no
    /// limit.
    #[track_caller]
    pub fn drain(self, time: Duration) -> Self {
        ShutdownBuilder { drain: Limit { time, location: Location::caller() }, ..self }
    }

    /// Sets how long servers still accept connections after the [stop request](Shutdown). Default: zero.
    ///
    /// Let the readiness check of your service fail when [`is_draining`](Context::is_draining) of the service's context
    /// returns `true`. During the delay, load balancers notice this and stop sending requests. The servers of
    /// `ripcord_http::serve` close their listeners after the delay. If you write a server, wait for the delay with
    /// [`Shutdown::drain_delay_over`].
    ///
    /// The delay is part of the [drain time](ShutdownBuilder::drain): if the drain ends during the delay, the delay
    /// ends too. The drain ends as soon as no [work is in flight](Shutdown). An open listener of `ripcord_http::serve`
    /// counts as work in flight. If you write a server, hold a guard from `shutdown.context().task_guard()` while its
    /// listener is open, so that the drain does not end during the delay.
    pub fn drain_delay(self, time: Duration) -> Self {
        ShutdownBuilder { drain_delay: time, ..self }
    }

    /// Adds a phase: cleanup that runs after the drain and after all phases that were added before it.
    ///
    /// `run` receives the context of the phase: a child of the [root context](ShutdownBuilder::context) with the name `name`
    /// and the timeout `limit`. `run` returns a future with the output `()` or `Result<(), E>`, where `E` converts into
    /// a [`Cause`](crate::Cause).
    ///
    /// The future is dropped if it is not ready after `limit`, when the [total](ShutdownBuilder::total) limit is over, or
    /// when the root context ends. `run` is not called if `limit` is zero, or if the total limit is over or the root
    /// context has ended when the phase should start. A `limit` of [`Duration::MAX`] sets no limit.
    ///
    /// The shutdown continues with the next phase even if a phase fails, panics or exceeds its limit. The
    /// [report](crate::Report) contains the outcome of each phase.
    ///
    /// A future that blocks its thread cannot be dropped. In this case, the shutdown continues one second after the
    /// limit, and [`Report::left`](crate::Report::left) contains the phase. On a single-threaded runtime, such a future
    /// also blocks the shutdown.
    #[track_caller]
    pub fn phase<F, T>(mut self, name: impl Into<Cow<'static, str>>, limit: Duration, run: F) -> Self
    where
        F: FnOnce(Context) -> T + Send + 'static,
        T: Future<Output: PhaseOutput> + Send + 'static,
    {
        self.phases.push(Phase::new(name.into(), limit, Location::caller(), run));
        self
    }

    /// Sets the time limit for the drain and all phases together, counted from the [stop request](Shutdown). Default:
    /// no limit.
    ///
    /// When the limit is over, the contexts of work that is still in flight are canceled, the current phase is dropped,
    /// and no further phase runs.
    #[track_caller]
    pub fn total(self, time: Duration) -> Self {
        ShutdownBuilder { total: Limit { time, location: Location::caller() }, ..self }
    }

    /// Creates the [`Shutdown`], which waits for a [stop request](Shutdown).
    ///
    /// If this method is called on a tokio runtime and the feature `tokio` is on, the shutdown and its phases run on that
    /// runtime. Otherwise they run on threads, which start after the stop request.
    pub fn build(self) -> Shutdown {
        Shutdown::new(self)
    }
}

impl fmt::Debug for ShutdownBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phases: Vec<_> = self.phases.iter().map(|phase| &phase.name).collect();
        let time = |limit: &Limit| (limit.time < Duration::MAX).then_some(limit.time);
        f.debug_struct("ShutdownBuilder")
            .field("context", &self.root)
            .field("drain", &time(&self.drain))
            .field("drain_delay", &self.drain_delay)
            .field("total", &time(&self.total))
            .field("phases", &phases)
            .finish()
    }
}
