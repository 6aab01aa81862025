//! Tests signals to `ripcord run`.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::common::{Running, is_gone, ripcord, run_sh, start_here};

/// Starts a script that prints `ready`, and waits for this line. The script's parent is this test, so that its number is known.
fn start_ready(flags: &[&str], script: &str) -> Running {
    let mut running = start_here(ripcord(&[flags, &["sh", "-c", script]].concat()));
    assert_eq!(running.line(), "ready");
    running
}

#[test]
fn each_signal_is_forwarded_and_the_last_line_names_its_sender() {
    let signals = [
        (Signal::TERM, "SIGTERM"),
        (Signal::INT, "SIGINT"),
        (Signal::HUP, "SIGHUP"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
    ];
    for (signal, name) in signals {
        let script = format!(
            "exec 2>/dev/null; trap 'echo got; exit 5' {}; echo ready; while :; do sleep 0.01; done",
            &name[3..]
        );
        let running = start_ready(&["--retries", "9"], &script);
        running.signal(signal);
        let ended = running.end();
        assert_eq!((ended.code(), ended.stdout.as_str()), (5, "got\n"), "{name}: {ended:?}");
        let start = format!("ripcord: sh: forwarded {name} from ");
        assert!(ended.stderr.starts_with(&start) && ended.stderr.lines().count() == 1, "{ended:?}");
        assert!(ended.stderr.ends_with(&format!("({})\n", std::process::id())), "{ended:?}");
    }
}

#[test]
fn command_that_dies_of_the_forwarded_signal_takes_ripcord_with_it() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1] {
        let running = start_ready(&[], "echo ready; exec sleep 60");
        running.signal(signal);
        assert_eq!(running.end().status.signal(), Some(signal.as_raw()));
    }
}

#[test]
fn command_that_ignores_the_forwarded_signal_is_killed_after_the_grace_period() {
    let running =
        start_ready(&["--grace", "100ms"], "exec 2>/dev/null; trap '' TERM; echo ready; while :; do sleep 0.01; done");
    running.signal(Signal::TERM);
    let ended = running.end();
    assert_eq!(ended.status.code(), Some(137));
    assert!(ended.stderr.ends_with("), then SIGKILL\n"), "{ended:?}");
}

#[test]
fn second_term_or_int_kills_immediately() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM), (Signal::TERM, Signal::INT)] {
        let script = "trap 'echo got' TERM INT; echo ready; while :; do sleep 0.01; done";
        let start = Instant::now();
        let mut running = start_ready(&["--grace", "1h"], script);
        running.signal(first);
        assert_eq!(running.line(), "got");
        running.signal(second);
        assert_eq!(running.end().status.code(), Some(137));
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}

#[test]
fn user_signal_starts_no_grace_period() {
    let script = "trap 'echo got' USR1 HUP; echo ready; while :; do sleep 0.01; done";
    let mut running = start_ready(&["--grace", "1ms"], script);
    for signal in [Signal::USR1, Signal::HUP, Signal::USR1] {
        running.signal(signal);
        assert_eq!(running.line(), "got");
    }
    running.signal(Signal::TERM);
    running.end();
}

#[test]
fn signal_ignored_by_the_caller_stays_ignored_in_both() {
    // nohup ignores HUP. A shell ignores INT and QUIT for a background command.
    let script = "trap '' HUP INT; exec \"$0\" run sh -c 'grep SigIgn /proc/$$/status; echo ready; read line < \"$1\"' sh \"$1\"";
    let directory = crate::common::Directory::new("nohup");
    let fifo = directory.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", script, crate::common::RIPCORD]).arg(&fifo);
    let mut running = start_here(command);
    let ignored = running.line();
    let mask = u64::from_str_radix(ignored.split_whitespace().last().unwrap(), 16).unwrap();
    assert_eq!(mask & 0b11, 0b11, "{ignored}");
    assert_eq!(mask & 1 << 14, 0, "TERM is not ignored: {ignored}");
    assert_eq!(running.line(), "ready");
    running.signal(Signal::HUP);
    running.signal(Signal::INT);
    std::fs::write(&fifo, "line\n").unwrap();
    let ended = running.end();
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
}

#[test]
fn mask_of_the_command_is_empty_and_pipe_has_its_default() {
    let ended = run_sh(&[], "exec grep -E 'SigBlk|SigIgn' /proc/self/status");
    for line in ended.stdout.lines() {
        let mask = u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap();
        let relevant = if line.starts_with("SigBlk") { u64::MAX } else { 1 << 12 };
        assert_eq!(mask & relevant, 0, "{ended:?}");
    }
    assert_eq!(ended.stdout.lines().count(), 2);
}

#[test]
fn run_works_under_a_caller_that_blocks_signals_or_ignores_sigchld() {
    // Python can block signals and ignore SIGCHLD before it executes a program.
    if Command::new("python3").arg("--version").output().is_err() {
        crate::common::not_checked("there is no python3");
        return;
    }
    let script = "import os, signal, sys\n\
                  signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\n\
                  signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n\
                  os.execv(sys.argv[1], sys.argv[1:])\n";
    let python = |args: &[&str]| {
        let mut command = Command::new("python3");
        command.args(["-c", script, crate::common::RIPCORD, "run"]).args(args);
        start_here(command)
    };
    let ended = python(&["sh", "-c", "grep SigBlk /proc/self/status; exit 3"]).end();
    assert_eq!((ended.code(), ended.stdout.as_str()), (3, "SigBlk:\t0000000000000000\n"));
    let mut running = python(&["sh", "-c", "echo ready; exec sleep 60"]);
    assert_eq!(running.line(), "ready");
    running.signal(Signal::TERM);
    assert_eq!(running.end().status.signal(), Some(15));
}

#[test]
fn first_term_after_the_deadline_is_not_sent_to_the_command_again() {
    let script = "trap 'echo got' TERM; echo ready; while :; do sleep 0.01; done";
    let mut running = start_ready(&["--timeout", "2s", "--grace", "1h"], script);
    assert_eq!(running.line(), "got");
    running.signal(Signal::TERM);
    running.signal(Signal::USR1);
    let ended = running.end();
    // USR1 ended the shell, so nothing was killed. The shell's output shows one signal.
    assert_eq!((ended.code(), ended.stdout.as_str()), (124, ""), "{ended:?}");
}

#[test]
fn descendants_of_a_killed_command_do_not_survive() {
    let script = "trap '' TERM INT; setsid sh -c 'echo $$; exec sleep 60' & wait";
    let mut running = start_here(ripcord(&["--grace", "50ms", "sh", "-c", script]));
    let pid = running.line().parse().unwrap();
    running.signal(Signal::INT);
    let ended = running.end();
    assert_eq!(ended.code(), 137, "{ended:?}");
    assert!(is_gone(pid));
}
