//! Tasks that hand tasks in to their own pool and wait for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::FutureExt;
use ripcord::Context;
use ripcord_policy::pool::{TaskOutcome, WorkerPool};
use ripcord_policy::{Error, Retry, SharedError};

use crate::common::{Failed, SECOND, at_rest, manual, pool, settle, sleeper, until};

#[tokio::test]
async fn a_task_that_submits_into_its_own_full_pool_is_refused() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 1);
    let inner = pool.clone();
    let outer = pool
        .submit(&ctx, move |ctx| async move {
            let queued = inner.submit(&ctx, |_| async { Ok::<_, Failed>(1) }).await;
            let refused = inner.submit(&ctx, |_| async { Ok::<_, Failed>(2) }).await.unwrap_err();
            assert!(refused.is_rejected());
            queued?.await
        })
        .await
        .unwrap();
    assert_eq!(outer.await.unwrap(), 1, "and one it waits for runs in its place");
    settle().await;
    at_rest(&pool.stats());
}

#[tokio::test]
async fn a_blocking_task_may_not_wait_for_its_own_pool_either() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 1);
    let (inner, handle) = (pool.clone(), tokio::runtime::Handle::current());
    let outer = pool
        .submit_blocking(&ctx, move |ctx| {
            drop(handle.block_on(inner.submit(ctx, |_| async { Ok::<_, Failed>(1) })));
            let refused = handle.block_on(inner.submit(ctx, |_| async { Ok::<_, Failed>(1) }));
            Ok::<_, Failed>(refused.unwrap_err().is_rejected())
        })
        .await
        .unwrap();
    assert!(outer.await.unwrap());
}

#[tokio::test]
async fn tasks_may_wait_for_tasks_of_their_own_pool_to_any_depth() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 2, 100);
    fn sum(
        pool: WorkerPool,
        ctx: Context,
        depth: u32,
    ) -> futures::future::BoxFuture<'static, Result<u32, Error<SharedError>>> {
        Box::pin(async move {
            if depth == 0 {
                return Ok(1);
            }
            let mut tasks = Vec::new();
            for _ in 0..2 {
                let below = pool.clone();
                tasks.push(pool.submit(&ctx, move |ctx| sum(below, ctx, depth - 1)).await?);
            }
            let mut total = 0;
            for task in tasks {
                total += task.await?;
            }
            Ok(total)
        })
    }
    let (below, root) = (pool.clone(), ctx.clone());
    assert_eq!(pool.submit(&ctx, move |_| sum(below, root, 4)).await.unwrap().await.unwrap(), 16);
    settle().await;
    at_rest(&pool.stats());
}

/// Counts who runs at a time.
#[derive(Default)]
struct Running {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Running {
    async fn sleep(self: Arc<Self>, ctx: Context) -> Result<u32, ripcord::Error> {
        self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        ctx.sleep(SECOND).await?;
        self.now.fetch_sub(1, Ordering::SeqCst);
        Ok(1)
    }
}

#[tokio::test]
async fn one_that_waits_for_many_leaves_its_place_to_one() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 3, 100);
    let running = Arc::new(Running::default());
    let (inner, counted) = (pool.clone(), Arc::clone(&running));
    let outer = pool.submit(&ctx, move |ctx| async move {
        let mut tasks = Vec::new();
        for _ in 0..20 {
            let counted = Arc::clone(&counted);
            tasks.push(inner.submit(&ctx, move |ctx| counted.sleep(ctx)).await?);
        }
        futures::future::try_join_all(tasks).await
    });
    let outer = outer.await.unwrap();
    settle().await;
    let stats = pool.stats();
    assert_eq!((stats.running, stats.queued, stats.workers.len()), (4, 17, 4), "it and three others");
    for _ in 0..7 {
        time.advance(SECOND);
        settle().await;
    }
    assert_eq!(outer.await.unwrap().len(), 20);
    assert_eq!(running.most.load(Ordering::SeqCst), 3);
    settle().await;
    assert_eq!(pool.stats().workers.len(), 3, "the one in its stead has left");
    at_rest(&pool.stats());
}

#[tokio::test]
async fn an_idle_worker_runs_it_and_none_is_started() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 2, 100);
    settle().await;
    let inner = pool.clone();
    let outer = pool.submit(&ctx, move |ctx| async move { inner.submit(&ctx, sleeper).await?.await });
    let outer = outer.await.unwrap();
    settle().await;
    let stats = pool.stats();
    assert_eq!((stats.running, stats.queued, stats.workers.len()), (2, 0, 2));
    time.advance(SECOND);
    assert_eq!(outer.await.unwrap(), 1);
    assert_eq!(pool.stats().workers.len(), 2);
}

