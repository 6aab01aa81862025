//! How a pool is set up.

use ripcord::Context;
use tokio::sync::Semaphore;

use super::WorkerPool;
use crate::ConfigError;
use crate::config::at_least_one_usize;
use crate::sync::Runtime;

const QUEUE: usize = 1024;
/// More tasks at once than anybody has memory for, and less than what would overflow.
const MOST: usize = Semaphore::MAX_PERMITS / 2;

/// What happens to a task that finds the queue full. This enum is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Overflow {
    /// `submit` waits for room, in the order of asking, for as long as the submitter's context lives. A task of this pool
    /// that submits to it is refused instead: what it would wait for may be itself.
    #[default]
    Wait,
    /// `submit` is refused at once.
    Reject,
}

/// Sets up a [`WorkerPool`]; from [`WorkerPool::builder`].
///
/// Only `workers` is required. Defaults are not a promise and may change: a queue of 1024, and waiting when it is full.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct WorkerPoolBuilder {
    workers: Option<usize>,
    queue: usize,
    overflow: Overflow,
}

impl WorkerPoolBuilder {
    pub(super) fn new() -> Self {
        Self { workers: None, queue: QUEUE, overflow: Overflow::default() }
    }

    /// How many tasks run at once, not counting those that await others of this pool (see [`Task`](super::Task)). Required, as
    /// there is no default; [`WorkerPool::resize`] changes it.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// How many tasks may wait for a worker, beside those that run; at least 1, and 1024 if not set.
    pub fn queue(mut self, capacity: usize) -> Self {
        self.queue = capacity;
        self
    }

    /// What happens when the queue is full; [`Overflow::Wait`] if not set.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Builds the pool and starts its workers: a Go program's `NewWorkerPool` and `Start`. The end of `ctx` cancels every
    /// task and closes the pool.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for no workers or a queue of 0, more of either than 2^59, and when there is no tokio runtime to run
    /// workers in.
    #[doc(alias("Start"))]
    pub fn build(self, ctx: &Context) -> Result<WorkerPool, ConfigError> {
        let workers = self.workers.ok_or_else(|| ConfigError::new("workers", "at least 1", "nothing"))?;
        check_workers(workers)?;
        at_least_one_usize("queue", self.queue)?;
        if self.queue > MOST {
            return Err(ConfigError::new("queue", format!("at most {MOST}"), self.queue));
        }
        let runtime =
            Runtime::try_current().ok_or_else(|| ConfigError::new("build", "called within a tokio runtime", "none"))?;
        Ok(WorkerPool::start(ctx, workers, self.queue, self.overflow, runtime))
    }
}

pub(super) fn check_workers(workers: usize) -> Result<(), ConfigError> {
    at_least_one_usize("workers", workers)?;
    match workers > MOST {
        true => Err(ConfigError::new("workers", format!("at most {MOST}"), workers)),
        false => Ok(()),
    }
}
