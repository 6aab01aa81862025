//! Jobs that submit jobs to their own pool and await them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::FutureExt;
use ripcord::Context;
use ripcord_policy::pool::WorkerPool;
use ripcord_policy::{Error, Retry, SharedError};

use crate::common::{Failed, SECOND, at_rest, manual, pool, settle, until};

/// Submits a job that awaits an inner job of the same pool.
async fn submit_nested(pool: &WorkerPool, ctx: &Context) -> ripcord_policy::pool::JobHandle<u32> {
    let inner = pool.clone();
    let outer = move |ctx: Context| async move {
        let inner = inner.submit(&ctx, |_| async { Ok::<_, Failed>(1) }).await?;
        Ok::<_, Error<SharedError>>(inner.await? + 1)
    };
    pool.submit(ctx, outer).await.unwrap()
}

#[tokio::test]
async fn job_that_submits_into_its_own_full_pool_is_refused() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 1);
    let inner = pool.clone();
    let outer = pool.submit(&ctx, move |ctx| async move {
        drop(inner.submit(&ctx, |_| async { Ok::<_, Failed>(1) }).await);
        let refused = inner.submit(&ctx, |_| async { Ok::<_, Failed>(2) }).await.unwrap_err();
        Ok::<_, Failed>((refused.is_full(), refused.is_rejected(), refused.to_string()))
    });
    assert_eq!(outer.await.unwrap().await.unwrap(), (true, true, "queue of 1 is full".to_owned()));
    settle().await;
    assert_eq!(pool.stats().calls.rejected, 1);
    at_rest(&pool.stats());
}

#[tokio::test]
async fn blocking_job_that_submits_into_its_own_full_pool_is_refused() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 1);
    let inner = pool.clone();
    let outer = pool.submit_blocking(&ctx, move |ctx| {
        drop(ripcord::block_on(inner.submit(ctx, |_| async { Ok::<_, Failed>(1) })));
        let refused = ripcord::block_on(inner.submit(ctx, |_| async { Ok::<_, Failed>(1) }));
        Ok::<_, Failed>(refused.unwrap_err().is_full())
    });
    assert!(outer.await.unwrap().await.unwrap());
}

#[tokio::test]
async fn job_awaits_a_job_of_its_own_pool_while_another_worker_is_free() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 2, 1);
    assert_eq!(submit_nested(&pool, &ctx).await.await.unwrap(), 2);
    settle().await;
    at_rest(&pool.stats());
}

#[tokio::test]
async fn jobs_that_await_their_own_pool_on_every_worker_end_with_their_contexts() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 2, 4);
    let (patient, hurried) = (ctx.with_timeout(SECOND * 2), ctx.with_timeout(SECOND));
    let first = submit_nested(&pool, &patient).await;
    let second = submit_nested(&pool, &hurried).await;
    settle().await;
    assert_eq!((pool.stats().running, pool.stats().queued), (2, 2), "no worker is left for what they await");
    time.advance(SECOND);
    settle().await;
    let error = second.await.unwrap_err();
    assert!(error.is_deadline_exceeded(), "{error}");
    // The worker of the second job is free for the inner job of the first.
    assert_eq!(first.await.unwrap(), 2);
    // The end of the context takes the second inner job out of the queue on another thread.
    until(|| pool.stats().calls.canceled == 2).await;
    settle().await;
    at_rest(&pool.stats());
}

#[tokio::test]
async fn shutdown_waits_for_a_job_that_a_running_one_awaits() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 2, 4);
    let outer = submit_nested(&pool, &ctx).await;
    settle().await;
    pool.shutdown(&ctx).await.unwrap();
    assert_eq!(outer.await.unwrap(), 2);
    at_rest(&pool.stats());
}

#[tokio::test]
async fn retry_in_a_job_does_not_multiply_the_retry_around_it() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 10);
    let calls = Arc::new(AtomicUsize::new(0));
    let outer = Retry::exponential().max_attempts(1).build().unwrap();
    let result = outer.run(&ctx, |ctx| {
        let (pool, calls) = (&pool, Arc::clone(&calls));
        async move {
            let job = move |ctx: Context| async move {
                // The inner retry runs in its own task. It finds the outer retry only through the context.
                let inner = tokio::spawn(async move {
                    let inner = Retry::<Failed>::exponential().build().unwrap();
                    let run = inner.run(&ctx, |_| async {
                        calls.fetch_add(1, Ordering::Relaxed);
                        Err::<u32, _>(Failed::other("down"))
                    });
                    run.await.map_err(|error| Failed::other(error.to_string()))
                });
                inner.await.map_err(Failed::other)?
            };
            pool.submit(&ctx, job).await?.await
        }
    });
    // Time does not advance, so a second attempt inside would wait forever.
    let mut result = std::pin::pin!(result);
    assert!((&mut result).now_or_never().is_none(), "the job runs on a worker");
    settle().await;
    assert!(result.now_or_never().expect("the job has given up").is_err());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}
