//! Phases: their order, their time limits, and how each way to end is reported.

use std::future::pending;
use std::sync::mpsc;
use std::thread;

use ripcord::{Cause, Clock, Context, PhaseOutcome, Shutdown, block_on};

use crate::common::{HOUR, MS, SEC, User, Wakes, manual, poll, within};
use crate::report_of;

#[test]
fn phases_run_in_order_after_the_drain_below_the_root() {
    let (sender, receiver) = mpsc::channel();
    let note = |text: &'static str| {
        let sender = sender.clone();
        move |ctx: Context| async move {
            sender.send((text, ctx.name().map(str::to_owned), ctx.value::<User>().cloned())).expect("a receiver");
        }
    };
    let root = Context::background().with_value(User(7));
    let shutdown = Shutdown::builder()
        .context(&root)
        .phase("flush", SEC, note("first"))
        .phase("close", SEC, note("second"))
        .build();
    let work = shutdown.context().with_name("work").task_guard();
    shutdown.begin("deployment");
    assert!(receiver.try_recv().is_err(), "a phase ran before the drain had ended");
    drop(work);
    let report = report_of(&shutdown);
    let ran: Vec<_> = receiver.try_iter().collect();
    assert_eq!(
        ran,
        [("first", Some("flush".to_owned()), Some(User(7))), ("second", Some("close".to_owned()), Some(User(7)))]
    );
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.phases().iter().map(|phase| phase.name()).collect::<Vec<_>>(), ["flush", "close"]);
}

#[test]
fn each_way_to_end_is_reported_and_the_next_phase_runs() {
    let shutdown = Shutdown::builder()
        .phase("unit", HOUR, |_| async {})
        .phase("ok", HOUR, |_| async { Ok::<(), Cause>(()) })
        .phase("text", HOUR, |_| async { Err("the disk is full") })
        .phase("error", HOUR, |ctx| async move { ctx.with_timeout(MS).run(pending::<()>()).await })
        .phase("panic", HOUR, |_| async { panic!("out of {}", "cheese") })
        .phase("panic before the future", HOUR, |_| -> std::future::Ready<()> { panic!("no future") })
        .phase("late", MS, |_| pending::<()>())
        .phase("none", std::time::Duration::ZERO, |_| async {})
        .phase("last", HOUR, |_| async {})
        .build();
    let last_line = line!() - 2;
    shutdown.begin("deployment");
    let report = report_of(&shutdown);
    let lines: Vec<_> = report.phases().iter().map(|phase| phase.outcome().to_string()).collect();
    assert_eq!(lines[..3], ["completed", "completed", "failed: the disk is full"]);
    assert!(lines[3].starts_with("failed: context deadline exceeded (timeout of 1ms set at "), "{}", lines[3]);
    assert_eq!(lines[4..6], ["panicked: out of cheese", "panicked: no future"]);
    assert!(lines[6].starts_with("was late: context deadline exceeded (timeout of 1ms set at "), "{}", lines[6]);
    assert!(lines[7].starts_with("was not run: context deadline exceeded (timeout of 0ns set at "), "{}", lines[7]);
    assert_eq!(lines[8], "completed");
    let phases = report.phases();
    assert!(phases[1].is_completed() && phases[2].is_failed() && phases[4].is_panicked());
    assert!(phases[6].is_late() && phases[7].is_not_run());
    assert_eq!((phases[8].location().file(), phases[8].location().line()), (file!(), last_line));
    assert!(!report.is_clean() && report.left().is_empty());
    assert!(report.to_string().contains(&format!("\nphase last (added at {}) completed", phases[8].location())));
}

#[test]
fn late_phase_is_dropped_before_the_next_one_starts() {
    struct Sends(mpsc::Sender<&'static str>);
    impl Drop for Sends {
        fn drop(&mut self) {
            let _ = self.0.send("dropped");
        }
    }
    let (sender, receiver) = mpsc::channel();
    let (late, next) = (Sends(sender.clone()), sender);
    let shutdown = Shutdown::builder()
        .phase("late", MS, |_| async move {
            let _late = late;
            pending::<()>().await;
        })
        .phase("next", HOUR, |_| async move { next.send("next").expect("a receiver") })
        .build();
    shutdown.begin("deployment");
    report_of(&shutdown);
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), ["dropped", "next"]);
}

#[test]
fn phase_that_panics_in_its_drop_is_reported() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("in the drop");
        }
    }
    let (root, time) = manual();
    let (started, starts) = mpsc::channel();
    let shutdown = Shutdown::builder()
        .context(&root)
        .phase("late", SEC, move |_| async move {
            let _panics = Panics;
            started.send(()).expect("a receiver");
            pending::<()>().await;
        })
        .phase("next", HOUR, |_| async {})
        .build();
    shutdown.begin("deployment");
    starts.recv().expect("the phase starts");
    time.advance(SEC);
    let report = report_of(&shutdown);
    assert!(report.phases()[0].is_panicked() && report.phases()[1].is_completed(), "{report}");
}

