//! `run_with_grace`: a future that continues for a grace period after the end of its context.

mod common;

use std::future::{pending, poll_fn, ready};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use common::{HOUR, MS, SEC, Wakes, manual, poll_pinned};
use ripcord::{Context, block_on};

#[test]
fn future_has_its_grace_to_clean_up() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let (cleanup, wakes) = (root.clone(), Wakes::new());
    let mut run = pin!(ctx.run_with_grace(5 * SEC, |ctx| async move {
        let error = ctx.done().await;
        cleanup.sleep(3 * SEC).await.unwrap();
        error.cause().unwrap().to_string()
    }));
    assert!(poll_pinned(run.as_mut(), &wakes.waker()).is_pending());
    cancel.cancel_with("stop");
    assert_eq!(wakes.count(), 1);
    assert!(poll_pinned(run.as_mut(), &wakes.waker()).is_pending());
    time.advance(3 * SEC);
    let Poll::Ready(Ok(output)) = poll_pinned(run.as_mut(), &wakes.waker()) else { panic!("cleaned up in time") };
    assert_eq!(output, "stop");
}

#[test]
fn future_is_dropped_at_the_end_of_its_grace_with_the_contexts_error() {
    let (root, time) = manual();
    let ctx = root.with_name("GET /users").with_timeout_cause(SEC, "too slow");
    let (held, wakes) = (Arc::new(()), Wakes::new());
    let holds = Arc::clone(&held);
    let mut run = pin!(ctx.run_with_grace(5 * SEC, |_| async move {
        let _holds = holds;
        pending::<()>().await;
    }));
    assert!(poll_pinned(run.as_mut(), &wakes.waker()).is_pending());
    time.advance(6 * SEC - MS);
    assert_eq!((wakes.count(), ctx.is_done()), (0, true));
    time.advance(MS);
    assert_eq!(wakes.count(), 1);
    let Poll::Ready(Err(error)) = poll_pinned(run.as_mut(), &wakes.waker()) else { panic!("the grace is over") };
    assert_eq!(format!("{error:#}"), format!("{:#}", ctx.err().unwrap()));
    assert!(error.is_deadline_exceeded() && error.cause().unwrap().to_string() == "too slow");
    assert_eq!(Arc::strong_count(&held), 1, "it is dropped before the result is returned");
}

#[test]
fn output_at_the_last_poll_counts() {
    let (root, time) = manual();
    let ctx = root.with_timeout(SEC);
    let end = ctx.shielded(SEC);
    let mut run = pin!(ctx.run_with_grace(SEC, |_| poll_fn(|_| if end.is_done() {
        Poll::Ready("at the end")
    } else {
        Poll::Pending
    })));
    assert!(poll_pinned(run.as_mut(), &Wakes::new().waker()).is_pending());
    time.advance(HOUR);
    assert!(matches!(poll_pinned(run.as_mut(), &Wakes::new().waker()), Poll::Ready(Ok("at the end"))));
}

#[test]
fn done_context_makes_no_future() {
    let (ctx, cancel) = Context::background().with_cancel();
    cancel.cancel_with("stop");
    let run = ctx.run_with_grace(Duration::MAX, |_| -> std::future::Ready<()> { unreachable!("it is done") });
    assert_eq!(block_on(run).unwrap_err().cause().unwrap().to_string(), "stop");
}

#[test]
fn grace_counts_from_an_end_before_the_first_poll() {
    let (root, time) = manual();
    let polled = AtomicUsize::new(0);
    let counted = || poll_fn(|_| Poll::Ready(polled.fetch_add(1, Ordering::SeqCst)));
    let ctx = root.with_timeout(SEC);
    let run = ctx.run_with_grace(SEC, |_| counted());
    let late = ctx.run_with_grace(SEC, |_| counted());
    time.advance(2 * SEC - MS);
    assert_eq!(block_on(run).unwrap(), 0);
    time.advance(MS);
    assert!(block_on(late).unwrap_err().is_deadline_exceeded());
    assert_eq!(polled.load(Ordering::SeqCst), 1, "a future whose grace is over is never polled");
}

