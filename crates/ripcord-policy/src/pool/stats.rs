//! What a pool has done and what it is doing.

use std::time::Duration;

use super::TaskId;
use crate::stats::Counters;

/// Numbers of a [`WorkerPool`](super::WorkerPool). `started` counts tasks when they are accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Tasks accepted.
    pub started: u64,
    /// Tasks that returned `Ok`.
    pub succeeded: u64,
    /// Tasks that returned an error or panicked.
    pub failed: u64,
    /// Tasks that were called off, before a worker began them or while they ran.
    pub canceled: u64,
    /// Of those that failed, tasks that panicked.
    pub panicked: u64,
    /// Tasks that ran to an end of their own: those that succeeded and those that failed.
    pub completed: u64,
    /// Tasks refused: the queue was full, the pool closed, or the submitter's context ended first.
    pub rejected: u64,
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

#[derive(Debug, Clone, Copy)]
pub(super) enum Count {
    Started,
    Succeeded,
    Failed,
    Canceled,
    Panicked,
    Rejected,
}

const COUNTS: usize = Count::Rejected as usize + 1;

#[derive(Debug)]
pub(super) struct Tally(Counters<COUNTS>);

impl Tally {
    pub(super) fn new() -> Self {
        Self(Counters::new())
    }

    pub(super) fn add(&self, count: Count) {
        self.0.bump(count as usize);
    }

    pub(super) fn stats(&self, queued: usize, running: usize, workers: Vec<WorkerStatus>) -> PoolStats {
        let counts = self.0.read();
        let of = |count: Count| counts[count as usize];
        PoolStats {
            started: of(Count::Started),
            succeeded: of(Count::Succeeded),
            failed: of(Count::Failed),
            canceled: of(Count::Canceled),
            panicked: of(Count::Panicked),
            completed: of(Count::Succeeded) + of(Count::Failed),
            rejected: of(Count::Rejected),
            queued,
            running,
            workers,
        }
    }
}
