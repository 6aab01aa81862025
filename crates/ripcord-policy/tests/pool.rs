//! The worker pool by its specification, on a manual clock.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures::future::FutureExt;
use ripcord::{Clock, Context, ManualTime};
use ripcord_policy::pool::{Overflow, PoolStats, TaskOutcome, WorkerPool, WorkerState};
use ripcord_policy::{Error, Rejected, SharedError};

type Failed = std::io::Error;

const SECOND: Duration = Duration::from_secs(1);

fn manual() -> (Context, ManualTime) {
    let (clock, time) = Clock::manual();
    (Context::background().with_clock(clock), time)
}

fn pool(ctx: &Context, workers: usize, queue: usize) -> WorkerPool {
    WorkerPool::builder().workers(workers).queue(queue).build(ctx).unwrap()
}

async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Waits until `condition` holds, which another thread of this process sees to soon.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

async fn sleeper(ctx: Context) -> Result<u32, ripcord::Error> {
    ctx.sleep(SECOND).await?;
    Ok(1)
}

fn at_rest(stats: &PoolStats) {
    assert_eq!(stats.started, stats.succeeded + stats.failed + stats.canceled, "{stats:?}");
    assert_eq!((stats.queued, stats.running), (0, 0), "{stats:?}");
}

#[tokio::test]
async fn tasks_return_what_they_return() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 2, 10);
    let good = pool.submit(&ctx, |_| async { Ok::<_, Failed>(42) }).await.unwrap();
    let bad = pool.submit(&ctx, |_| async { Err::<(), _>(Failed::other("disk on fire")) }).await.unwrap();
    let blocking = pool.submit_blocking(&ctx, |_| Ok::<_, Failed>("blocked")).await.unwrap();
    assert_eq!(good.await.unwrap(), 42);
    let error = bad.await.unwrap_err();
    assert!(error.inner().unwrap().downcast_ref::<Failed>().is_some());
    assert_eq!(error.to_string(), "disk on fire");
    assert_eq!(blocking.await.unwrap(), "blocked");
    pool.shutdown(&ctx).await.unwrap();
    let stats = pool.stats();
    assert_eq!((stats.started, stats.succeeded, stats.failed, stats.completed), (3, 2, 1, 3));
    at_rest(&stats);
}

#[tokio::test]
async fn a_panic_is_its_tasks_error_and_the_worker_goes_on() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 10);
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let asynchronous =
        pool.submit(&ctx, |_| async { if true { panic!("at the disco") } else { Ok::<(), Failed>(()) } });
    let error = asynchronous.await.unwrap().await.unwrap_err();
    assert!(matches!(&error, Error::Panicked(panicked) if panicked.message() == "at the disco"), "{error}");
    let blocking = pool.submit_blocking(&ctx, |_| if true { panic!("too") } else { Ok::<(), Failed>(()) });
    assert!(matches!(blocking.await.unwrap().await.unwrap_err(), Error::Panicked(_)));
    let (canceled, cancel) = ctx.with_cancel();
    let bomb = Bomb;
    let dropped = pool
        .submit(&canceled, |_| async move {
            let _bomb = bomb;
            std::future::pending::<Result<(), Failed>>().await
        })
        .await
        .unwrap();
    settle().await;
    cancel.cancel();
    assert!(dropped.await.unwrap_err().is_canceled());
    assert_eq!(pool.submit(&ctx, |_| async { Ok::<_, Failed>(1) }).await.unwrap().await.unwrap(), 1);
    assert_eq!((pool.stats().panicked, pool.stats().workers.len()), (2, 1));
}

#[tokio::test]
async fn no_more_than_the_workers_run_at_once() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 3, 100);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = Vec::new();
    for _ in 0..20 {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        let task = move |ctx: Context| async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            ctx.sleep(SECOND).await?;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, ripcord::Error>(())
        };
        tasks.push(pool.submit(&ctx, task).await.unwrap());
    }
    settle().await;
    let stats = pool.stats();
    assert_eq!((stats.running, stats.queued), (3, 17));
    for _ in 0..7 {
        time.advance(SECOND);
        settle().await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 3);
    settle().await;
    at_rest(&pool.stats());
}

