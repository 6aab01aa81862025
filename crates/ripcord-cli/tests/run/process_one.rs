//! Tests `ripcord run` as process 1 of a PID namespace.

use std::process::Command;

use crate::common::{RIPCORD, not_checked, start_here};

/// Returns `ripcord run` as process 1. `None` if this machine does not allow it.
fn process_one(args: &[&str]) -> Option<Command> {
    let namespace = ["--pid", "--fork", "--mount-proc"];
    let is_allowed = Command::new("unshare").args(namespace).arg("true").status().is_ok_and(|status| status.success());
    if !is_allowed {
        not_checked("this machine does not allow PID namespaces");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(namespace).args([RIPCORD, "run"]).args(args);
    Some(command)
}

#[test]
fn inherited_processes_are_reaped_while_the_command_runs() {
    // Each subshell leaves an orphan that exits at once. The loop ends when no orphan is a zombie.
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do (sh -c 'exit 0' & ); done; \
                  until [ -z \"$(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null)\" ]; do sleep 0.01; done; \
                  [ \"$(cat /proc/1/comm)\" = ripcord ] && exit 3";
    let Some(command) = process_one(&["--timeout", "60", "sh", "-c", script]) else { return };
    let ended = start_here(command).end();
    assert_eq!(ended.code(), 3, "{ended:?}");
}

#[test]
fn signals_reach_the_command_of_process_one() {
    let script = "trap 'echo got; exit 6' TERM; kill -TERM 1; while :; do sleep 0.01; done";
    let Some(command) = process_one(&["sh", "-c", script]) else { return };
    let ended = start_here(command).end();
    assert_eq!((ended.code(), ended.stdout.as_str()), (6, "got\n"), "{ended:?}");
}

#[test]
fn process_one_exits_with_128_and_the_number_of_the_signal() {
    let Some(command) = process_one(&["sh", "-c", "kill -TERM $$"]) else { return };
    assert_eq!(start_here(command).end().status.code(), Some(143));
}

#[test]
fn process_one_ends_at_the_deadline() {
    let Some(command) =
        process_one(&["--timeout", "1.5s", "--grace", "100ms", "sh", "-c", "trap '' TERM; sleep 60; sleep 60"])
    else {
        return;
    };
    assert_eq!(start_here(command).end().status.code(), Some(137));
}
