//! Threads that run jobs: as many as there are jobs at a time, up to a bound; each ends when it was idle for a while.

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

/// Beyond these, jobs queue. Go would start a goroutine each; a thread costs more.
const MOST_THREADS: usize = 256;
const IDLE_FOR: Duration = Duration::from_secs(10);

static POOL: Pool =
    Pool { queue: Mutex::new(Queue { jobs: VecDeque::new(), threads: 0, idle: 0 }), ready: Condvar::new() };

/// Runs a job on a thread of its own, soon. Never blocks for the job, unless no thread at all can be had: then it runs here,
/// late being better than never.
pub(crate) fn spawn(job: Job) {
    let mut queue = POOL.lock();
    queue.jobs.push_back(job);
    if queue.idle >= queue.jobs.len() {
        drop(queue);
        POOL.ready.notify_one();
        return;
    }
    if queue.threads >= MOST_THREADS {
        return;
    }
    queue.threads += 1;
    drop(queue);
    if std::thread::Builder::new().name("ripcord-after-func".to_owned()).spawn(work).is_err() {
        let mut queue = POOL.lock();
        queue.threads -= 1;
        // With no thread at all nobody would come to them.
        let stranded = if queue.threads == 0 { std::mem::take(&mut queue.jobs) } else { VecDeque::new() };
        drop(queue);
        stranded.into_iter().for_each(shielded);
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
        let (again, timeout) = POOL.ready.wait_timeout(queue, IDLE_FOR).unwrap_or_else(PoisonError::into_inner);
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
        // Jobs run without the lock, so it is never poisoned by them.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