#[tokio::test]
async fn a_full_queue_rejects_or_waits_as_the_submitters_context_lets_it() {
    let (ctx, time) = manual();
    let waits = pool(&ctx, 1, 1);
    let rejects = WorkerPool::builder().workers(1).queue(1).overflow(Overflow::Reject).build(&ctx).unwrap();
    for pool in [&waits, &rejects] {
        drop(pool.submit(&ctx, sleeper).await.unwrap());
        drop(pool.submit(&ctx, sleeper).await.unwrap());
        let full = pool.try_submit(&ctx, sleeper).unwrap_err();
        assert!(matches!(full, Error::Rejected(Rejected::PoolFull { capacity: 1 })), "{full}");
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
    let task = patient.as_mut().now_or_never().expect("a place is free").unwrap();
    for _ in 0..3 {
        time.advance(SECOND);
        settle().await;
    }
    assert_eq!(task.await.unwrap(), 1);
    at_rest(&waits.stats());
    assert_eq!(waits.stats().rejected, 2);
}

#[tokio::test]
async fn dropping_a_waiting_submission_takes_no_place() {
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
    assert_eq!((pool.stats().started, pool.stats().queued), (2, 0));
    drop(pool.try_submit(&ctx, sleeper).unwrap());
    assert!(pool.try_submit(&ctx, sleeper).is_err());
}

#[tokio::test]
async fn a_done_context_submits_nothing() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 1);
    let done = ctx.with_timeout(Duration::ZERO);
    let called = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&called);
    let refused = pool.submit(&done, |_| async move { Ok::<_, Failed>(flag.swap(true, Ordering::Relaxed)) }).await;
    assert!(refused.unwrap_err().is_deadline_exceeded());
    settle().await;
    assert!(!called.load(Ordering::Relaxed));
    assert_eq!((pool.stats().started, pool.stats().rejected), (0, 1));
}

#[tokio::test]
async fn a_queued_task_is_resolved_and_its_place_freed_when_its_context_ends() {
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
    assert_eq!((pool.stats().queued, pool.stats().canceled), (0, 200));
    let queued = pool.submit(&ctx, sleeper).await.unwrap();
    queued.cancel();
    assert!(queued.is_finished(), "at once");
    stuck.cancel();
    assert!(stuck.await.unwrap_err().is_canceled());
    settle().await;
    at_rest(&pool.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn canceling_100_000_queued_tasks_resolves_them_all() {
    const TASKS: usize = 100_000;
    for by_pool in [false, true] {
        let (ctx, cancel) = Context::background().with_cancel();
        let (pool_ctx, task_ctx) = if by_pool { (ctx, Context::background()) } else { (Context::background(), ctx) };
        let pool = pool(&pool_ctx, 2, TASKS);
        let mut tasks = Vec::with_capacity(TASKS);
        for _ in 0..TASKS {
            let pending = |_| std::future::pending::<Result<(), Failed>>();
            tasks.push(pool.submit(&task_ctx, pending).await.unwrap());
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
        for task in tasks {
            assert!(task.await.unwrap_err().is_canceled());
        }
        for result in waiting.await.unwrap() {
            match result {
                Ok(task) => drop(task.await),
                Err(error) => assert!(by_pool && error.is_rejected(), "{error}"),
            }
        }
        until(|| pool.stats().running == 0).await;
        at_rest(&pool.stats());
        assert!(pool.stats().canceled >= TASKS as u64);
    }
}

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

#[tokio::test]
async fn a_task_taken_over_runs_on_when_its_handle_is_dropped() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 1, 10);
    let done = Arc::new(AtomicBool::new(false));
    let (inner, flag) = (pool.clone(), Arc::clone(&done));
    let outer = pool
        .submit(&ctx, move |ctx| async move {
            let below = |ctx: Context| async move {
                ctx.sleep(SECOND).await?;
                flag.store(true, Ordering::Relaxed);
                Ok::<_, ripcord::Error>(())
            };
            let mut task = inner.submit(&ctx, below).await?;
            assert!((&mut task).now_or_never().is_none(), "it has begun in place");
            drop(task);
            Ok::<_, Error<SharedError>>(())
        })
        .await
        .unwrap();
    outer.await.unwrap();
    settle().await;
    time.advance(SECOND);
    settle().await;
    assert!(done.load(Ordering::Relaxed));
    at_rest(&pool.stats());
}

/// Hands a task in to a pool with one worker, begins it in place and drops its handle.
async fn taken_over_and_dropped<Fut>(
    pool: &WorkerPool,
    ctx: &Context,
    task: impl FnOnce(Context) -> Fut + Send + 'static,
) where
    Fut: Future<Output = Result<u32, Error<SharedError>>> + Send + 'static,
{
    let inner = pool.clone();
    let outer = pool.submit(ctx, move |ctx| async move {
        let mut below = inner.submit(&ctx, task).await?;
        assert!((&mut below).now_or_never().is_none(), "it has begun in place");
        Ok::<_, Error<SharedError>>(())
    });
    outer.await.unwrap().await.unwrap();
}

#[tokio::test]
async fn shutdown_waits_for_a_task_that_ran_in_place_and_its_result_is_read() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 1, 10);
    let mut results = pool.results();
    taken_over_and_dropped(&pool, &ctx, |ctx| async move { Ok(sleeper(ctx).await?) }).await;
    assert_eq!(results.next(&ctx).await.unwrap().unwrap().id().to_string(), "1");
    let closing = {
        let (pool, ctx) = (pool.clone(), ctx.clone());
        tokio::spawn(async move { pool.shutdown(&ctx).await })
    };
    settle().await;
    assert!(pool.stats().workers.is_empty(), "the worker has left");
    assert_eq!(pool.stats().running, 1);
    assert!(!closing.is_finished());

    time.advance(SECOND);
    closing.await.unwrap().unwrap();
    let last = results.next(&ctx).await.unwrap().unwrap();
    assert_eq!((last.outcome(), last.take::<u32>().unwrap().unwrap()), (TaskOutcome::Succeeded, 1));
    assert!(results.next(&ctx).await.unwrap().is_none());
    at_rest(&pool.stats());
}

