//! Ending a process in order: the stop request, the drain, and the phases.
//!
//! ```text
//! root                    the builder's context
//! ├─ stop                 ends at the stop request; `draining` waits for its end
//! ├─ work                 `Shutdown::context`: carries `stop` as a value, canceled at the end of the drain
//! └─ "flush queue"        one for each phase, with its time limit
//! finished                ends when the report is available
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `builder.rs` | the settings |
//! | `draining.rs` | the stop request, as contexts see it |
//! | `drive.rs` | the drain, then the phases |
//! | `phase.rs` | running one phase |
//! | `executor.rs` | where the shutdown and its phases run |
//! | `report.rs` | the report |
//!
//! # Invariants
//!
//! 1. `stop` has ended before `begin` returns, also for a caller that loses a race. Its cause is the cause of the first
//!    request.
//! 2. The phases are taken out of `state` once, after `stop` has ended. The thread that takes them starts the driver. So there
//!    is one driver, and each phase runs at most once.
//! 3. The drain ends once: the thread that sets `drained` cancels `work`. This is the driver, or the waker at the end of
//!    the drain time. The waker runs on the thread that ends the drain time. The driver starts the first phase after the drain.
//! 4. The report is written before `finished` ends, and is not written again.
//! 5. No lock is held while user code runs: a waker, a phase, the drop of a cause.

mod builder;
pub(crate) mod draining;
mod drive;
pub(crate) mod executor;
mod phase;
mod report;

use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as Task, Poll, Waker, ready};
use std::time::{Duration, Instant};

use crate::canceler::CancelHandle;
use crate::cause::Cause;
use crate::context::Context;
use crate::future::DoneOwned;
#[cfg(feature = "signals")]
use crate::signals::Listener;
use crate::task::{TaskInfo, Tasks};

use builder::Limit;
use draining::StopRequest;
use drive::{EndsDrain, Limits, StartsShutdown};
use executor::{Executor, OutlivesRuntime};
use phase::Phase;

pub use builder::ShutdownBuilder;
pub use draining::Draining;
pub use phase::PhaseOutput;
pub use report::{DrainEnded, PhaseOutcome, PhaseReport, Report};

/// Stops a process in order: first a stop request, then a drain with a time limit, then phases with their own time
/// limits.
///
/// Create a shutdown with [`Shutdown::builder`]. Derive the contexts of all work from [`context`](Shutdown::context).
/// The shutdown has four steps:
///
/// 1. **Stop request.** The shutdown starts with a call of [`begin`](Shutdown::begin) or with a
///    [signal](Shutdown::on_signals). From then on, all contexts derived from `context` are
///    [draining](Context::is_draining), but no work is canceled yet.
/// 2. **Drain.** The drain ends when no work is in flight, or when the [drain time](ShutdownBuilder::drain) or the
///    [total](ShutdownBuilder::total) time is over. At the end of the drain, `context` is canceled with the cause [`DrainEnded`].
///    Canceled work has one second to end before the phases start.
/// 3. **Phases.** The [phases](ShutdownBuilder::phase) run in the order in which they were added. Examples are flushing a
///    queue and closing a pool.
/// 4. **Report.** [`run`](Shutdown::run) returns the [`Report`].
///
/// [`ShutdownBuilder::context`] sets the root context, which is the parent of `context`. The end of the root context is
/// a stop request too, but in this case the contexts of all work end immediately, and no phase runs.
///
/// Work in flight is everything in the task list ([`with_tasks`](Context::with_tasks)) of `context`: tasks of
/// `Context::spawn` or a [`Group`](crate::Group) under `context`, work that holds a [`TaskGuard`](crate::TaskGuard), and
/// the listeners, connections and requests of a server of `ripcord_http::serve`.
///
/// The shutdown runs on the tokio runtime on which it was built. If it was built outside of a runtime, it runs on threads.
/// The shutdown makes progress even if no code awaits [`run`](Shutdown::run). Building a `Shutdown` does not start it.
/// Clones refer to the same shutdown. If the last clone is dropped before a stop request, the shutdown never starts, and
/// no phase runs.
///
/// ```
/// use std::time::Duration;
/// use ripcord::{Context, Shutdown, block_on};
///
/// let shutdown = Shutdown::builder()
///     .context(&Context::background().with_name("worker"))
///     .drain(Duration::from_secs(10))
///     .phase("flush queue", Duration::from_secs(5), |_ctx| async { Err("the queue is gone") })
///     .phase("close pool", Duration::from_secs(5), |ctx| async move { drop(ctx) })
///     .total(Duration::from_secs(30))
///     .build();
///
/// let ctx = shutdown.context().with_name("consumer");
/// let in_flight = ctx.task_guard();
/// let consumer = std::thread::spawn(move || {
///     let _in_flight = in_flight;
///     block_on(ctx.draining()); // The consumer finishes its work here.
/// });
///
/// shutdown.begin("deployment");
/// let report = block_on(shutdown.run());
/// assert!(report.phases()[0].is_failed());
/// assert!(report.phases()[1].is_completed());
/// assert!(report.canceled().is_empty() && report.left().is_empty());
/// # consumer.join().unwrap();
/// ```
#[derive(Clone)]
pub struct Shutdown(Arc<Shared>);

