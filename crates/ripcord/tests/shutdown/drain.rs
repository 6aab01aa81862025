//! The drain: the work for which it waits, and the work that it cancels.

use std::time::Duration;

use ripcord::{Context, DrainEnded, Shutdown, block_on};

use crate::common::{HOUR, MS, SEC, Wakes, assert_canceled, assert_live, manual, poll};
use crate::report_of;

#[test]
fn drain_with_nothing_in_flight_ends_at_once() {
    let (root, _time) = manual();
    let shutdown = Shutdown::builder().context(&root).drain(HOUR).drain_delay(HOUR).build();
    shutdown.begin("deployment");
    let report = report_of(&shutdown);
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.elapsed(), Duration::ZERO);
    assert_canceled(shutdown.context(), Some("shutting down (deployment): all work has ended"));
}

#[test]
fn drain_ends_with_the_last_guard_and_not_with_the_first() {
    let (root, time) = manual();
    let shutdown = Shutdown::builder().context(&root).drain(HOUR).build();
    let (first, last) =
        (shutdown.context().with_name("first").task_guard(), shutdown.context().with_name("last").task_guard());
    shutdown.begin("deployment");
    time.advance(SEC);
    drop(first);
    assert_live(shutdown.context());
    drop(last);
    let report = report_of(&shutdown);
    assert!(report.is_clean(), "{report}");
}

#[test]
fn guard_of_a_guarded_piece_of_work_keeps_the_drain_open() {
    let shutdown = Shutdown::builder().drain(HOUR).build();
    let outer = shutdown.context().with_name("outer").task_guard();
    shutdown.begin("deployment");
    let inner = shutdown.context().with_name("inner").task_guard();
    drop(outer);
    assert_live(shutdown.context());
    drop(inner);
    assert!(report_of(&shutdown).is_clean());
}

#[test]
fn exceeded_drain_time_cancels_and_reports_the_work() {
    let (root, time) = manual();
    let shutdown = Shutdown::builder().context(&root).drain(10 * SEC).build();
    let line = line!() - 1;
    let (quick, slow) =
        (shutdown.context().with_name("quick").task_guard(), shutdown.context().with_name("slow").task_guard());
    let ctx = shutdown.context().clone();
    shutdown.begin("deployment");
    time.advance(9 * SEC);
    assert_live(&ctx);
    drop(quick);
    time.advance(SEC);

    let error = ctx.err().expect("it has ended when `advance` returns");
    assert_eq!(error.origin().location().line(), line);
    let cause = error.cause().and_then(|cause| cause.downcast_ref::<DrainEnded>()).expect("the end of the drain");
    assert!(cause.is_time_over());
    assert_eq!(cause.stop_cause().to_string(), "deployment");
    assert_eq!(cause.to_string(), "shutting down (deployment): the drain time of 10s is over");

    drop(slow);
    let report = report_of(&shutdown);
    assert_eq!(report.canceled().len(), 1);
    assert_eq!(report.canceled()[0].name(), Some("slow"));
    assert_eq!(report.canceled()[0].location().file(), file!());
    assert!(report.left().is_empty() && !report.is_clean());
    assert_eq!(report.elapsed(), 10 * SEC);
    let text = report.to_string();
    assert!(text.contains("shut down in 10.0s (deployment)\ncanceled: slow spawned at "), "{text}");
}

#[test]
fn work_that_ignores_its_cancel_is_left() {
    let shutdown = Shutdown::builder().drain(MS).build();
    let stuck = shutdown.context().with_name("stuck").task_guard();
    shutdown.begin("deployment");
    let report = report_of(&shutdown);
    assert_eq!(report.left().iter().map(|task| task.name()).collect::<Vec<_>>(), [Some("stuck")]);
    assert!(report.to_string().contains("\nstill running: stuck spawned at "), "{report}");
    drop(stuck);
}

#[test]
fn work_that_starts_after_the_drain_ends_at_once() {
    let shutdown = Shutdown::builder().build();
    shutdown.begin("deployment");
    report_of(&shutdown);
    let late = shutdown.context().with_name("late");
    assert!(block_on(late.run(std::future::pending::<()>())).is_err());
    let guard = shutdown.context().with_name("late").task_guard();
    assert!(report_of(&shutdown).is_clean());
    drop(guard);
}

#[test]
fn end_of_the_root_ends_work_and_phases_at_once() {
    let (root, cancel) = Context::background().with_cancel();
    let shutdown =
        Shutdown::builder().context(&root).drain(HOUR).phase("never run", SEC, |_| std::future::ready(())).build();
    let work = shutdown.context().with_name("work").task_guard();
    shutdown.begin("deployment");
    assert_live(shutdown.context());
    cancel.cancel_with("killed");
    assert_canceled(shutdown.context(), Some("killed"));
    drop(work);
    let report = report_of(&shutdown);
    assert_eq!(report.cause().to_string(), "deployment");
    assert!(report.phases()[0].is_not_run(), "{report}");
}

#[test]
fn drain_delay_is_a_part_of_the_drain() {
    let (root, time) = manual();
    let shutdown = Shutdown::builder().context(&root).drain_delay(3 * SEC).drain(10 * SEC).build();
    let listener = shutdown.context().with_name("listener").task_guard();
    let mut over = Box::pin(shutdown.drain_delay_over());
    let wakes = Wakes::new();
    assert!(poll(&mut over, &wakes).is_pending());
    shutdown.begin("deployment");
    assert!(poll(&mut over, &wakes).is_pending());
    time.advance(3 * SEC - MS);
    assert!(poll(&mut over, &wakes).is_pending());
    time.advance(MS);
    assert!(poll(&mut over, &wakes).is_ready());
    assert_live(shutdown.context());
    drop(listener);
    assert!(report_of(&shutdown).is_clean());
}

#[test]
fn drain_delay_ends_with_the_drain() {
    for delay in [20 * SEC, Duration::MAX] {
        let (root, time) = manual();
        let shutdown = Shutdown::builder().context(&root).drain_delay(delay).drain(10 * SEC).build();
        let listener = shutdown.context().with_name("listener").task_guard();
        shutdown.begin("deployment");
        time.advance(10 * SEC);
        assert!(poll(&mut Box::pin(shutdown.drain_delay_over()), &Wakes::new()).is_ready());
        drop(listener);
        report_of(&shutdown);
    }
}

#[test]
fn drain_delay_of_zero_is_over_at_the_stop_request() {
    let shutdown = Shutdown::builder().build();
    let _listener = shutdown.context().with_name("listener").task_guard();
    let mut over = Box::pin(shutdown.drain_delay_over());
    assert!(poll(&mut over, &Wakes::new()).is_pending());
    shutdown.begin("deployment");
    assert!(poll(&mut over, &Wakes::new()).is_ready());
}

#[test]
fn last_task_and_the_end_of_the_drain_time_agree_on_one_end() {
    for round in 0..crate::common::rounds(500) {
        let (root, time) = manual();
        let shutdown = Shutdown::builder().context(&root).drain(SEC).build();
        let task = shutdown.context().task_guard();
        shutdown.begin("deployment");
        let drop_task = || {
            crate::common::jitter(round);
            drop(task);
        };
        crate::common::race(drop_task, || time.advance(SEC));
        let report = report_of(&shutdown);
        let cause = shutdown.context().cause().expect("the drain has ended");
        let ended = cause.downcast_ref::<DrainEnded>().expect("the end of the drain");
        assert!(ended.is_time_over() || report.canceled().is_empty(), "{report}");
        assert!(report.left().is_empty(), "{report}");
    }
}
