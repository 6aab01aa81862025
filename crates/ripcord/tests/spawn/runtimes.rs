//! Tasks, the runtimes that run them, and the spans of their callers.

use std::future::pending;
use std::sync::{Arc, Mutex, mpsc};

use ripcord::Context;
use tokio::runtime::Builder;
use tokio::task::yield_now;

use super::{OnDrop, block_on, ended, line, runtime, settle};
use crate::common::SEC;

#[test]
fn task_spawned_outside_of_a_runtime_ends_with_an_error() {
    let (ctx, tasks) = Context::background().with_tasks();
    let task = ctx.spawn(|_| -> std::future::Ready<()> { unreachable!("there is no runtime") });
    let line = line() - 1;
    let error = ended(ripcord::block_on(task));
    assert_eq!(error.cause().unwrap().to_string(), "a task was spawned outside of a tokio runtime");
    assert_eq!(error.origin().location().line(), line);
    let blocking = ctx.spawn_blocking(|_| unreachable!("there is no runtime"));
    assert!(ended::<()>(ripcord::block_on(blocking)).is_canceled());
    assert!(tasks.is_empty() && !ctx.is_done());
}

#[test]
fn runtime_that_shuts_down_ends_its_tasks_and_empties_the_list() {
    let (ctx, tasks) = Context::background().with_tasks();
    let runtime = runtime();
    let below = Arc::new(Mutex::new(None));
    let sets = Arc::clone(&below);
    let (seen, sees) = mpsc::channel();
    let task = runtime.block_on(async {
        let task = ctx.spawn(|ctx| {
            *sets.lock().unwrap() = Some(ctx.clone());
            async move {
                let _on_drop = OnDrop(move || seen.send(ctx.is_done()).unwrap());
                pending::<()>().await;
            }
        });
        settle().await;
        task
    });
    assert_eq!(tasks.len(), 1);
    drop(runtime);
    assert!(tasks.is_empty());
    assert!(sees.recv().unwrap(), "the task's context ends before the task is dropped");
    assert!(below.lock().unwrap().as_ref().unwrap().is_done() && !ctx.is_done());
    let error = ended(ripcord::block_on(task));
    assert_eq!(error.cause().unwrap().to_string(), "the tokio runtime dropped the task before its end");
}

#[test]
fn task_spawned_on_a_runtime_that_was_shut_down_ends_with_an_error() {
    let (ctx, tasks) = Context::background().with_tasks();
    let runtime = runtime();
    let handle = runtime.handle().clone();
    drop(runtime);
    let _entered = handle.enter();
    let task = ctx.spawn(|_| pending::<()>());
    assert!(tasks.is_empty());
    assert!(ended(ripcord::block_on(task)).is_canceled());
    let task = ctx.spawn_blocking(|_| unreachable!("the runtime is gone"));
    assert!(tasks.is_empty());
    assert!(ended::<()>(ripcord::block_on(task)).is_canceled());
}

#[test]
fn task_awaits_a_task_of_another_runtime() {
    let other = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let task = {
        let _entered = other.enter();
        Context::background().spawn(|_| async { 3 })
    };
    assert_eq!(block_on(task).unwrap(), 3);
}

#[cfg(feature = "tracing")]
#[test]
fn task_is_polled_and_dropped_in_the_span_of_its_caller() {
    use tracing_subscriber::layer::SubscriberExt as _;
    let subscriber = tracing_subscriber::registry();
    let _default = tracing::subscriber::set_default(subscriber.with(tracing::level_filters::LevelFilter::INFO));
    let current = || tracing::Span::current().id();
    block_on(async {
        let span = tracing::info_span!("caller");
        let id = span.id();
        assert!(id.is_some());
        let (seen, sees) = mpsc::channel();
        let (tasks, blocking) = span.in_scope(|| {
            let seen = seen.clone();
            let make = move |_| async move {
                let dropped = seen.clone();
                let _on_drop = OnDrop(move || dropped.send(current()).unwrap());
                yield_now().await;
                seen.send(current()).unwrap();
            };
            let tasks = [Context::background().spawn(make.clone()), Context::background().spawn_with_grace(SEC, make)];
            // The thread of a blocking task has no subscriber of its own.
            let subscriber = tracing::dispatcher::get_default(Clone::clone);
            let current = move |_| tracing::dispatcher::with_default(&subscriber, current);
            (tasks, Context::background().spawn_blocking(current))
        });
        for task in tasks {
            task.await.unwrap();
            assert_eq!((sees.recv().unwrap(), sees.recv().unwrap()), (id.clone(), id.clone()));
        }
        assert_eq!(blocking.await.unwrap(), id);
    });
}
