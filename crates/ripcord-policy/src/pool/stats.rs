//! What a pool has done and what it is doing.

use std::time::Duration;

use super::TaskId;
use crate::stats::{Call, CallStats};
use crate::tally;

/// Numbers of a [`WorkerPool`](super::WorkerPool).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Tasks accepted, and how they ended. `rejected` counts tasks refused: the queue was full, the pool closed, or the
    /// submitter's context ended first.
    pub calls: CallStats,
    /// Of those that failed, tasks that panicked.
    pub panicked: u64,
    /// Tasks that ran to an end of their own: those that succeeded and those that failed.
    pub completed: u64,
    /// Tasks that wait for a worker: a gauge.
    pub queued: usize,
    /// Tasks being run: a gauge.
    pub running: usize,
    /// The workers, in the order they were started. More than were asked for while tasks wait for others of their pool, see
    /// [`Task`](super::Task).
    pub workers: Vec<WorkerStatus>,
}

/// One worker at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// The worker's number; numbers are not used again.
    pub id: u64,
    /// What it is doing.
    pub state: WorkerState,
    /// Tasks it has finished.
    pub finished: u64,
}

/// What a worker is doing. This enum is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerState {
    /// Waiting for a task.
    Idle,
    /// Running a task.
    Running {
        /// Which.
        task: TaskId,
        /// For how long by now, give or take a few milliseconds.
        elapsed: Duration,
    },
}

#[derive(Debug)]
pub(super) struct Tally(tally::Tally<1>);

impl Tally {
    pub(super) fn new() -> Self {
        Self(tally::Tally::new())
    }

    pub(super) fn count(&self, call: Call) {
        self.0.count(call);
    }

    pub(super) fn count_panic(&self) {
        self.0.bump(0);
    }

    pub(super) fn stats(&self, queued: usize, running: usize, workers: Vec<WorkerStatus>) -> PoolStats {
        let [panicked] = self.0.read();
        let calls = self.0.calls();
        PoolStats { calls, panicked, completed: calls.succeeded + calls.failed, queued, running, workers }
    }
}
