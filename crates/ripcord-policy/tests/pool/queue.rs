//! Jobs that wait for room, and for a worker.

use futures::future::FutureExt;
use ripcord::Context;
use ripcord_policy::pool::{Overflow, WorkerPool};
use std::sync::Arc;

use crate::common::{Failed, SECOND, at_rest, manual, pool, settle, sleeper, until};

#[tokio::test]
async fn submission_to_a_full_queue_waits_until_its_context_ends_or_is_rejected() {
    let (ctx, time) = manual();
    let waits = pool(&ctx, 1, 1);
    let rejects = WorkerPool::builder().workers(1).queue(1).overflow(Overflow::Reject).build(&ctx).unwrap();
    for pool in [&waits, &rejects] {
        drop(pool.submit(&ctx, sleeper).await.unwrap());
        drop(pool.submit(&ctx, sleeper).await.unwrap());
        let full = pool.try_submit(&ctx, sleeper).unwrap_err();
        assert!(full.is_full() && full.is_transient());
        assert_eq!(full.to_string(), "queue of 1 is full");
    }
    assert!(rejects.submit(&ctx, sleeper).await.unwrap_err().is_rejected());

    let hurried = ctx.with_timeout(SECOND / 2);
    let (mut late, mut patient) = (Box::pin(waits.submit(&hurried, sleeper)), Box::pin(waits.submit(&ctx, sleeper)));
    assert!(late.as_mut().now_or_never().is_none());
    assert!(patient.as_mut().now_or_never().is_none());
    time.advance(SECOND / 2);
    assert!(late.await.unwrap_err().is_deadline_exceeded());
    settle().await;
    assert!(patient.as_mut().now_or_never().is_none());
    time.advance(SECOND);
    settle().await;
    let job = patient.as_mut().now_or_never().expect("there is room").unwrap();
    for _ in 0..3 {
        time.advance(SECOND);
        settle().await;
    }
    assert_eq!(job.await.unwrap(), 1);
    at_rest(&waits.stats());
    assert_eq!(waits.stats().calls.rejected, 2);
}

#[tokio::test]
async fn waiting_submission_that_is_dropped_takes_no_permit() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 1, 1);
    drop(pool.submit(&ctx, sleeper).await.unwrap());
    drop(pool.submit(&ctx, sleeper).await.unwrap());
    for _ in 0..10 {
        let mut waiting = Box::pin(pool.submit(&ctx, sleeper));
        assert!(waiting.as_mut().now_or_never().is_none());
    }
    settle().await;
    time.advance(SECOND);
    settle().await;
    assert_eq!((pool.stats().calls.started, pool.stats().queued), (2, 0));
    drop(pool.try_submit(&ctx, sleeper).unwrap());
    assert!(pool.try_submit(&ctx, sleeper).is_err());
}

#[tokio::test]
async fn queued_job_whose_context_ends_is_resolved_and_frees_its_permit() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 2);
    let stuck = pool.submit(&ctx, |_| std::future::pending::<Result<(), Failed>>()).await.unwrap();
    settle().await;
    for _ in 0..100 {
        let (child, cancel) = ctx.with_cancel();
        let first = pool.submit(&child, sleeper).await.unwrap();
        let second = pool.submit(&child, sleeper).await.unwrap();
        assert!(pool.try_submit(&ctx, sleeper).is_err());
        cancel.cancel_with("no longer wanted");
        assert!(first.await.unwrap_err().is_canceled());
        assert!(second.await.unwrap_err().is_canceled());
    }
    assert_eq!((pool.stats().queued, pool.stats().calls.canceled), (0, 200));
    let queued = pool.submit(&ctx, sleeper).await.unwrap();
    queued.cancel();
    assert!(queued.is_finished(), "at once");
    stuck.cancel();
    assert!(stuck.await.unwrap_err().is_canceled());
    settle().await;
    at_rest(&pool.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundred_thousand_queued_jobs_are_all_resolved_by_a_cancel() {
    const JOBS: usize = 100_000;
    for by_pool in [false, true] {
        let (ctx, cancel) = Context::background().with_cancel();
        let (pool_ctx, task_ctx) = if by_pool { (ctx, Context::background()) } else { (Context::background(), ctx) };
        let pool = pool(&pool_ctx, 2, JOBS);
        let mut jobs = Vec::with_capacity(JOBS);
        for _ in 0..JOBS {
            let pending = |_| std::future::pending::<Result<(), Failed>>();
            jobs.push(pool.submit(&task_ctx, pending).await.unwrap());
        }
        let waiting = {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut results = Vec::new();
                for _ in 0..10 {
                    results.push(pool.submit(&Context::background(), |_| async { Ok::<_, Failed>(1) }).await);
                }
                results
            })
        };
        cancel.cancel();
        for job in jobs {
            assert!(job.await.unwrap_err().is_canceled());
        }
        for result in waiting.await.unwrap() {
            match result {
                Ok(job) => drop(job.await),
                Err(error) => assert!(by_pool && error.is_rejected(), "{error}"),
            }
        }
        until(|| pool.stats().running == 0).await;
        at_rest(&pool.stats());
        assert!(pool.stats().calls.canceled >= JOBS as u64);
    }
}

#[tokio::test]
async fn room_wins_over_an_end_at_the_same_moment() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 1, 1);
    for _ in 0..2 {
        drop(pool.submit(&ctx, sleeper).await.unwrap());
    }
    settle().await;
    let hurried = ctx.with_timeout(SECOND);
    let mut waiting = Box::pin(pool.submit(&hurried, |_| async { Ok::<_, Failed>(1) }));
    assert!(waiting.as_mut().now_or_never().is_none());
    time.advance(SECOND);
    settle().await;
    // Both the first job and the submitter's context have ended. The job is accepted, and then canceled by its context.
    let job = waiting.as_mut().now_or_never().expect("there is room").unwrap();
    assert!(job.await.unwrap_err().is_deadline_exceeded());
    assert!(pool.submit(&hurried, sleeper).await.unwrap_err().is_deadline_exceeded());
}

#[tokio::test]
async fn waiting_blocking_submission_that_is_dropped_takes_no_permit() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 1, 1);
    for _ in 0..2 {
        drop(pool.submit(&ctx, sleeper).await.unwrap());
    }
    let called = Arc::new(());
    for _ in 0..10 {
        let held = Arc::clone(&called);
        let mut waiting = Box::pin(pool.submit_blocking(&ctx, move |_| Ok::<_, Failed>(held)));
        assert!(waiting.as_mut().now_or_never().is_none());
    }
    assert_eq!(Arc::strong_count(&called), 1);
    for _ in 0..2 {
        settle().await;
        time.advance(SECOND);
    }
    settle().await;
    assert_eq!((pool.stats().calls.started, pool.stats().calls.succeeded), (2, 2));
    at_rest(&pool.stats());
}
