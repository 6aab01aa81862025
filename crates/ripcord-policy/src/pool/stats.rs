//! The statistics of a pool.

use std::time::Duration;

use super::TaskId;
use super::results::TaskOutcome;
use crate::stats::{Call, CallStats};
use crate::tally::Tally;

/// Statistics of a [`WorkerPool`](super::WorkerPool). The module [`stats`](crate::stats) describes counters and gauges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// The tasks by result. `started` counts accepted tasks. `failed` includes panicked tasks. `canceled` counts tasks whose
    /// context ended while they waited or ran. `rejected` counts refused submissions, because the queue was full, the pool was
    /// closed, or the submitter's context ended before there was room in the queue.
    pub calls: CallStats,
    /// Tasks that succeeded or failed. Canceled tasks do not count.
    pub completed: u64,
    /// Tasks that panicked. These tasks also count in `calls.failed`.
    pub panicked: u64,
    /// Tasks that wait for a worker: a gauge.
    pub queued: usize,
    /// Running tasks: a gauge.
    pub running: usize,
    /// The state of each worker, in the order in which the workers were started.
    pub workers: Vec<WorkerStatus>,
}

/// The state of a worker of a [`WorkerPool`](super::WorkerPool) at the moment when [`stats`](super::WorkerPool::stats) was
/// called.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// The worker's number in its pool. Numbers are not reused.
    pub id: u64,
    /// Whether the worker is idle or runs a task.
    pub state: WorkerState,
    /// The number of tasks that the worker has finished.
    pub finished: u64,
}

/// Whether a worker of a [`WorkerPool`](super::WorkerPool) is idle or runs a task. This enum is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerState {
    /// The worker waits for a task.
    Idle,
    /// The worker runs a task.
    Running {
        /// The number of the task.
        task: TaskId,
        /// The time since the worker started the task.
        elapsed: Duration,
    },
}

/// The counters of a pool besides its calls: the number of panicked tasks.
pub(super) type Counters = Tally<1>;

const PANICKED: usize = 0;

impl TaskOutcome {
    /// Counts the end of a task.
    pub(super) fn count(self, counters: &Counters) {
        counters.count(match self {
            TaskOutcome::Succeeded => Call::Succeeded,
            TaskOutcome::Failed | TaskOutcome::Panicked => Call::Failed,
            TaskOutcome::Canceled => Call::Canceled,
        });
        if self == TaskOutcome::Panicked {
            counters.bump(PANICKED);
        }
    }
}

impl PoolStats {
    pub(super) fn new(counters: &Counters, queued: usize, workers: Vec<WorkerStatus>) -> Self {
        let (calls, [panicked]) = (counters.calls(), counters.read());
        let running = workers.iter().filter(|worker| worker.state != WorkerState::Idle).count();
        PoolStats { calls, completed: calls.succeeded + calls.failed, panicked, queued, running, workers }
    }
}
