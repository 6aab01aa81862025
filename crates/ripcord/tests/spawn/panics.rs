//! Panics in tasks, and who is told of them.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::mpsc;
use std::task::Poll;

use ripcord::{Context, Task, TaskError};

use super::{block_on, ended, line, settle};
use crate::common::{eventually, within};

#[test]
fn panic_is_the_error_with_its_message_line_and_payload() {
    block_on(async {
        let name = String::from("task");
        let task: Task<()> = Context::background().spawn(|_| async move { panic!("the {name}'s own") });
        let line = line() - 1;
        let error: TaskError = task.await.unwrap_err();
        assert!(error.is_panicked() && !error.is_ended() && error.context_error().is_none());
        assert!(matches!(error, TaskError::Panicked { .. }));
        assert_eq!(error.to_string(), "task panicked: the task's own");
        let panic = error.panic().unwrap().clone();
        assert_eq!((panic.message(), panic.location().line()), (Some("the task's own"), line));
        assert_eq!(*panic.into_payload().downcast::<String>().unwrap(), "the task's own");
        // A second `into_payload` returns only the message.
        let TaskError::Panicked(again) = error else { unreachable!() };
        assert_eq!(*again.into_payload().downcast::<String>().unwrap(), "the task's own");
    });
}

#[test]
fn panic_of_a_blocking_closure_is_the_error() {
    block_on(async {
        let (ctx, tasks) = Context::background().with_tasks();
        let task: Task<()> = ctx.spawn_blocking(|_| panic!("blocked"));
        assert_eq!(task.await.unwrap_err().panic().unwrap().message(), Some("blocked"));
        assert!(tasks.is_empty());
    });
}

#[test]
fn blocking_task_spawned_for_a_caller_has_the_line_of_that_caller() {
    let here = Location::caller();
    let nobody = Context::background().spawn_blocking_at(here, |_| ());
    assert_eq!(ended(futures::executor::block_on(nobody)).origin().location(), here, "there is no runtime");
    block_on(async {
        let (ctx, tasks) = Context::background().with_tasks();
        let (open, gate) = mpsc::channel::<()>();
        let task = ctx.spawn_blocking_at(here, move |_| gate.recv().is_err());
        assert_eq!(tasks.list()[0].location(), here);
        drop(open);
        assert!(task.await.unwrap());
        let task: Task<()> = ctx.spawn_blocking_at(here, |_| panic!("blocked"));
        assert_eq!(task.await.unwrap_err().panic().unwrap().location(), here);
    });
}

#[test]
fn panic_in_the_drop_of_a_future_is_the_error_of_its_task() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in the drop");
        }
    }
    struct Held(Option<u8>, #[allow(dead_code, reason = "dropped")] Bomb);
    impl Future for Held {
        type Output = u8;
        fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<u8> {
            self.0.map_or(Poll::Pending, Poll::Ready)
        }
    }
    block_on(async {
        let (ctx, tasks) = Context::background().with_tasks();
        let complete = ctx.spawn(|_| Held(Some(1), Bomb)).await;
        assert_eq!(complete.unwrap_err().panic().unwrap().message(), Some("in the drop"));
        let task = ctx.spawn(|_| Held(None, Bomb));
        settle().await;
        task.cancel();
        assert_eq!(task.await.unwrap_err().panic().unwrap().message(), Some("in the drop"));
        assert!(tasks.is_empty());
    });
}

/// Calls `send` with the message of each panic, from the panic hook. The previous hook still runs.
fn hook_panics(send: impl Fn(String) + Send + Sync + 'static) {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if let Some(message) = info.payload().downcast_ref::<&str>() {
            send((*message).to_owned());
        }
        hook(info);
    }));
}

#[test]
fn panic_of_a_detached_task_reaches_only_the_panic_hook() {
    let (sender, panics) = mpsc::channel();
    hook_panics(move |message| drop(sender.send(message)));
    block_on(async {
        let (ctx, tasks) = Context::background().with_tasks();
        drop(ctx.spawn(|_| async { panic!("detached") }));
        settle().await;
        assert!(tasks.is_empty() && !ctx.is_done());
        assert_eq!(ctx.spawn(|_| async { 7 }).await.unwrap(), 7);
    });
    assert!(panics.try_iter().any(|message| message == "detached"));
}

#[test]
fn blocking_closure_that_panics_after_its_task_has_ended_reaches_the_panic_hook_and_leaves_the_lists() {
    let (sender, panics) = mpsc::channel();
    hook_panics(move |message| drop(sender.send(message)));
    within("blocking", move || {
        block_on(async {
            let (ctx, tasks) = Context::background().with_tasks();
            let (release, released) = mpsc::channel::<()>();
            let (starts, started) = mpsc::channel();
            let mut task: Task<()> = ctx.spawn_blocking(move |_| {
                starts.send(()).unwrap();
                released.recv().unwrap();
                panic!("after its end");
            });
            started.recv().unwrap();
            task.cancel_with("stopped");
            let error = ended((&mut task).await);
            assert_eq!(error.cause().unwrap().to_string(), "stopped");
            assert_eq!(tasks.len(), 1, "the closure goes on");
            release.send(()).unwrap();
            eventually("the closure is gone", || tasks.is_empty());
            assert_eq!(ctx.spawn_blocking(|_| 7).await.unwrap(), 7);
        });
        assert!(panics.try_iter().any(|message| message == "after its end"));
    });
}

#[test]
fn payload_that_panics_when_dropped_affects_no_other_task() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("the payload's drop");
        }
    }
    block_on(async {
        let task: Task<()> = Context::background().spawn(|_| async { std::panic::panic_any(Bomb) });
        let error = task.await.unwrap_err();
        assert!(error.panic().unwrap().message().is_none());
        drop(error);
    });
}

#[test]
fn panic_of_the_closure_that_makes_the_future_is_the_callers() {
    block_on(async {
        let (ctx, tasks) = Context::background().with_tasks();
        let make = |_| -> std::future::Ready<()> { panic!("while making") };
        assert!(catch_unwind(AssertUnwindSafe(|| ctx.spawn(make))).is_err());
        assert!(tasks.is_empty() && !ctx.is_done());
    });
}
