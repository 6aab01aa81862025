//! The statistics of a pool.

use std::time::Duration;

use super::JobId;
use super::job::JobOutcome;
use crate::stats::{Call, CallStats};
use crate::tally::Tally;

/// Statistics of a [`WorkerPool`](super::WorkerPool). The module [`stats`](crate::stats) describes counters and gauges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerPoolStats {
    /// Job counts by result. `started` counts accepted jobs. `failed` includes panicked jobs. `canceled` counts jobs whose
    /// context ended while they waited or ran. `rejected` counts submissions that failed because the queue was full, the
    /// pool was closed, or the submitter's context ended before there was room in the queue.
    pub calls: CallStats,
    /// Jobs that succeeded or failed. Canceled jobs do not count.
    pub completed: u64,
    /// Jobs that panicked. These jobs also count in `calls.failed`.
    pub panicked: u64,
    /// Jobs that wait for a worker: a gauge.
    pub queued: usize,
    /// Running jobs: a gauge.
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
    /// Whether the worker is idle or runs a job.
    pub state: WorkerState,
    /// The number of jobs that the worker has finished.
    pub finished: u64,
}

/// The state of a worker of a [`WorkerPool`](super::WorkerPool): idle, or running a job. This enum is exhaustive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerState {
    /// The worker waits for a job.
    Idle,
    /// The worker runs a job.
    Running {
        /// The number of the job.
        job: JobId,
        /// The time since the worker started the job.
        elapsed: Duration,
    },
}

/// The counters of a pool besides its calls: the number of panicked jobs.
pub(super) type Counters = Tally<1>;

const PANICKED: usize = 0;

impl JobOutcome {
    /// Counts the end of a job.
    pub(super) fn count(self, counters: &Counters) {
        counters.count(match self {
            JobOutcome::Succeeded => Call::Succeeded,
            JobOutcome::Failed | JobOutcome::Panicked => Call::Failed,
            JobOutcome::Canceled => Call::Canceled,
        });
        if self == JobOutcome::Panicked {
            counters.bump(PANICKED);
        }
    }
}

impl WorkerPoolStats {
    pub(super) fn new(counters: &Counters, queued: usize, workers: Vec<WorkerStatus>) -> Self {
        let (calls, [panicked]) = (counters.calls(), counters.read());
        let running = workers.iter().filter(|worker| worker.state != WorkerState::Idle).count();
        WorkerPoolStats { calls, completed: calls.succeeded + calls.failed, panicked, queued, running, workers }
    }
}
