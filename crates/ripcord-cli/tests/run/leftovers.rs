//! Tests the processes that a command leaves when it ends on its own.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    time::{Duration, Instant},
};

use crate::common::{Directory, is_gone, ripcord, run, run_sh, start_here, until};

#[test]
fn process_left_in_the_group_receives_term_immediately_and_is_named() {
    let start = Instant::now();
    let ended = run_sh(&["--grace", "1h"], "sleep 60 & echo $!; until grep -q sleep /proc/$!/comm; do :; done; exit 3");
    assert!(start.elapsed() < Duration::from_secs(30));
    let pid = ended.pids()[0];
    assert_eq!(ended.code(), 3);
    assert_eq!(ended.stderr, format!("ripcord: sh: left running: sleep ({pid}); sent SIGTERM\n"));
    assert!(is_gone(pid));
}

/// A script that starts a process, and waits until the process ignores `SIGTERM`.
const LEAVE_STUBBORN_PROCESS: &str =
    "mkfifo \"$0\"; sh -c 'trap \"\" TERM; echo > \"$0\"; while :; do sleep 0.01; done' \"$0\" & read line < \"$0\"";

#[test]
fn process_left_that_ignores_term_is_killed_after_the_grace_period() {
    let directory = Directory::new("stubborn");
    let mut command = ripcord(&["--grace", "100ms", "--name", "job", "sh", "-c"]);
    command.arg(format!("{LEAVE_STUBBORN_PROCESS}; exit 0")).arg(directory.path().join("fifo"));
    let ended = start_here(command).end();
    assert_eq!(ended.code(), 0, "the command itself was not killed");
    assert!(ended.stderr.starts_with("ripcord: job: left running: "), "{ended:?}");
    assert!(ended.stderr.ends_with("; sent SIGTERM, and SIGKILL after a grace period of 100ms\n"), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1);
}

#[test]
fn output_written_earlier_is_not_lost() {
    let ended = run_sh(&[], "head -c 1000000 /dev/zero | tr '\\0' x; sleep 60 & exit 0");
    assert_eq!(ended.stdout.len(), 1_000_000);
}

#[test]
fn earlier_processes_are_not_killed() {
    let directory = Directory::new("before");
    let file = directory.path().join("pid");
    let script = format!("sleep 60 & echo $! > {}; exec \"$0\" run sh -c 'sleep 60 & exit 0'", file.display());
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script, crate::common::RIPCORD]);
    // The output is not read to its end, because the remaining `sleep` has the pipe open.
    let mut child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    assert!(crate::common::wait(&mut child).success());
    let pid = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    assert!(!is_gone(pid));
    crate::common::kill(pid, rustix::process::Signal::KILL);
    until(|| is_gone(pid));
}

#[test]
fn quick_runs_leave_no_process() {
    // `scripts/repeat` runs all tests hundreds of times.
    let runs = if std::env::var_os("FEWER_ROUNDS").is_some() { 20 } else { 200 };
    // A zombie keeps its name. So a command that was not reaped is found, whoever has inherited it.
    let name = format!("quick{}", std::process::id());
    let script = format!("printf {name} > /proc/$$/comm");
    for _ in 0..runs {
        let ended = start_here(ripcord(&["sh", "-c", &script])).end();
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    }
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let left = processes.filter_map(|process| fs::read_to_string(process.path().join("comm")).ok());
    assert_eq!(left.filter(|comm| comm.trim_end() == name).count(), 0);
    assert_eq!(run(&["sh", "-c", "exit 0"]).code(), 0);
}

#[test]
fn kill_by_another_process_is_not_reported_as_a_kill_by_ripcord() {
    // `ripcord run` must kill the remaining process, but it did not kill the command.
    let directory = Directory::new("foreign-kill");
    let mut command = ripcord(&["--grace", "100ms", "sh", "-c"]);
    command.arg(format!("{LEAVE_STUBBORN_PROCESS}; kill -KILL $$")).arg(directory.path().join("fifo"));
    let ended = start_here(command).end();
    assert_eq!(ended.status.signal(), Some(9), "{ended:?}");
    assert!(ended.stderr.ends_with(", and SIGKILL after a grace period of 100ms\n"), "{ended:?}");
}