#[tokio::test]
async fn shutdown_cancels_a_task_that_ran_in_place_at_its_contexts_end() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 10);
    let mut results = pool.results();
    taken_over_and_dropped(&pool, &ctx, |_| std::future::pending()).await;
    assert!(pool.shutdown(&ctx.with_timeout(Duration::ZERO)).await.is_err());
    let stats = pool.stats();
    assert_eq!((stats.started, stats.succeeded, stats.canceled), (2, 1, 1), "all are resolved: {stats:?}");
    assert_eq!(results.next(&ctx).await.unwrap().unwrap().outcome(), TaskOutcome::Succeeded);
    assert_eq!(results.next(&ctx).await.unwrap().unwrap().outcome(), TaskOutcome::Canceled);
    assert!(results.next(&ctx).await.unwrap().is_none());
    at_rest(&pool.stats());
}

#[tokio::test]
async fn a_task_that_ran_in_place_is_still_refused_by_its_own_full_pool() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 1);
    let (inner, gate) = (pool.clone(), Arc::new(tokio::sync::Notify::new()));
    let (sender, refused) = tokio::sync::oneshot::channel();
    let opened = Arc::clone(&gate);
    taken_over_and_dropped(&pool, &ctx, move |ctx| async move {
        opened.notified().await;
        let first = inner.submit(&ctx, |_| async { Ok::<_, Failed>(1) }).await;
        let second = inner.submit(&ctx, |_| async { Ok::<_, Failed>(2) }).await;
        sender.send(second.is_err_and(|error| error.is_rejected())).unwrap();
        first?.await
    })
    .await;
    let busy = pool.submit(&ctx, |_| std::future::pending::<Result<(), Failed>>()).await.unwrap();
    settle().await;
    gate.notify_one();
    settle().await;
    assert_eq!(refused.now_or_never().expect("it waits for itself"), Ok(true));
    busy.cancel();
    settle().await;
    at_rest(&pool.stats());
}

#[tokio::test]
async fn a_worker_that_is_woken_for_a_task_takes_it_before_it_leaves() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 2, 10);
    let busy = pool.submit(&ctx, |_| std::future::pending::<Result<(), Failed>>()).await.unwrap();
    settle().await;
    let (child, cancel) = ctx.with_cancel();
    let task = pool.try_submit(&child, |_| std::future::pending::<Result<(), Failed>>()).unwrap();
    pool.resize(1).unwrap();
    settle().await;
    cancel.cancel();
    settle().await;
    assert!(task.is_finished(), "it is neither run nor called off");
    assert_eq!(pool.stats().workers.len(), 1);
    assert!(!busy.is_finished());
}

