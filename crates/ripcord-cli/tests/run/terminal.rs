//! Tests `ripcord run` on a terminal.
//!
//! With a pseudoterminal and `setsid --ctty`, a shell has its own session, as in a terminal emulator.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::fd::AsFd as _,
    process::{Child, Command},
    sync::{Arc, Condvar, Mutex},
    thread,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr, tcgetpgrp},
};

use crate::common::{LIMIT, RIPCORD, until, wait};

/// A shell on its own terminal. The shell's `$R` is `ripcord run`.
struct Terminal {
    controller: File,
    shell: Child,
    screen: Arc<(Mutex<String>, Condvar)>,
}

impl Terminal {
    fn new(script: &str) -> Terminal {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
        let tty = || OpenOptions::new().read(true).write(true).open(&name).unwrap();
        let mut command = Command::new("setsid");
        command
            .args(["--ctty", "--wait", "bash", "--norc", "-c", script])
            .env("R", RIPCORD)
            .env("PS1", "$ ")
            .env_remove("RIPCORD_DEADLINE");
        // The terminal of the standard input becomes the controlling terminal.
        let shell = command.stdin(tty()).stdout(tty()).stderr(tty()).spawn().unwrap();
        drop(command);
        let controller = File::from(controller);
        let screen = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let (mut reader, shown) = (controller.try_clone().unwrap(), Arc::clone(&screen));
        // The thread ends when no process has the terminal open.
        thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                shown.0.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
                shown.1.notify_all();
            }
        });
        Terminal { controller, shell, screen }
    }

    fn wait_for(&self, text: &str) {
        self.wait_until(text, |screen| screen.contains(text));
    }

    fn wait_until(&self, what: &str, is_shown: impl Fn(&str) -> bool) {
        let (screen, changed) = &*self.screen;
        let waited = changed.wait_timeout_while(screen.lock().unwrap(), LIMIT, |screen| !is_shown(screen));
        let (screen, timeout) = waited.unwrap();
        assert!(!timeout.timed_out(), "no {what:?} in {:?}", *screen);
    }

    fn screen(&self) -> String {
        self.screen.0.lock().unwrap().clone()
    }

    fn keys(&mut self, keys: &str) {
        self.controller.write_all(keys.as_bytes()).unwrap();
    }

    fn end(mut self) -> String {
        let _status = wait(&mut self.shell);
        self.screen()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Without its session leader, the session's foreground group receives SIGHUP.
        if self.shell.try_wait().is_ok_and(|status| status.is_none()) {
            let _exited = self.shell.kill();
            let _exited = self.shell.wait();
        }
    }
}

#[test]
fn interactive_command_reads_the_terminal() {
    let mut terminal =
        Terminal::new("\"$R\" run --timeout 60 sh -c 'echo ask; read line; echo \"got <$line>\"'; echo code $?");
    terminal.wait_for("ask");
    terminal.keys("hello\n");
    terminal.wait_for("got <hello>");
    terminal.wait_for("code 0");
    terminal.end();
}

#[test]
fn command_receives_ctrl_c_once_and_may_go_on() {
    let script = "trap \"echo interrupted\" INT; echo ready; read line; read line; echo end";
    let mut terminal = Terminal::new(&format!("trap : INT; \"$R\" run --grace 1ms sh -c '{script}'; echo code $?"));
    terminal.wait_for("ready");
    terminal.keys("\x03");
    terminal.wait_for("interrupted");
    terminal.keys("\n\n");
    terminal.wait_for("code 0");
    let screen = terminal.end();
    assert_eq!(screen.matches("interrupted").count(), 1, "{screen}");
    assert!(!screen.contains("ripcord:"), "{screen}");
}

#[test]
fn ripcord_dies_of_ctrl_c_that_ended_the_command() {
    let mut terminal =
        Terminal::new("trap : INT; \"$R\" run --retries 5 sh -c 'echo ready; exec sleep 60'; echo code $?");
    terminal.wait_for("ready");
    terminal.keys("\x03");
    terminal.wait_for("code 130");
    terminal.end();
}

