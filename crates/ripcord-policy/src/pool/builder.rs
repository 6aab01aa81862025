//! The builder of a pool.

use std::borrow::Cow;
use std::panic::Location;
use std::sync::Arc;

use ripcord::{Clock, Context};
use tokio::sync::Semaphore;

use super::WorkerPool;
use crate::ConfigError;
use crate::config::at_least_one;
use crate::sync::Runtime;

const DEFAULT_QUEUE: usize = 1024;

/// The maximum number of workers, and the maximum length of the queue. No machine has memory for more. The sum of both does not
/// overflow the semaphore.
const MAX: usize = Semaphore::MAX_PERMITS / 2;

/// The behavior of [`WorkerPool::submit`] if the queue of the pool is full. Set with [`WorkerPoolBuilder::overflow`]. This enum
/// is exhaustive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Overflow {
    /// `submit` waits for room in the queue. If the submitter's context ends first, `submit` fails. Submitters get room in the
    /// order of their calls. If the submitter is itself a job of the same pool, `submit` fails at once instead, because the
    /// job could wait for itself.
    #[default]
    Wait,
    /// `submit` fails at once with an error for which [`Refused::is_full`](crate::Refused::is_full) is true.
    Reject,
}

/// Builds a [`WorkerPool`]. Create the builder with [`WorkerPool::builder`].
///
/// ```
/// use ripcord::Context;
/// use ripcord_policy::WorkerPool;
/// use ripcord_policy::pool::Overflow;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ripcord_policy::ConfigError> {
/// let ctx = Context::background();
/// let pool = WorkerPool::builder().name("images").workers(4).queue(100).overflow(Overflow::Reject).build(&ctx)?;
/// assert_eq!(pool.stats().workers.len(), 4);
/// # Ok(())
/// # }
/// ```
///
/// The number of [`workers`](Self::workers) is required. By default the queue holds 1024 jobs, and a full queue makes
/// submitters wait ([`Overflow::Wait`]). The defaults may change.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct WorkerPoolBuilder {
    workers: Option<usize>,
    name: Option<Arc<str>>,
    clock: Option<Clock>,
    settings: Settings,
}

/// The settings that a pool keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) capacity: usize,
    pub(super) overflow: Overflow,
    /// The line that created the pool's builder.
    pub(super) location: &'static Location<'static>,
}

impl WorkerPoolBuilder {
    #[track_caller]
    pub(super) fn new() -> Self {
        let settings =
            Settings { capacity: DEFAULT_QUEUE, overflow: Overflow::default(), location: Location::caller() };
        Self { workers: None, name: None, clock: None, settings }
    }

    /// Sets the number of workers: the maximum number of jobs that run at the same time. Required. The number must be from 1
    /// to 2^60 - 1. [`WorkerPool::resize`] changes the number later.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Sets the length of the queue: the maximum number of jobs that wait for a worker. Running jobs do not count. The number
    /// must be from 1 to 2^60 - 1. Default: 1024.
    pub fn queue(mut self, capacity: usize) -> Self {
        self.settings.capacity = capacity;
        self
    }

    /// Sets the behavior of [`WorkerPool::submit`] if the queue is full. Default: [`Overflow::Wait`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.settings.overflow = overflow;
        self
    }

    /// Sets the name of the pool. If the pool cancels or refuses a job, the long text (`{:#}`) of the error shows this name.
    /// Default: no name; the errors then say `worker pool`.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        let name: Cow<'static, str> = name.into();
        self.name = Some(name.into());
        self
    }

    /// Sets the clock that measures how long jobs have been running, for [`stats`](WorkerPool::stats). Default: the clock of
    /// the context passed to [`build`](Self::build).
    ///
    /// The context of a job uses the clock of the context passed to [`submit`](WorkerPool::submit).
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Builds the pool and starts its workers. When `ctx` is canceled or its deadline passes, the pool closes and all jobs are
    /// canceled.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] in these cases:
    ///
    /// * The number of `workers` is not set.
    /// * The number of `workers` or the length of the `queue` is 0 or more than 2^60 - 1.
    /// * The method is called outside of a tokio runtime, which the workers need.
    #[doc(alias("Start"))]
    pub fn build(self, ctx: &Context) -> Result<WorkerPool, ConfigError> {
        let workers = self.workers.ok_or_else(|| ConfigError::new("workers", "at least 1", "nothing"))?;
        check("workers", workers)?;
        check("queue", self.settings.capacity)?;
        let runtime =
            Runtime::try_current().ok_or_else(|| ConfigError::new("build", "called within a tokio runtime", "none"))?;
        let clock = self.clock.unwrap_or_else(|| ctx.clock());
        Ok(WorkerPool::start(ctx, self.name, clock, workers, self.settings, runtime))
    }
}

/// Checks that `count` is at least 1 and at most [`MAX`].
pub(super) fn check(field: &'static str, count: usize) -> Result<(), ConfigError> {
    at_least_one(field, count)?;
    match count > MAX {
        true => Err(ConfigError::new(field, format!("at most {MAX}"), count)),
        false => Ok(()),
    }
}
