//! Tests deadlines, and the end of a command at a deadline.

use std::{
    fs,
    time::{Duration, Instant, SystemTime},
};

use crate::common::{Directory, is_gone, run, run_sh, start_sh, until};

fn epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

#[test]
fn passed_deadline_starts_nothing_and_exits_with_124() {
    for deadline in ["2020-01-01T00:00:00Z", "1960-01-01T00:00:00+01:00", "@0", "@-1", "@1.5"] {
        let ended = run(&["--deadline", deadline, "--retries", "9", "echo", "started"]);
        assert_eq!((ended.code(), ended.stdout.as_str()), (124, ""));
        assert_eq!(
            ended.stderr,
            format!("ripcord: echo: not started: the deadline of {deadline} (--deadline) has passed\n")
        );
    }
}

#[test]
fn deadline_as_a_point_in_time_ends_the_command() {
    let soon = format!("@{:.3}", (epoch() + Duration::from_secs(1)).as_secs_f64());
    let start = Instant::now();
    let ended = run(&["--deadline", &soon, "sleep", "60"]);
    assert_eq!(ended.code(), 124);
    assert!(start.elapsed() < Duration::from_secs(30));
    assert_eq!(
        ended.stderr,
        format!("ripcord: sleep: deadline exceeded: the deadline of {soon} (--deadline) has passed, sent SIGTERM\n")
    );
}

#[test]
fn tighter_of_both_limits_counts() {
    let far = format!("@{}", epoch().as_secs() + 3600);
    let ended = run(&["--deadline", &far, "--timeout", "1s", "--name", "job", "sleep", "60"]);
    assert_eq!(ended.code(), 124);
    assert!(ended.stderr.starts_with("ripcord: job: deadline exceeded: the timeout of 1s (--timeout) "), "{ended:?}");
    let ended = run(&["--deadline", "@1", "--timeout", "1h", "true"]);
    assert!(ended.stderr.contains("the deadline of @1 (--deadline)"), "{ended:?}");
}

#[test]
fn far_deadlines_are_accepted() {
    for args in
        [["--timeout", "100000d"], ["--deadline", "9999-12-31T23:59:59Z"], ["--deadline", "@99999999999999999999"]]
    {
        let ended = run(&[args[0], args[1], "echo", "ok"]);
        assert_eq!((ended.code(), ended.stdout.as_str(), ended.stderr.as_str()), (0, "ok\n", ""), "{args:?}");
    }
}

#[test]
fn whole_group_receives_term() {
    let script = "exec 2>/dev/null; trap 'wait; exit 0' TERM; sh -c 'trap \"echo child; exit\" TERM; echo ready; while :; do sleep 0.01; done' & \
                  while :; do sleep 0.01; done";
    let ended = run_sh(&["--timeout", "2s"], script);
    assert_eq!((ended.code(), ended.stdout.as_str()), (124, "ready\nchild\n"));
}

#[test]
fn stopped_command_ends() {
    let ended = run_sh(&["--timeout", "1s"], "kill -STOP $$; sleep 60");
    assert_eq!(ended.code(), 124, "{ended:?}");
}

#[test]
fn double_fork_that_ignores_term_and_has_left_the_group_is_killed() {
    // `env -i` removes all variables that could mark the process.
    let daemon = "env -i setsid sh -c 'trap \"\" TERM HUP; echo $$; while :; do sleep 0.05; done' &";
    let ended = run_sh(&["--timeout", "2s", "--grace", "200ms"], &format!("({daemon}); sleep 60"));
    // The command itself ended at TERM.
    assert_eq!(ended.code(), 124);
    assert!(ended.stderr.ends_with(", and SIGKILL after a grace period of 200ms\n"), "{ended:?}");
    let pids = ended.pids();
    assert_eq!(pids.len(), 1);
    assert!(is_gone(pids[0]));
}

#[test]
fn grandchild_that_holds_stdout_does_not_hang_the_reader() {
    // `run_sh` reads until no process has the pipe open.
    let ended = run_sh(&["--grace", "100ms"], "echo early; (trap '' TERM; setsid sleep 60 &) ; exit 5");
    assert_eq!((ended.code(), ended.stdout.as_str()), (5, "early\n"));
    assert!(ended.stderr.contains("ripcord: sh: left running: "), "{ended:?}");
    assert!(ended.stderr.ends_with(", and SIGKILL after a grace period of 100ms\n"), "{ended:?}");
}

#[test]
fn processes_that_fork_while_they_are_killed_do_not_survive() {
    let directory = Directory::new("fork-during-kill");
    let (script, log) = (directory.path().join("script"), directory.path().join("pids"));
    // Each process starts the next process in a new session and exits. The chain is finite, in case the test does not end it.
    let text = format!(
        "trap '' TERM HUP; echo $$ >> {log}; [ $1 -lt 5000 ] && setsid sh \"$0\" $(($1 + 1)) & exit",
        log = log.display()
    );
    fs::write(&script, text).unwrap();
    let command = format!("sh {} 1; sleep 60", script.display());
    let ended = run_sh(&["--timeout", "2s", "--grace", "100ms"], &command);
    assert_eq!(ended.code(), 124, "{ended:?}");
    let count = || fs::read_to_string(&log).unwrap().lines().count();
    let total = count();
    assert!(total > 5, "the chain has {total} links");
    let pids = fs::read_to_string(&log).unwrap();
    assert!(pids.split_whitespace().all(|pid| is_gone(pid.parse().unwrap())));
    assert_eq!(count(), total, "the chain goes on");
}

#[test]
fn nested_run_is_ended_with_its_command() {
    let script = "echo $$; exec sleep 60";
    let mut running = start_sh(
        &["--timeout", "2s", "--name", "outer"],
        &format!("\"{}\" run sh -c '{script}'", crate::common::RIPCORD),
    );
    let pid = running.line().parse().unwrap();
    let ended = running.end();
    assert_eq!(ended.code(), 124);
    until(|| is_gone(pid));
    // Both processes have the same deadline. If the SIGTERM of the outer process arrives first, the inner process passes it on and
    // reports nothing. If the inner process ends with 124 first, the outer process reports nothing. `environment.rs` tests the text
    // for an inherited deadline.
    let (inner, outer): (Vec<_>, Vec<_>) = ended.stderr.lines().partition(|line| line.contains("RIPCORD_DEADLINE"));
    assert!(inner.len() <= 1 && outer.len() <= 1 && !ended.stderr.is_empty(), "{ended:?}");
    assert!(outer.iter().all(|line| line.starts_with("ripcord: outer: deadline exceeded")), "{ended:?}");
}

#[test]
fn more_processes_than_descriptors_do_not_survive() {
    // The shell needs less than a second to start all of them, but several on a busy machine.
    let script = "ulimit -n 24; exec \"$0\" run --timeout 10s --grace 100ms sh -c \
                  'for i in $(seq 40); do (trap \"\" TERM; setsid sleep 60 & echo $!); done; sleep 60'";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, crate::common::RIPCORD]);
    let ended = crate::common::start_here(command).end();
    assert_eq!((ended.code(), ended.pids().len()), (124, 40), "{ended:?}");
    assert!(ended.pids().into_iter().all(is_gone));
}
