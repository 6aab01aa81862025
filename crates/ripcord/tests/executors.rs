//! The same scenarios on tokio (one thread and several, real time and paused), on a bare executor and on plain threads.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use common::{HOUR, MS, SEC, Yields, manual, within};
use ripcord::{Context, FutureExt};

/// Checks the operations that every executor must support with a context on the system's clock. No step waits longer than a few
/// milliseconds, and only for a deadline that it set.
async fn anywhere() {
    let root = Context::background();
    // A deadline ends a future that would never end.
    let ctx = root.with_timeout_cause(2 * MS, "slow");
    let error = ctx.run(std::future::pending::<()>()).await.expect_err("the deadline");
    assert!(error.is_deadline_exceeded());
    assert_eq!(error.cause().expect("given").to_string(), "slow");
    assert!(Instant::now() >= ctx.deadline().expect("it has one"), "early");
    // A future that yields ends in time.
    assert_eq!(root.with_timeout(HOUR).run(Yields(5)).await.expect("in time"), "result");
    assert_eq!(Yields(5).with_context(&root.with_timeout(HOUR)).await.expect("in time"), "result");
    // A sleep ends in time, with the context, and at the deadline.
    let start = Instant::now();
    root.sleep(2 * MS).await.expect("nothing ends it");
    assert!(start.elapsed() >= 2 * MS, "early");
    assert!(root.with_timeout(MS).sleep(HOUR).await.expect_err("the deadline").is_deadline_exceeded());
    // A cancel from another thread.
    let (ctx, cancel) = root.with_cancel();
    let thread = std::thread::spawn(move || cancel.cancel_with("from a thread"));
    assert_eq!(ctx.done().await.cause().expect("given").to_string(), "from a thread");
    thread.join().expect("no panic");
    assert!(ctx.done_owned().await.is_canceled());
    // A scope.
    let name = ctx.with_name("scoped").scope(async { Context::current().name().map(str::to_owned) }).await;
    assert_eq!(name.as_deref(), Some("scoped"));
    assert_eq!(Context::current().name(), None);
}

#[test]
fn on_a_bare_executor() {
    within("a bare executor", || futures::executor::block_on(anywhere()));
}

#[test]
fn on_a_bare_executor_with_several_tasks() {
    within("a pool of tasks on one thread", || {
        use futures::task::LocalSpawnExt;
        let mut pool = futures::executor::LocalPool::new();
        let (root, time) = manual();
        let (parent, cancel) = root.with_cancel();
        let ended = Arc::new(AtomicUsize::new(0));
        for i in 0..20_u32 {
            let ctx = parent.with_timeout((1 + i) * SEC);
            let ended = Arc::clone(&ended);
            let task = async move {
                let error = ctx.done().await;
                assert_eq!(error.is_deadline_exceeded(), i < 10, "task {i}");
                ended.fetch_add(1, Ordering::SeqCst);
            };
            pool.spawner().spawn_local(task).expect("the pool is there");
        }
        pool.run_until_stalled();
        assert_eq!(ended.load(Ordering::SeqCst), 0);
        time.advance(10 * SEC);
        pool.run_until_stalled();
        assert_eq!(ended.load(Ordering::SeqCst), 10);
        cancel.cancel();
        pool.run_until_stalled();
        assert_eq!(ended.load(Ordering::SeqCst), 20);
    });
}

#[test]
fn on_plain_threads() {
    within("plain threads", || {
        let root = Context::background();
        let (ctx, cancel) = root.with_timeout(HOUR).with_cancel();
        let checks = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|i| {
                    let (ctx, checks) = (ctx.with_name(format!("worker-{i}")), &checks);
                    scope.spawn(move || {
                        // A loop that checks the context, like the workers of the chapter.
                        while ctx.check().is_ok() {
                            checks.fetch_add(1, Ordering::Relaxed);
                            std::thread::yield_now();
                        }
                        ctx.err().expect("done")
                    })
                })
                .collect();
            let waiter = scope.spawn(|| ctx.wait());
            let sleeper = scope.spawn(|| ctx.sleep_blocking(HOUR));
            let timed = scope.spawn(|| ctx.wait_timeout(HOUR));
            let quick = root.with_timeout(2 * MS);
            assert!(quick.wait().is_deadline_exceeded());
            assert!(Instant::now() >= quick.deadline().expect("it has one"), "early");
            while checks.load(Ordering::Relaxed) < 100 {
                std::thread::yield_now();
            }
            cancel.cancel_with("enough");
            for worker in workers {
                assert_eq!(worker.join().expect("no panic").cause().expect("given").to_string(), "enough");
            }
            assert!(waiter.join().expect("no panic").is_canceled());
            assert!(sleeper.join().expect("no panic").expect_err("ended").is_canceled());
            assert!(timed.join().expect("no panic").expect("ended").is_canceled());
        });
    });
}

