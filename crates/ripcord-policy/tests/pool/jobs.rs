//! Single jobs, from their submission to their end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::common::{Failed, SECOND, at_rest, manual, pool, settle, sleeper, until};
use ripcord::Context;
use ripcord_policy::WorkerPool;

#[tokio::test]
async fn job_returns_its_value_or_its_error() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 2, 10);
    let good = pool.submit(&ctx, |_| async { Ok::<_, Failed>(42) }).await.unwrap();
    let bad = pool.submit(&ctx, |_| async { Err::<(), _>(Failed::other("disk on fire")) }).await.unwrap();
    let blocking = pool.submit_blocking(&ctx, |_| Ok::<_, Failed>("blocked")).await.unwrap();
    assert_eq!(good.await.unwrap(), 42);
    let error = bad.await.unwrap_err();
    assert!(error.last().unwrap().downcast_ref::<Failed>().is_some());
    assert_eq!(error.to_string(), "disk on fire");
    assert_eq!(blocking.await.unwrap(), "blocked");
    pool.shutdown(&ctx).await.unwrap();
    let stats = pool.stats();
    assert_eq!((stats.calls.started, stats.calls.succeeded, stats.calls.failed, stats.completed), (3, 2, 1, 3));
    at_rest(&stats);
}

#[tokio::test]
async fn job_that_panics_fails_and_its_worker_goes_on() {
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
    assert!(error.is_panicked() && error.to_string().contains("at the disco"), "{error}");
    let blocking = pool.submit_blocking(&ctx, |_| if true { panic!("too") } else { Ok::<(), Failed>(()) });
    assert!(blocking.await.unwrap().await.unwrap_err().is_panicked());
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
async fn panic_whose_payload_panics_in_drop_costs_no_worker() {
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
    assert!(bomb.await.unwrap_err().is_panicked());
    let blocking = pool.submit_blocking(&ctx, |_| explode()).await.unwrap();
    assert!(blocking.await.unwrap_err().is_panicked());
    let next = pool.submit(&ctx, |_| async { Ok::<_, Failed>(1) }).await.unwrap();
    // A pool without workers closes, so this job would fail.
    assert_eq!(next.await.unwrap(), 1);
}

#[tokio::test]
async fn no_more_jobs_than_workers_run_at_once() {
    let (ctx, time) = manual();
    let pool = pool(&ctx, 3, 100);
    let (running, max) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut jobs = Vec::new();
    for _ in 0..20 {
        let (running, max) = (Arc::clone(&running), Arc::clone(&max));
        let job = move |ctx: Context| async move {
            max.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            ctx.sleep(SECOND).await?;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, ripcord::Error>(())
        };
        jobs.push(pool.submit(&ctx, job).await.unwrap());
    }
    settle().await;
    let stats = pool.stats();
    assert_eq!((stats.running, stats.queued), (3, 17));
    for _ in 0..7 {
        time.advance(SECOND);
        settle().await;
    }
    for job in jobs {
        job.await.unwrap();
    }
    assert_eq!(max.load(Ordering::SeqCst), 3);
    settle().await;
    at_rest(&pool.stats());
}

#[tokio::test]
async fn jobs_run_in_the_order_of_submission() {
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

#[tokio::test]
async fn submission_under_an_ended_context_is_refused() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 1);
    let done = ctx.with_timeout(Duration::ZERO);
    let called = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&called);
    let refused = pool.submit(&done, |_| async move { Ok::<_, Failed>(flag.swap(true, Ordering::Relaxed)) }).await;
    assert!(refused.unwrap_err().is_deadline_exceeded());
    settle().await;
    assert!(!called.load(Ordering::Relaxed));
    assert_eq!((pool.stats().calls.started, pool.stats().calls.rejected), (0, 1));
}