#[tokio::test]
async fn a_waker_that_panics_harms_no_other_task() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 10);
    drop(pool.submit(&ctx, |_| std::future::pending::<Result<(), Failed>>()).await.unwrap());
    settle().await;
    let mut first = pool.submit(&ctx, sleeper).await.unwrap();
    let second = pool.submit(&ctx, sleeper).await.unwrap();
    let panics = std::task::Waker::from(Arc::new(Panics));
    assert!(std::pin::Pin::new(&mut first).poll(&mut std::task::Context::from_waker(&panics)).is_pending());
    drop(pool);
    assert!(first.is_finished() && second.is_finished());
}

struct Panics;

impl std::task::Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker's own affair");
    }
}

#[tokio::test]
async fn a_panic_whose_payload_panics_when_dropped_costs_no_worker() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(1);
        }
    }
    fn explode() -> Result<(), Failed> {
        std::panic::panic_any(Bomb)
    }
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 10);
    let bomb = pool.submit(&ctx, |_| async { explode() }).await.unwrap();
    assert!(matches!(bomb.await.unwrap_err(), Error::Panicked(_)));
    let blocking = pool.submit_blocking(&ctx, |_| explode()).await.unwrap();
    assert!(matches!(blocking.await.unwrap_err(), Error::Panicked(_)));
    let next = pool.submit(&ctx, |_| async { Ok::<_, Failed>(1) }).await.unwrap();
    // With its last worker gone a pool closes, and this is an error.
    assert_eq!(next.await.unwrap(), 1);
}

#[test]
fn a_blocking_task_that_was_canceled_while_it_waited_for_a_thread_does_not_begin() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).max_blocking_threads(1).build().unwrap();
    let begun = Arc::new(AtomicBool::new(false));
    runtime.block_on(async {
        let ctx = Context::background();
        let pool = pool(&ctx, 1, 10);
        let (release, held) = mpsc::channel::<()>();
        let holds = tokio::task::spawn_blocking(move || held.recv().is_err());
        let flag = Arc::clone(&begun);
        let task = pool.submit_blocking(&ctx, move |_| {
            flag.store(true, Ordering::Relaxed);
            Ok::<_, Failed>(())
        });
        let task = task.await.unwrap();
        until(|| pool.stats().running == 1).await;
        task.cancel();
        drop(release);
        holds.await.unwrap();
        assert!(matches!(task.await.unwrap_err(), Error::Context(_)));
    });
    drop(runtime);
    assert!(!begun.load(Ordering::Relaxed));
}

#[tokio::test]
async fn readers_that_give_up_leave_no_wakers_behind() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 10);
    let mut results = pool.results();
    let wakers: Vec<_> = (0..100).map(|_| Arc::new(Unwoken)).collect();
    for waker in &wakers {
        let waker = std::task::Waker::from(Arc::clone(waker));
        let mut next = Box::pin(results.next(&ctx));
        assert!(next.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    }
    let kept = wakers.iter().filter(|waker| Arc::strong_count(waker) > 1).count();
    assert!(kept <= 1, "{kept}");
    drop(results);
    assert!(wakers.iter().all(|waker| Arc::strong_count(waker) == 1));
}

struct Unwoken;

impl std::task::Wake for Unwoken {
    fn wake(self: Arc<Self>) {}
}

#[tokio::test]
async fn dropping_a_task_cancels_nothing_and_its_result_goes_to_the_stream() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 10);
    let mut results = pool.results();
    let kept = pool.submit(&ctx, |_| async { Ok::<_, Failed>(1_u32) }).await.unwrap();
    drop(pool.submit(&ctx, |_| async { Ok::<_, Failed>("text") }).await.unwrap());
    drop(pool.submit(&ctx, |_| async { Err::<(), _>(Failed::other("down")) }).await.unwrap());
    let (gone, cancel) = ctx.with_cancel();
    drop(pool.submit(&gone, |_| std::future::pending::<Result<(), Failed>>()).await.unwrap());
    settle().await;
    cancel.cancel();

    let first = results.next(&ctx).await.unwrap().unwrap();
    assert_eq!((first.id(), first.outcome()), (kept.id(), TaskOutcome::Succeeded));
    assert!(first.take::<u32>().is_none(), "it belongs to the task");
    assert_eq!(kept.await.unwrap(), 1);
    let second = results.next(&ctx).await.unwrap().unwrap();
    assert!(second.take::<u32>().is_none(), "of another type, and still there");
    assert_eq!(second.take::<&str>().unwrap().unwrap(), "text");
    let third = results.next(&ctx).await.unwrap().unwrap();
    assert_eq!(third.outcome(), TaskOutcome::Failed);
    assert_eq!(third.take::<()>().unwrap().unwrap_err().to_string(), "down");
    let fourth = results.next(&ctx).await.unwrap().unwrap();
    assert_eq!(fourth.outcome(), TaskOutcome::Canceled);
    assert!(results.next(&ctx.with_timeout(Duration::ZERO)).await.unwrap_err().is_deadline_exceeded());
    pool.shutdown(&ctx).await.unwrap();
    assert!(results.next(&ctx).await.unwrap().is_none(), "it ends with the pool");
}

