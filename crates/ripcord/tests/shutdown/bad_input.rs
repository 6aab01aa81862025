//! Durations of zero and very long durations, and other input that a shutdown must handle.

use std::time::Duration;

use ripcord::{Context, Shutdown, block_on};

use crate::common::{HOUR, MS, SEC, within};
use crate::report_of;

#[test]
fn zero_drain_cancels_work_at_once_and_spares_an_empty_list() {
    let shutdown = Shutdown::builder().drain(Duration::ZERO).build();
    let work = shutdown.context().with_name("work").task_guard();
    shutdown.begin("now");
    assert!(shutdown.context().is_done());
    drop(work);
    assert_eq!(report_of(&shutdown).canceled().len(), 1);

    let idle = Shutdown::builder().drain(Duration::ZERO).build();
    idle.begin("now");
    assert!(idle.context().cause().is_some_and(|cause| cause.to_string().contains("all work has ended")));
    assert!(report_of(&idle).is_clean());
}

#[test]
fn zero_total_runs_no_phase() {
    let shutdown =
        Shutdown::builder().phase("never", HOUR, |_| async { unreachable!("no time") }).total(Duration::ZERO).build();
    shutdown.begin("now");
    let report = report_of(&shutdown);
    assert!(report.phases()[0].is_not_run(), "{report}");
}

#[test]
fn absurdly_long_durations_are_no_limits() {
    let max = Duration::MAX;
    let builder = Shutdown::builder().drain(max).total(max).phase("quick", max, |_| async {});
    assert!(format!("{builder:?}").contains("drain: None, drain_delay: 0ns, total: None"), "{builder:?}");
    let shutdown = builder.build();
    let work = shutdown.context().with_name("work").task_guard();
    shutdown.begin("now");
    assert!(!shutdown.context().is_done());
    drop(work);
    assert!(report_of(&shutdown).is_clean());
}

#[test]
fn setting_given_twice_is_the_last_one() {
    let shutdown = Shutdown::builder().drain(Duration::ZERO).drain(HOUR).build();
    let work = shutdown.context().with_name("work").task_guard();
    shutdown.begin("now");
    drop(work);
    assert!(report_of(&shutdown).is_clean());
}

#[test]
fn root_that_has_ended_shuts_down_at_once() {
    let root = Context::background().with_timeout(Duration::ZERO);
    let shutdown = Shutdown::builder().context(&root).phase("never", SEC, |_| async {}).build();
    assert!(shutdown.context().is_done() && shutdown.context().is_draining());
    shutdown.begin("too late");
    let report = report_of(&shutdown);
    assert!(report.phases()[0].is_not_run());
    assert_eq!(report.cause().to_string(), "context deadline exceeded");
}

#[test]
fn deadline_of_the_root_ends_everything() {
    let root = Context::background().with_timeout(MS);
    let shutdown = Shutdown::builder().context(&root).drain(HOUR).build();
    let work = shutdown.context().with_name("work").task_guard();
    let ctx = shutdown.context().clone();
    assert!(within("the deadline", move || ctx.wait()).is_deadline_exceeded());
    drop(work);
    assert!(report_of(&shutdown).cause().to_string().contains("deadline"));
}

#[test]
fn begin_within_a_phase_and_within_a_waker_changes_nothing() {
    let shutdown = Shutdown::builder().build();
    let inner = Shutdown::builder();
    let again = shutdown.clone();
    let second = inner.phase("begins again", HOUR, move |_| async move { again.begin("from a phase") }).build();
    second.begin("first");
    report_of(&second);
    assert_eq!(report_of(&shutdown).cause().to_string(), "from a phase");
    let itself = second.clone();
    let after = second.context().after_func(move || itself.begin("again"));
    drop(after);
    assert_eq!(block_on(second.run()).cause().to_string(), "first");
}
