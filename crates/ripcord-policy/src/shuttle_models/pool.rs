//! Models of the worker pool: running, canceling and awaiting jobs.

use ripcord::Context;
use shuttle::future::block_on;
use shuttle::thread;

use super::explore;
use crate::pool::{JobOutcome, Overflow, WorkerPool};

type Failed = std::io::Error;

fn pool(workers: usize, queue: usize) -> WorkerPool {
    let builder = WorkerPool::builder().workers(workers).queue(queue).overflow(Overflow::Wait);
    builder.build(&Context::background()).unwrap()
}

async fn one(_: Context) -> Result<u32, Failed> {
    Ok(1)
}

/// Drains the pool. Checks that no job and no worker is left.
fn drain(pool: &WorkerPool) {
    block_on(pool.shutdown(&Context::background())).unwrap();
    let stats = pool.stats();
    assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled, "{stats:?}");
    assert_eq!((stats.queued, stats.running, stats.workers.len()), (0, 0, 0), "{stats:?}");
}

#[test]
fn job_runs_or_is_canceled() {
    explore(|| {
        let ctx = Context::background();
        let pool = pool(1, 2);
        let (first, second) = (pool.try_submit(&ctx, one).unwrap(), pool.try_submit(&ctx, one).unwrap());
        let cancels = thread::spawn(move || {
            second.cancel();
            block_on(second)
        });
        assert_eq!(block_on(first).unwrap(), 1);
        match cancels.join().unwrap() {
            Ok(value) => assert_eq!(value, 1),
            Err(error) => assert!(error.is_canceled(), "{error}"),
        }
        drain(&pool);
        assert_eq!(pool.stats().calls.started, 2);
    });
}

#[test]
fn submission_that_races_with_shutdown_runs_or_is_refused() {
    explore(|| {
        let pool = pool(1, 1);
        let mut results = pool.results();
        let submits = {
            let pool = pool.clone();
            thread::spawn(move || pool.try_submit(&Context::background(), one))
        };
        drain(&pool);
        let outcome = match submits.join().unwrap() {
            Ok(job) => {
                assert_eq!(block_on(job).unwrap(), 1);
                Some(JobOutcome::Succeeded)
            }
            Err(error) => {
                assert!(error.is_rejected(), "{error}");
                None
            }
        };
        let read = || block_on(results.next(&Context::background())).unwrap();
        let read: Vec<_> = std::iter::from_fn(read).map(|done| done.outcome()).collect();
        assert_eq!(read, outcome.into_iter().collect::<Vec<_>>());
    });
}

#[test]
fn submission_that_waits_for_room_gets_it() {
    explore(|| {
        let pool = pool(1, 1);
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let pool = pool.clone();
                thread::spawn(move || {
                    let job = block_on(pool.submit(&Context::background(), one)).unwrap();
                    block_on(job).unwrap()
                })
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), 1);
        }
        drain(&pool);
    });
}

#[test]
fn resize_leaves_the_wanted_workers_and_no_job_behind() {
    explore(|| {
        let ctx = Context::background();
        let pool = pool(2, 3);
        let resizes = {
            let pool = pool.clone();
            thread::spawn(move || {
                pool.resize(1).unwrap();
                pool.resize(3).unwrap();
                pool.resize(1).unwrap();
            })
        };
        let jobs: Vec<_> = (0..2).map(|_| pool.try_submit(&ctx, one).unwrap()).collect();
        for job in jobs {
            assert_eq!(block_on(job).unwrap(), 1);
        }
        resizes.join().unwrap();
        until_workers(&pool, 1);
        drain(&pool);
    });
}

/// Waits until the surplus workers have left and `count` workers are left.
fn until_workers(pool: &WorkerPool, count: usize) {
    while pool.stats().workers.len() != count {
        thread::yield_now();
    }
}

#[test]
fn job_given_to_a_surplus_worker_runs_or_is_resolved() {
    explore(|| {
        let ctx = Context::background();
        let pool = pool(2, 3);
        let job = pool.try_submit(&ctx, one).unwrap();
        let cancels = {
            let pool = pool.clone();
            thread::spawn(move || {
                pool.resize(1).unwrap();
                job.cancel();
                block_on(job)
            })
        };
        match cancels.join().unwrap() {
            Ok(value) => assert_eq!(value, 1),
            Err(error) => assert!(error.is_canceled(), "{error}"),
        }
        until_workers(&pool, 1);
        drain(&pool);
    });
}

#[test]
fn abort_resolves_waiting_and_running_jobs() {
    explore(|| {
        let ctx = Context::background();
        let pool = pool(1, 4);
        let jobs = [
            pool.try_submit(&ctx, |_| std::future::pending::<Result<u32, Failed>>()).unwrap(),
            pool.try_submit(&ctx, one).unwrap(),
        ];
        let aborts = {
            let pool = pool.clone();
            thread::spawn(move || {
                block_on(pool.shutdown(&Context::background().with_timeout(std::time::Duration::ZERO)))
            })
        };
        for job in jobs {
            assert!(block_on(job).unwrap_err().is_canceled());
        }
        assert!(aborts.join().unwrap().is_err());
        drain(&pool);
        assert_eq!(pool.stats().calls.canceled, 2);
    });
}
