//! Commands under a context, with real processes.
#![cfg(target_os = "linux")]

mod common;

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use common::{bounded, is_gone, pids, sh};
use ripcord::{Clock, Context};
use ripcord_process::{Command, Signal};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::task::coop;

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn output_holds_both_pipes_and_the_status() {
    let ctx = Context::background();
    let output = bounded(sh("echo out; echo err >&2; exit 3").output(&ctx)).await.unwrap();
    assert_eq!(output.exit.status().code(), Some(3));
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert!(output.exit.left_behind().is_empty() && !output.exit.was_tree_killed());
}

#[tokio::test]
async fn output_larger_than_both_pipes_is_read() {
    let script = "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero";
    let output = bounded(sh(script).output(&Context::background())).await.unwrap();
    assert_eq!((output.stdout.len(), output.stderr.len()), (600_000, 300_000));
}

#[tokio::test]
async fn task_without_budget_reads_the_rest_of_the_output_of_an_ended_command() {
    let mut child = sh("head -c 40000 /dev/zero").stdout(Stdio::piped()).spawn(&Context::background()).unwrap();
    let mut stdout = child.stdout.take().unwrap();
    assert!(bounded(child.wait()).await.unwrap().success());
    while coop::has_budget_remaining() {
        coop::consume_budget().await;
    }
    let mut output = Vec::new();
    bounded(stdout.read_to_end(&mut output)).await.unwrap();
    assert_eq!(output.len(), 40_000);
}

#[tokio::test]
async fn status_after_output_uses_the_streams_of_this_process() {
    // Succeeds if the shell has the streams of its parent.
    let script =
        "for fd in 0 1 2; do [ \"$(readlink /proc/$$/fd/$fd)\" = \"$(readlink /proc/$PPID/fd/$fd)\" ] || exit 3; done";
    let ctx = Context::background();
    let mut command = sh(script);
    assert_eq!(bounded(command.output(&ctx)).await.unwrap().exit.status().code(), Some(3));
    assert_eq!(bounded(command.status(&ctx)).await.unwrap().status().code(), Some(0));
    let child = command.spawn(&ctx).unwrap();
    assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
    assert_eq!(bounded(child.wait_with_output()).await.unwrap().exit.status().code(), Some(0));
}

#[tokio::test]
async fn group_is_shared_if_the_command_had_its_own_group_before() {
    // Succeeds if the shell is in the group of its parent.
    let script = "group() { cut -d' ' -f5 /proc/$1/stat; }; [ \"$(group $$)\" = \"$(group $PPID)\" ]";
    let ctx = Context::background();
    let mut command = sh(script);
    assert_eq!(bounded(command.status(&ctx)).await.unwrap().status().code(), Some(1));
    assert_eq!(bounded(command.share_group(true).status(&ctx)).await.unwrap().status().code(), Some(0));
    assert_eq!(bounded(command.share_group(false).status(&ctx)).await.unwrap().status().code(), Some(1));
}

#[tokio::test]
async fn cancel_ends_the_command_and_keeps_its_output() {
    let (ctx, cancel) = Context::background().with_name("import").with_cancel();
    let mut child = sh("echo partial; exec sleep 60").stdout(Stdio::piped()).spawn(&ctx).unwrap();
    let line = line!() - 1;
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 8];
    bounded(stdout.read_exact(&mut first)).await.unwrap();
    cancel.cancel_with("out of disk");
    let error = bounded(child.wait()).await.unwrap_err();
    assert!(error.is_canceled() && !error.is_deadline_exceeded() && !error.is_not_started());
    assert_eq!(error.to_string(), "sh: context canceled");
    assert_eq!(error.location().line(), line);
    assert_eq!(error.exit().unwrap().status().to_string(), "signal: 15 (SIGTERM)");
    assert!(!error.exit().unwrap().was_killed());
    let details = format!("{error:#}");
    assert!(details.starts_with(&format!("sh (run at {}:{line}:", file!())), "{details}");
    assert!(details.contains("): context canceled: out of disk (canceled at "), "{details}");
    assert!(details.ends_with("); it was sent SIGTERM: signal: 15 (SIGTERM)"), "{details}");
}