#[test]
fn command_on_a_terminal_is_ended_with_its_descendants() {
    let script = "trap \"\" TERM; sleep 60 & echo pid $! end; (setsid sh -c \"echo pid \\$\\$ end; exec sleep 60\" &); read line; \
                  kill $PPID; while :; do sleep 0.01; done";
    let mut terminal = Terminal::new(&format!("\"$R\" run --grace 100ms sh -c '{script}'; echo code $?"));
    terminal.wait_until("second end", |screen| screen.matches(" end").count() == 2);
    terminal.keys("\n");
    terminal.wait_for("code 137");
    let screen = terminal.end();
    let pids: Vec<u32> = screen.split("pid ").skip(1).filter_map(|rest| rest.split(' ').next()?.parse().ok()).collect();
    assert_eq!(pids.len(), 2, "{screen}");
    assert!(pids.into_iter().all(crate::common::is_gone));
}

#[test]
fn terminal_is_returned_after_an_interactive_shell_is_killed() {
    // An interactive bash takes the terminal for its own groups, and turns the echo off.
    // With job control, the outer shell itself takes the terminal back too.
    for job_control in ["set -m; ", ""] {
        let script = format!(
            "{job_control}PS1='prompt> ' \"$R\" run --grace 1h bash --norc -i; echo code $?; read line; echo \"got <$line>\""
        );
        let mut terminal = Terminal::new(&script);
        terminal.wait_for("prompt> ");
        // The second signal kills the command. The signals differ, because two equal signals could arrive as one.
        terminal.keys("trap '' TERM; stty -echo; kill $PPID; kill -INT $PPID; sleep 60\n");
        terminal.wait_for("code 137");
        // If the terminal did not belong to the group of the outer shell, the outer shell would be stopped, or could not read.
        terminal.keys("hello\n");
        terminal.wait_for("got <hello>");
        let screen = terminal.end();
        assert!(screen.contains("ripcord: bash: forwarded SIG"), "{screen}");
        assert!(screen.contains("\nhello"), "there is no echo: {screen}");
    }
}

#[test]
fn terminal_belongs_to_the_caller_and_has_its_modes_after_a_command_was_ended() {
    let mut terminal =
        Terminal::new("\"$R\" run --timeout 2s sh -c 'stty -echo; echo ready; sleep 60'; echo code $?; read line");
    terminal.wait_for("ready");
    terminal.wait_for("code 124");
    let modes = tcgetattr(terminal.controller.as_fd()).unwrap();
    assert!(modes.local_modes.contains(LocalModes::ECHO));
    assert!(tcgetpgrp(terminal.controller.as_fd()).is_ok());
    terminal.keys("\n");
    terminal.end();
}

#[test]
fn job_control_sees_one_job() {
    // Ctrl-Z stops both, `fg` continues both, and the command reads the terminal again.
    let script = "set -m; \"$R\" run --timeout 60 sh -c 'echo ready; read line; echo \"got <$line>\"'; echo stopped $?; fg; echo code $?";
    let mut terminal = Terminal::new(script);
    terminal.wait_for("ready");
    terminal.keys("\x1a");
    terminal.wait_for("stopped 148");
    terminal.keys("hello\n");
    terminal.wait_for("got <hello>");
    terminal.wait_for("code 0");
    terminal.end();
}

#[test]
fn background_job_is_brought_to_the_foreground() {
    // The loop waits until the job has stopped because it read the terminal in the background. The shell sends SIGCONT only to a job
    // whose stop it has noticed.
    let script = "set -m; \"$R\" run --timeout 60 sh -c 'read line; echo \"got <$line>\"' & \
                  while [ -z \"$(jobs -s)\" ]; do sleep 0.01; done; echo started; fg; echo code $?";
    let mut terminal = Terminal::new(script);
    terminal.wait_for("started");
    terminal.keys("hello\n");
    terminal.wait_for("got <hello>");
    terminal.wait_for("code 0");
    terminal.end();
}

#[test]
fn pager_of_a_pipeline_keeps_the_terminal() {
    let script = "set -m; \"$R\" run --timeout 60 echo text | sh -c 'cat; read line < /dev/tty; echo \"got <$line>\"'; echo code $?";
    let mut terminal = Terminal::new(script);
    terminal.wait_for("text");
    terminal.keys("q\n");
    terminal.wait_for("got <q>");
    terminal.wait_for("code 0");
    terminal.end();
}

#[test]
fn closed_terminal_ends_the_command() {
    let mut terminal = Terminal::new("\"$R\" run sh -c 'echo pid $$; exec sleep 60'");
    terminal.wait_for("pid ");
    terminal.wait_for("\n");
    let pid = terminal.screen().split_whitespace().nth(1).unwrap().parse().unwrap();
    terminal.keys("");
    drop(terminal);
    until(|| crate::common::is_gone(pid));
}
