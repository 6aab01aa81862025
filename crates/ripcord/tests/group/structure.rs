//! Start and end of tasks: limits, cancels and drops.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use crate::common::{HOUR, SEC, Wakes, manual, poll_pinned};
use crate::worlds::{World, everywhere, heard, ok};
use ripcord::{Context, Error, Group};

everywhere! {
    wait_returns_only_when_every_task_has_ended;
    limit_is_kept_and_all_are_run;
    try_go_refuses_above_the_limit;
    nothing_starts_after_the_cancel;
    task_may_start_tasks;
    dropping_a_group_cancels_and_drops_its_tasks;
    dropping_wait_is_dropping_the_group;
    context_of_a_group_is_a_child_and_ends_with_wait;
    context_of_a_group_has_the_parents_values_and_deadline;
    many_tasks;
}

fn wait_returns_only_when_every_task_has_ended(world: impl World) {
    struct Ends(Arc<AtomicUsize>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    for round in 0..20 {
        world.block_on(async {
            let (group, ctx) = world.group(&Context::background());
            let ended = Arc::new(AtomicUsize::new(0));
            for i in 0..8 {
                let (ctx, ends) = (ctx.clone(), Ends(Arc::clone(&ended)));
                group.go(async move {
                    let _ends = ends;
                    if i % 2 == 0 {
                        ctx.done().await;
                    }
                    // Some tasks take several polls to clean up after the cancel.
                    crate::common::Yields(i * 10).await;
                    if i == 3 { Err("boom") } else { Ok(()) }
                });
            }
            group.wait().await.expect_err("one fails");
            assert_eq!(ended.load(Ordering::SeqCst), 8, "round {round}: a task, or what it held, outlived wait()");
        });
    }
}

fn limit_is_kept_and_all_are_run(world: impl World) {
    world.block_on(async {
        let (group, _ctx) = world.group(&Context::background());
        group.set_limit(3);
        let (running, most, ran) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..40 {
            let (running, most, ran) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&ran));
            group.go(async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                crate::common::Yields(5).await;
                running.fetch_sub(1, Ordering::SeqCst);
                ran.fetch_add(1, Ordering::SeqCst);
                ok()
            });
        }
        group.wait().await.expect("none fails");
        assert_eq!(ran.load(Ordering::SeqCst), 40);
        let most = most.load(Ordering::SeqCst);
        assert!((1..=3).contains(&most), "{most} ran at a time");
    });
}

fn try_go_refuses_above_the_limit(world: impl World) {
    world.block_on(async {
        let (group, ctx) = world.group(&Context::background());
        group.set_limit(2);
        let (gate, open) = ctx.with_cancel();
        let task = |gate: &Context| {
            let gate = gate.clone();
            async move {
                gate.done().await;
                ok()
            }
        };
        assert!(group.try_go(task(&gate)));
        assert!(group.try_go(task(&gate)));
        let polled = Arc::new(AtomicUsize::new(0));
        assert!(!group.try_go({
            let polled = Arc::clone(&polled);
            async move {
                polled.fetch_add(1, Ordering::SeqCst);
                ok()
            }
        }));
        group.set_limit(3);
        assert!(group.try_go(task(&gate)));
        assert!(!group.try_go(task(&gate)));
        open.cancel();
        group.wait().await.expect("none fails");
        assert_eq!(polled.load(Ordering::SeqCst), 0);
    });
}

fn nothing_starts_after_the_cancel(world: impl World) {
    world.block_on(async {
        let (root, cancel) = Context::background().with_cancel();
        let (group, ctx) = world.group(&root);
        group.set_limit(1);
        let polled = Arc::new(AtomicUsize::new(0));
        let counts = || {
            let polled = Arc::clone(&polled);
            async move {
                polled.fetch_add(1, Ordering::SeqCst);
                ok()
            }
        };
        // One task runs and uses the only slot, several tasks are queued behind it, and then the context ends.
        let (started, heard_start) = mpsc::channel();
        group.go(async move {
            started.send(()).expect("the test waits");
            ctx.done().await;
            ok()
        });
        for _ in 0..5 {
            group.go(counts());
        }
        heard(&heard_start, 1).await;
        cancel.cancel();
        group.go(counts());
        assert!(!group.try_go(counts()), "try_go() after the end");
        let _either = group.wait().await;
        assert_eq!(polled.load(Ordering::SeqCst), 0, "a task was started after the cancel");
    });
}