#[tokio::test]
async fn deadline_keeps_partial_output() {
    let ctx = Context::background().with_timeout(Duration::from_secs(2));
    let error = bounded(sh("echo partial; echo warning >&2; exec sleep 60").output(&ctx)).await.unwrap_err();
    assert!(error.is_deadline_exceeded());
    let output = error.into_output().unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"partial\n"[..], &b"warning\n"[..]));
}

#[tokio::test]
async fn command_that_ignores_term_is_killed_after_the_grace_period() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock).with_timeout(LONG);
    let mut command = sh("trap '' TERM; echo ready; while :; do sleep 60; done");
    let mut child = command.grace(Duration::from_secs(7)).stdout(Stdio::piped()).spawn(&ctx).unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    bounded(stdout.read_line(&mut text)).await.unwrap();
    time.advance(LONG);
    // The grace period uses the same clock, so the command runs until the clock is advanced.
    assert!(tokio::time::timeout(Duration::from_millis(200), child.wait()).await.is_err());
    time.advance(Duration::from_secs(7));
    let error = bounded(child.wait()).await.unwrap_err();
    assert!(error.exit().unwrap().was_killed());
    let details = format!("{error:#}");
    let end = "; it was sent SIGTERM and, after a grace period of 7s, SIGKILL: signal: 9 (SIGKILL)";
    assert!(details.ends_with(end), "{details}");
}

#[tokio::test]
async fn command_that_cleans_up_within_the_grace_period_is_not_killed() {
    let (ctx, cancel) = Context::background().with_cancel();
    let mut command = sh("trap 'sleep 0.1; echo cleaned; exit 5' TERM; echo ready; while :; do sleep 0.01; done");
    let mut child = command.stdout(Stdio::piped()).spawn(&ctx).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(bounded(lines.next_line()).await.unwrap().as_deref(), Some("ready"));
    cancel.cancel();
    let error = bounded(child.wait()).await.unwrap_err();
    assert_eq!(bounded(lines.next_line()).await.unwrap().as_deref(), Some("cleaned"));
    let exit = error.exit().unwrap();
    assert_eq!((exit.status().code(), exit.was_killed(), exit.was_tree_killed()), (Some(5), false, false));
}

#[tokio::test]
async fn stopped_command_is_ended() {
    let (ctx, cancel) = Context::background().with_cancel();
    let mut child = sh("echo ready; kill -STOP $$; exec sleep 60").stdout(Stdio::piped()).spawn(&ctx).unwrap();
    let mut byte = [0; 6];
    bounded(child.stdout.as_mut().unwrap().read_exact(&mut byte)).await.unwrap();
    cancel.cancel();
    let error = bounded(child.wait()).await.unwrap_err();
    assert!(!error.exit().unwrap().was_killed());
}

#[tokio::test]
async fn done_context_starts_nothing() {
    let ctx = Context::background().with_timeout(Duration::ZERO);
    let error = Command::new("/nonexistent").spawn(&ctx).unwrap_err();
    assert!(error.is_not_started() && error.is_deadline_exceeded() && !error.is_not_found());
    assert_eq!(error.to_string(), "/nonexistent: not started: context deadline exceeded");
}

#[tokio::test]
async fn unknown_program_is_not_found() {
    let error = bounded(Command::new("ripcord-no-such-program").status(&Context::background())).await.unwrap_err();
    assert!(error.is_not_started() && error.is_not_found() && error.context_error().is_none());
    assert!(error.to_string().starts_with("ripcord-no-such-program: cannot be started: No such file"));
    let error = bounded(Command::new("/").status(&Context::background())).await.unwrap_err();
    assert!(error.is_not_started() && !error.is_not_found());
}

#[test]
fn spawn_outside_of_a_runtime_is_an_error() {
    let error = Command::new("true").spawn(&Context::background()).unwrap_err();
    assert!(error.is_not_started(), "{error:?}");
}