struct Shared {
    root: Context,
    stop: Context,
    request_stop: CancelHandle,
    work: Context,
    cancel_work: CancelHandle,
    finished: Context,
    finish: CancelHandle,
    drain: Limit,
    drain_delay: Duration,
    total: Limit,
    executor: Executor,
    tasks: Tasks,
    state: Mutex<State>,
}

struct State {
    /// `None` once the shutdown has started (invariant 2).
    phases: Option<Vec<Phase>>,
    started: Option<Instant>,
    /// Ends the drain when its time is over.
    at_end_of_drain: Option<DoneOwned>,
    /// The canceled work, once the drain has ended.
    drained: Option<Vec<TaskInfo>>,
    report: Option<Report>,
    /// Starts the shutdown at the end of the root.
    at_end_of_root: Option<DoneOwned>,
    #[cfg(feature = "signals")]
    signals: Option<Listener>,
}

// No user code runs under the lock, so a panic of user code leaves no invariant broken (invariant 5).
impl UnwindSafe for Shared {}
impl RefUnwindSafe for Shared {}

impl Shutdown {
    /// Returns a builder for a shutdown, with a [drain time](ShutdownBuilder::drain) of 10 seconds and no phases.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Context, Shutdown, block_on};
    ///
    /// let shutdown = Shutdown::builder().drain(Duration::from_secs(5)).build();
    /// shutdown.begin("no more work");
    /// assert!(block_on(shutdown.run()).is_clean());
    /// ```
    #[track_caller]
    pub fn builder() -> ShutdownBuilder {
        ShutdownBuilder::new()
    }

    fn new(builder: ShutdownBuilder) -> Shutdown {
        let ShutdownBuilder { root, drain, drain_delay, total, phases } = builder;
        let (stop, request_stop) = handle_of(&root);
        let (work, cancel_work) = handle_of(&root);
        let (finished, finish) = handle_of(&Context::background());
        let (work, tasks) = work.with_value(StopRequest(stop.clone())).with_tasks();
        let shared = Arc::new(Shared {
            root,
            stop,
            request_stop,
            work,
            cancel_work,
            finished,
            finish,
            drain,
            drain_delay,
            total,
            executor: Executor::current(),
            tasks,
            state: Mutex::new(State {
                phases: Some(phases),
                started: None,
                at_end_of_drain: None,
                drained: None,
                report: None,
                at_end_of_root: None,
                #[cfg(feature = "signals")]
                signals: None,
            }),
        });
        shared.start_at_end_of_root();
        Shutdown(shared)
    }

    /// Returns the context of all work. Derive the contexts of requests, jobs and connections from it.
    ///
    /// Neither [`begin`](Shutdown::begin) nor a [signal](Shutdown::on_signals) ends this context. It is canceled
    /// with the cause [`DrainEnded`] when the drain ends: when no work is in flight, or when the
    /// [drain time](ShutdownBuilder::drain) or the [total](ShutdownBuilder::total) time is over. It also ends when the
    /// [root context](ShutdownBuilder::context) ends. A context that is derived from it later has already ended.
    pub fn context(&self) -> &Context {
        &self.0.work
    }

    /// Returns a context that ends at the [stop request](Shutdown), when the drain starts. Its cause is the cause of the
    /// stop request.
    ///
    /// Use this context to stop accepting new work, as in `shutdown.stop_request().run(listener.accept())`. Do not use it
    /// for work that should finish during the drain: derive the contexts of such work from [`context`](Shutdown::context).
    ///
    /// ```
    /// use ripcord::Shutdown;
    ///
    /// let shutdown = Shutdown::builder().build();
    /// shutdown.begin("deployment");
    /// assert_eq!(shutdown.stop_request().cause().unwrap().to_string(), "deployment");
    /// ```
    pub fn stop_request(&self) -> &Context {
        &self.0.stop
    }

