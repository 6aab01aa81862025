//! The result of a shutdown.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::cause::Cause;
use crate::error::Error;
use crate::task::TaskInfo;

/// The result of a shutdown. [`Shutdown::run`](crate::Shutdown::run) returns it.
///
/// `Display` prints one line with the duration and the cause, one line for each phase, and one line for each task that
/// was canceled or is still running. A clone is cheap: it refers to the same data.
#[derive(Clone)]
pub struct Report(Arc<Parts>);

pub(super) struct Parts {
    pub(super) cause: Cause,
    pub(super) elapsed: Duration,
    pub(super) canceled: Vec<TaskInfo>,
    pub(super) left: Vec<TaskInfo>,
    pub(super) phases: Vec<PhaseReport>,
}

impl Report {
    pub(super) fn new(parts: Parts) -> Self {
        Report(Arc::new(parts))
    }

    /// Returns the cause of the shutdown: the cause of the first [stop request](crate::Shutdown), or the cause of the
    /// end of the [root context](crate::ShutdownBuilder::context) if that end started the shutdown.
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// Returns the time from the [stop request](crate::Shutdown) until the shutdown has finished. The clock
    /// of the [root context](crate::ShutdownBuilder::context) measures the time.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed
    }

    /// Returns one entry for each phase, in the order in which the phases were added.
    pub fn phases(&self) -> &[PhaseReport] {
        &self.0.phases
    }

    /// Returns the work that was canceled because it was still in flight at the end of the drain.
    ///
    /// The drain ends with work in flight when the [drain time](crate::ShutdownBuilder::drain) or the
    /// [total](crate::ShutdownBuilder::total) time is over, or when the [root context](crate::ShutdownBuilder::context) ends. The
    /// list is empty if all work ended in time.
    pub fn canceled(&self) -> &[TaskInfo] {
        &self.0.canceled
    }

    /// Returns the work that was still running after the last phase.
    ///
    /// Examples are a task of `Context::spawn_blocking` that does not check its context, and a phase that blocks its
    /// thread.
    pub fn left(&self) -> &[TaskInfo] {
        &self.0.left
    }

    /// Returns whether all phases have completed without an error, no work was canceled, and no work was still running
    /// after the last phase.
    pub fn is_clean(&self) -> bool {
        self.0.canceled.is_empty() && self.0.left.is_empty() && self.0.phases.iter().all(PhaseReport::is_completed)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { cause, elapsed, canceled, left, phases } = &*self.0;
        write!(f, "shut down in {elapsed:.1?} ({cause})")?;
        for phase in phases {
            write!(f, "\nphase {phase}")?;
        }
        for work in canceled {
            write!(f, "\ncanceled: {work}")?;
        }
        for work in left {
            write!(f, "\nstill running: {work}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("cause", &self.0.cause)
            .field("elapsed", &self.0.elapsed)
            .field("phases", &self.0.phases)
            .field("canceled", &self.0.canceled)
            .field("left", &self.0.left)
            .finish()
    }
}

/// The result of one phase of a shutdown. [`Report::phases`] returns it.
#[derive(Clone, Debug)]
pub struct PhaseReport {
    name: Cow<'static, str>,
    location: &'static Location<'static>,
    outcome: PhaseOutcome,
}

impl PhaseReport {
    pub(super) fn new(name: Cow<'static, str>, location: &'static Location<'static>, outcome: PhaseOutcome) -> Self {
        PhaseReport { name, location, outcome }
    }

    /// Returns the name of the phase.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the line of code that added the phase.
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// Returns the outcome of the phase.
    pub fn outcome(&self) -> &PhaseOutcome {
        &self.outcome
    }

    /// Returns whether the phase has completed without an error.
    pub fn is_completed(&self) -> bool {
        matches!(self.outcome, PhaseOutcome::Completed)
    }

    /// Returns whether the phase returned an error.
    pub fn is_failed(&self) -> bool {
        matches!(self.outcome, PhaseOutcome::Failed(_))
    }

    /// Returns whether the phase was not ready at its time limit, at the [total](crate::ShutdownBuilder::total) limit, or
    /// at the deadline of the [root context](crate::ShutdownBuilder::context).
    pub fn is_late(&self) -> bool {
        matches!(self.outcome, PhaseOutcome::Late(_))
    }

    /// Returns whether the phase was not ready when the [root context](crate::ShutdownBuilder::context) was canceled.
    pub fn is_canceled(&self) -> bool {
        matches!(self.outcome, PhaseOutcome::Canceled(_))
    }

    /// Returns whether the phase panicked.
    pub fn is_panicked(&self) -> bool {
        matches!(self.outcome, PhaseOutcome::Panicked(_))
    }

    /// Returns whether the phase was not run, because its limit was zero, the [total](crate::ShutdownBuilder::total) limit
    /// was over, or the [root context](crate::ShutdownBuilder::context) had ended.
    pub fn is_not_run(&self) -> bool {
        matches!(self.outcome, PhaseOutcome::NotRun(_))
    }
}

impl fmt::Display for PhaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (added at {}) {}", self.name, self.location, self.outcome)
    }
}