#[tokio::test]
async fn a_task_that_comes_while_all_wait_is_run_too() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 1, 100);
    let (inner, gate) = (pool.clone(), Arc::new(tokio::sync::Notify::new()));
    let opened = Arc::clone(&gate);
    let outer = pool.submit(&ctx, move |ctx| async move {
        let waits = move |_| async move {
            opened.notified().await;
            Ok::<_, Failed>(1)
        };
        inner.submit(&ctx, waits).await?.await
    });
    let outer = outer.await.unwrap();
    settle().await;
    let next = pool.submit(&ctx, sleeper).await.unwrap();
    settle().await;
    assert_eq!((pool.stats().running, pool.stats().queued), (2, 1), "one waits, one runs: the place is taken");
    gate.notify_one();
    assert_eq!(outer.await.unwrap(), 1);
    settle().await;
    time.advance(SECOND);
    assert_eq!(next.await.unwrap(), 1);
    settle().await;
    assert_eq!(pool.stats().workers.len(), 1);
}

#[tokio::test]
async fn a_thousand_tasks_may_each_wait_for_the_next() {
    fn chain(pool: WorkerPool, ctx: Context, depth: u32) -> futures::future::BoxFuture<'static, Outcome> {
        Box::pin(async move {
            if depth == 0 {
                return Ok(0);
            }
            let below = pool.clone();
            Ok(pool.submit(&ctx, move |ctx| chain(below, ctx, depth - 1)).await?.await? + 1)
        })
    }
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 2000);
    let inner = pool.clone();
    let outer = pool.submit(&ctx, move |ctx| chain(inner, ctx, 1000)).await.unwrap();
    assert_eq!(outer.await.unwrap(), 1000);
    settle().await;
    assert_eq!(pool.stats().workers.len(), 1);
    at_rest(&pool.stats());
}

type Outcome = Result<u32, Error<SharedError>>;

#[tokio::test]
async fn a_wait_that_is_given_up_leaves_the_task_running_beside_it() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 1, 100);
    let inner = pool.clone();
    let outer = pool.submit(&ctx, move |ctx| async move {
        let task = inner.submit(&ctx, |ctx| async move { ctx.sleep(SECOND * 3).await }).await?;
        assert!(ctx.with_timeout(SECOND).run(task).await.is_err());
        Ok::<_, Error<SharedError>>(ctx.sleep(SECOND).await?)
    });
    let outer = outer.await.unwrap();
    settle().await;
    let next = pool.submit(&ctx, sleeper).await.unwrap();
    for _ in 0..2 {
        settle().await;
        time.advance(SECOND);
    }
    outer.await.unwrap();
    settle().await;
    let stats = pool.stats();
    assert_eq!(
        (stats.running, stats.queued, stats.workers.len()),
        (1, 1, 1),
        "of two workers the first to end has left"
    );
    for _ in 0..2 {
        time.advance(SECOND);
        settle().await;
    }
    assert_eq!(next.await.unwrap(), 1);
    at_rest(&pool.stats());
}

#[tokio::test]
async fn a_wait_ends_with_the_task_that_began_it() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 1, 100);
    let (inner, (sender, handed_out)) = (pool.clone(), tokio::sync::oneshot::channel());
    let outer = pool.submit(&ctx, move |ctx| async move {
        let mut task = inner.submit(&ctx, sleeper).await?;
        assert!((&mut task).now_or_never().is_none());
        sender.send(task).ok();
        Ok::<_, Error<SharedError>>(())
    });
    outer.await.unwrap().await.unwrap();
    let task = handed_out.await.unwrap();
    settle().await;
    assert_eq!((pool.stats().running, pool.stats().workers.len()), (1, 1), "one of two has left");
    let others = [pool.submit(&ctx, sleeper).await.unwrap(), pool.submit(&ctx, sleeper).await.unwrap()];
    settle().await;
    assert_eq!((pool.stats().running, pool.stats().queued), (1, 2));
    for _ in 0..3 {
        time.advance(SECOND);
        settle().await;
    }
    assert_eq!(task.await.unwrap(), 1);
    assert!(others.iter().all(|task| task.is_finished()));
    assert_eq!(pool.stats().workers.len(), 1);
}

#[tokio::test]
async fn a_blocking_task_that_waits_leaves_its_place_too() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 100);
    let (inner, handle) = (pool.clone(), tokio::runtime::Handle::current());
    let outer = pool.submit_blocking(&ctx, move |ctx| {
        handle.block_on(async {
            let blocking = inner.submit_blocking(ctx, |_| Ok::<_, Failed>(1)).await?.await?;
            Ok::<_, Error<SharedError>>(blocking + inner.submit(ctx, |_| async { Ok::<_, Failed>(1) }).await?.await?)
        })
    });
    assert_eq!(outer.await.unwrap().await.unwrap(), 2);
    until(|| pool.stats().workers.len() == 1 && pool.stats().running == 0).await;
    at_rest(&pool.stats());
}

#[tokio::test]
async fn a_pool_that_drains_still_runs_what_a_task_waits_for() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 1, 100);
    let (inner, gate) = (pool.clone(), Arc::new(tokio::sync::Notify::new()));
    let opened = Arc::clone(&gate);
    let outer = pool.submit(&ctx, move |ctx| async move {
        let task = inner.submit(&ctx, sleeper).await?;
        opened.notified().await;
        task.await
    });
    let outer = outer.await.unwrap();
    settle().await;
    let mut closing = Box::pin(pool.shutdown(&ctx));
    assert!(closing.as_mut().now_or_never().is_none());
    gate.notify_one();
    settle().await;
    assert_eq!(pool.stats().running, 2);
    time.advance(SECOND);
    closing.await.unwrap();
    assert_eq!(outer.await.unwrap(), 1);
    assert!(pool.stats().workers.is_empty());
    at_rest(&pool.stats());
}

