//! On a tokio runtime, with its time paused.

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
    let guard = shutdown.guard("loop");
    let worker = tokio::spawn(async move {
        let _guard = guard;
        ctx.done().await
    });
    let begun = tokio::time::Instant::now();
    shutdown.begin("deployment");
    let report = shutdown.run().await;
    assert_eq!(begun.elapsed(), 18 * SEC);
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
fn shutdown_finishes_although_its_runtime_is_gone() {
    for begins_before in [true, false] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let shutdown =
            runtime.block_on(async { Shutdown::builder().drain(HOUR).phase("lost", HOUR, |_| async {}).build() });
        let work = shutdown.guard("work");
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
    let begun = tokio::time::Instant::now();
    tokio::time::timeout(HOUR, shutdown.run()).await.expect("at once");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