    /// Starts the shutdown with a [stop request](Shutdown), whose cause is `cause`. Only the first stop request of a
    /// shutdown has an effect. The [`Report`] contains the cause of this first request.
    ///
    /// This method may be called on any thread, without a runtime, and does not wait for the shutdown. When the method
    /// returns, all contexts derived from [`context`](Shutdown::context) are [draining](Context::is_draining). If the
    /// shutdown was built outside of a runtime and no thread can be started, the shutdown runs within this call.
    ///
    /// ```
    /// use ripcord::{Shutdown, block_on};
    ///
    /// let shutdown = Shutdown::builder().build();
    /// shutdown.begin("deployment");
    /// shutdown.begin("too late");
    /// assert_eq!(block_on(shutdown.run()).cause().to_string(), "deployment");
    /// ```
    #[track_caller]
    pub fn begin(&self, cause: impl Into<Cause>) {
        self.0.begin(cause.into(), Location::caller());
    }

    /// Starts a thread that begins the shutdown when the process receives SIGINT (Ctrl-C) or SIGTERM. The cause of the
    /// [stop request](Shutdown) is the [`Signal`](crate::Signal).
    ///
    /// The first signal does not end the process. A second signal ends the process immediately, even during the
    /// shutdown. A signal also ends the process after the shutdown has finished, and after the last clone of this
    /// `Shutdown` was dropped. None of these signals ends the process if other code in the process listens for the
    /// signal.
    ///
    /// A second call of this method has no effect.
    ///
    /// # Errors
    ///
    /// Returns an error if the system cannot install the signal handler or cannot start the thread.
    #[cfg(feature = "signals")]
    #[track_caller]
    pub fn on_signals(&self) -> std::io::Result<()> {
        let location = Location::caller();
        let weak = Arc::downgrade(&self.0);
        let listener = Listener::start(move |signal| {
            if let Some(shared) = weak.upgrade() {
                shared.begin(Cause::from(signal), location);
            }
        })?;
        let mut state = self.0.lock();
        let surplus = if state.signals.is_some() || state.report.is_some() {
            Some(listener)
        } else {
            state.signals.replace(listener)
        };
        drop(state);
        drop(surplus);
        Ok(())
    }

    /// Waits for the [stop request](Shutdown), and then until the [drain delay](ShutdownBuilder::drain_delay) is over.
    /// If the drain ends during the delay, the wait ends too.
    ///
    /// If you write a server, close its listener after this wait. The servers of `ripcord_http::serve` do this for you.
    ///
    /// The returned future owns a clone of the `Shutdown`, so it can be spawned.
    ///
    /// # Cancel safety
    ///
    /// The returned future may be dropped at any time.
    pub fn drain_delay_over(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let shared = Arc::clone(&self.0);
        async move {
            shared.stop.done().await;
            let now = shared.root.clock().now();
            let started = shared.lock().started.unwrap_or(now);
            if let Some(end) = started.checked_add(shared.drain_delay) {
                // The end of the work context also ends the sleep.
                let _ = shared.work.sleep(end.saturating_duration_since(now)).await;
            } else {
                shared.work.done().await;
            }
        }
    }

    /// Ends the drain like its timer.
    #[cfg(all(test, ripcord_loom))]
    pub(crate) fn drain_time_is_over(&self) {
        self.0.end_drain(false);
    }

    /// Waits until the shutdown has finished, and returns the [`Report`]. This method does not start the shutdown:
    /// without a [stop request](Shutdown), it waits forever.
    ///
    /// The shutdown makes progress even if the returned future is not polled. The future owns a clone of the `Shutdown`,
    /// so it can be spawned.
    ///
    /// # Cancel safety
    ///
    /// The returned future may be dropped at any time. A later call of `run` returns the same report.
    pub fn run(&self) -> RunShutdown {
        RunShutdown { shared: Arc::clone(&self.0), wait: self.0.stop.done_owned(), has_begun: false }
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("context", &self.0.work)
            .field("is_draining", &self.0.stop.is_done())
            .field("tasks", &self.0.tasks)
            .finish_non_exhaustive()
    }
}