#[tokio::test]
async fn shutdown_drains() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 1, 10);
    let tasks = [pool.submit(&ctx, sleeper).await.unwrap(), pool.submit(&ctx, sleeper).await.unwrap()];
    let closing = {
        let (pool, ctx) = (pool.clone(), ctx.with_timeout(SECOND * 10));
        tokio::spawn(async move { pool.shutdown(&ctx).await })
    };
    settle().await;
    assert!(pool.is_closed());
    assert!(matches!(pool.submit(&ctx, sleeper).await.unwrap_err(), Error::Rejected(Rejected::Closed("worker pool"))));
    assert!(pool.resize(3).is_err());
    for _ in 0..2 {
        time.advance(SECOND);
        settle().await;
    }
    closing.await.unwrap().unwrap();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 1);
    }
    assert!(pool.stats().workers.is_empty());
    at_rest(&pool.stats());
    pool.shutdown(&ctx).await.unwrap();
}

#[tokio::test]
async fn shutdown_aborts_at_its_contexts_end_also_what_does_not_listen() {
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
    assert_eq!(pool.stats().canceled, 3);
}

#[tokio::test]
async fn dropping_shutdown_leaves_a_closed_pool_that_drains() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 1, 10);
    let task = pool.submit(&ctx, sleeper).await.unwrap();
    let mut closing = Box::pin(pool.shutdown(&ctx));
    assert!(closing.as_mut().now_or_never().is_none());
    drop(closing);
    assert!(pool.is_closed());
    settle().await;
    time.advance(SECOND);
    assert_eq!(task.await.unwrap(), 1);
    pool.shutdown(&ctx).await.unwrap();
}

#[tokio::test]
async fn the_last_handle_cancels_everything() {
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

#[tokio::test]
async fn resizing_adds_and_takes_away_workers() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 1, 3);
    assert!(pool.resize(0).is_err());
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
    assert_eq!(pool.stats().succeeded, 6);
    for _ in 0..4 {
        drop(pool.try_submit(&ctx, sleeper).unwrap());
    }
    assert!(pool.try_submit(&ctx, sleeper).is_err(), "one runs and three wait, as at first");
}

#[tokio::test]
async fn workers_show_what_they_do() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 2, 10);
    let task = pool.submit(&ctx, sleeper).await.unwrap();
    settle().await;
    time.advance(SECOND / 4);
    let stats = pool.stats();
    let running: Vec<_> = stats.workers.iter().filter(|worker| worker.state != WorkerState::Idle).collect();
    assert_eq!(running.len(), 1);
    assert_eq!(running[0].state, WorkerState::Running { task: task.id(), elapsed: SECOND / 4 });
    time.advance(SECOND);
    task.await.unwrap();
    settle().await;
    assert_eq!(pool.stats().workers.iter().map(|worker| worker.finished).sum::<u64>(), 1);
}

#[tokio::test]
async fn tasks_are_run_in_the_order_of_their_submission() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 100);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    for number in 0..50 {
        let order = Arc::clone(&order);
        drop(
            pool.submit(&ctx, move |_| async move {
                order.lock().unwrap().push(number);
                Ok::<_, Failed>(())
            })
            .await,
        );
    }
    pool.shutdown(&ctx).await.unwrap();
    assert_eq!(*order.lock().unwrap(), (0..50).collect::<Vec<_>>());
}

#[test]
fn bad_settings_are_named() {
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

#[test]
fn a_runtime_that_goes_away_strands_no_task() {
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