#[tokio::test]
async fn command_that_has_exited_when_its_context_ends_counts_as_exited() {
    let (ctx, cancel) = Context::background().with_cancel();
    let mut child = sh("exit 4").stdout(Stdio::piped()).spawn(&ctx).unwrap();
    // Blocks the runtime's only thread, so that the supervisor sees both ends at the same time.
    let pid = child.id();
    common::until(|| std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z ")));
    cancel.cancel();
    assert_eq!(bounded(child.wait()).await.unwrap().status().code(), Some(4));
}

#[tokio::test]
async fn grandchild_that_holds_stdout_is_ended_and_what_was_written_is_kept() {
    let output = bounded(
        sh("(echo early; exec sleep 60) & echo $!; until grep -q sleep /proc/$!/comm; do :; done; exit 0")
            .output(&Context::background()),
    )
    .await
    .unwrap();
    assert!(output.exit.success());
    assert!(!output.exit.left_behind().is_empty());
    assert!(String::from_utf8(output.stdout.clone()).unwrap().contains("early\n"));
    let pid = pids(&output.stdout).next().unwrap();
    assert!(is_gone(pid));
}

#[tokio::test]
async fn double_fork_is_ended() {
    // `setsid` leaves the group, and its parent exits at once.
    let script = "(setsid sh -c 'echo $$; exec sleep 60' &) ; exec sleep 60";
    let (ctx, cancel) = Context::background().with_cancel();
    let mut child = sh(script).stdout(Stdio::piped()).spawn(&ctx).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let pid = bounded(lines.next_line()).await.unwrap().unwrap().parse().unwrap();
    cancel.cancel();
    bounded(child.wait()).await.unwrap_err();
    assert!(is_gone(pid));
    assert_eq!(bounded(lines.next_line()).await.unwrap(), None);
}

#[tokio::test]
async fn daemon_left_by_a_command_that_succeeds_is_ended() {
    let script = "(setsid sh -c 'echo $$ > \"$0\"; exec sleep 60' \"$0\" &); until [ -s \"$0\" ]; do sleep 0.01; done; cat \"$0\"";
    let directory = common::Directory::new("daemon-left");
    let output = bounded(sh(script).arg(directory.path("pid")).output(&Context::background())).await.unwrap();
    assert!(output.exit.success());
    assert_eq!(output.exit.left_behind().len(), 1);
    assert!(is_gone(pids(&output.stdout).next().unwrap()));
}

#[tokio::test]
async fn two_commands_do_not_end_each_other() {
    let ctx = Context::background();
    let mut long = sh("(setsid sleep 60 &); echo ready; read line; echo $line")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn(&ctx)
        .unwrap();
    let mut lines = BufReader::new(long.stdout.take().unwrap()).lines();
    assert_eq!(bounded(lines.next_line()).await.unwrap().as_deref(), Some("ready"));
    let short = bounded(sh("exit 0").status(&ctx)).await.unwrap();
    assert!(short.left_behind().is_empty());
    let mut stdin = long.stdin.take().unwrap();
    bounded(stdin.write_all(b"alive\n")).await.unwrap();
    assert_eq!(bounded(lines.next_line()).await.unwrap().as_deref(), Some("alive"));
    let exit = bounded(long.wait()).await.unwrap();
    assert_eq!(exit.left_behind().len(), 1);
}

#[tokio::test]
async fn processes_that_fork_while_they_are_killed_are_ended() {
    let directory = common::Directory::new("fork-during-kill");
    let log = directory.path("pids");
    // Each process of the chain ignores TERM and starts the next process outside of the group. The chain ends after 60 processes.
    let script = format!(
        "trap '' TERM; echo $$ >> {log}; [ $1 -lt 60 ] && setsid sh \"$0\" $(($1 + 1)) & sleep 0.02; exec sleep 60",
        log = log.display()
    );
    let file = directory.path("chain.sh");
    std::fs::File::create(&file).unwrap().write_all(script.as_bytes()).unwrap();
    let (ctx, cancel) = Context::background().with_cancel();
    let mut child = Command::new("sh").arg(&file).arg("1").grace(Duration::ZERO).spawn(&ctx).unwrap();
    common::until(|| std::fs::read(&log).is_ok_and(|log| pids(&log).count() > 20));
    cancel.cancel();
    let error = bounded(child.wait()).await.unwrap_err();
    assert!(error.exit().unwrap().was_killed());
    assert!(error.exit().unwrap().survivors().is_empty());
    for pid in pids(&std::fs::read(&log).unwrap()) {
        assert!(is_gone(pid), "{pid}");
    }
}

#[tokio::test]
async fn dropped_child_is_killed_with_its_descendants() {
    let mut child =
        sh("trap '' TERM; sleep 60 & echo $$ $!; wait").stdout(Stdio::piped()).spawn(&Context::background()).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = bounded(lines.next_line()).await.unwrap().unwrap();
    drop(child);
    // The pipe ends when both processes have ended.
    assert_eq!(bounded(lines.next_line()).await.unwrap(), None);
    for pid in pids(line.as_bytes()) {
        bounded(common::gone(pid)).await;
    }
}

#[test]
fn child_of_a_runtime_that_shuts_down_is_killed_and_reaped() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut child =
        runtime.block_on(async { sh("trap '' TERM; sleep 60 & wait").spawn(&Context::background()) }).unwrap();
    drop(runtime);
    common::until(|| is_gone(child.id()));
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = other.block_on(bounded(child.wait())).unwrap_err();
    assert!(error.to_string().contains("the runtime has shut down"), "{error}");
}

