//! Helpers that start `ripcord run` and inspect processes.

use std::{
    ffi::OsStr,
    fs,
    io::{self, BufRead, BufReader},
    mem,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// The maximum time to wait. No successful test waits this long.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) const RIPCORD: &str = env!("CARGO_BIN_EXE_ripcord");

/// A program that a test has started.
pub(crate) struct Running {
    child: Child,
    stdout: Box<dyn BufRead + Send>,
    stderr: Option<ChildStderr>,
}

/// The result of a program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Returns the exit code, or 128+N for signal N, like a shell.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().expect("it has ended"))
    }

    /// Returns the numbers in the output.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.stdout.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
    }
}

/// Returns `ripcord run` with these arguments.
pub(crate) fn ripcord<S: AsRef<OsStr>>(args: &[S]) -> Command {
    let mut command = Command::new(RIPCORD);
    command.arg("run").args(args);
    // Removes the variables of the caller.
    for (name, _) in std::env::vars_os() {
        if ["RIPCORD_", "TRACE", "BAGGAGE"].iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
        {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `ripcord run` with these arguments to its end.
pub(crate) fn run<S: AsRef<OsStr>>(args: &[S]) -> Ended {
    start(ripcord(args)).end()
}

/// Runs a script under `ripcord run` with these flags to its end.
pub(crate) fn run_sh(flags: &[&str], script: &str) -> Ended {
    run(&[flags, &["sh", "-c", script]].concat())
}

/// Starts a script under `ripcord run` with these flags.
pub(crate) fn start_sh(flags: &[&str], script: &str) -> Running {
    start(ripcord(&[flags, &["sh", "-c", script]].concat()))
}

/// Starts a command in a new session, so that the command has no terminal.
pub(crate) fn start(command: Command) -> Running {
    let mut session = Command::new("setsid");
    session.arg("--wait").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => session.env(name, value),
            None => session.env_remove(name),
        };
    }
    start_here(session)
}

/// Starts a command in the session of the tests.
pub(crate) fn start_here(mut command: Command) -> Running {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stdout = Box::new(BufReader::new(child.stdout.take().unwrap()));
    let stderr = child.stderr.take();
    Running { child, stdout, stderr }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads a line of the output.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// Waits for the end, and reads the rest of the output meanwhile. The output ends when no process has the pipe open.
    pub(crate) fn end(mut self) -> Ended {
        let mut stdout = mem::replace(&mut self.stdout, Box::new(io::empty()));
        let mut stderr = self.stderr.take().unwrap();
        thread::scope(|scope| {
            let stdout = scope.spawn(move || io::read_to_string(&mut stdout).unwrap());
            let stderr = scope.spawn(move || io::read_to_string(&mut stderr).unwrap());
            let status = wait(&mut self.child);
            Ended { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _exited = self.child.kill();
            let _exited = self.child.wait();
        }
    }
}

/// Waits for a child. Kills the child after [`LIMIT`].
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let pid = Pid::from_child(child);
    // The descriptor is readable once the child has exited. `pidfd_open` fails if the child has been reaped.
    if let Ok(exit) = pidfd_open(pid, PidfdFlags::empty()) {
        let limit = Timespec::try_from(LIMIT).unwrap();
        if poll(&mut [PollFd::new(&exit, PollFlags::IN)], Some(&limit)).unwrap() == 0 {
            let _exited = child.kill();
            panic!("it takes too long");
        }
    }
    child.wait().unwrap()
}

pub(crate) fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Reports that this machine does not meet the requirements of a test.
#[expect(clippy::print_stdout, reason = "the runner shows it")]
pub(crate) fn not_checked(reason: &str) {
    println!("NOT CHECKED: {reason}");
}

/// Waits until `is_true`.
#[track_caller]
pub(crate) fn until(is_true: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < LIMIT, "it takes too long");
        // Other processes cannot wake this thread, and without a pause it would take the processor from them.
        thread::sleep(Duration::from_millis(1));
    }
}

/// Returns whether a process has ended. A zombie has ended.
pub(crate) fn is_gone(pid: u32) -> bool {
    stat(pid).is_none_or(|fields| fields[0] == "Z")
}

/// Returns the fields of `/proc/PID/stat`, starting with the state.
pub(crate) fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit(')').next()?.split_ascii_whitespace().map(str::to_owned).collect())
}

/// A directory of one test. It is removed at the end of the test.
pub(crate) struct Directory(std::path::PathBuf);

impl Directory {
    pub(crate) fn new(test: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("ripcord-run-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}
