//! Tests the exit codes and signals that the caller sees.

use std::{fs, os::unix::process::ExitStatusExt as _, process::Command};

use crate::common::{Directory, RIPCORD, ripcord, run, run_sh, start_here};

#[test]
fn exit_code_of_the_command_is_returned_without_a_message() {
    for code in [0, 1, 2, 42, 124, 125, 126, 127, 128, 137, 255] {
        let ended = run_sh(&["--timeout", "60"], &format!("exit {code}"));
        assert_eq!((ended.code(), ended.stderr.as_str()), (code, ""));
    }
}

#[test]
fn deadline_exits_with_124_even_if_the_command_then_succeeds() {
    let ended = run_sh(&["--timeout", "1s"], "exec 2>/dev/null; trap 'exit 0' TERM; while :; do sleep 0.01; done");
    assert_eq!(ended.code(), 124, "{ended:?}");
    assert_eq!(
        ended.stderr,
        "ripcord: sh: deadline exceeded: the timeout of 1s (--timeout) has passed, sent SIGTERM\n"
    );
}

#[test]
fn command_that_ignores_term_is_killed_and_exits_with_137() {
    let ended = run_sh(&["--timeout", "1.5", "--grace", "0.1s"], "trap '' TERM; while :; do sleep 0.01; done");
    assert_eq!((ended.status.code(), ended.code()), (Some(137), 137));
    assert_eq!(
        ended.stderr,
        "ripcord: sh: deadline exceeded: the timeout of 1.5 (--timeout) has passed, sent SIGTERM, and SIGKILL after a grace \
         period of 0.1s\n"
    );
}

#[test]
fn unknown_command_exits_with_127() {
    for command in ["ripcord-no-such-command", "/no/such/command", ""] {
        let ended = run(&["--retries", "9", command]);
        assert_eq!((ended.code(), ended.stderr.lines().count()), (127, 1), "{ended:?}");
    }
}

#[test]
fn command_that_cannot_be_run_exits_with_126() {
    let directory = Directory::new("not-executable");
    let file = directory.path().join("file");
    fs::write(&file, "text").unwrap();
    for command in [file.to_str().unwrap(), "/", "/etc/passwd/file"] {
        let ended = run(&["--retries", "9", command]);
        assert_eq!((ended.code(), ended.stderr.lines().count()), (126, 1), "{ended:?}");
    }
}

#[test]
fn ripcord_dies_of_the_signal_that_ended_the_command() {
    // 34 and 64 are the first and the last real-time signals that programs may use.
    for signal in [1, 2, 3, 6, 9, 11, 13, 14, 15, 10, 34, 64] {
        let ended = start_here(ripcord(&["sh", "-c", &format!("kill -{signal} $$")])).end();
        assert_eq!((ended.status.signal(), ended.stderr.as_str()), (Some(signal), ""));
    }
}

#[test]
fn too_few_descriptors_exit_with_125() {
    for limit in [7, 9, 11] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" run --retries 5 true"), RIPCORD]);
        let ended = start_here(command).end();
        assert_eq!(ended.code(), 125, "{limit}: {ended:?}");
    }
}