#[tokio::test]
async fn handle_sends_signals_and_ends_the_command_without_an_error() {
    let script = "trap 'echo got it' USR1; echo ready; while :; do sleep 0.01; done";
    let mut child = sh(script).stdout(Stdio::piped()).spawn(&Context::background()).unwrap();
    let handle = child.handle();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(bounded(lines.next_line()).await.unwrap().as_deref(), Some("ready"));
    assert!(handle.signal(Signal::USR1).unwrap());
    assert_eq!(bounded(lines.next_line()).await.unwrap().as_deref(), Some("got it"));
    assert!(handle.end(Signal::TERM).unwrap());
    let exit = bounded(child.wait()).await.unwrap();
    assert_eq!(exit.status().to_string(), "signal: 15 (SIGTERM)");
    assert!(!handle.signal(Signal::TERM).unwrap() && !handle.end(Signal::TERM).unwrap() && !handle.kill());
}

#[tokio::test]
async fn kill_by_the_handle_is_immediate() {
    let mut child = sh("trap '' TERM; echo ready; while :; do sleep 1; done")
        .stdout(Stdio::piped())
        .spawn(&Context::background())
        .unwrap();
    let mut byte = [0; 6];
    bounded(child.stdout.as_mut().unwrap().read_exact(&mut byte)).await.unwrap();
    assert!(child.handle().kill());
    let exit = bounded(child.wait()).await.unwrap();
    assert!(exit.was_killed());
    assert_eq!(bounded(child.wait()).await.unwrap(), exit, "a second wait returns the same");
}

#[tokio::test]
async fn kill_is_reported_if_the_process_exits_before_the_supervisor_notices() {
    let mut child = sh("exec sleep 60").spawn(&Context::background()).unwrap();
    child.handle().kill();
    // Blocks the runtime's only thread until the command has exited.
    common::until(|| common::stat(child.id()).is_some_and(|(state, _)| state == "Z"));
    let exit = bounded(child.wait()).await.unwrap();
    assert!(exit.was_killed() && exit.was_tree_killed(), "{exit:?}");
}

#[tokio::test]
async fn signaled_command_reports_no_processes_left_behind() {
    // The child ignores the signal that ends the shell.
    let script = "trap '' INT; sleep 60 & trap - INT; echo ready; wait";
    let mut child = sh(script).stdout(Stdio::piped()).spawn(&Context::background()).unwrap();
    let mut ready = [0; 6];
    bounded(child.stdout.as_mut().unwrap().read_exact(&mut ready)).await.unwrap();
    assert!(child.handle().end(Signal::INT).unwrap());
    // Blocks the runtime's only thread until the command has exited.
    common::until(|| common::stat(child.id()).is_some_and(|(state, _)| state == "Z"));
    let exit = bounded(child.wait()).await.unwrap();
    assert_eq!(exit.status().to_string(), "signal: 2 (SIGINT)");
    assert!(exit.left_behind().is_empty() && !exit.was_tree_killed(), "{exit:?}");
}

