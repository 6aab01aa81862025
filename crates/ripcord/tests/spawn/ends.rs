//! The outputs of tasks, and their ends with a context.

use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use ripcord::{Context, Task};
use tokio::task::yield_now;

use super::{OnDrop, block_on, ended, line, settle};
use crate::common::{SEC, Wakes, manual, poll};

#[test]
fn task_returns_the_output_of_its_future() {
    block_on(async {
        let ctx = Context::background().with_name("sum");
        let task: Task<u32> = ctx.spawn(|ctx| async move {
            yield_now().await;
            assert_eq!(ctx.name(), Some("sum"));
            7
        });
        assert_eq!(task.await.unwrap(), 7);
        assert!(!ctx.is_done());
    });
}

#[test]
fn task_ends_with_its_context() {
    block_on(async {
        let (root, time) = manual();
        let ctx = root.with_timeout(SEC);
        let dropped = Arc::new(AtomicBool::new(false));
        let on_drop = OnDrop({
            let dropped = Arc::clone(&dropped);
            move || dropped.store(true, Ordering::SeqCst)
        });
        let task = ctx.spawn(|_| async move {
            let _on_drop = on_drop;
            pending::<()>().await;
        });
        settle().await;
        time.advance(SEC);
        let error = ended(task.await);
        assert!(error.is_deadline_exceeded() && dropped.load(Ordering::SeqCst));
    });
}

#[test]
fn output_that_is_ready_at_the_poll_of_the_end_counts() {
    block_on(async {
        let (ctx, cancel) = Context::background().with_cancel();
        let task = ctx.spawn(|ctx| async move { ctx.done().await.is_canceled() });
        settle().await;
        cancel.cancel();
        assert!(task.await.unwrap());
    });
}

#[test]
fn task_of_a_done_context_is_never_made() {
    block_on(async {
        let (ctx, cancel) = Context::background().with_cancel();
        let (ctx, tasks) = ctx.with_tasks();
        cancel.cancel_with("stopped");
        let make = |_| -> std::future::Pending<()> { unreachable!("the context is done") };
        assert_eq!(ended(ctx.spawn(make).await).cause().unwrap().to_string(), "stopped");
        let run = |_| -> u8 { unreachable!("the context is done") };
        assert_eq!(ended(ctx.spawn_blocking(run).await).cause().unwrap().to_string(), "stopped");
        assert!(tasks.is_empty());
    });
}

#[test]
fn task_whose_context_ends_before_the_first_poll_is_never_polled() {
    block_on(async {
        let (ctx, cancel) = Context::background().with_cancel();
        let task = ctx.spawn(|_| poll_fn(|_| -> Poll<()> { unreachable!("it is never polled") }));
        cancel.cancel();
        assert!(ended(task.await).is_canceled());
    });
}

#[test]
fn dropped_handle_detaches_its_task() {
    block_on(async {
        let (ctx, tasks) = Context::background().with_tasks();
        let ran = Arc::new(AtomicBool::new(false));
        let runs = Arc::clone(&ran);
        drop(ctx.spawn(|_| async move {
            yield_now().await;
            runs.store(true, Ordering::SeqCst);
        }));
        tasks.wait(&Context::background()).await.unwrap();
        assert!(ran.load(Ordering::SeqCst));
    });
}

#[test]
fn cancel_ends_the_task_alone_and_names_its_line() {
    block_on(async {
        let (ctx, _cancel) = Context::background().with_cancel();
        let seen = Arc::new(Mutex::new(None));
        let sees = Arc::clone(&seen);
        let task = ctx.spawn(|ctx| {
            *sees.lock().unwrap() = Some(ctx);
            pending::<()>()
        });
        let sibling = ctx.spawn(|_| async { yield_now().await });
        settle().await;
        task.cancel();
        let line = line() - 1;
        task.cancel_with("too late");
        let below = seen.lock().unwrap().clone().unwrap();
        assert!(below.is_done() && !ctx.is_done());
        let error = ended(task.await);
        assert_eq!((error.origin().location().line(), error.cause().is_none()), (line, true));
        sibling.await.unwrap();
    });
}

#[test]
fn cancel_of_a_task_that_was_not_started_leaves_its_parent() {
    let task = Context::background().with_name("parent").spawn(|_| pending::<()>());
    task.cancel();
    let (ctx, cancel) = Context::background().with_cancel();
    cancel.cancel_with("first");
    let task = ctx.spawn(|_| pending::<()>());
    task.cancel_with("second");
    assert_eq!(ctx.cause().unwrap().to_string(), "first");
}

#[test]
fn contexts_of_a_task_go_on_after_its_output() {
    block_on(async {
        let (ctx, tasks) = Context::background().with_tasks();
        let outer = ctx.spawn(|ctx| async move {
            ctx.spawn(|ctx| async move {
                settle().await;
                ctx.is_done()
            })
        });
        let inner = outer.await.unwrap();
        assert_eq!(tasks.len(), 1);
        assert!(!inner.await.unwrap());
        assert!(tasks.is_empty());
    });
}

#[test]
fn task_that_was_awaited_stays_pending() {
    block_on(async {
        let mut task = Context::background().spawn(|_| async { 1 });
        assert_eq!((&mut task).await.unwrap(), 1);
        assert!(task.is_finished() && poll(&mut task, &Wakes::new()).is_pending());
    });
}
