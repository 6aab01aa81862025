//! The task group: Go's errgroup, structured. Every scenario on threads with a bare executor, and on tokio.
//!
//! What holds of a group: the first real error cancels the siblings and is what `wait` reports; a panic cancels them too
//! and comes out of `wait`; `wait` returns only when every task has ended; nothing starts after the cancel; a limit is a
//! limit; a group that is dropped cancels and drops its tasks.

mod common;

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;

use common::{HANG, HOUR, SEC, Wakes, manual, poll_pinned, within};
use ripcord::{BoxFuture, Cause, Context, Error, Group, GroupError};

// ===== both worlds =====

/// Where a group's tasks run, and how the test waits for it.
trait World: Send + Sync + Copy + 'static {
    fn group(self, ctx: &Context) -> (Group, Context);
    fn block_on<F: Future>(self, f: F) -> F::Output;
}

/// A thread for each task.
#[derive(Clone, Copy)]
struct Threads;

impl World for Threads {
    fn group(self, ctx: &Context) -> (Group, Context) {
        Group::with_executor(ctx, |task: BoxFuture| {
            std::thread::spawn(move || futures::executor::block_on(task));
        })
    }
    fn block_on<F: Future>(self, f: F) -> F::Output {
        futures::executor::block_on(f)
    }
}

#[cfg(feature = "tokio")]
#[derive(Clone, Copy)]
struct Tokio {
    threads: usize,
}

