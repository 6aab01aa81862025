//! `with_signals`. Each scenario runs in its own process, because signals belong to the process.
//!
//! A test starts its own binary again with only that test. In the new process, the scenario runs and sends the signals to its
//! process.
#![cfg(all(unix, feature = "signals"))]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use common::{HANG, User, assert_canceled, assert_live, manual};
use ripcord::{Context, Shutdown, Signal, block_on};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::raise;

const CHILD: &str = "RIPCORD_TEST_OF_SIGNALS";

/// In the child process: runs the scenario and exits with 0. In the parent: returns the exit status of the child.
fn in_a_process(test: &str, scenario: fn()) -> ExitStatus {
    if std::env::var_os(CHILD).is_some() {
        scenario();
        std::process::exit(0);
    }
    let binary = std::env::current_exe().expect("this binary");
    let output = Command::new(binary).args(["--exact", test, "--nocapture"]).env(CHILD, "1").output().expect("it runs");
    if output.status.code().is_some_and(|code| code != 0) {
        panic!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    output.status
}

#[track_caller]
fn with_signals(ctx: &Context) -> Context {
    ctx.with_signals().expect("the system lets us")
}

fn send(signal: i32) {
    raise(signal).expect("a signal to oneself");
}

fn ended_by(ctx: &Context, signal: Signal, text: &str) {
    let error = ctx.wait_timeout(HANG).expect("the signal ends it");
    assert_eq!(error.origin().location().file(), file!(), "the line that called with_signals");
    let cause = error.cause().expect("the signal");
    assert_eq!(cause.downcast_ref::<Signal>(), Some(&signal));
    assert_canceled(ctx, Some(text));
}

#[test]
fn term_ends_the_context_and_is_its_cause() {
    let status = in_a_process("term_ends_the_context_and_is_its_cause", || {
        let (parent, _cancel) = Context::background().with_value(User(1)).with_cancel();
        let ctx = with_signals(&parent);
        let line = line!() - 1;
        let below = ctx.with_name("below");
        assert_live(&below);
        assert_eq!(below.value::<User>(), Some(&User(1)));
        send(SIGTERM);
        ended_by(&ctx, Signal::Terminate, "SIGTERM received");
        assert_eq!(ctx.err().expect("it has ended").origin().location().line(), line);
        assert_canceled(&below, Some("SIGTERM received"));
        assert_live(&parent);
    });
    assert!(status.success());
}

#[test]
fn ctrl_c_ends_the_context_and_is_its_cause() {
    let status = in_a_process("ctrl_c_ends_the_context_and_is_its_cause", || {
        let ctx = with_signals(&Context::background());
        send(SIGINT);
        ended_by(&ctx, Signal::Interrupt, "SIGINT received");
    });
    assert!(status.success());
}

#[test]
fn second_signal_ends_the_process() {
    let status = in_a_process("second_signal_ends_the_process", || {
        let ctx = with_signals(&Context::background());
        send(SIGINT);
        ended_by(&ctx, Signal::Interrupt, "SIGINT received");
        send(SIGTERM);
        unreachable!("it ended the process");
    });
    assert_eq!(status.signal(), Some(SIGTERM), "{status}");
}

#[test]
fn signal_after_the_context_is_gone_ends_the_process() {
    let status = in_a_process("signal_after_the_context_is_gone_ends_the_process", || {
        drop(with_signals(&Context::background()));
        send(SIGTERM);
        unreachable!("it ended the process");
    });
    assert_eq!(status.signal(), Some(SIGTERM), "{status}");
}

#[test]
fn second_context_after_the_first_is_gone_is_ended_by_a_signal() {
    let status = in_a_process("second_context_after_the_first_is_gone_is_ended_by_a_signal", || {
        drop(with_signals(&Context::background()));
        let ctx = with_signals(&Context::background());
        send(SIGTERM);
        ended_by(&ctx, Signal::Terminate, "SIGTERM received");
    });
    assert!(status.success(), "{status}: what the first context left behind ended the process");
}

#[test]
fn two_contexts_are_ended_by_one_signal() {
    let status = in_a_process("two_contexts_are_ended_by_one_signal", || {
        let (a, b) = (with_signals(&Context::background()), with_signals(&Context::background()));
        send(SIGTERM);
        ended_by(&a, Signal::Terminate, "SIGTERM received");
        ended_by(&b, Signal::Terminate, "SIGTERM received");
    });
    assert!(status.success(), "{status}");
}

#[test]
fn first_signal_begins_a_shutdown() {
    let status = in_a_process("first_signal_begins_a_shutdown", || {
        let shutdown = Shutdown::builder().build();
        shutdown.on_signals().expect("the system lets us");
        let line = line!() - 1;
        shutdown.on_signals().expect("a second call has no effect");
        send(SIGTERM);
        let report = block_on(shutdown.run());
        let end = shutdown.context().err().expect("nothing is left to drain");
        let location = end.origin().location();
        assert_eq!((location.file(), location.line()), (file!(), line), "the line that called on_signals");
        assert_eq!(report.cause().downcast_ref::<Signal>(), Some(&Signal::Terminate));
        assert!(report.to_string().ends_with("(SIGTERM received)"), "{report}");
    });
    assert!(status.success(), "{status}");
}

#[test]
fn second_signal_ends_the_process_during_the_drain() {
    let status = in_a_process("second_signal_ends_the_process_during_the_drain", || {
        let shutdown = Shutdown::builder().build();
        shutdown.on_signals().expect("the system lets us");
        let _work = shutdown.context().with_name("work").task_guard();
        send(SIGTERM);
        block_on(shutdown.context().draining());
        assert_live(shutdown.context());
        send(SIGINT);
        unreachable!("it ended the process");
    });
    assert_eq!(status.signal(), Some(SIGINT), "{status}");
}

#[test]
fn first_signal_after_a_stop_request_of_the_program_changes_nothing() {
    let status = in_a_process("first_signal_after_a_stop_request_of_the_program_changes_nothing", || {
        let shutdown = Shutdown::builder().build();
        shutdown.on_signals().expect("the system lets us");
        let work = shutdown.context().with_name("work").task_guard();
        shutdown.begin("deployment");
        send(SIGTERM);
        drop(work);
        assert_eq!(block_on(shutdown.run()).cause().to_string(), "deployment");
    });
    assert!(status.success(), "{status}");
}

#[test]
fn signal_after_the_shutdown_ends_the_process() {
    let status = in_a_process("signal_after_the_shutdown_ends_the_process", || {
        let shutdown = Shutdown::builder().build();
        shutdown.on_signals().expect("the system lets us");
        shutdown.begin("deployment");
        block_on(shutdown.run());
        shutdown.on_signals().expect("it listens no more");
        send(SIGTERM);
        unreachable!("it ended the process");
    });
    assert_eq!(status.signal(), Some(SIGTERM), "{status}");
}

#[test]
fn signal_after_the_last_handle_is_dropped_ends_the_process() {
    let status = in_a_process("signal_after_the_last_handle_is_dropped_ends_the_process", || {
        let shutdown = Shutdown::builder().build();
        shutdown.on_signals().expect("the system lets us");
        drop(shutdown);
        send(SIGTERM);
        unreachable!("it ended the process");
    });
    assert_eq!(status.signal(), Some(SIGTERM), "{status}");
}

#[test]
fn parent_that_ends_first_is_the_cause() {
    let status = in_a_process("parent_that_ends_first_is_the_cause", || {
        let (root, time) = manual();
        let (parent, cancel) = root.with_cancel();
        let ctx = with_signals(&parent);
        let timed = with_signals(&root.with_timeout_cause(Duration::from_secs(1), "slow"));
        cancel.cancel_with("stop");
        time.advance(Duration::from_secs(1));
        assert_canceled(&ctx, Some("stop"));
        common::assert_exceeded(&timed, Some("slow"));
        assert!(with_signals(&parent).is_done());
    });
    assert!(status.success(), "{status}");
}