#[test]
fn no_grace_is_like_run() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    assert_eq!(block_on(ctx.run_with_grace(Duration::ZERO, |_| ready(1))).unwrap(), 1);
    let late = ctx.run_with_grace(Duration::ZERO, |_| poll_fn(|_| -> Poll<()> { unreachable!("never polled") }));
    let ends = ctx.run_with_grace(Duration::ZERO, |_| pending::<()>());
    let counts = ctx.run_with_grace(Duration::ZERO, |ctx| async move { ctx.done().await.is_canceled() });
    let (mut ends, mut counts) = (pin!(ends), pin!(counts));
    assert!(poll_pinned(ends.as_mut(), &Wakes::new().waker()).is_pending());
    assert!(poll_pinned(counts.as_mut(), &Wakes::new().waker()).is_pending());
    cancel.cancel();
    assert!(block_on(late).unwrap_err().is_canceled());
    assert!(block_on(ends).unwrap_err().is_canceled());
    assert!(block_on(counts).unwrap(), "a result at the poll of the end counts");
}

#[test]
fn endless_grace_has_no_limit() {
    let (root, time) = manual();
    let ctx = root.with_timeout(SEC);
    let wakes = Wakes::new();
    let mut run = pin!(ctx.run_with_grace(Duration::MAX, |ctx| async move {
        ctx.done().await;
        ctx.without_cancel().sleep(100 * HOUR).await.unwrap();
    }));
    assert!(poll_pinned(run.as_mut(), &wakes.waker()).is_pending());
    time.advance(SEC);
    assert!(poll_pinned(run.as_mut(), &wakes.waker()).is_pending());
    time.advance(100 * HOUR);
    assert!(matches!(poll_pinned(run.as_mut(), &wakes.waker()), Poll::Ready(Ok(()))));
}

#[test]
fn context_of_the_closure_ends_with_the_caller() {
    let (ctx, cancel) = Context::background().with_cancel();
    let run = ctx.run_with_grace(HOUR, |inner| {
        assert!(!inner.is_done());
        cancel.cancel();
        assert!(inner.is_done());
        ready(())
    });
    block_on(run).unwrap();
}

#[test]
fn dropped_run_leaves_nothing_behind() {
    let (root, time) = manual();
    let (ctx, _cancel) = root.with_timeout(SEC).with_cancel();
    let (held, wakes) = (Arc::new(()), Wakes::new());
    let holds = Arc::clone(&held);
    let mut run = Box::pin(ctx.run_with_grace(SEC, |_| async move {
        let _holds = holds;
        pending::<()>().await;
    }));
    assert!(poll_pinned(run.as_mut(), &wakes.waker()).is_pending());
    time.advance(SEC);
    assert_eq!(time.timers(), 1, "the end of the grace");
    drop(run);
    assert_eq!((time.timers(), wakes.held(), Arc::strong_count(&held)), (0, 0, 1));
}

#[cfg(feature = "tokio")]
mod on_tokio {
    use ripcord::Clock;
    use tokio::task::yield_now;

    use super::*;

    fn paused<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn grace_follows_tokios_paused_time() {
        paused(async {
            let start = tokio::time::Instant::now();
            let ctx = Context::background().with_clock(Clock::tokio()).with_timeout(SEC);
            assert!(ctx.run_with_grace(2 * SEC, |_| pending::<()>()).await.unwrap_err().is_deadline_exceeded());
            assert_eq!(start.elapsed().as_secs(), 3);
        });
    }

    #[test]
    fn spawned_task_cleans_up_within_its_grace_and_no_longer() {
        paused(async {
            let root = Context::background().with_clock(Clock::tokio());
            let (ctx, tasks) = root.with_tasks();
            let (ctx, cancel) = ctx.with_cancel();
            let task = |cleanup: Duration| {
                ctx.spawn_with_grace(5 * SEC, move |ctx| async move {
                    ctx.done().await;
                    tokio::time::sleep(cleanup).await;
                    "cleaned up"
                })
            };
            let (quick, slow) = (task(2 * SEC), task(HOUR));
            yield_now().await;
            cancel.cancel_with("stop");
            yield_now().await;
            assert!(tasks.len() == 2 && tasks.list().iter().all(ripcord::TaskInfo::is_ended));
            assert_eq!(quick.await.unwrap(), "cleaned up");
            let error = slow.await.unwrap_err();
            assert_eq!(error.context_error().unwrap().cause().unwrap().to_string(), "stop");
            assert!(tasks.is_empty());
        });
    }

    #[test]
    fn cancel_of_a_task_starts_its_grace() {
        paused(async {
            let root = Context::background().with_clock(Clock::tokio());
            let task = root.spawn_with_grace(SEC, |ctx| async move {
                ctx.done().await;
                tokio::time::sleep(MS).await;
            });
            yield_now().await;
            task.cancel();
            task.await.unwrap();
        });
    }
}