#[test]
fn on_plain_threads_with_manual_time() {
    within("threads on manual time", || {
        let (root, time) = manual();
        let ctx = root.with_timeout(10 * SEC);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| ctx.wait());
            let sleeper = scope.spawn(|| root.sleep_blocking(5 * SEC));
            let beyond = scope.spawn(|| ctx.sleep_blocking(HOUR));
            // The threads may start to wait before or after the time was advanced. So the time is advanced in steps, and a
            // thread that starts its sleep late also ends.
            while !(waiter.is_finished() && sleeper.is_finished() && beyond.is_finished()) {
                time.advance(SEC);
                std::thread::yield_now();
            }
            assert!(waiter.join().expect("no panic").is_deadline_exceeded());
            assert!(sleeper.join().expect("no panic").is_ok());
            assert!(beyond.join().expect("no panic").expect_err("ended").is_deadline_exceeded());
        });
    });
}

#[test]
fn on_tokio_with_one_thread() {
    within("tokio with one thread", || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(anywhere());
    });
}

#[test]
fn on_tokio_with_several_threads() {
    within("tokio with several threads", || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(anywhere())).collect();
            for task in tasks {
                task.await.expect("no panic");
            }
            // A tree with many tasks, canceled from one of the tasks.
            let (root, cancel) = Context::background().with_cancel();
            let tasks: Vec<_> = (0..500)
                .map(|i| {
                    let ctx = if i % 2 == 0 { root.with_name("task") } else { root.with_timeout(HOUR) };
                    tokio::spawn(async move { ctx.done().await })
                })
                .collect();
            tokio::spawn(async move { cancel.cancel_with("all of you") });
            for task in tasks {
                let error = task.await.expect("no panic");
                assert_eq!(error.cause().expect("given").to_string(), "all of you");
            }
        });
    });
}

#[test]
fn on_tokio_without_its_timers() {
    // The system clock needs none of tokio's drivers.
    within("tokio without timers", || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(anywhere());
    });
}

#[test]
fn on_tokio_blocking_waits_stay_off_the_tasks() {
    within("a blocking wait beside tasks", || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (ctx, cancel) = Context::background().with_cancel();
            let blocked = tokio::task::spawn_blocking({
                let ctx = ctx.clone();
                move || ctx.wait()
            });
            tokio::task::yield_now().await;
            cancel.cancel();
            assert!(blocked.await.expect("no panic").is_canceled());
        });
    });
}

#[cfg(feature = "tokio")]
mod tokios_clock {
    use std::time::Duration;

    use super::*;
    use ripcord::Clock;

    fn paused<F: Future>(f: F) -> F::Output {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(f)
    }

    /// Checks that `f`, which waits for hours of paused time, takes little real time.
    fn in_no_time(f: impl FnOnce() + Send + 'static) {
        within("paused time", || {
            let start = Instant::now();
            f();
            assert!(start.elapsed() < common::HANG / 2, "it waited for real");
        });
    }

    #[test]
    fn follows_pause_and_fires_in_order() {
        in_no_time(|| {
            paused(async {
                let start = tokio::time::Instant::now();
                let root = Context::background().with_clock(Clock::tokio());
                let slow = root.with_timeout_cause(2 * HOUR, "slow");
                let quick = slow.with_timeout_cause(HOUR, "quick");
                let error = quick.done().await;
                assert_eq!(error.cause().expect("given").to_string(), "quick");
                assert!(start.elapsed() >= HOUR && start.elapsed() < HOUR + 10 * MS, "{:?}", start.elapsed());
                assert!(!slow.is_done());
                let error = slow.run(std::future::pending::<()>()).await.expect_err("the deadline");
                assert_eq!(error.cause().expect("given").to_string(), "slow");
                assert!(start.elapsed() >= 2 * HOUR && start.elapsed() < 2 * HOUR + 10 * MS, "{:?}", start.elapsed());
            });
        });
    }

    #[test]
    fn deadline_is_seen_as_soon_as_the_time_has_been_moved() {
        paused(async {
            let ctx = Context::background().with_clock(Clock::tokio()).with_timeout(SEC);
            let mut done = ctx.done();
            let wakes = common::Wakes::new();
            assert!(common::poll(&mut done, &wakes).is_pending());
            // Queried often and waited for. On the system's clock, such a context would rely on a timer.
            for _ in 0..1000 {
                assert!(!ctx.is_done());
            }
            // Polled only once, so that the task that fires due deadlines does not run in between.
            let moved = tokio::time::advance(SEC);
            assert!(common::poll(&mut Box::pin(moved), &wakes).is_pending());
            assert!(ctx.is_done());
        });
    }