#[cfg(feature = "tokio")]
impl World for Tokio {
    fn group(self, ctx: &Context) -> (Group, Context) {
        Group::new(ctx)
    }
    fn block_on<F: Future>(self, f: F) -> F::Output {
        let mut builder = match self.threads {
            1 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = builder.worker_threads(self.threads).enable_all().build().expect("a runtime");
        let result = runtime.block_on(f);
        // Tasks that nobody dropped would hang here.
        drop(runtime);
        result
    }
}

/// The same scenario in each world.
macro_rules! everywhere {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        mod on_threads {
            $($(#[$doc])* #[test] fn $name() { super::within(stringify!($name), || super::$name(super::Threads)); })*
        }
        #[cfg(feature = "tokio")]
        mod on_tokio_with_one_thread {
            $($(#[$doc])* #[test] fn $name() { super::within(stringify!($name), || super::$name(super::Tokio { threads: 1 })); })*
        }
        #[cfg(feature = "tokio")]
        mod on_tokio_with_two_threads {
            $($(#[$doc])* #[test] fn $name() { super::within(stringify!($name), || super::$name(super::Tokio { threads: 2 })); })*
        }
    };
}

everywhere! {
    all_succeed;
    nothing_to_wait_for;
    the_first_error_cancels_the_siblings_and_is_reported;
    a_real_error_beats_the_cancellation_it_caused;
    a_real_error_beats_a_cancellation_from_above;
    a_cancellation_alone_is_reported_as_such;
    a_panic_cancels_the_siblings_and_resumes_at_wait;
    a_panic_that_is_no_string_keeps_its_payload;
    wait_returns_only_when_every_task_has_ended;
    wait_all_reports_every_error;
    the_limit_is_kept_and_all_are_run;
    try_go_refuses_above_the_limit;
    nothing_starts_after_the_cancel;
    a_task_may_start_tasks;
    dropping_a_group_cancels_and_drops_its_tasks;
    dropping_wait_is_dropping_the_group;
    the_groups_context_is_a_child_and_ends_with_wait;
    a_groups_context_has_the_parents_values_and_deadline;
    many_tasks;
}

// ===== results =====

fn ok() -> Result<(), Cause> {
    Ok(())
}

/// Waits, in a task, until `n` messages have come from other tasks or threads. (A group starts nothing after its end, so
/// that a test which is about what running tasks do has to let them begin.)
async fn heard(receiver: &mpsc::Receiver<()>, n: usize) {
    let start = std::time::Instant::now();
    let mut seen = 0;
    poll_fn(|task| {
        seen += receiver.try_iter().count();
        assert!(start.elapsed() < HANG / 2, "heard from {seen} of {n}");
        if seen >= n {
            return Poll::Ready(());
        }
        task.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn all_succeed(world: impl World) {
    world.block_on(async {
        let (group, ctx) = world.group(&Context::background());
        let ran = Arc::new(AtomicUsize::new(0));
        for i in 0..10 {
            let ran = Arc::clone(&ran);
            group.go(async move {
                common::Yields(i).await;
                ran.fetch_add(1, Ordering::SeqCst);
                ok()
            });
        }
        assert!(!ctx.is_done());
        group.wait().await.expect("none fails");
        assert_eq!(ran.load(Ordering::SeqCst), 10);
    });
}

fn nothing_to_wait_for(world: impl World) {
    world.block_on(async {
        world.group(&Context::background()).0.wait().await.expect("nothing fails");
        assert!(world.group(&Context::background()).0.wait_all().await.is_empty());
    });
}

fn the_first_error_cancels_the_siblings_and_is_reported(world: impl World) {
    world.block_on(async {
        let (group, ctx) = world.group(&Context::background());
        for _ in 0..4 {
            let ctx = ctx.clone();
            group.go(async move {
                ctx.done().await;
                ok()
            });
        }
        group.go(async { Err(std::io::Error::other("disk full")) });
        let error: GroupError = group.wait().await.expect_err("one fails");
        assert_eq!(error.to_string(), "disk full");
        assert!(error.cause().downcast_ref::<std::io::Error>().is_some(), "its type is kept");
        // The siblings' context says why they were called off.
        assert!(ctx.err().expect("done").is_canceled());
        assert_eq!(ctx.cause().expect("done").to_string(), "disk full");
    });
}

fn a_real_error_beats_the_cancellation_it_caused(world: impl World) {
    for _ in 0..20 {
        world.block_on(async {
            let (group, ctx) = world.group(&Context::background());
            for _ in 0..4 {
                let ctx = ctx.clone();
                group.go(async move { Err::<(), Error>(ctx.done().await) });
            }
            group.go(async { Err::<(), _>("boom") });
            for _ in 0..4 {
                let ctx = ctx.clone();
                group.go(async move { Err::<(), Error>(ctx.with_name("below").done().await) });
            }
            assert_eq!(group.wait().await.expect_err("one fails").to_string(), "boom");
        });
    }
}

fn a_real_error_beats_a_cancellation_from_above(world: impl World) {
    world.block_on(async {
        let (root, cancel) = Context::background().with_cancel();
        let (group, ctx) = world.group(&root);
        let (sender, receiver) = mpsc::channel();
        group.go({
            let (ctx, sender) = (ctx.clone(), sender.clone());
            async move {
                sender.send(()).expect("the test waits");
                let error = ctx.done().await;
                sender.send(()).expect("the test waits");
                Err::<(), Error>(error)
            }
        });
        let (gate, open) = ctx.without_cancel().with_cancel();
        group.go(async move {
            sender.send(()).expect("the test waits");
            gate.done().await;
            Err::<(), _>("boom")
        });
        heard(&receiver, 2).await;
        cancel.cancel();
        // The first task reports the cancellation before the second fails in earnest.
        heard(&receiver, 1).await;
        open.cancel();
        assert_eq!(group.wait().await.expect_err("one fails").to_string(), "boom");
    });
}

fn a_cancellation_alone_is_reported_as_such(world: impl World) {
    world.block_on(async {
        let (root, cancel) = Context::background().with_cancel();
        let (group, ctx) = world.group(&root);
        group.go(async move { Err::<(), Error>(ctx.done().await) });
        cancel.cancel_with("shutting down");
        let error = group.wait().await.expect_err("it was canceled");
        let error = error.cause().downcast_ref::<Error>().expect("the context's error");
        assert!(error.is_canceled());
        assert_eq!(error.cause().expect("given").to_string(), "shutting down");
    });
}

fn wait_all_reports_every_error(world: impl World) {
    world.block_on(async {
        let (group, ctx) = world.group(&Context::background());
        let (sender, receiver) = mpsc::channel();
        for i in 0..3 {
            let (ctx, sender) = (ctx.clone(), sender.clone());
            group.go(async move {
                sender.send(()).expect("the test waits");
                ctx.done().await;
                Err::<(), _>(format!("failed too, {i}"))
            });
        }
        heard(&receiver, 3).await;
        group.go(async { ok() });
        group.go(async { Err::<(), _>("failed first") });
        let errors: Vec<_> = group.wait_all().await.iter().map(ToString::to_string).collect();
        assert!(errors.len() >= 4, "{errors:?}");
        assert_eq!(errors[0], "failed first");
        // The one that does not fail may have come after the end, and then was not started.
        let mut rest: Vec<_> = errors[1..].iter().filter(|error| *error != "context canceled").collect();
        rest.sort();
        assert_eq!(rest, ["failed too, 0", "failed too, 1", "failed too, 2"]);
    });
}

// ===== panics =====

fn resumed(world: impl World, group: Group) -> Box<dyn std::any::Any + Send> {
    // The panic comes out of the poll of `wait`, whoever polls it.
    catch_unwind(AssertUnwindSafe(|| world.block_on(async { group.wait().await }))).expect_err("a task panicked")
}

fn a_panic_cancels_the_siblings_and_resumes_at_wait(world: impl World) {
    let ended = Arc::new(AtomicUsize::new(0));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        world.block_on(async {
            let (group, ctx) = world.group(&Context::background());
            let (sender, receiver) = mpsc::channel();
            for _ in 0..3 {
                let (ctx, ended, sender) = (ctx.clone(), Arc::clone(&ended), sender.clone());
                group.go(async move {
                    sender.send(()).expect("the test waits");
                    ctx.done().await;
                    ended.fetch_add(1, Ordering::SeqCst);
                    Err::<(), _>("an error is no match for a panic")
                });
            }
            heard(&receiver, 3).await;
            group.go(async {
                if true {
                    panic!("on purpose, in a task");
                }
                ok()
            });
            group.wait().await
        })
    }));
    let panic = outcome.expect_err("the panic resumes");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose, in a task"));
    assert_eq!(ended.load(Ordering::SeqCst), 3, "wait() came back before every task had ended");
}

fn a_panic_that_is_no_string_keeps_its_payload(_world: impl World) {
    // On threads in either case, since a tokio group does not leave its runtime.
    let (group, _ctx) = Threads.group(&Context::background());
    group.go(async {
        std::panic::resume_unwind(Box::new(7_u32));
        #[expect(unreachable_code, reason = "it gives the block its type")]
        ok()
    });
    assert_eq!(resumed(Threads, group).downcast_ref::<u32>(), Some(&7));
}

// ===== structure =====

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
                    // Some take their time to clean up after the cancel.
                    common::Yields(i * 10).await;
                    if i == 3 { Err("boom") } else { Ok(()) }
                });
            }
            group.wait().await.expect_err("one fails");
            assert_eq!(ended.load(Ordering::SeqCst), 8, "round {round}: a task, or what it held, outlived wait()");
        });
    }
}