#[test]
fn total_bounds_the_drain_and_the_phases() {
    let (root, time) = manual();
    let (started, starts) = mpsc::channel();
    let shutdown = Shutdown::builder()
        .context(&root)
        .drain(10 * SEC)
        .phase("uses the rest", HOUR, |_| async move {
            started.send(()).expect("a receiver");
            pending::<()>().await;
        })
        .phase("no time left", HOUR, |_| async {})
        .total(15 * SEC)
        .build();
    let line = line!() - 2;
    let work = shutdown.context().with_name("work").task_guard();
    shutdown.begin("deployment");
    time.advance(10 * SEC);
    drop(work);
    starts.recv().expect("it starts");
    time.advance(5 * SEC);
    let report = report_of(&shutdown);
    assert_eq!(report.elapsed(), 15 * SEC);
    for (phase, is_late) in report.phases().iter().zip([true, false]) {
        match phase.outcome() {
            PhaseOutcome::Late(error) if is_late => assert_eq!(error.origin().location().line(), line),
            PhaseOutcome::NotRun(error) if !is_late => assert_eq!(error.origin().location().line(), line),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn total_shorter_than_the_drain_cancels_the_work() {
    let (root, time) = manual();
    let shutdown = Shutdown::builder().context(&root).drain(10 * SEC).total(5 * SEC).build();
    let work = shutdown.context().with_name("work").task_guard();
    shutdown.begin("deployment");
    time.advance(5 * SEC);
    let error = shutdown.context().err().expect("it has ended when `advance` returns");
    assert_eq!(error.cause().expect("a cause").to_string(), "shutting down (deployment): the drain time of 5s is over");
    drop(work);
    assert_eq!(report_of(&shutdown).canceled().len(), 1);
}

#[test]
fn phase_that_blocks_its_thread_is_left_and_the_next_phase_runs() {
    let (clock, time) = Clock::manual();
    let (release, blocked) = mpsc::channel::<()>();
    let (started, starts) = mpsc::channel();
    let shutdown = Shutdown::builder()
        .context(&Context::background().with_clock(clock))
        .phase("blocks", MS, |_| async move {
            started.send(()).expect("a receiver");
            let _ = blocked.recv();
        })
        .phase("next", HOUR, |_| async {})
        .build();
    shutdown.begin("deployment");
    starts.recv().expect("it starts");
    time.advance(MS);
    let report = report_of(&shutdown);
    assert!(report.phases()[0].is_late() && report.phases()[1].is_completed(), "{report}");
    assert_eq!(report.left().len(), 1);
    assert_eq!((report.left()[0].name(), report.left()[0].location()), (Some("blocks"), report.phases()[0].location()));
    drop(release);
}

#[test]
fn root_canceled_during_a_phase_drops_it_and_runs_no_other() {
    let (root, cancel) = Context::background().with_cancel();
    let (started, starts) = mpsc::channel();
    let shutdown = Shutdown::builder()
        .context(&root)
        .phase("running", HOUR, |_| async move {
            started.send(()).expect("a receiver");
            pending::<()>().await;
        })
        .phase("next", HOUR, |_| async {})
        .build();
    shutdown.begin("deployment");
    starts.recv().expect("it starts");
    cancel.cancel_with("killed");
    let report = report_of(&shutdown);
    assert!(report.phases()[0].is_canceled() && report.phases()[1].is_not_run(), "{report}");
    assert!(report.phases()[0].outcome().to_string().contains("killed"), "{report}");
}

#[test]
fn phases_run_on_a_thread_of_their_own_without_a_runtime() {
    let (sender, receiver) = mpsc::channel();
    let shutdown = Shutdown::builder()
        .phase("where", HOUR, |_| async move { sender.send(thread::current().id()).expect("a receiver") })
        .build();
    shutdown.begin("deployment");
    report_of(&shutdown);
    assert_ne!(receiver.recv().expect("it ran"), thread::current().id());
}

#[test]
fn run_may_be_dropped_and_created_again() {
    let shutdown = Shutdown::builder().build();
    let mut first = shutdown.run();
    assert!(poll(&mut first, &Wakes::new()).is_pending());
    drop(first);
    let early = shutdown.run();
    shutdown.begin("deployment");
    assert!(within("run", || block_on(early)).is_clean());
    assert!(poll(&mut shutdown.run(), &Wakes::new()).is_ready());
}