    #[test]
    fn sleeps_with_tokios_own() {
        in_no_time(|| {
            paused(async {
                let root = Context::background().with_clock(Clock::tokio());
                let start = tokio::time::Instant::now();
                root.sleep(HOUR).await.expect("nothing ends it");
                assert!(start.elapsed() >= HOUR);
                let ctx = root.with_timeout(SEC);
                assert!(ctx.sleep(HOUR).await.expect_err("the deadline").is_deadline_exceeded());
                // The deadlines are on one timeline with tokio's timers. The earlier event comes first.
                let ctx = root.with_timeout(2 * SEC);
                tokio::select! {
                    biased;
                    _ = ctx.done() => panic!("the deadline comes second"),
                    () = tokio::time::sleep(SEC) => {}
                }
                let ctx = root.with_timeout(SEC);
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(2 * SEC) => panic!("the sleep comes second"),
                    error = ctx.done() => assert!(error.is_deadline_exceeded()),
                }
            });
        });
    }

    #[test]
    fn advance_ends_contexts_without_waiters() {
        in_no_time(|| {
            paused(async {
                let root = Context::background().with_clock(Clock::tokio());
                let ctx = root.with_timeout(SEC);
                assert_eq!(ctx.remaining(), Some(SEC));
                tokio::time::advance(SEC - MS).await;
                assert!(!ctx.is_done());
                assert_eq!(ctx.remaining(), Some(MS));
                tokio::time::advance(MS).await;
                assert!(ctx.is_done());
                assert!(root.with_deadline(root.clock().now()).is_done());
                assert_eq!(root.clock().now(), tokio::time::Instant::now().into_std());
            });
        });
    }

    #[test]
    fn resumed_time_continues() {
        within("resumed time", || {
            paused(async {
                let root = Context::background().with_clock(Clock::tokio());
                let ctx = root.with_timeout(HOUR);
                tokio::time::advance(HOUR - 2 * MS).await;
                tokio::time::resume();
                assert!(ctx.done().await.is_deadline_exceeded());
            });
        });
    }

    #[test]
    fn on_several_threads() {
        within("tokio's clock on several threads", || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let root = Context::background().with_clock(Clock::tokio());
                let tasks: Vec<_> = (0..200_u32)
                    .map(|i| {
                        let ctx = root.with_timeout(Duration::from_micros(u64::from(i % 10) * 500));
                        tokio::spawn(async move {
                            assert!(ctx.done().await.is_deadline_exceeded());
                            assert!(Instant::now() >= ctx.deadline().expect("it has one"), "early");
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.expect("no panic");
                }
                // From a thread outside the runtime.
                let ctx = root.with_timeout(2 * MS);
                let waited = tokio::task::spawn_blocking(move || ctx.wait()).await.expect("no panic");
                assert!(waited.is_deadline_exceeded());
                let ctx = root.with_timeout(2 * MS);
                let waited = std::thread::spawn(move || ctx.wait());
                let waited = tokio::task::spawn_blocking(move || waited.join()).await.expect("no panic");
                assert!(waited.expect("no panic").is_deadline_exceeded());
            });
        });
    }
}

#[cfg(feature = "tokio-util")]
mod tokens {
    use super::*;
    use tokio_util::sync::CancellationToken;

    #[test]
    fn token_ends_a_context() {
        let token = CancellationToken::new();
        let (root, _time) = manual();
        let (parent, cancel) = root.with_cancel();
        let ctx = parent.with_cancellation_token(&token);
        let below = ctx.with_name("below");
        let wakes = common::Wakes::new();
        let mut wait = below.done();
        assert!(common::poll(&mut wait, &wakes).is_pending());
        common::assert_live(&ctx);
        token.cancel();
        assert!(ctx.is_done() && below.is_done());
        assert_eq!(wakes.count(), 1);
        assert!(ctx.err().expect("done").is_canceled());
        common::assert_live(&parent);
        // A token that is already canceled, and a parent that ends first.
        assert!(parent.with_cancellation_token(&token).is_done());
        let other = parent.with_cancellation_token(&CancellationToken::new());
        cancel.cancel_with("stop");
        common::assert_canceled(&other, Some("stop"));
    }

    #[test]
    fn child_token_canceled_by_its_parent_ends_an_unwatched_context() {
        let token = CancellationToken::new();
        let ctx = Context::background().with_cancellation_token(&token.child_token());
        let unwatched = ctx.with_timeout(HOUR);
        token.cancel();
        assert!(unwatched.is_done());
    }

    #[test]
    fn context_ends_a_token() {
        within("a token of a context", || {
            let (root, time) = manual();
            let (ctx, cancel) = root.with_cancel();
            let token = ctx.cancellation_token();
            let child = token.child_token();
            let timed = root.with_timeout(SEC).cancellation_token();
            assert!(!token.is_cancelled() && !timed.is_cancelled());
            cancel.cancel();
            // Only the token watches the context.
            futures::executor::block_on(token.cancelled());
            assert!(child.is_cancelled());
            time.advance(SEC);
            futures::executor::block_on(timed.cancelled());
            // A done context returns a canceled token. A context that never ends returns a token that is never canceled.
            futures::executor::block_on(ctx.cancellation_token().cancelled());
            assert!(!Context::background().cancellation_token().is_cancelled());
            // Canceling the token does not end the context.
            let (ctx, _cancel) = root.with_cancel();
            ctx.cancellation_token().cancel();
            common::assert_live(&ctx);
        });
    }

    #[test]
    fn no_runtime_and_no_task_is_needed() {
        // No runtime exists here, and both directions work.
        assert!(tokio::runtime::Handle::try_current().is_err());
        let token = CancellationToken::new();
        let ctx = Context::background().with_cancellation_token(&token);
        let back = ctx.cancellation_token();
        token.cancel();
        assert!(ctx.is_done());
        within("a token of a token's context", move || futures::executor::block_on(back.cancelled()));
    }
}
