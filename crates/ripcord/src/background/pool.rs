//! A pool of threads that run jobs. The pool starts a thread when all are busy, up to a maximum. A thread ends after some idle
//! time.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Job, shielded};

struct Pool {
    queue: Mutex<Queue>,
    ready: Condvar,
}

struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

/// Maximum number of threads. Further jobs wait in the queue.
const MAX_THREADS: usize = 256;
/// Idle time after which a thread ends.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

static POOL: Pool =
    Pool { queue: Mutex::new(Queue { jobs: VecDeque::new(), threads: 0, idle: 0 }), ready: Condvar::new() };

/// Runs a job on a thread of the pool, without waiting for it. If the pool has no thread and none can be started, the job runs
/// on this thread.
pub(crate) fn spawn(job: Job) {
    let mut queue = POOL.lock();
    queue.jobs.push_back(job);
    if queue.idle >= queue.jobs.len() {
        drop(queue);
        POOL.ready.notify_one();
        return;
    }
    if queue.threads >= MAX_THREADS {
        return;
    }
    queue.threads += 1;
    drop(queue);
    if std::thread::Builder::new().name("ripcord-after-func".to_owned()).spawn(work).is_err() {
        let mut queue = POOL.lock();
        queue.threads -= 1;
        // Without a thread, the queued jobs would never start.
        let abandoned = if queue.threads == 0 { std::mem::take(&mut queue.jobs) } else { VecDeque::new() };
        drop(queue);
        abandoned.into_iter().for_each(shielded);
    }
}

fn work() {
    let mut queue = POOL.lock();
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            drop(queue);
            shielded(job);
            queue = POOL.lock();
            continue;
        }
        queue.idle += 1;
        let (again, timeout) = POOL.ready.wait_timeout(queue, IDLE_TIMEOUT).unwrap_or_else(PoisonError::into_inner);
        queue = again;
        queue.idle -= 1;
        if timeout.timed_out() && queue.jobs.is_empty() {
            queue.threads -= 1;
            return;
        }
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Jobs run without the lock, so no job poisons it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