/// The outcome of one phase of a shutdown. [`PhaseReport::outcome`] returns it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PhaseOutcome {
    /// The phase has completed without an error.
    Completed,
    /// The phase returned this error. If the tokio runtime of the shutdown was shut down during the phase, this is the
    /// error `the runtime of the shutdown has been shut down`.
    Failed(Cause),
    /// The phase was not ready at its time limit, at the [total](crate::ShutdownBuilder::total) limit, or at the deadline
    /// of the [root context](crate::ShutdownBuilder::context), and was dropped. The error's [origin](Error::origin) is the line
    /// that set this limit.
    ///
    /// A phase that blocks its thread cannot be dropped: it is in [`Report::left`] too.
    Late(Error),
    /// The phase was not ready when the [root context](crate::ShutdownBuilder::context) was canceled, and was dropped. The
    /// value is the error of the root.
    Canceled(Error),
    /// The phase panicked with this message. If the panic's payload is not a string, the message is `no message`.
    Panicked(String),
    /// The phase was not run, because its limit was zero, the [total](crate::ShutdownBuilder::total) limit was over, or the
    /// [root context](crate::ShutdownBuilder::context) had ended. The error's [origin](Error::origin) is the line
    /// that set the exceeded limit or canceled the root.
    NotRun(Error),
}

impl fmt::Display for PhaseOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PhaseOutcome::Completed => f.write_str("completed"),
            PhaseOutcome::Failed(cause) => write!(f, "failed: {cause:#}"),
            PhaseOutcome::Late(error) => write!(f, "was late: {error:#}"),
            PhaseOutcome::Canceled(error) => write!(f, "was canceled: {error:#}"),
            PhaseOutcome::Panicked(message) => write!(f, "panicked: {message}"),
            PhaseOutcome::NotRun(error) => write!(f, "was not run: {error:#}"),
        }
    }
}

/// The cause with which [`Shutdown::context`](crate::Shutdown::context) is canceled at the end of the drain: when all work
/// has ended, or when the [drain time](crate::ShutdownBuilder::drain) or the [total](crate::ShutdownBuilder::total) time is
/// over.
///
/// Its [`source`](StdError::source) is the cause of the [stop request](crate::Shutdown).
///
/// ```
/// use std::time::Duration;
/// use ripcord::{DrainEnded, Shutdown};
///
/// let shutdown = Shutdown::builder().drain(Duration::ZERO).build();
/// let _work = shutdown.context().with_name("upload").task_guard();
/// shutdown.begin("deployment");
/// let cause = shutdown.context().wait().cause().cloned().unwrap();
/// assert_eq!(cause.to_string(), "shutting down (deployment): the drain time of 0ns is over");
/// assert!(cause.downcast_ref::<DrainEnded>().is_some_and(DrainEnded::is_time_over));
/// ```
#[derive(Clone, Debug)]
pub struct DrainEnded {
    pub(super) stop: Cause,
    /// The exceeded time limit. `None` if the drain ended in time.
    pub(super) over: Option<Duration>,
}

impl DrainEnded {
    /// Returns the cause of the [stop request](crate::Shutdown).
    pub fn stop_cause(&self) -> &Cause {
        &self.stop
    }

    /// Returns `true` if work was still in flight when the [drain time](crate::ShutdownBuilder::drain) or the
    /// [total](crate::ShutdownBuilder::total) time was over, and `false` if all work had ended before that time.
    pub fn is_time_over(&self) -> bool {
        self.over.is_some()
    }
}

impl fmt::Display for DrainEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shutting down ({}): ", self.stop)?;
        match self.over {
            Some(limit) => write!(f, "the drain time of {limit:?} is over"),
            None => f.write_str("all work has ended"),
        }
    }
}

impl StdError for DrainEnded {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.stop.as_error())
    }
}