fn task_may_start_tasks(world: impl World) {
    world.block_on(async {
        let (outer, ctx) = world.group(&Context::background());
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..3 {
            let (ctx, ran) = (ctx.clone(), Arc::clone(&ran));
            outer.go(async move {
                let (inner, _ctx) = world.group(&ctx);
                for _ in 0..3 {
                    let ran = Arc::clone(&ran);
                    inner.go(async move {
                        ran.fetch_add(1, Ordering::SeqCst);
                        ok()
                    });
                }
                inner.wait().await
            });
        }
        outer.wait().await.expect("none fails");
        assert_eq!(ran.load(Ordering::SeqCst), 9);
    });
}

/// Sends a message when it is dropped.
struct Gone(mpsc::Sender<()>);

impl Drop for Gone {
    fn drop(&mut self) {
        let _whether_the_test_still_waits = self.0.send(());
    }
}

/// Tasks that never end on their own and do not check their context.
pub(crate) fn stubborn(group: &Group, n: usize) -> mpsc::Receiver<()> {
    let (sender, receiver) = mpsc::channel();
    for _ in 0..n {
        let gone = Gone(sender.clone());
        group.go(async move {
            let _gone = gone;
            pending::<()>().await;
            ok()
        });
    }
    receiver
}

fn dropping_a_group_cancels_and_drops_its_tasks(world: impl World) {
    world.block_on(async {
        let (group, ctx) = world.group(&Context::background());
        let tasks = stubborn(&group, 5);
        crate::common::Yields(3).await;
        drop(group);
        assert!(ctx.err().expect("done").is_canceled());
        heard(&tasks, 5).await;
        // The queued tasks are also dropped.
        let (group, _ctx) = world.group(&Context::background());
        group.set_limit(1);
        let tasks = stubborn(&group, 5);
        drop(group);
        heard(&tasks, 5).await;
    });
}

fn dropping_wait_is_dropping_the_group(world: impl World) {
    world.block_on(async {
        let (group, ctx) = world.group(&Context::background());
        let tasks = stubborn(&group, 3);
        let mut wait = Box::pin(group.wait());
        assert!(poll_pinned(wait.as_mut(), &Wakes::new().waker()).is_pending());
        assert!(!ctx.is_done());
        drop(wait);
        assert!(ctx.is_done());
        heard(&tasks, 3).await;
    });
}

fn context_of_a_group_is_a_child_and_ends_with_wait(world: impl World) {
    world.block_on(async {
        let (root, _cancel) = Context::background().with_cancel();
        let (group, ctx) = world.group(&root);
        group.go(async { ok() });
        group.wait().await.expect("none fails");
        // As in Go, the derived context is canceled when `wait` returns.
        assert!(ctx.is_done());
        assert!(!root.is_done());
        let (group, ctx) = world.group(&root);
        group.go(async { Err::<(), _>("boom") });
        group.wait().await.expect_err("it fails");
        assert!(ctx.is_done());
        assert!(!root.is_done(), "a group's failure ended its parent");
    });
}

fn context_of_a_group_has_the_parents_values_and_deadline(world: impl World) {
    world.block_on(async {
        let (root, time) = manual();
        let parent = root.with_value(crate::common::User(7)).with_timeout(SEC);
        let (group, ctx) = world.group(&parent);
        assert_eq!(ctx.value::<crate::common::User>(), Some(&crate::common::User(7)));
        assert_eq!(ctx.deadline(), parent.deadline());
        group.go({
            let ctx = ctx.clone();
            async move { ctx.sleep(HOUR).await }
        });
        time.advance(SEC);
        let error = group.wait().await.expect_err("the deadline");
        assert!(error.cause().downcast_ref::<Error>().expect("the context's error").is_deadline_exceeded());
    });
}

fn many_tasks(world: impl World) {
    world.block_on(async {
        let (group, ctx) = world.group(&Context::background());
        group.set_limit(16);
        let sum = Arc::new(AtomicUsize::new(0));
        for i in 0..1_000 {
            let (ctx, sum) = (ctx.clone(), Arc::clone(&sum));
            group.go(async move {
                ctx.check()?;
                sum.fetch_add(i, Ordering::SeqCst);
                Ok::<(), Error>(())
            });
        }
        group.wait().await.expect("none fails");
        assert_eq!(sum.load(Ordering::SeqCst), 499_500);
    });
}
