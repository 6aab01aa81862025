//! Shutdowns on a tokio runtime with paused time.

use std::future::pending;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ripcord::{Clock, Context, Shutdown, block_on};

use crate::common::{HOUR, SEC, within};

fn root() -> Context {
    Context::background().with_clock(Clock::tokio())
}

#[tokio::test(start_paused = true)]
async fn whole_shutdown_follows_paused_time() {
    let shutdown = Shutdown::builder()
        .context(&root())
        .drain(10 * SEC)
        .phase("flush", 5 * SEC, |_| tokio::time::sleep(2 * SEC))
        .phase("never ends", 5 * SEC, |_| pending::<()>())
        .phase("close", 5 * SEC, |_| tokio::time::sleep(SEC))
        .build();
    let ctx = shutdown.context().clone();
    let guard = shutdown.context().with_name("loop").task_guard();
    let worker = tokio::spawn(async move {
        let _guard = guard;
        ctx.done().await
    });
    let started = tokio::time::Instant::now();
    shutdown.begin("deployment");
    let report = shutdown.run().await;
    assert_eq!(started.elapsed(), 18 * SEC);
    assert_eq!(report.elapsed(), 18 * SEC);
    assert_eq!(report.canceled().len(), 1);
    assert!(report.left().is_empty());
    assert!(report.phases()[0].is_completed() && report.phases()[1].is_late() && report.phases()[2].is_completed());
    assert!(worker.await.expect("no panic").is_canceled());
}

#[tokio::test]
async fn phases_run_on_the_runtime_on_which_the_shutdown_was_built() {
    let (sender, receiver) = mpsc::channel();
    let shutdown = Shutdown::builder()
        .phase("where", HOUR, |_| async move {
            tokio::task::yield_now().await;
            sender.send((thread::current().id(), tokio::runtime::Handle::current().id())).expect("a receiver");
        })
        .build();
    let begins = shutdown.clone();
    thread::spawn(move || begins.begin("from a plain thread")).join().expect("no panic");
    assert!(shutdown.run().await.is_clean());
    let here = (thread::current().id(), tokio::runtime::Handle::current().id());
    assert_eq!(receiver.recv().expect("it ran"), here);
}

#[test]
fn shutdown_finishes_after_its_runtime_was_dropped() {
    for begins_before in [true, false] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let shutdown =
            runtime.block_on(async { Shutdown::builder().drain(HOUR).phase("lost", HOUR, |_| async {}).build() });
        let work = shutdown.context().with_name("work").task_guard();
        if begins_before {
            shutdown.begin("before");
            runtime.block_on(tokio::task::yield_now());
        }
        drop(runtime);
        shutdown.begin("after");
        drop(work);
        let run = shutdown.run();
        let report = within("the shutdown", || block_on(run));
        assert!(report.phases()[0].is_failed(), "{report}");
        assert_eq!(report.cause().to_string(), if begins_before { "before" } else { "after" });
    }
}

#[tokio::test(start_paused = true)]
async fn end_of_the_root_is_seen_by_run_before_time_moves() {
    let (root, cancel) = root().with_cancel();
    let shutdown = Shutdown::builder().context(&root).build();
    cancel.cancel_with("killed");
    let started = tokio::time::Instant::now();
    tokio::time::timeout(HOUR, shutdown.run()).await.expect("at once");
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn spawned_tasks_are_work_in_flight() {
    let shutdown = Shutdown::builder().context(&root()).drain(10 * SEC).build();
    let ctx = shutdown.context();
    let graceful = ctx.with_name("graceful").spawn(|ctx| async move {
        ctx.draining().await;
        ctx.without_cancel().sleep(2 * SEC).await.is_ok()
    });
    drop(ctx.with_name("nested").without_cancel().spawn(|ctx| async move {
        drop(ctx.with_name("inner").spawn(|_| tokio::time::sleep(4 * SEC)));
    }));
    let started = tokio::time::Instant::now();
    shutdown.begin("deployment");
    let report = shutdown.run().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(started.elapsed(), 4 * SEC);
    assert!(graceful.await.expect("it ended in time"));
    let late = shutdown.context().spawn(|_| async {}).await.expect_err("the drain has ended");
    assert!(late.is_canceled());
    assert!(late.context_error().is_some_and(|end| format!("{end:#}").contains("all work has ended")), "{late:#}");
}

#[tokio::test]
async fn report_names_a_blocking_task_that_does_not_check_its_context() {
    let (clock, time) = Clock::manual();
    let (release, blocked) = mpsc::channel::<()>();
    let (started, starts) = mpsc::channel();
    let root = Context::background().with_clock(clock);
    let shutdown = Shutdown::builder().context(&root).drain(crate::common::MS).build();
    let checking = started.clone();
    let checks = shutdown.context().with_name("checks").spawn_blocking(move |ctx| {
        checking.send(()).expect("a receiver");
        ctx.wait()
    });
    let ignores = shutdown.context().with_name("ignores");
    let ignores = ignores.spawn_blocking(move |_| {
        started.send(()).expect("a receiver");
        blocked.recv()
    });
    let line = line!() - 4;
    starts.iter().take(2).for_each(drop);
    shutdown.begin("deployment");
    time.advance(crate::common::MS);
    let report = shutdown.run().await;
    let names =
        |tasks: &[ripcord::TaskInfo]| tasks.iter().map(|task| task.name().map(str::to_owned)).collect::<Vec<_>>();
    assert_eq!(names(report.canceled()), [Some("checks".to_owned()), Some("ignores".to_owned())]);
    assert_eq!(names(report.left()), [Some("ignores".to_owned())]);
    assert_eq!((report.left()[0].location().file(), report.left()[0].location().line()), (file!(), line));
    assert!(report.left()[0].is_ended());
    assert!(checks.await.is_ok_and(|error| error.is_canceled()));
    assert!(ignores.await.is_err_and(|error| error.is_ended()));
    drop(release);
}
