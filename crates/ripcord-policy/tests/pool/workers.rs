//! The number of workers, and their states.

use std::time::Duration;

use ripcord_policy::pool::{WorkerPool, WorkerState};

use crate::common::{Failed, SECOND, at_rest, manual, pool, settle, sleeper};

#[tokio::test]
async fn resize_starts_and_stops_workers() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 1, 3);
    assert_eq!(pool.resize(0).unwrap_err().to_string(), "workers must be at least 1, got 0");
    assert_eq!(pool.resize(usize::MAX).unwrap_err().field(), "workers");
    assert_eq!(pool.stats().workers.len(), 1, "nothing has changed");
    for _ in 0..4 {
        drop(pool.submit(&ctx, sleeper).await.unwrap());
    }
    assert!(pool.try_submit(&ctx, sleeper).is_err());
    pool.resize(3).unwrap();
    settle().await;
    assert_eq!(pool.stats().running, 3);
    assert!(matches!(pool.stats().workers[2].state, WorkerState::Running { elapsed: Duration::ZERO, .. }));
    drop(pool.try_submit(&ctx, sleeper).unwrap());
    drop(pool.try_submit(&ctx, sleeper).unwrap());
    assert!(pool.try_submit(&ctx, sleeper).is_err(), "three run and three wait");
    pool.resize(1).unwrap();
    time.advance(SECOND);
    settle().await;
    assert_eq!((pool.stats().running, pool.stats().workers.len()), (1, 1));
    for _ in 0..3 {
        time.advance(SECOND);
        settle().await;
    }
    at_rest(&pool.stats());
    assert_eq!(pool.stats().calls.succeeded, 6);
    for _ in 0..4 {
        drop(pool.try_submit(&ctx, sleeper).unwrap());
    }
    assert!(pool.try_submit(&ctx, sleeper).is_err(), "one runs and three wait, as at first");
}

#[tokio::test]
async fn surplus_idle_workers_leave_at_once() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 4, 3);
    let busy = pool.submit(&ctx, |_| std::future::pending::<Result<(), Failed>>()).await.unwrap();
    settle().await;
    pool.resize(2).unwrap();
    settle().await;
    let stats = pool.stats();
    assert_eq!((stats.workers.len(), stats.running), (2, 1));
    pool.resize(1).unwrap();
    settle().await;
    assert_eq!(pool.stats().workers.len(), 1, "the busy worker");
    busy.cancel();
}

#[tokio::test]
async fn worker_given_a_job_runs_it_before_it_leaves() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 2, 10);
    let busy = pool.submit(&ctx, |_| std::future::pending::<Result<(), Failed>>()).await.unwrap();
    settle().await;
    let (child, cancel) = ctx.with_cancel();
    let job = pool.try_submit(&child, |_| std::future::pending::<Result<(), Failed>>()).unwrap();
    pool.resize(1).unwrap();
    settle().await;
    cancel.cancel();
    settle().await;
    assert!(job.is_finished(), "the job is neither run nor resolved");
    assert_eq!(pool.stats().workers.len(), 1);
    assert!(!busy.is_finished());
}

#[tokio::test]
async fn stats_show_what_each_worker_does() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 2, 10);
    let job = pool.submit(&ctx, sleeper).await.unwrap();
    settle().await;
    time.advance(SECOND / 4);
    let stats = pool.stats();
    let running: Vec<_> = stats.workers.iter().filter(|worker| worker.state != WorkerState::Idle).collect();
    assert_eq!(running.len(), 1);
    assert_eq!(running[0].state, WorkerState::Running { job: job.id(), elapsed: SECOND / 4 });
    time.advance(SECOND);
    job.await.unwrap();
    settle().await;
    assert_eq!(pool.stats().workers.iter().map(|worker| worker.finished).sum::<u64>(), 1);
}

#[test]
fn setting_out_of_bounds_is_named() {
    let (ctx, _time) = manual();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let guard = runtime.enter();
    let build = |workers, queue| WorkerPool::builder().workers(workers).queue(queue).build(&ctx).unwrap_err();
    assert_eq!(build(0, 1).to_string(), "workers must be at least 1, got 0");
    assert_eq!(build(1, 0).to_string(), "queue must be at least 1, got 0");
    assert_eq!(build(usize::MAX, 1).field(), "workers");
    assert_eq!(build(1, usize::MAX).field(), "queue");
    assert_eq!(WorkerPool::builder().build(&ctx).unwrap_err().field(), "workers");
    drop(guard);
    assert!(WorkerPool::builder().workers(1).build(&ctx).unwrap_err().to_string().contains("tokio runtime"));
}