fn the_limit_is_kept_and_all_are_run(world: impl World) {
    world.block_on(async {
        let (group, _ctx) = world.group(&Context::background());
        group.set_limit(3);
        let (running, most, ran) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..40 {
            let (running, most, ran) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&ran));
            group.go(async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                common::Yields(5).await;
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
        // One runs and holds the only place, several are queued behind it, and then comes the end.
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

fn a_task_may_start_tasks(world: impl World) {
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

/// Says when it is dropped.
struct Gone(mpsc::Sender<()>);

impl Drop for Gone {
    fn drop(&mut self) {
        let _whether_the_test_still_waits = self.0.send(());
    }
}

/// Tasks which never end of themselves and do not look at their context.
fn stubborn(group: &Group, n: usize) -> mpsc::Receiver<()> {
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
        common::Yields(3).await;
        drop(group);
        assert!(ctx.err().expect("done").is_canceled());
        heard(&tasks, 5).await;
        // The queued ones too.
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

fn the_groups_context_is_a_child_and_ends_with_wait(world: impl World) {
    world.block_on(async {
        let (root, _cancel) = Context::background().with_cancel();
        let (group, ctx) = world.group(&root);
        group.go(async { ok() });
        group.wait().await.expect("none fails");
        // As in Go: the derived context is canceled the first time Wait returns.
        assert!(ctx.is_done());
        assert!(!root.is_done());
        let (group, ctx) = world.group(&root);
        group.go(async { Err::<(), _>("boom") });
        group.wait().await.expect_err("it fails");
        assert!(ctx.is_done());
        assert!(!root.is_done(), "a group's failure ended its parent");
    });
}

fn a_groups_context_has_the_parents_values_and_deadline(world: impl World) {
    world.block_on(async {
        let (root, time) = manual();
        let parent = root.with_value(common::User(7)).with_timeout(SEC);
        let (group, ctx) = world.group(&parent);
        assert_eq!(ctx.value::<common::User>(), Some(&common::User(7)));
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

// ===== executors of every temper =====

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
fn long_queue_on_such_an_executor_does_not_recurse() {
    // A task that ends inside the call starts the next, which must not be inside of it: a queue is of the user's length.
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
        // The task went down with it and is counted out.
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
fn outside_of_a_runtime_a_tokio_group_says_so_and_does_not_hang() {
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
