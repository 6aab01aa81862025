//! Tasks spawned on tokio's runtime: the results of their handles, and when the tasks are gone.
#![cfg(feature = "tokio")]
#![allow(clippy::async_yields_async, reason = "handles of tasks are what is tested")]

mod common;

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;

use common::{MS, SEC, Wakes, eventually, manual, poll, within};
use ripcord::{Context, Task, TaskError};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// Runs a closure when dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Polls all tasks of a current-thread runtime until none makes progress.
async fn settle() {
    for _ in 0..8 {
        yield_now().await;
    }
}

fn ended<T: std::fmt::Debug>(result: Result<T, TaskError>) -> ripcord::Error {
    match result {
        Err(TaskError::Ended(error)) => error,
        other => panic!("not ended, but {other:?}"),
    }
}

#[track_caller]
fn line() -> u32 {
    Location::caller().line()
}

// ===== outputs and ends =====

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

// ===== panics =====

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

// ===== runtimes =====

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

// ===== blocking tasks =====

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

// ===== counting =====

#[test]
fn task_counts_until_the_drop_of_its_future_has_finished() {
    block_on(async {
        let (ctx, tasks) = Context::background().with_tasks();
        let (seen, sees) = mpsc::channel();
        let on_drop = OnDrop({
            let tasks = tasks.clone();
            move || seen.send((tasks.len(), tasks.list()[0].is_ended())).unwrap()
        });
        let (ctx, cancel) = ctx.with_cancel();
        let task = ctx.spawn(|_| async move {
            let _on_drop = on_drop;
            pending::<()>().await;
        });
        settle().await;
        cancel.cancel();
        assert_eq!(tasks.len(), 1, "the end of its context does not lower the count");
        assert!(ended(task.await).is_canceled());
        assert_eq!((sees.recv().unwrap(), tasks.len()), ((1, true), 0));
    });
}

#[test]
fn list_is_never_empty_between_a_task_and_the_tasks_it_spawns() {
    block_on(async {
        let (ctx, tasks) = Context::background().with_tasks();
        fn chain(ctx: &Context, left: usize, count: Arc<AtomicUsize>) {
            ctx.spawn(move |ctx| async move {
                count.fetch_add(1, Ordering::SeqCst);
                if left > 0 {
                    chain(&ctx, left - 1, count);
                }
            });
        }
        let count = Arc::new(AtomicUsize::new(0));
        chain(&ctx, 99, Arc::clone(&count));
        tasks.wait(&Context::background()).await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 100);
    });
}

#[test]
fn ten_thousand_tasks_are_counted_and_end_with_one_cancel() {
    within("ten thousand", || {
        let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let (ctx, tasks) = Context::background().with_tasks();
            let (ctx, cancel) = ctx.with_cancel();
            let handles: Vec<_> = (0..10_000).map(|_| ctx.spawn(|_| pending::<()>())).collect();
            assert_eq!((tasks.len(), tasks.list().len()), (10_000, 10_000));
            cancel.cancel();
            tasks.wait(&Context::background()).await.unwrap();
            for handle in handles {
                assert!(ended(handle.await).is_canceled());
            }
        });
    });
}

#[test]
fn spawn_racing_with_the_cancel_is_counted_out_either_way() {
    within("racing", || {
        let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
        for round in 0..common::rounds(500) {
            let (root, tasks) = Context::background().with_tasks();
            let (ctx, cancel) = root.with_cancel();
            let handle = runtime.handle().clone();
            let (task, ()) = common::race(
                || {
                    let _entered = handle.enter();
                    common::jitter(round);
                    ctx.spawn(|_| pending::<()>())
                },
                || cancel.cancel(),
            );
            runtime.block_on(async {
                assert!(ended(task.await).is_canceled());
                assert!(tasks.is_empty(), "round {round}");
            });
        }
    });
}

#[test]
fn task_waits_with_a_deadline_for_the_tasks_below_it() {
    block_on(async {
        let (root, time) = manual();
        let (ctx, tasks) = root.with_tasks();
        ctx.spawn(|_| pending::<()>());
        let patience = root.with_timeout(MS);
        let wait = tasks.wait(&patience);
        time.advance(MS);
        assert!(wait.await.unwrap_err().is_deadline_exceeded());
    });
}

// ===== tracing =====

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