/// Creates a context below `ctx` that ends only with `ctx` or by the handle.
fn handle_of(ctx: &Context) -> (Context, CancelHandle) {
    let (ctx, cancel) = ctx.with_cancel();
    let handle = cancel.handle();
    cancel.detach();
    (ctx, handle)
}

impl Shared {
    fn begin(self: &Arc<Self>, cause: Cause, location: &'static Location<'static>) {
        // The request comes first, so that `stop` has also ended for a caller that loses a race (invariant 1).
        self.request_stop.cancel_at(cause, location);
        self.start();
    }

    fn start_at_end_of_root(self: &Arc<Self>) {
        let mut wait = self.root.done_owned();
        let waker = Waker::from(Arc::new(StartsShutdown(Arc::downgrade(self))));
        if Pin::new(&mut wait).poll(&mut Task::from_waker(&waker)).is_ready() {
            self.start();
        } else {
            self.lock().at_end_of_root = Some(wait);
        }
    }

    /// Starts the driver, unless the driver has been started (invariant 2). `stop` has ended before the call.
    fn start(self: &Arc<Self>) {
        let started = self.root.clock().now();
        let mut state = self.lock();
        let Some(phases) = state.phases.take() else { return };
        state.started = Some(started);
        drop(state);
        let limits = Limits::new(&self.root, started, self.drain, self.total);
        self.cancel_work_at_end_of(&limits.drain);
        let driver = OutlivesRuntime::new(Box::pin(drive::drive(Arc::clone(self), phases, limits)));
        self.executor.spawn(Box::pin(driver));
    }

    fn cancel_work_at_end_of(self: &Arc<Self>, limit: &Context) {
        let mut wait = limit.done_owned();
        let waker = Waker::from(Arc::new(EndsDrain(Arc::downgrade(self))));
        if Pin::new(&mut wait).poll(&mut Task::from_waker(&waker)).is_ready() {
            // If nothing is in flight, even a limit of zero cancels nothing.
            self.end_drain(self.tasks.is_empty());
        }
        // The future is dropped outside of the lock, because its waker takes the lock.
        let unused = {
            let mut state = self.lock();
            if state.drained.is_none() { state.at_end_of_drain.replace(wait) } else { Some(wait) }
        };
        drop(unused);
    }

    /// Ends the context of all work, unless the drain has already ended (invariant 3).
    fn end_drain(&self, in_time: bool) {
        let canceled = if in_time { Vec::new() } else { self.tasks.list() };
        let wait = {
            let mut state = self.lock();
            if state.drained.is_some() {
                return;
            }
            state.drained = Some(canceled);
            state.at_end_of_drain.take()
        };
        drop(wait);
        let limit = if self.total.time < self.drain.time { self.total } else { self.drain };
        // The location is the line of the setting, or of the stop request.
        let (over, location) = match self.stop.err() {
            Some(request) if in_time => (None, request.origin().location()),
            _ => (Some(limit.time), limit.location),
        };
        self.cancel_work.cancel_at(DrainEnded { stop: self.stop_cause(), over }, location);
    }

    fn take_canceled(&self) -> Vec<TaskInfo> {
        self.lock().drained.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Returns why the shutdown began.
    fn stop_cause(&self) -> Cause {
        self.stop.cause().unwrap_or_else(|| Cause::from("asked to stop"))
    }

    /// Publishes the report (invariant 4).
    fn finish(&self, report: Report) {
        let mut state = self.lock();
        state.report = Some(report);
        #[cfg(feature = "signals")]
        let signals = state.signals.take();
        drop(state);
        #[cfg(feature = "signals")]
        drop(signals);
        self.finish.cancel();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs under the lock (invariant 5).
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The future that [`Shutdown::run`] returns. Ready, with the report, when the shutdown has finished.
#[must_use = "futures do nothing unless polled"]
pub struct RunShutdown {
    shared: Arc<Shared>,
    wait: DoneOwned,
    has_begun: bool,
}

impl Future for RunShutdown {
    type Output = Report;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Report> {
        let this = &mut *self;
        loop {
            ready!(Pin::new(&mut this.wait).poll(task));
            if this.has_begun {
                let report = this.shared.lock().report.clone();
                return report.map_or(Poll::Pending, Poll::Ready);
            }
            // The root may have ended before its waker has run.
            this.shared.start();
            this.has_begun = true;
            this.wait = this.shared.finished.done_owned();
        }
    }
}

impl fmt::Debug for RunShutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunShutdown").field("has_begun", &self.has_begun).finish_non_exhaustive()
    }
}