#[tokio::test]
async fn command_is_reaped_after_the_last_process_of_its_group() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock);
    let script = "sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.01; done' & read line; exit 0";
    let mut child = sh(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn(&ctx).unwrap();
    let mut ready = [0; 6];
    bounded(child.stdout.as_mut().unwrap().read_exact(&mut ready)).await.unwrap();
    let pid = child.id();
    let is_zombie = move || common::stat(pid).is_some_and(|(state, _)| state == "Z");
    drop(child.stdin.take());
    common::until(is_zombie);
    // The grace period of the process that is left does not end, because its clock stands still.
    assert!(tokio::time::timeout(Duration::from_millis(300), child.wait()).await.is_err());
    assert!(is_zombie(), "the ID of its group may be another group's");
    let exit = bounded(async {
        loop {
            time.advance(Command::GRACE);
            if let Ok(exit) = tokio::time::timeout(Duration::from_millis(100), child.wait()).await {
                break exit.unwrap();
            }
        }
    });
    let exit = exit.await;
    assert!(exit.success() && exit.was_tree_killed() && !exit.was_killed(), "{exit:?}");
}

// The inspector shows the spans of a request.
#[tokio::test]
async fn command_is_a_span_of_its_context_until_it_has_ended() {
    let (ctx, root) = Context::background().start_span("request");
    let mut child = sh("read line; exit 0").stdin(Stdio::piped()).spawn(&ctx).unwrap();
    let line = line!() - 1;
    let spans = root.span().snapshots();
    assert_eq!((spans.len(), spans[1].name(), spans[1].is_ended()), (2, "sh", false));
    assert_eq!((spans[1].location().file(), spans[1].location().line()), (file!(), line));
    bounded(child.wait()).await.unwrap();
    assert!(root.span().snapshots()[1].is_ended());
}

#[tokio::test]
async fn closed_stdin_does_not_hang() {
    let output = bounded(Command::new("cat").output(&Context::background())).await.unwrap();
    assert!(output.exit.success() && output.stdout.is_empty());
    let mut child =
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn(&Context::background()).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    bounded(stdin.write_all(b"text")).await.unwrap();
    drop(stdin);
    assert_eq!(bounded(child.wait_with_output()).await.unwrap().stdout, b"text");
}

#[tokio::test]
async fn piped_stdin_that_nobody_took_is_closed_before_the_output_is_read() {
    let ctx = Context::background();
    let mut cat = Command::new("cat");
    cat.stdin(Stdio::piped()).stdout(Stdio::piped());
    assert!(bounded(cat.spawn(&ctx).unwrap().wait_with_output()).await.unwrap().stdout.is_empty());
    assert!(bounded(cat.output(&ctx)).await.unwrap().exit.success());
}

#[tokio::test]
async fn write_to_a_command_that_has_ended_is_a_broken_pipe() {
    let mut child = sh("exec <&-; exit 0").stdin(Stdio::piped()).spawn(&Context::background()).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    bounded(child.wait()).await.unwrap();
    let error = bounded(stdin.write_all(b"text")).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn variables_of_the_context_are_set_unless_the_user_sets_them() {
    let ctx = Context::background().with_name("import").with_timeout(LONG);
    let script = "echo $RIPCORD_DEADLINE_NAME:$TRACEPARENT:$HOME; [ -n \"$RIPCORD_DEADLINE\" ]";
    let output = bounded(sh(script).env_clear().env("TRACEPARENT", "own").output(&ctx)).await.unwrap();
    assert_eq!((output.exit.success(), output.stdout.as_slice()), (true, &b"import:own:\n"[..]));
    let mut command = sh(script);
    let output =
        bounded(command.env("RIPCORD_DEADLINE", "").env_remove("RIPCORD_DEADLINE_NAME").output(&ctx)).await.unwrap();
    assert!(!output.exit.success() && output.stdout.starts_with(b"::"), "{output:?}");
    // A variable that is removed with all others is set again from the context.
    let mut command = sh(script);
    let output = bounded(command.env("RIPCORD_DEADLINE_NAME", "own").env_clear().output(&ctx)).await.unwrap();
    assert_eq!((output.exit.success(), output.stdout.as_slice()), (true, &b"import::\n"[..]));
    // A second start has the second context's variables.
    let mut command = sh(script);
    assert!(bounded(command.output(&ctx)).await.unwrap().exit.success());
    assert!(!bounded(command.output(&Context::background())).await.unwrap().exit.success());
}

#[tokio::test]
async fn settings_of_a_command_of_std_are_kept() {
    use std::os::unix::process::CommandExt as _;

    let mut command = std::process::Command::new("sh");
    command.arg0("other").args(["-c", "echo $0"]);
    let output = bounded(Command::from(command).output(&Context::background())).await.unwrap();
    assert_eq!(output.stdout, b"other\n");
}
