//! Blocking tasks.

use std::future::poll_fn;
use std::sync::mpsc;
use std::task::Poll;

use ripcord::Context;
use tokio::runtime::Builder;

use super::{OnDrop, block_on, ended, line};
use crate::common::{Wakes, eventually, poll, within};

#[test]
fn blocking_task_that_ignores_its_end_stays_listed_until_it_returns() {
    within("blocking", || {
        block_on(async {
            let (root, tasks) = Context::background().with_tasks();
            let (ctx, cancel) = root.with_name("resize image").with_cancel();
            let (release, released) = mpsc::channel::<()>();
            let (started, starts) = mpsc::channel();
            let mut task = ctx.spawn_blocking(move |_| {
                started.send(()).unwrap();
                released.recv().unwrap();
            });
            let line = line() - 4;
            starts.recv().unwrap();
            assert!(poll(&mut task, &Wakes::new()).is_pending());
            cancel.cancel();
            assert!(ended((&mut task).await).is_canceled());
            let listed = tasks.list();
            assert_eq!((listed.len(), listed[0].name()), (1, Some("resize image")));
            assert!(listed[0].is_ended() && listed[0].location().line() == line);
            assert!(!tasks.is_empty());
            release.send(()).unwrap();
            tasks.wait(&Context::background()).await.unwrap();
        });
    });
}

#[test]
fn ended_blocking_task_is_finished_once_its_closure_has_returned() {
    within("blocking", || {
        block_on(async {
            let (release, released) = mpsc::channel::<()>();
            let (started, starts) = mpsc::channel();
            let mut task = Context::background().spawn_blocking(move |_| {
                started.send(()).unwrap();
                released.recv().unwrap();
            });
            starts.recv().unwrap();
            task.cancel();
            assert!(!task.is_finished());
            assert!(ended((&mut task).await).is_canceled());
            assert!(!task.is_finished(), "the closure is still running");
            release.send(()).unwrap();
            eventually("the closure is gone", || task.is_finished());
            assert!(poll(&mut task, &Wakes::new()).is_pending());
        });
    });
}

#[test]
fn blocking_value_wins_over_an_end_at_the_same_poll() {
    within("blocking", || {
        block_on(async {
            let (ctx, cancel) = Context::background().with_cancel();
            let mut task = ctx.spawn_blocking(|_| 5);
            eventually("the closure returns", || task.is_finished());
            cancel.cancel();
            // The value wins even if tokio's budget for this poll is used up, so that tokio delays the value.
            let wakes = Wakes::new();
            let polled = poll_fn(|_| {
                while poll(&mut Box::pin(tokio::task::consume_budget()), &wakes).is_ready() {}
                Poll::Ready(poll(&mut task, &wakes))
            });
            assert!(polled.await.is_pending());
            assert_eq!(task.await.unwrap(), 5);
        });
    });
}

#[test]
fn blocking_task_that_waits_for_a_thread_at_its_end_never_starts() {
    within("blocking", || {
        let runtime = Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (ctx, tasks) = Context::background().with_tasks();
            let (release, released) = mpsc::channel::<()>();
            let first = ctx.spawn_blocking(move |_| released.recv().unwrap());
            let second = ctx.spawn_blocking(|_| unreachable!("its context has ended"));
            second.cancel_with("not needed");
            assert_eq!(ended::<()>(second.await).cause().unwrap().to_string(), "not needed");
            assert_eq!(tasks.len(), 2, "the closure is not gone");
            release.send(()).unwrap();
            first.await.unwrap();
            tasks.wait(&Context::background()).await.unwrap();
        });
    });
}

#[test]
fn blocking_task_counts_while_its_closure_is_dropped() {
    within("blocking", || {
        block_on(async {
            let (ctx, tasks) = Context::background().with_tasks();
            let (seen, sees) = mpsc::channel();
            let on_drop = OnDrop({
                let tasks = tasks.clone();
                move || seen.send(tasks.len()).unwrap()
            });
            ctx.spawn_blocking(move |_| drop(on_drop)).await.unwrap();
            assert_eq!(sees.recv().unwrap(), 1);
            assert!(tasks.is_empty());
        });
    });
}
