//! Tests further attempts after a failure.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::common::{Directory, ripcord, run_sh, start_here, until};

#[test]
fn failure_is_followed_by_further_attempts() {
    let start = Instant::now();
    let ended = run_sh(&["--retries", "2"], "echo attempt; exit 4");
    assert_eq!((ended.code(), ended.stdout.as_str(), ended.stderr.as_str()), (4, "attempt\nattempt\nattempt\n", ""));
    assert!(start.elapsed() >= Duration::from_millis(750), "there was no wait");
}

#[test]
fn first_wait_is_jittered_and_at_most_half_a_second() {
    let run = |_| {
        let start = Instant::now();
        assert_eq!(run_sh(&["--retries", "1"], "exit 4").code(), 4);
        start.elapsed()
    };
    // Without jitter, the wait would be half a second, and each run would take longer. On a busy machine, some do.
    assert!((0..100).map(run).any(|took| took < Duration::from_millis(500)));
}

#[test]
fn success_ends_the_attempts() {
    let directory = Directory::new("retries");
    let file = directory.path().join("file");
    let script = format!("echo attempt; [ -e {file} ] && exit 0; touch {file}; exit 1", file = file.display());
    let ended = run_sh(&["--retries", "9"], &script);
    assert_eq!((ended.code(), ended.stdout.as_str(), ended.stderr.as_str()), (0, "attempt\nattempt\n", ""));
}

#[test]
fn death_by_a_signal_is_a_failure() {
    let ended = run_sh(&["--retries", "1"], "echo attempt; kill -KILL $$");
    assert_eq!((ended.code(), ended.stdout.as_str()), (137, "attempt\nattempt\n"));
}

#[test]
fn codes_125_126_and_127_are_final() {
    for code in [125, 126, 127] {
        let ended = run_sh(&["--retries", "5"], &format!("echo attempt; exit {code}"));
        assert_eq!((ended.code(), ended.stdout.as_str()), (code, "attempt\n"));
    }
}

#[test]
fn deadline_covers_all_attempts_and_is_final() {
    let ended = run_sh(&["--retries", "5", "--timeout", "2s"], "echo attempt; sleep 60");
    assert_eq!((ended.code(), ended.stdout.as_str()), (124, "attempt\n"));
}

#[test]
fn retry_wait_longer_than_the_deadline_is_not_started() {
    // On a busy machine, the deadline may pass before the attempt has failed.
    let mut runs = (0..50).map(|_| {
        let start = Instant::now();
        let ended = run_sh(&["--retries", "4000000000", "--timeout", "240ms"], "echo attempt; exit 6");
        (ended, start.elapsed())
    });
    let in_time = runs.find(|(ended, took)| ended.code() != 124 && *took < Duration::from_millis(240));
    let (ended, _) = in_time.expect("one run ends before its deadline");
    assert_eq!((ended.code(), ended.stdout.as_str(), ended.stderr.as_str()), (6, "attempt\n", ""));
}

#[test]
fn forwarded_signal_is_final() {
    let script = "trap 'exit 1' USR1; echo ready; while :; do sleep 0.01; done";
    let mut running = start_here(ripcord(&["--retries", "5", "sh", "-c", script]));
    assert_eq!(running.line(), "ready");
    running.signal(Signal::USR1);
    let ended = running.end();
    assert_eq!((ended.code(), ended.stdout.as_str()), (1, ""));
}

#[test]
fn signal_between_two_attempts_ends_the_run() {
    let mut running = start_here(ripcord(&["--retries", "50", "sh", "-c", "echo $$; exit 1"]));
    let start = Instant::now();
    for _ in 0..3 {
        let directory = format!("/proc/{}", running.line());
        // The process is reaped. The next process starts after a wait.
        until(|| !Path::new(&directory).exists());
    }
    running.signal(Signal::TERM);
    let ended = running.end();
    assert_eq!(ended.code(), 143);
    assert!(start.elapsed() < Duration::from_secs(25));
    assert!(ended.stderr.contains("SIGTERM"), "{ended:?}");
}
