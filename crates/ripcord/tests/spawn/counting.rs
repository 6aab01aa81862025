//! The tasks that are counted and listed below a context.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use ripcord::Context;
use tokio::runtime::Builder;

use super::{OnDrop, block_on, ended, settle};
use crate::common::{MS, manual, within};

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
        for round in 0..crate::common::rounds(500) {
            let (root, tasks) = Context::background().with_tasks();
            let (ctx, cancel) = root.with_cancel();
            let handle = runtime.handle().clone();
            let (task, ()) = crate::common::race(
                || {
                    let _entered = handle.enter();
                    crate::common::jitter(round);
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