#[test]
fn blocking_job_canceled_while_it_waits_for_a_thread_does_not_start() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).max_blocking_threads(1).build().unwrap();
    let started = Arc::new(AtomicBool::new(false));
    runtime.block_on(async {
        let ctx = Context::background();
        let pool = pool(&ctx, 1, 10);
        let (release, held) = mpsc::channel::<()>();
        let holds = tokio::task::spawn_blocking(move || held.recv().is_err());
        let flag = Arc::clone(&started);
        let job = pool.submit_blocking(&ctx, move |_| {
            flag.store(true, Ordering::Relaxed);
            Ok::<_, Failed>(())
        });
        let job = job.await.unwrap();
        until(|| pool.stats().running == 1).await;
        job.cancel();
        drop(release);
        holds.await.unwrap();
        assert!(job.await.unwrap_err().is_canceled());
    });
    drop(runtime);
    assert!(!started.load(Ordering::Relaxed));
}

#[tokio::test]
async fn handle_whose_waker_panics_harms_no_other_job() {
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
        panic!("a fault of the waker");
    }
}

#[tokio::test]
async fn blocking_job_that_fails_after_its_end_reports_the_end_and_its_error() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 10);
    let (began, started) = tokio::sync::oneshot::channel();
    let blocking = pool.submit_blocking(&ctx, move |ctx| {
        began.send(()).ok();
        let end = futures::executor::block_on(ctx.done());
        Err::<(), _>(Failed::other(format!("half done: {end}")))
    });
    let job = blocking.await.unwrap();
    started.await.unwrap();
    job.cancel();
    let error = job.await.unwrap_err();
    assert!(error.is_canceled(), "{error}");
    assert!(error.last().is_some_and(|own| own.to_string().starts_with("half done: ")), "{error:#}");
    assert_eq!((pool.stats().calls.failed, pool.stats().calls.canceled), (0, 1), "nobody is to blame");
}

/// A regression test: the origin was a line of this crate, and the name and cause were lost.
#[tokio::test]
async fn job_ended_by_its_pool_names_the_pool_and_the_line_that_builds_it() {
    let (ctx, _time) = manual();
    let build = |name: &'static str| (WorkerPool::builder().name(name).workers(1).build(&ctx).unwrap(), line!());
    let (pool, line) = build("images");
    let pending = |_| std::future::pending::<Result<(), Failed>>();
    let (running, queued) = (pool.submit(&ctx, pending).await.unwrap(), pool.submit(&ctx, pending).await.unwrap());
    settle().await;
    drop(pool);
    for job in [running, queued] {
        let error = job.await.unwrap_err();
        let end = error.context_error().expect("its context ended");
        assert_eq!(end.origin().name(), Some("images"));
        assert_eq!((end.origin().location().file(), end.origin().location().line()), (file!(), line));
        assert_eq!(end.cause().unwrap().to_string(), "every handle of the worker pool was dropped");
    }
}

#[tokio::test]
async fn job_canceled_through_its_handle_names_the_line_of_the_cancel() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 10);
    let job = pool.submit(&ctx, sleeper).await.unwrap();
    let line = line!() + 1;
    job.cancel();
    let error = job.await.unwrap_err();
    let origin = error.context_error().unwrap().origin();
    assert_eq!((origin.location().file(), origin.location().line()), (file!(), line));
}

#[tokio::test]
async fn job_that_observes_its_end_reports_the_end_and_its_own_error() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 10);
    let (own, cancel) = ctx.with_cancel();
    let (began, started) = tokio::sync::oneshot::channel();
    let waits = move |ctx: &Context| {
        began.send(()).ok();
        Err::<(), _>(ctx.wait())
    };
    let job = pool.submit_blocking(&own, waits).await.unwrap();
    started.await.unwrap();
    cancel.cancel_with("the user left");
    let error = job.await.unwrap_err();
    assert!(error.is_canceled());
    assert_eq!(error.context_error().unwrap().cause().unwrap().to_string(), "the user left");
    assert!(error.last().unwrap().downcast_ref::<ripcord::Error>().is_some());
    assert_eq!(format!("{error:#}").matches("the user left").count(), 1, "{error:#}");
}
