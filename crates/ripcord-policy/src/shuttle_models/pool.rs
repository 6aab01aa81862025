//! The worker pool: who begins, calls off and waits for what.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ripcord::Context;
use shuttle::future::block_on;
use shuttle::thread;

use super::explore;
use crate::pool::{Overflow, Task, TaskOutcome, WorkerPool};
use crate::{Error, SharedError};

type Failed = std::io::Error;

fn pool(workers: usize, queue: usize) -> WorkerPool {
    let builder = WorkerPool::builder().workers(workers).queue(queue).overflow(Overflow::Wait);
    builder.build(&Context::background()).unwrap()
}

async fn one(_: Context) -> Result<u32, Failed> {
    Ok(1)
}

/// Drains the pool, and sees that nothing is left of what it was given.
fn drain(pool: &WorkerPool) {
    block_on(pool.shutdown(&Context::background())).unwrap();
    let stats = pool.stats();
    assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled, "{stats:?}");
    assert_eq!((stats.queued, stats.running, stats.workers.len()), (0, 0, 0), "{stats:?}");
}

#[test]
fn a_task_is_begun_or_called_off() {
    explore(|| {
        let ctx = Context::background();
        let pool = pool(1, 2);
        let (first, second) = (pool.try_submit(&ctx, one).unwrap(), pool.try_submit(&ctx, one).unwrap());
        let calls_off = thread::spawn(move || {
            second.cancel();
            block_on(second)
        });
        assert_eq!(block_on(first).unwrap(), 1);
        match calls_off.join().unwrap() {
            Ok(value) => assert_eq!(value, 1),
            Err(error) => assert!(error.is_canceled(), "{error}"),
        }
        drain(&pool);
        assert_eq!(pool.stats().calls.started, 2);
    });
}

#[test]
fn a_submission_that_races_with_the_end_is_run_or_refused() {
    explore(|| {
        let pool = pool(1, 1);
        let mut results = pool.results();
        let submits = {
            let pool = pool.clone();
            thread::spawn(move || pool.try_submit(&Context::background(), one))
        };
        drain(&pool);
        let outcome = match submits.join().unwrap() {
            Ok(task) => {
                assert_eq!(block_on(task).unwrap(), 1);
                Some(TaskOutcome::Succeeded)
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
fn whoever_waits_for_room_gets_it() {
    explore(|| {
        let pool = pool(1, 1);
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let pool = pool.clone();
                thread::spawn(move || {
                    let task = block_on(pool.submit(&Context::background(), one)).unwrap();
                    block_on(task).unwrap()
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
fn a_resize_leaves_the_workers_that_it_asks_for_and_no_task_behind() {
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
        let tasks: Vec<_> = (0..2).map(|_| pool.try_submit(&ctx, one).unwrap()).collect();
        for task in tasks {
            assert_eq!(block_on(task).unwrap(), 1);
        }
        resizes.join().unwrap();
        until_workers(&pool, 1);
        drain(&pool);
    });
}

/// Waits until so many workers live, which those that are too many see to.
fn until_workers(pool: &WorkerPool, count: usize) {
    while pool.stats().workers.len() != count {
        thread::yield_now();
    }
}

/// A task that waits for `below` tasks of its own pool, how many of which run at a time is counted.
async fn nested(pool: WorkerPool, ctx: Context, below: usize, most: Arc<Most>) -> Result<u32, Error<SharedError>> {
    let mut tasks = Vec::new();
    for _ in 0..below {
        let most = Arc::clone(&most);
        tasks.push(pool.try_submit(&ctx, move |_| most.run())?);
    }
    let mut sum = 0;
    for task in tasks {
        sum += task.await?;
    }
    Ok(sum)
}

#[derive(Default)]
struct Most {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Most {
    async fn run(self: Arc<Self>) -> Result<u32, Failed> {
        self.most.fetch_max(self.now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        shuttle::future::yield_now().await;
        self.now.fetch_sub(1, Ordering::Relaxed);
        Ok(1)
    }
}

fn submit_nested(pool: &WorkerPool, below: usize, most: &Arc<Most>) -> Task<u32> {
    let (inner, most) = (pool.clone(), Arc::clone(most));
    pool.try_submit(&Context::background(), move |ctx| nested(inner, ctx, below, most)).unwrap()
}

#[test]
fn tasks_that_wait_for_each_other_are_never_stuck() {
    explore(|| {
        let pool = pool(1, 8);
        let most = Arc::new(Most::default());
        let (first, second) = (submit_nested(&pool, 2, &most), submit_nested(&pool, 1, &most));
        assert_eq!(block_on(first).unwrap(), 2);
        assert_eq!(block_on(second).unwrap(), 1);
        until_workers(&pool, 1);
        drain(&pool);
        // One in the stead of each that waits, and the worker that was asked for.
        assert!(most.most.load(Ordering::Relaxed) <= 2);
    });
}

#[test]
fn a_wait_may_end_by_cancellation_while_a_resize_goes_on() {
    explore(|| {
        let pool = pool(2, 8);
        let most = Arc::new(Most::default());
        let (first, second) = (submit_nested(&pool, 2, &most), submit_nested(&pool, 1, &most));
        let calls_off = thread::spawn(move || {
            first.cancel();
            drop(block_on(first));
        });
        let resizes = {
            let pool = pool.clone();
            thread::spawn(move || pool.resize(1).unwrap())
        };
        assert_eq!(block_on(second).unwrap(), 1);
        calls_off.join().unwrap();
        resizes.join().unwrap();
        until_workers(&pool, 1);
        drain(&pool);
    });
}

#[test]
fn a_blocking_task_that_waits_leaves_its_place_too() {
    explore(|| {
        let pool = pool(1, 4);
        let inner = pool.clone();
        let ctx = Context::background();
        let blocking = pool.submit_blocking(&ctx, move |ctx| block_on(inner.try_submit(ctx, one)?));
        let blocking = block_on(blocking);
        assert_eq!(block_on(blocking.unwrap()).unwrap(), 1);
        until_workers(&pool, 1);
        drain(&pool);
    });
}

#[test]
fn an_abort_resolves_what_waits_and_what_runs() {
    explore(|| {
        let ctx = Context::background();
        let pool = pool(1, 4);
        let tasks = [
            pool.try_submit(&ctx, |_| std::future::pending::<Result<u32, Failed>>()).unwrap(),
            pool.try_submit(&ctx, one).unwrap(),
        ];
        let aborts = {
            let pool = pool.clone();
            thread::spawn(move || {
                block_on(pool.shutdown(&Context::background().with_timeout(std::time::Duration::ZERO)))
            })
        };
        for task in tasks {
            assert!(block_on(task).unwrap_err().is_canceled());
        }
        assert!(aborts.join().unwrap().is_err());
        drain(&pool);
        assert_eq!(pool.stats().calls.canceled, 2);
    });
}
