//! Deadlines in a process that can start no thread, neither a timer's thread nor a thread for `after_func`.
//!
//! The test runs its own binary again with a stack size that no thread can have.

#[path = "common/mod.rs"]
mod common;

use std::process::Command;
use std::time::Duration;

use common::observers::{OBSERVERS, assert_all_report_an_end, observe_until_ended};
use common::{HANG, MS, Wakes, poll};
use ripcord::Context;

#[test]
fn deadlines_are_seen_in_time_without_a_timer_thread() {
    const WITHOUT_THREADS: &str = "RIPCORD_TEST_WITHOUT_THREADS";
    if std::env::var_os(WITHOUT_THREADS).is_some() {
        return without_threads();
    }
    let output = Command::new(std::env::current_exe().expect("the test's own path"))
        .args(["--exact", "deadlines_are_seen_in_time_without_a_timer_thread", "--test-threads=1", "--nocapture"])
        .env(WITHOUT_THREADS, "1")
        .env("RUST_MIN_STACK", (1_u64 << 47).to_string())
        .output()
        .expect("the test runs again");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn without_threads() {
    assert!(std::thread::Builder::new().spawn(|| {}).is_err(), "a thread could be started");
    two_contexts_in_turn();
    for observer in OBSERVERS {
        for is_waited_on in [false, true] {
            let ctx = Context::background().with_timeout(MS);
            let mut waiting = ctx.done_owned();
            let _ = is_waited_on.then(|| poll(&mut waiting, &Wakes::new()));
            observe_until_ended(*observer, &ctx);
            for ctx in [&ctx, &ctx.clone(), &ctx.with_name("child"), &ctx.with_cancel().0] {
                assert_all_report_an_end(ctx);
            }
        }
    }
    let ctx = Context::background().with_timeout(MS);
    assert!(ctx.wait().is_deadline_exceeded());
    assert!(Context::background().wait_timeout(MS).is_none());
    assert!(Context::background().sleep_blocking(MS).is_ok());
    let (ctx, cancel) = Context::background().with_timeout(HANG).with_cancel();
    let ran = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let runs = std::sync::Arc::clone(&ran);
    let _after = ctx.after_func(move || runs.store(true, std::sync::atomic::Ordering::SeqCst));
    cancel.cancel();
    assert!(ran.load(std::sync::atomic::Ordering::SeqCst), "the canceler runs it");
}

/// Makes attempts until one is punctual, because a busy machine may interrupt the thread in every one of a few attempts.
fn two_contexts_in_turn() {
    let mut best = Duration::MAX;
    let mut attempts = 0;
    while best > MS {
        attempts += 1;
        assert!(attempts <= 500, "the most punctual attempt was {best:?} late");
        let (a, b) = (Context::background().with_timeout(3 * MS), Context::background().with_timeout(HANG));
        let (mut wait_a, mut wait_b) = (a.done_owned(), b.done_owned());
        assert!(poll(&mut wait_b, &Wakes::new()).is_pending());
        let _ = poll(&mut wait_a, &Wakes::new());
        while !a.is_done() && !b.is_done() {
            assert!(a.deadline().expect("it has one").elapsed() < HANG, "the end is never seen");
        }
        let late = a.deadline().expect("it has one").elapsed();
        assert!(a.err().is_some_and(|error| error.is_deadline_exceeded()) && !b.is_done());
        assert_all_report_an_end(&a);
        assert!(poll(&mut wait_a, &Wakes::new()).is_ready());
        best = best.min(late);
    }
}
