//! Building and starting a command.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::panic::Location;
use std::path::Path;
use std::process::{self as std_process, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ripcord::Context;
use rustix::process::{self, Pid};
use tokio::runtime::Handle;
use tokio::signal::unix::{self, SignalKind};

use crate::child::{Child, ChildHandle};
use crate::environment;
use crate::error::{Error, Kind, Run};
use crate::exit::{Exit, Output};
use crate::pidfd::watch;
use crate::pipe::{ChildInput, ChildOutput, Reader, Writer};
use crate::supervisor::Supervisor;
use crate::tree::{MARK, Scope, Tree};

/// Runs a program as a child process that ends with a [`Context`]. The methods for arguments, environment, directory and pipes are
/// the same as those of [`std::process::Command`].
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_process::Command;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ripcord_process::Error> {
/// let ctx = Context::background().with_timeout(Duration::from_secs(5));
/// let output = Command::new("echo").arg("hello").output(&ctx).await?;
/// assert!(output.exit.success());
/// assert_eq!(output.stdout, b"hello\n");
/// # Ok(())
/// # }
/// ```
///
/// # Methods
///
/// Create a command with [`new`](Command::new). Run it with [`output`](Command::output), [`status`](Command::status) or
/// [`spawn`](Command::spawn).
///
/// # When the context ends
///
/// A context ends when it is canceled or when its deadline passes. When the context of a command ends:
///
/// 1. The command's process group receives `SIGTERM`. If the command [shares the group](Command::share_group) of this process, only
///    the processes of the command receive it.
/// 2. When the command itself has exited, its remaining processes outside of the group receive `SIGTERM`.
/// 3. After the [grace period](Command::grace), all remaining processes of the command receive `SIGKILL`.
/// 4. When no process of the command is left, `output`, `status` or [`Child::wait`] returns an [`Error`]. If a process is still
///    left 5 seconds after `SIGKILL`, they return anyway. The `Error` contains the error of the context and, for `output`, the
///    output that the command wrote before its end. If the command itself is still left, the `Error` contains an
///    [`io_error`](Error::io_error) instead.
///
/// If the command exits before its context ends, the processes that it left running receive `SIGTERM` immediately, and `SIGKILL`
/// after the grace period.
///
/// # Which processes belong to the command
///
/// * all processes in the command's process group, unless the command [shares the group](Command::share_group) of this process
/// * all descendants of the command
/// * every process whose environment contains the command's mark, a unique text that `Command` adds to the variable
///   `RIPCORD_COMMAND`
///
/// The mark lets this crate find daemons that have left the process group and are no longer descendants of the command.
///
/// Two kinds of processes outside of the process group can escape, unless [`adopt_orphans`](Command::adopt_orphans) is set:
///
/// * a daemon that clears its environment
/// * an endless chain of processes, each of which starts the next process and exits immediately
///
/// A process of such a chain may exit before this crate finds it in `/proc` and sends `SIGKILL`. In this case, `output`, `status`
/// or `wait` returns 5 seconds after the first `SIGKILL`, and [`Exit::survivors`](crate::Exit::survivors) contains the processes
/// that were found last.
///
/// # The command's environment
///
/// The command gets the deadline, the trace and the baggage of its context in environment variables.
/// [`Context::from_env`](crate::FromEnv::from_env) lists these variables and reads them in the child process. If the context lacks
/// one of these, its variable is removed, so that the command does not inherit it from this process. If you set or remove one of
/// these variables with [`env`](Command::env) or [`env_remove`](Command::env_remove), your change counts instead.
///
/// As with [`std::process::Command`], `SIGPIPE` has the default disposition in the command, and signals that this process ignores
/// stay ignored. The command inherits the signal mask of the thread that starts it.
pub struct Command {
    inner: std_process::Command,
    grace: Duration,
    shares_group: bool,
    /// Whether an earlier start has set a new process group.
    has_own_group: bool,
    adopts_orphans: bool,
    has_stdin: bool,
    has_stdout: bool,
    has_stderr: bool,
    /// The variables of the context that the user has set on this command.
    variables_set: Vec<OsString>,
}

impl Command {
    /// The default [grace period](Command::grace): 10 seconds. It may change in a later version.
    pub const GRACE: Duration = Duration::from_secs(10);

    /// Creates a command that runs `program`, without arguments. If `program` contains no slash, it is searched for in `PATH`. The
    /// program is started later, by [`output`](Command::output), [`status`](Command::status) or [`spawn`](Command::spawn).
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command::from_inner(std_process::Command::new(program))
    }

    fn from_inner(inner: std_process::Command) -> Command {
        let variables_set = inner.get_envs().map(|(name, _)| name.to_owned()).collect();
        Command {
            inner,
            grace: Command::GRACE,
            shares_group: false,
            has_own_group: false,
            adopts_orphans: false,
            has_stdin: false,
            has_stdout: false,
            has_stderr: false,
            variables_set,
        }
    }

    /// Adds an argument for the program.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Command {
        self.inner.arg(arg);
        self
    }

    /// Adds several arguments for the program.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Command {
        self.inner.args(args);
        self
    }

    /// Sets the variable `name` of the command's environment to `value`.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.variables_set.push(name.as_ref().to_owned());
        self.inner.env(name, value);
        self
    }

    /// Sets several variables of the command's environment. Each item of `variables` is a pair of a name and a value.
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        &mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> &mut Command {
        for (name, value) in variables {
            self.env(name, value);
        }
        self
    }

    /// Removes the variable `name` from the environment of the command.
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Command {
        self.variables_set.push(name.as_ref().to_owned());
        self.inner.env_remove(name);
        self
    }

    /// Removes all variables from the command's environment: the variables of this process, and the variables that were set with
    /// [`env`](Command::env) before. When the command is started, the variables for the deadline, the trace and the baggage of its
    /// context, and `RIPCORD_COMMAND`, are still set.
    pub fn env_clear(&mut self) -> &mut Command {
        self.variables_set.clear();
        self.inner.env_clear();
        self
    }

    /// Sets the command's working directory.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Command {
        self.inner.current_dir(dir);
        self
    }

    /// Sets the command's stdin. By default, [`output`](Command::output) uses `/dev/null`, and [`status`](Command::status) and
    /// [`spawn`](Command::spawn) use the stdin of this process.
    ///
    /// To write to the command through [`Child::stdin`], pass [`Stdio::piped`] and call `spawn`.
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Command {
        self.has_stdin = true;
        self.inner.stdin(stdin);
        self
    }

    /// Sets the command's stdout. By default, [`output`](Command::output) captures the command's stdout, and
    /// [`status`](Command::status) and [`spawn`](Command::spawn) use the stdout of this process.
    ///
    /// To read from the command through [`Child::stdout`], pass [`Stdio::piped`] and call `spawn`.
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Command {
        self.has_stdout = true;
        self.inner.stdout(stdout);
        self
    }

    /// Sets the command's stderr. By default, [`output`](Command::output) captures the command's stderr, and
    /// [`status`](Command::status) and [`spawn`](Command::spawn) use the stderr of this process.
    ///
    /// To read from the command through [`Child::stderr`], pass [`Stdio::piped`] and call `spawn`.
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Command {
        self.has_stderr = true;
        self.inner.stderr(stderr);
        self
    }

    /// Sets the grace period: the time between `SIGTERM` and `SIGKILL` when the command is ended. Default: [`Command::GRACE`].
    ///
    /// The clock of the command's context measures the grace period. With [`Duration::ZERO`], `SIGKILL` follows immediately.
    pub fn grace(&mut self, grace: Duration) -> &mut Command {
        self.grace = grace;
        self
    }

    /// Sets whether the command stays in the process group of this process. Default: `false`, and the command gets its own process
    /// group.
    ///
    /// Pass `true` for an interactive command on the same terminal. In its own group, a command is stopped when it reads the
    /// terminal, and does not receive the `SIGINT` of Ctrl-C.
    ///
    /// In a shared group, each process of the command is signaled separately. If a process starts while the signals are sent, it is
    /// possible that it receives `SIGTERM` only after the command itself has exited.
    pub fn share_group(&mut self, shares: bool) -> &mut Command {
        self.shares_group = shares;
        self
    }

    /// Sets whether all new descendants of this process belong to the command. Default: `false`.
    ///
    /// Pass `true` in a program that runs one command at a time and has no other child processes. An example is process 1 of a
    /// container.
    ///
    /// When the command is started, this process becomes a subreaper, and stays one: descendants whose parent has exited become
    /// children of this process. While the command runs, this crate reaps those children. So this crate finds and ends every
    /// process that the command starts. If this process starts other child processes while the command runs, they are ended and
    /// reaped too.
    pub fn adopt_orphans(&mut self, adopts: bool) -> &mut Command {
        self.adopts_orphans = adopts;
        self
    }

    /// Starts the command and returns immediately. Use the returned [`Child`] to access the command's pipes and to wait for the
    /// command. [Dropping the child](Child#dropping-a-child) sends `SIGKILL` to the command and all of its descendants.
    ///
    /// When `ctx` ends, a background task ends the command: see [When the context ends](Command#when-the-context-ends).
    ///
    /// # Errors
    ///
    /// * `ctx` has been canceled or its deadline has passed ([`Error::context_error`]). The command is not started.
    /// * The program cannot be started, or this method is called outside of a tokio runtime ([`Error::io_error`]).
    ///
    /// # Panics
    ///
    /// Panics if the runtime was built without `enable_io`.
    ///
    /// ```
    /// use std::process::Stdio;
    /// use ripcord::Context;
    /// use ripcord_process::Command;
    /// use tokio::io::{AsyncBufReadExt, BufReader};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ctx = Context::background();
    /// let mut child = Command::new("printf").arg("one\ntwo\n").stdout(Stdio::piped()).spawn(&ctx)?;
    /// let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    /// while let Some(line) = lines.next_line().await? {
    ///     println!("{line}");
    /// }
    /// assert!(child.wait().await?.success());
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn(&mut self, ctx: &Context) -> Result<Child, Error> {
        let program = self.inner.get_program().to_owned();
        let run = Run { program, location: Location::caller(), grace: self.grace };
        let started = match ctx.check() {
            Ok(()) => self.start(ctx, run.clone()).map_err(Kind::Start),
            Err(error) => Err(Kind::NotStarted(error)),
        };
        started.map_err(|kind| {
            #[cfg(feature = "metrics")]
            crate::metrics::not_started(&run.program);
            run.error(kind)
        })
    }

    /// Starts the command, waits until it exits, and returns its exit status.
    ///
    /// If the command leaves processes running, they receive `SIGTERM` and, after the [grace period](Command::grace), `SIGKILL`.
    /// The future waits for them too. If `ctx` ends before the command exits, the command is ended: see [When the context
    /// ends](Command#when-the-context-ends).
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed before the command exited ([`Error::context_error`]). If `ctx` had ended before
    ///   the call, the command is not started.
    /// * The command cannot be started, watched or ended ([`Error::io_error`]).
    ///
    /// An exit status other than 0 is not an error.
    ///
    /// # Panics
    ///
    /// Panics if the runtime was built without `enable_io`.
    ///
    /// # Cancel safety
    ///
    /// The call starts the command before the returned future is first polled. Dropping the future sends `SIGKILL` to the command
    /// and all of its descendants. To give these processes time to clean up, cancel `ctx` and await the future.
    #[track_caller]
    pub fn status(&mut self, ctx: &Context) -> impl Future<Output = Result<Exit, Error>> + Send + use<> {
        let child = self.spawn(ctx);
        async move { child?.wait().await }
    }

    /// Starts the command, captures its stdout and stderr, waits until it exits, and returns its exit status and output.
    ///
    /// If the command leaves processes running, they receive `SIGTERM` and, after the [grace period](Command::grace), `SIGKILL`.
    /// The future waits for them too. If `ctx` ends before the command exits, the command is ended: see [When the context
    /// ends](Command#when-the-context-ends).
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed before the command exited ([`Error::context_error`]). [`Error::output`] contains
    ///   the output that the command wrote before its end. If `ctx` had ended before the call, the command is not started.
    /// * The command cannot be started, watched or ended ([`Error::io_error`]).
    ///
    /// An exit status other than 0 is not an error.
    ///
    /// # Panics
    ///
    /// Panics if the runtime was built without `enable_io`.
    ///
    /// # Cancel safety
    ///
    /// The call starts the command before the returned future is first polled. Dropping the future sends `SIGKILL` to the command
    /// and all of its descendants. To give these processes time to clean up, and to keep the output, cancel `ctx` and await the
    /// future.
    #[track_caller]
    pub fn output(&mut self, ctx: &Context) -> impl Future<Output = Result<Output, Error>> + Send + use<> {
        if !self.has_stdin {
            self.inner.stdin(Stdio::null());
        }
        if !self.has_stdout {
            self.inner.stdout(Stdio::piped());
        }
        if !self.has_stderr {
            self.inner.stderr(Stdio::piped());
        }
        let child = self.spawn(ctx);
        // These defaults are only for `output`. A later `status` or `spawn` uses the streams of this process.
        if !self.has_stdin {
            self.inner.stdin(Stdio::inherit());
        }
        if !self.has_stdout {
            self.inner.stdout(Stdio::inherit());
        }
        if !self.has_stderr {
            self.inner.stderr(Stdio::inherit());
        }
        async move { child?.wait_with_output().await }
    }

    fn start(&mut self, ctx: &Context, run: Run) -> io::Result<Child> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        // All steps that can fail or panic come before the start.
        drop(watch(process::getpid())?);
        // Tokio's signal handler stays installed. Without a handler, the kernel reaps the children of a process that ignores
        // SIGCHLD.
        let orphans = Some(unix::signal(SignalKind::child())?).filter(|_| self.adopts_orphans);
        self.set_variables(ctx);
        let scope = if self.adopts_orphans { Scope::all_below()? } else { Scope::Marked(self.set_mark()) };
        if !self.shares_group {
            self.inner.process_group(0);
            self.has_own_group = true;
        } else if self.has_own_group {
            // An earlier start has set a new group, and std cannot remove that setting.
            self.inner.process_group(process::getpgrp().as_raw_pid());
        }

        let mut child = self.inner.spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let pid = Pid::from_child(&child);
        let tree = Tree::new(pid, !self.shares_group, scope);
        let pidfd = match watch(pid) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                tree.send_kill();
                child.wait()?;
                return Err(error);
            }
        };
        let id = child.id();
        let (supervisor, shared) = Supervisor::new(ctx, &run, child, pidfd, tree, orphans);
        let ended = shared.ended.clone();
        let handle = ChildHandle { pid: id, shared };
        runtime.spawn(supervisor.run());
        // From here on, dropping the child ends the command.
        let mut child = Child { stdin: None, stdout: None, stderr: None, handle, run };
        child.stdin = stdin.map(|pipe| Writer::new(OwnedFd::from(pipe), &ended).map(ChildInput)).transpose()?;
        child.stdout = stdout.map(|pipe| Reader::new(OwnedFd::from(pipe), &ended).map(ChildOutput)).transpose()?;
        child.stderr = stderr.map(|pipe| Reader::new(OwnedFd::from(pipe), &ended).map(ChildOutput)).transpose()?;
        Ok(child)
    }

    /// Sets the variables that describe the context, except the variables that the user has set.
    fn set_variables(&mut self, ctx: &Context) {
        for (name, value) in environment::of_child(ctx) {
            if self.variables_set.iter().any(|set| set == name) {
                continue;
            }
            match value {
                Some(value) => self.inner.env(name, value),
                None => self.inner.env_remove(name),
            };
        }
    }

    /// Sets a new mark and returns it. The marks of this process are kept, because a command inside a command belongs to both.
    fn set_mark(&mut self) -> Vec<u8> {
        let mark = next_mark();
        let outer = env::var_os(MARK).filter(|outer| !outer.is_empty());
        let marks = outer.iter().map(|outer| outer.as_bytes()).chain([mark.as_slice()]).collect::<Vec<_>>().join(&b' ');
        self.inner.env(MARK, OsString::from_vec(marks));
        mark
    }
}

/// Returns a mark that no other command on this machine has.
fn next_mark() -> Vec<u8> {
    static NEXT: AtomicU64 = AtomicU64::new(0);

    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    // Process IDs are reused, so the mark contains the time.
    format!("{}.{}.{count}", process::getpid().as_raw_pid(), environment::boottime_now().as_nanos()).into_bytes()
}

impl From<std_process::Command> for Command {
    /// Converts a command of the standard library, with all of its settings. Use this conversion for settings that [`Command`] has
    /// no method for, such as a user ID or an `unsafe` hook that runs before the program starts.
    ///
    /// [`output`](Command::output) replaces the settings for stdin, stdout and stderr of the converted command with its defaults.
    /// To use other settings, set them again with the methods of this type. After `output`, [`status`](Command::status) and
    /// [`spawn`](Command::spawn) also use their defaults.
    fn from(command: std_process::Command) -> Command {
        Command::from_inner(command)
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("command", &self.inner).field("grace", &self.grace).finish_non_exhaustive()
    }
}
