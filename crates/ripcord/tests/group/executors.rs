//! Executors that run, drop or lose their tasks.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use crate::common::{Wakes, poll_pinned, within};
use crate::panics::resumed;
#[cfg(feature = "tokio")]
use crate::structure::stubborn;
use crate::worlds::{Threads, World, ok};
use ripcord::{BoxFuture, Context, Group};

/// An executor that runs each task to its end inside the call.
fn inline(ctx: &Context) -> (Group, Context) {
    Group::with_executor(ctx, |task: BoxFuture| futures::executor::block_on(task))
}

#[test]
fn on_an_executor_that_runs_the_task_in_the_call() {
    within("an inline executor", || {
        let (group, _ctx) = inline(&Context::background());
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..10 {
            let ran = Arc::clone(&ran);
            group.go(async move {
                ran.fetch_add(1, Ordering::SeqCst);
                ok()
            });
        }
        assert_eq!(ran.load(Ordering::SeqCst), 10);
        group.go(async { Err::<(), _>("boom") });
        let after = Arc::clone(&ran);
        group.go(async move {
            after.fetch_add(1, Ordering::SeqCst);
            ok()
        });
        assert_eq!(futures::executor::block_on(group.wait()).expect_err("one fails").to_string(), "boom");
        assert_eq!(ran.load(Ordering::SeqCst), 10);
    });
}

#[test]
fn long_queue_on_an_inline_executor_does_not_recurse() {
    // A task that ends inside the call starts the next task. The start must not nest, because the user decides how long the
    // queue is.
    thread_local! {
        static DEPTH: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }
    within("a long queue on an inline executor", || {
        let deepest = Arc::new(AtomicUsize::new(0));
        let (group, _ctx) = Group::with_executor(&Context::background(), {
            let deepest = Arc::clone(&deepest);
            move |task: BoxFuture| {
                let depth = DEPTH.get() + 1;
                DEPTH.set(depth);
                deepest.fetch_max(depth, Ordering::SeqCst);
                let mut task = task;
                assert!(poll_pinned(task.as_mut(), &Wakes::new().waker()).is_ready());
                DEPTH.set(depth - 1);
            }
        });
        group.set_limit(0);
        for _ in 0..100 {
            group.go(async { ok() });
        }
        group.set_limit(1);
        futures::executor::block_on(group.wait()).expect("none fails");
        let deepest = deepest.load(Ordering::SeqCst);
        assert!(deepest <= 2, "{deepest} calls of the executor inside one another");
    });
}

#[test]
fn on_an_executor_that_throws_tasks_away() {
    within("an executor that throws tasks away", || {
        let (group, ctx) = Group::with_executor(&Context::background(), |task: BoxFuture| drop(task));
        group.go(async { ok() });
        let error = futures::executor::block_on(group.wait()).expect_err("a task that never ran has not succeeded");
        assert!(!error.to_string().is_empty());
        assert!(ctx.is_done());
    });
}

#[test]
fn on_an_executor_that_panics() {
    within("an executor that panics", || {
        let (group, ctx) = Group::with_executor(&Context::background(), |_task: BoxFuture| panic!("on purpose"));
        let outcome = catch_unwind(AssertUnwindSafe(|| group.go(async { ok() })));
        assert!(outcome.is_err(), "the executor's panic is its caller's");
        // The executor dropped the task, and the task is counted out.
        let _either = catch_unwind(AssertUnwindSafe(|| futures::executor::block_on(group.wait())));
        assert!(ctx.is_done());
    });
}

#[test]
fn future_whose_drop_panics_is_counted_out() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("on purpose, in a drop");
        }
    }
    within("a future whose drop panics", || {
        let (group, _ctx) = Threads.group(&Context::background());
        let bad = std::mem::ManuallyDrop::new(Bad);
        group.go(poll_fn(move |_| {
            let _held = &bad;
            Poll::Ready(ok())
        }));
        let worse = Bad;
        group.go(poll_fn(move |_| {
            let _held = &worse;
            Poll::Ready(ok())
        }));
        let panic = resumed(Threads, group);
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose, in a drop"));
    });
}

#[cfg(feature = "tokio")]
#[test]
fn tokio_group_outside_of_a_runtime_returns_an_error() {
    within("a tokio group without tokio", || {
        let (group, _ctx) = Group::new(&Context::background());
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            group.go(async { ok() });
            futures::executor::block_on(group.wait())
        }));
        assert!(!matches!(outcome, Ok(Ok(()))), "a task that cannot run has not succeeded");
    });
}

#[cfg(feature = "tokio")]
#[test]
fn runtime_that_shuts_down_ends_the_group() {
    within("a group whose runtime is gone", || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (group, ctx, tasks) = runtime.block_on(async {
            let (group, ctx) = Group::new(&Context::background());
            let tasks = stubborn(&group, 3);
            (group, ctx, tasks)
        });
        drop(runtime);
        assert_eq!(tasks.iter().count(), 3);
        futures::executor::block_on(group.wait()).expect_err("the tasks never ended of themselves");
        assert!(ctx.is_done());
    });
}
