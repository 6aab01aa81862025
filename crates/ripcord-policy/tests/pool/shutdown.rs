//! The end of a pool: drain, abort, drop.

use std::sync::mpsc;

use futures::future::FutureExt;
use ripcord_policy::pool::JobOutcome;

use crate::common::{Failed, SECOND, at_rest, manual, pool, settle, sleeper, until};

#[tokio::test]
async fn shutdown_runs_the_accepted_jobs_and_refuses_new_ones() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 1, 10);
    let jobs = [pool.submit(&ctx, sleeper).await.unwrap(), pool.submit(&ctx, sleeper).await.unwrap()];
    let line = line!() + 3;
    let closing = {
        let (pool, ctx) = (pool.clone(), ctx.with_timeout(SECOND * 10));
        tokio::spawn(async move { pool.shutdown(&ctx).await })
    };
    settle().await;
    assert!(pool.is_closed());
    let refused = pool.submit(&ctx, sleeper).await.unwrap_err();
    assert!(refused.is_closed() && refused.is_rejected());
    assert_eq!(refused.to_string(), "worker pool is closed");
    let story = format!("{refused:#}");
    assert!(story.contains("WorkerPool::shutdown was called"), "{story}");
    assert!(story.contains(&format!("{}:{line}:", file!())), "{story}");
    assert_eq!(pool.resize(3).unwrap_err().to_string(), "workers must be set while the pool is open, got 3");
    for _ in 0..2 {
        time.advance(SECOND);
        settle().await;
    }
    closing.await.unwrap().unwrap();
    for job in jobs {
        let kept = job.context().clone();
        assert_eq!(job.await.unwrap(), 1);
        let end = kept.err().expect("what a job kept ends with the pool");
        assert_eq!(end.cause().unwrap().to_string(), "WorkerPool::shutdown was called");
        assert_eq!((end.origin().location().file(), end.origin().location().line()), (file!(), line));
    }
    assert!(pool.stats().workers.is_empty());
    at_rest(&pool.stats());
    pool.shutdown(&ctx).await.unwrap();
}

#[tokio::test]
async fn ended_shutdown_resolves_jobs_that_ignore_their_contexts() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 2, 10);
    let (release, blocked) = mpsc::channel::<()>();
    let deaf = pool.submit_blocking(&ctx, move |_| Ok::<_, Failed>(blocked.recv().is_err())).await.unwrap();
    let running = pool.submit(&ctx, |_| std::future::pending::<Result<(), Failed>>()).await.unwrap();
    let queued = pool.submit(&ctx, sleeper).await.unwrap();
    settle().await;
    let closing = {
        let (pool, ctx) = (pool.clone(), ctx.with_timeout(SECOND));
        tokio::spawn(async move { pool.shutdown(&ctx).await })
    };
    settle().await;
    time.advance(SECOND);
    assert!(closing.await.unwrap().unwrap_err().is_deadline_exceeded());
    assert!(deaf.is_finished() && running.is_finished() && queued.is_finished());
    assert!(deaf.await.unwrap_err().is_canceled());
    assert!(running.await.unwrap_err().is_canceled());
    assert!(queued.await.unwrap_err().is_canceled());
    drop(release);
    until(|| pool.stats().running == 0).await;
    at_rest(&pool.stats());
    assert_eq!(pool.stats().calls.canceled, 3);
}

#[tokio::test]
async fn shutdown_that_is_dropped_leaves_a_closed_pool_that_drains() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 1, 10);
    let job = pool.submit(&ctx, sleeper).await.unwrap();
    let mut closing = Box::pin(pool.shutdown(&ctx));
    assert!(closing.as_mut().now_or_never().is_none());
    drop(closing);
    assert!(pool.is_closed());
    settle().await;
    time.advance(SECOND);
    assert_eq!(job.await.unwrap(), 1);
    pool.shutdown(&ctx).await.unwrap();
}

#[tokio::test]
async fn drop_of_the_last_handle_cancels_all_jobs() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 10);
    let running = pool.submit(&ctx, |_| std::future::pending::<Result<(), Failed>>()).await.unwrap();
    let queued = pool.submit(&ctx, sleeper).await.unwrap();
    settle().await;
    drop(pool.clone());
    assert!(!running.is_finished());
    drop(pool);
    assert!(running.await.unwrap_err().is_canceled());
    assert!(queued.await.unwrap_err().is_canceled());
}

#[test]
fn shutdown_of_the_runtime_resolves_all_jobs() {
    let (ctx, _time) = manual();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (running, queued) = runtime.block_on(async {
        let pool = pool(&ctx, 1, 10);
        let running = pool.submit(&ctx, |_| std::future::pending::<Result<(), Failed>>()).await.unwrap();
        let queued = pool.submit(&ctx, sleeper).await.unwrap();
        settle().await;
        std::mem::forget(pool);
        (running, queued)
    });
    drop(runtime);
    assert!(futures::executor::block_on(running).is_err());
    assert!(futures::executor::block_on(queued).is_err());
}

/// A value whose drop blocks the thread until the test lets it continue.
struct SlowDrop(mpsc::Sender<()>, mpsc::Receiver<()>);

impl Drop for SlowDrop {
    fn drop(&mut self) {
        self.0.send(()).ok();
        self.1.recv().ok();
    }
}

#[tokio::test]
async fn shutdown_and_results_wait_for_a_job_that_is_being_resolved() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 1, 10);
    let mut results = pool.results();
    drop(pool.submit(&ctx, sleeper).await.unwrap());
    let ((began, started), (release, held)) = (mpsc::channel(), mpsc::channel());
    let slow = SlowDrop(began, held);
    let queued = pool.submit(&ctx, move |_| async move { Ok::<_, Failed>(slow) }).await.unwrap();
    let cancels = std::thread::spawn(move || queued.cancel());
    started.recv().unwrap();
    settle().await;
    time.advance(SECOND);
    let mut closing = Box::pin(pool.shutdown(&ctx));
    assert!(closing.as_mut().now_or_never().is_none());
    settle().await;
    assert!(pool.stats().workers.is_empty());
    assert!(closing.as_mut().now_or_never().is_none());
    assert_eq!(results.next(&ctx).await.unwrap().unwrap().outcome(), JobOutcome::Succeeded);
    assert!(results.next(&ctx).now_or_never().is_none());

    drop(release);
    cancels.join().unwrap();
    closing.await.unwrap();
    assert_eq!(results.next(&ctx).await.unwrap().unwrap().outcome(), JobOutcome::Canceled);
    assert!(results.next(&ctx).await.unwrap().is_none());
    at_rest(&pool.stats());
}

#[tokio::test]
async fn submission_to_an_ended_pool_gets_its_cause() {
    let (ctx, _time) = manual();
    let (owner, canceler) = ctx.with_cancel();
    let pool = pool(&owner, 1, 10);
    canceler.cancel_with("the service stops");
    let refused = pool.submit(&ctx, sleeper).await.unwrap_err();
    assert!(refused.is_closed());
    let story = format!("{refused:#}");
    assert!(story.starts_with("worker pool is closed: ") && story.contains("the service stops"), "{story}");
}