#[tokio::test]
async fn an_abort_resolves_who_waits_and_what_it_waits_for() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 100);
    let mut results = pool.results();
    let inner = pool.clone();
    let outer = pool.submit(&ctx, move |ctx| async move {
        // Not those of its own context: nothing else ends them.
        let ctx = ctx.without_cancel();
        let running = inner.submit(&ctx, |_| std::future::pending::<Result<(), Failed>>()).await?;
        let queued = inner.submit(&ctx, |_| std::future::pending::<Result<(), Failed>>()).await?;
        futures::future::try_join(running, queued).await
    });
    let outer = outer.await.unwrap();
    settle().await;
    assert!(pool.shutdown(&ctx.with_timeout(Duration::ZERO)).await.is_err());
    assert!(outer.await.unwrap_err().is_canceled());
    for _ in 0..3 {
        assert_eq!(results.next(&ctx).await.unwrap().unwrap().outcome(), TaskOutcome::Canceled);
    }
    assert!(results.next(&ctx).await.unwrap().is_none());
    at_rest(&pool.stats());
}

#[tokio::test]
async fn a_resize_counts_those_that_wait_apart() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 2, 100);
    let mut outer = Vec::new();
    for _ in 0..2 {
        let inner = pool.clone();
        outer
            .push(pool.submit(&ctx, move |ctx| async move { inner.submit(&ctx, sleeper).await?.await }).await.unwrap());
    }
    for _ in 0..4 {
        drop(pool.submit(&ctx, sleeper).await.unwrap());
    }
    settle().await;
    assert_eq!((pool.stats().running, pool.stats().workers.len()), (4, 4), "two wait, two run");
    pool.resize(3).unwrap();
    settle().await;
    assert_eq!((pool.stats().running, pool.stats().workers.len()), (5, 5));
    pool.resize(1).unwrap();
    for _ in 0..6 {
        time.advance(SECOND);
        settle().await;
    }
    assert!(outer.iter().all(|task| task.is_finished()));
    assert_eq!(pool.stats().workers.len(), 1);
    at_rest(&pool.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trees_of_tasks_that_race_with_their_cancellation_leave_the_workers_that_were_asked_for() {
    fn tree(pool: WorkerPool, ctx: Context, depth: u32) -> futures::future::BoxFuture<'static, Outcome> {
        Box::pin(async move {
            if depth == 0 {
                tokio::task::yield_now().await;
                return Ok(1);
            }
            let mut tasks = Vec::new();
            for _ in 0..2 {
                let below = pool.clone();
                tasks.push(pool.submit(&ctx, move |ctx| tree(below, ctx, depth - 1)).await?);
            }
            Ok(futures::future::try_join_all(tasks).await?.iter().sum())
        })
    }
    for round in 0..200_u32 {
        let workers = round as usize % 3 + 1;
        let ctx = Context::background();
        let pool = pool(&ctx, workers, 1000);
        let (own, cancel) = ctx.with_cancel();
        let inner = pool.clone();
        let whole = pool.submit(&ctx, move |ctx| tree(inner, ctx, 5)).await.unwrap();
        let inner = pool.clone();
        let canceled = pool.submit(&own, move |ctx| tree(inner, ctx, 5)).await.unwrap();
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
        assert_eq!(whole.await.unwrap(), 32);
        drop(canceled.await);
        until(|| pool.stats().running == 0 && pool.stats().queued == 0 && pool.stats().workers.len() == workers).await;
        at_rest(&pool.stats());
        pool.shutdown(&ctx).await.unwrap();
    }
}

#[tokio::test]
async fn a_retry_in_a_task_does_not_multiply_the_one_around_it() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 10);
    let calls = Arc::new(AtomicUsize::new(0));
    let outer = Retry::exponential().max_attempts(1);
    let result = outer.run(&ctx, |ctx, _| {
        let (pool, calls) = (&pool, Arc::clone(&calls));
        async move {
            let task = move |ctx: Context| async move {
                // In a task of its own, which knows by the context alone.
                let inner = tokio::spawn(async move {
                    let inner = Retry::<Failed>::exponential();
                    let run = inner.run(&ctx, |_, _| async {
                        calls.fetch_add(1, Ordering::Relaxed);
                        Err::<u32, _>(Failed::other("down"))
                    });
                    run.await.map_err(|error| Failed::other(error.to_string()))
                });
                inner.await.map_err(Failed::other)?
            };
            pool.submit(&ctx, task).await?.await
        }
    });
    // The time does not move, so that a second attempt within would wait for ever.
    let mut result = std::pin::pin!(result);
    assert!((&mut result).now_or_never().is_none(), "the task runs on a worker");
    settle().await;
    assert!(result.now_or_never().expect("the task has given up").is_err());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}
