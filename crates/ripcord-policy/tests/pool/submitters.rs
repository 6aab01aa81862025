//! Waiting jobs leave the queue when their submitter's context ends, for any number of jobs under this context.

use std::sync::Arc;

use futures::future::FutureExt;
use ripcord::{Context, Value};
use ripcord_policy::pool::{JobHandle, WorkerPool};

use crate::common::{Failed, SECOND, manual, until};

/// Returns a pool with one worker, which is busy until `ctx` ends.
async fn busy_pool(ctx: &Context, queue: usize) -> (WorkerPool, JobHandle<()>) {
    let pool = WorkerPool::builder().workers(1).queue(queue).build(ctx).unwrap();
    let busy = pool.submit(ctx, |_| std::future::pending::<Result<(), Failed>>()).await.unwrap();
    while pool.stats().running == 0 {
        tokio::task::yield_now().await;
    }
    (pool, busy)
}

async fn waiting(pool: &WorkerPool, ctx: &Context) -> JobHandle<u32> {
    pool.submit(ctx, |_| async { Ok::<_, Failed>(1) }).await.unwrap()
}

/// Waits until `count` jobs wait. The end of a context takes jobs out of the queue on other threads.
async fn until_queued(pool: &WorkerPool, count: usize) {
    while pool.stats().queued != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn waiting_jobs_leave_with_their_submitter_and_others_stay() {
    let (ctx, _time) = manual();
    let (pool, busy) = busy_pool(&ctx, 100).await;
    let submitters: Vec<_> = (0..3).map(|_| ctx.with_cancel()).collect();
    let mut jobs = Vec::new();
    // First the submitters take turns, so that no two consecutive jobs have the same submitter. Then one submitter submits the
    // rest.
    for round in 0..20 {
        let of = if round < 12 { round % 3 } else { 2 };
        jobs.push((of, waiting(&pool, &submitters[of].0).await));
    }
    assert_eq!(pool.stats().queued, 20);
    submitters[1].1.cancel();
    // Each job leaves the queue before it is resolved.
    until(|| jobs.iter().all(|(of, job)| *of != 1 || job.is_finished())).await;
    assert_eq!(pool.stats().queued, 16);
    assert!(jobs.iter().all(|(of, job)| job.is_finished() == (*of == 1)));
    // One job is canceled. The other jobs under the same context stay.
    let (_, canceled) = jobs.iter().find(|(of, _)| *of == 2).unwrap();
    canceled.cancel();
    assert!(canceled.is_finished());
    assert_eq!(pool.stats().queued, 15);
    submitters[2].1.cancel();
    until_queued(&pool, 4).await;
    busy.cancel();
    for (of, job) in jobs {
        assert_eq!(job.await.is_ok(), of == 0);
    }
    let stats = pool.stats();
    assert_eq!((stats.calls.started, stats.calls.succeeded, stats.calls.canceled), (21, 4, 17));
}

#[tokio::test]
async fn twenty_thousand_deadlines_in_a_row_resolve_one_job_each() {
    let (ctx, time) = manual();
    let (pool, _busy) = busy_pool(&ctx, 20_000).await;
    let mut jobs = Vec::new();
    for number in 1..=20_000_u32 {
        jobs.push(waiting(&pool, &ctx.with_timeout(SECOND * number)).await);
    }
    for quarter in 1..=4 {
        time.advance(SECOND * 5_000);
        until_queued(&pool, 20_000 - quarter * 5_000).await;
    }
    for job in jobs {
        assert!(job.await.unwrap_err().is_deadline_exceeded());
    }
}

#[tokio::test]
async fn submission_under_a_context_that_ended_before_is_refused() {
    let (ctx, _time) = manual();
    let (pool, busy) = busy_pool(&ctx, 10).await;
    let (gone, cancel) = ctx.with_cancel();
    let first = waiting(&pool, &gone).await;
    cancel.cancel();
    assert!(first.await.unwrap_err().is_canceled());
    assert!(pool.submit(&gone, |_| async { Ok::<_, Failed>(1) }).await.unwrap_err().is_canceled());
    let after = waiting(&pool, &ctx).await;
    busy.cancel();
    assert_eq!(after.await.unwrap(), 1);
}

/// The context ends while the job is pushed into the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn end_that_races_with_the_submission_resolves_the_job() {
    let ctx = Context::background();
    let (pool, _busy) = busy_pool(&ctx, 10_000).await;
    for _ in 0..2_000 {
        let (own, cancel) = ctx.with_cancel();
        let canceling = tokio::spawn(async move { cancel.cancel() });
        let submitted = [
            pool.submit(&own, |_| async { Ok::<_, Failed>(1) }).await,
            pool.submit(&own, |_| async { Ok::<_, Failed>(1) }).await,
        ];
        canceling.await.unwrap();
        // Only the handles are polled.
        for job in submitted.into_iter().flatten() {
            assert!(job.await.unwrap_err().is_canceled());
        }
    }
    assert_eq!(pool.stats().queued, 0);
}

struct Held(#[expect(dead_code, reason = "only its count is read")] Arc<()>);
impl Value for Held {}

#[tokio::test]
async fn submitters_values_are_dropped_after_the_next_submitter_or_the_pools_end() {
    let (ctx, _time) = manual();
    let pool = WorkerPool::builder().workers(1).build(&ctx).unwrap();
    let held = Arc::new(());
    let submit = async || {
        let own = ctx.with_value(Held(Arc::clone(&held)));
        assert_eq!(waiting(&pool, &own).await.await.unwrap(), 1);
        tokio::task::yield_now().await;
    };
    submit().await;
    assert_eq!(Arc::strong_count(&held), 2, "the last submitter's values are kept");
    assert_eq!(waiting(&pool, &ctx).await.await.unwrap(), 1);
    assert_eq!(Arc::strong_count(&held), 1);
    submit().await;
    pool.shutdown(&ctx).await.unwrap();
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test]
async fn jobs_canceled_while_they_wait_leave_nothing_behind() {
    let (ctx, _time) = manual();
    let (pool, _busy) = busy_pool(&ctx, 10).await;
    let held = Arc::new(());
    for _ in 0..10_000 {
        let job = waiting(&pool, &ctx.with_value(Held(Arc::clone(&held)))).await;
        job.cancel();
        assert!(job.await.unwrap_err().is_canceled());
    }
    // Only the context of the last submitter is kept.
    assert!(Arc::strong_count(&held) <= 2, "{} of 10,000 are kept", Arc::strong_count(&held) - 1);
}

#[tokio::test]
async fn submission_dropped_at_any_await_point_leaves_nothing_behind() {
    let (ctx, _time) = manual();
    let (pool, busy) = busy_pool(&ctx, 1).await;
    let (own, cancel) = ctx.with_cancel();
    let queued = waiting(&pool, &own).await;
    for polls in 0..3 {
        let mut submission = Box::pin(pool.submit(&own, |_| async { Ok::<_, Failed>(1) }));
        (0..polls).for_each(|_| assert!(submission.as_mut().now_or_never().is_none()));
    }
    cancel.cancel();
    assert!(queued.await.is_err());
    busy.cancel();
    assert!(busy.await.is_err());
    assert_eq!(waiting(&pool, &ctx).await.await.unwrap(), 1);
    let stats = pool.stats();
    assert_eq!((stats.calls.started, stats.queued, stats.running), (3, 0, 0), "{stats:?}");
}
