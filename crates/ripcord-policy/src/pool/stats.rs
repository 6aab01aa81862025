//! What a pool has done and what it does.

use std::time::Duration;

use super::TaskId;
use super::queue::WorkerId;
use super::results::TaskOutcome;
use crate::stats::{Call, CallStats};

/// The numbers of a [`WorkerPool`](super::WorkerPool).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Tasks: `started` counts those accepted, `failed` includes panics, `canceled` are those whose context ended before
    /// or while they ran, and `rejected` are submissions refused: the queue was full, the pool closed, or the submitter's
    /// context ended first.
    pub calls: CallStats,
    /// Tasks that ran to an end of their own: those that succeeded and those that failed.
    pub completed: u64,
    /// Of the tasks that failed, those that panicked.
    pub panicked: u64,
    /// Tasks that wait for a worker at present.
    pub queued: usize,
    /// Tasks that run at present.
    pub running: usize,
    /// The workers, in the order in which they were started.
    pub workers: Vec<WorkerStatus>,
}

/// A worker at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// The worker's number. Numbers are not reused.
    pub id: u64,
    /// What the worker does.
    pub state: WorkerState,
    /// Tasks that the worker has finished.
    pub finished: u64,
}

impl WorkerStatus {
    pub(super) fn idle(id: WorkerId, finished: u64) -> Self {
        Self { id, state: WorkerState::Idle, finished }
    }
}

/// What a worker does. This enum is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerState {
    /// It waits for a task.
    Idle,
    /// It runs a task.
    Running {
        /// The task.
        task: TaskId,
        /// How long it has run.
        elapsed: Duration,
    },
}

#[derive(Debug)]
pub(super) struct Tally(crate::tally::Tally<1>);

const PANICKED: usize = 0;

impl Tally {
    pub(super) fn new() -> Self {
        Self(crate::tally::Tally::new())
    }

    pub(super) fn count(&self, call: Call) {
        self.0.count(call);
    }

    /// Counts the end of a task.
    pub(super) fn count_end(&self, outcome: TaskOutcome) {
        self.0.count(match outcome {
            TaskOutcome::Succeeded => Call::Succeeded,
            TaskOutcome::Failed | TaskOutcome::Panicked => Call::Failed,
            TaskOutcome::Canceled => Call::Canceled,
        });
        if outcome == TaskOutcome::Panicked {
            self.0.bump(PANICKED);
        }
    }

    pub(super) fn stats(&self, queued: usize, workers: Vec<WorkerStatus>) -> PoolStats {
        let calls = self.0.calls();
        PoolStats {
            calls,
            completed: calls.succeeded + calls.failed,
            panicked: self.0.read()[PANICKED],
            queued,
            running: workers.iter().filter(|worker| worker.state != WorkerState::Idle).count(),
            workers,
        }
    }
}
