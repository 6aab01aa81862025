//! How a command is built and started.

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

use crate::child::{Child, ChildHandle, Run};
use crate::environment;
use crate::error::{Error, Kind};
use crate::exit::{Exit, Output};
use crate::pidfd::watch;
use crate::pipe::{ChildInput, ChildOutput, Reader, Writer};
use crate::supervisor::Supervisor;
use crate::tree::{MARK, Scope, Tree};

/// A program to run under a [`Context`]: built like [`std::process::Command`].
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
/// # When the context ends
///
/// 1. The command's process group receives `SIGTERM`.
/// 2. After the [grace period](Command::grace), everything that is left of the command receives `SIGKILL`.
/// 3. The call returns when nothing of the command is left, with an error that says whose deadline it was or who canceled, and with
///    what the command wrote until then.
///
/// If the command exits on its own, the processes that it has left receive `SIGTERM` immediately and `SIGKILL` after the grace
/// period.
///
/// # What belongs to the command
///
/// Its process group, all of its descendants, and every process that was started with its mark in the variable
/// `RIPCORD_COMMAND`: a daemon that has left both the group and its parents is found by that. A daemon that also clears its
/// environment escapes, unless [`adopt_orphans`](Command::adopt_orphans) is set.
///
/// # What the command receives
///
/// The variables that [`Context::from_env`](crate::FromEnv::from_env) reads, for this context: its deadline, the trace, the baggage.
/// A variable that this process has received is not passed on if the context does not have it. A variable that is set by
/// [`env`](Command::env) is left as it is.
///
/// As with [`std::process::Command`], `SIGPIPE` has the default disposition, ignored signals stay ignored, and the signal mask is
/// that of the thread that starts the command.
pub struct Command {
    inner: std_process::Command,
    grace: Duration,
    shares_group: bool,
    adopts_orphans: bool,
    has_stdin: bool,
    has_stdout: bool,
    has_stderr: bool,
    /// The variables of the context that the user has set.
    variables_set: Vec<OsString>,
}

impl Command {
    /// The default of [`grace`](Command::grace). Not a promise.
    pub const GRACE: Duration = Duration::from_secs(10);

    /// Creates a command that runs a program. A name without a slash is searched in `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command::from_inner(std_process::Command::new(program))
    }

    fn from_inner(inner: std_process::Command) -> Command {
        let variables_set = inner.get_envs().map(|(name, _)| name.to_owned()).collect();
        Command {
            inner,
            grace: Command::GRACE,
            shares_group: false,
            adopts_orphans: false,
            has_stdin: false,
            has_stdout: false,
            has_stderr: false,
            variables_set,
        }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Command {
        self.inner.arg(arg);
        self
    }

    /// Adds several arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Command {
        self.inner.args(args);
        self
    }

    /// Sets a variable of the command's environment.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.variables_set.push(name.as_ref().to_owned());
        self.inner.env(name, value);
        self
    }

    /// Sets several variables of the command's environment.
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        &mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> &mut Command {
        for (name, value) in variables {
            self.env(name, value);
        }
        self
    }

    /// Removes a variable from the environment of the command.
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Command {
        self.variables_set.push(name.as_ref().to_owned());
        self.inner.env_remove(name);
        self
    }

    /// Clears the environment that the command inherits. The variables of its context are still set.
    pub fn env_clear(&mut self) -> &mut Command {
        self.inner.env_clear();
        self
    }

    /// Sets the command's working directory.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Command {
        self.inner.current_dir(dir);
        self
    }

    /// Sets the command's stdin. Default: [`output`](Command::output) gives it none (`/dev/null`),
    /// [`status`](Command::status) and [`spawn`](Command::spawn) use that of this process.
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Command {
        self.has_stdin = true;
        self.inner.stdin(stdin);
        self
    }

    /// Sets the command's stdout. Default: [`output`](Command::output) captures it, [`status`](Command::status) and
    /// [`spawn`](Command::spawn) use that of this process.
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Command {
        self.has_stdout = true;
        self.inner.stdout(stdout);
        self
    }

    /// Sets the command's stderr. Default: [`output`](Command::output) captures it, [`status`](Command::status) and
    /// [`spawn`](Command::spawn) use that of this process.
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Command {
        self.has_stderr = true;
        self.inner.stderr(stderr);
        self
    }

    /// Sets the time between `SIGTERM` and `SIGKILL`, by the context's clock. Default: 10 s. With [`Duration::ZERO`], `SIGKILL`
    /// follows at once.
    pub fn grace(&mut self, grace: Duration) -> &mut Command {
        self.grace = grace;
        self
    }

    /// Sets whether the command stays in the process group of this process, which an interactive command on a shared terminal
    /// needs. Default: `false`, the command gets a group of its own.
    ///
    /// In another group, a command is stopped when it reads the terminal, and Ctrl-C does not reach it. In a shared group, each
    /// process of the command is signaled separately, so a process that is being started at that moment gets its `SIGTERM` only
    /// when the command itself has exited.
    pub fn share_group(&mut self, shares: bool) -> &mut Command {
        self.shares_group = shares;
        self
    }

    /// Sets whether every process that is started below this process belongs to the command. Default: `false`.
    ///
    /// For programs that run one command at a time and have no other children, as `ripcord run`, or process 1 of a container. This
    /// process becomes a subreaper: it inherits its descendants' orphans, and reaps them while the command runs. No daemon escapes.
    /// Any other child that this process has started since would be ended and reaped as well.
    pub fn adopt_orphans(&mut self, adopts: bool) -> &mut Command {
        self.adopts_orphans = adopts;
        self
    }

    /// Starts the command.
    ///
    /// # Errors
    ///
    /// Returns an error if the context has ended, if the program cannot be started, or outside of a Tokio runtime.
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
        ctx.check().map_err(|error| run.error(Kind::NotStarted(error)))?;
        self.start(ctx, run.clone()).map_err(|error| run.error(Kind::Start(error)))
    }

    /// Starts the command and waits until it has ended and none of its descendants is left.
    ///
    /// # Errors
    ///
    /// Returns an error if the command cannot be started, or if its context ended it. An exit status other than 0 is no error.
    ///
    /// # Panics
    ///
    /// Panics if the runtime was built without `enable_io`.
    ///
    /// # Cancel safety
    ///
    /// The command is started by the call, before the future is polled. Dropping the future kills the command and all of its
    /// descendants at once. To give them time, cancel the context and await the future.
    #[track_caller]
    pub fn status(&mut self, ctx: &Context) -> impl Future<Output = Result<Exit, Error>> + Send + use<> {
        let child = self.spawn(ctx);
        async move { child?.wait().await }
    }

    /// Starts the command, and captures its stdout and stderr until it has ended and none of its descendants is left.
    ///
    /// # Errors
    ///
    /// Returns an error if the command cannot be started, or if its context ended it: [`Error::output`] then holds what it wrote
    /// until then. An exit status other than 0 is no error.
    ///
    /// # Panics
    ///
    /// Panics if the runtime was built without `enable_io`.
    ///
    /// # Cancel safety
    ///
    /// The command is started by the call, before the future is polled. Dropping the future kills the command and all of its
    /// descendants at once. To give them time and to keep the output, cancel the context and await the future.
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
        async move { child?.wait_with_output().await }
    }

    fn start(&mut self, ctx: &Context, run: Run) -> io::Result<Child> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        // Whatever can fail or panic comes before the start.
        drop(watch(process::getpid())?);
        // Tokio's handler stays. Without one, the kernel reaps the children of a process that ignores SIGCHLD.
        let orphans = Some(unix::signal(SignalKind::child())?).filter(|_| self.adopts_orphans);
        self.set_variables(ctx);
        let scope = if self.adopts_orphans { Scope::all_below()? } else { Scope::Marked(self.set_mark()) };
        if !self.shares_group {
            self.inner.process_group(0);
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
        let (supervisor, shared) = Supervisor::new(ctx, self.grace, child, pidfd, tree, orphans);
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

    /// Sets the variables that describe the context, except those that the user has set.
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

    /// Sets a new mark, and returns it. A command in a command belongs to both, so the marks of this process remain.
    fn set_mark(&mut self) -> Vec<u8> {
        let mark = next_mark();
        let outer = env::var_os(MARK).filter(|outer| !outer.is_empty());
        let marks = outer.iter().map(|outer| outer.as_bytes()).chain([mark.as_slice()]).collect::<Vec<_>>().join(&b' ');
        self.inner.env(MARK, OsString::from_vec(marks));
        mark
    }
}

/// Returns a mark that no other command of this machine has.
fn next_mark() -> Vec<u8> {
    static NEXT: AtomicU64 = AtomicU64::new(0);

    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    // Numbers of processes are reused, so the time is a part of it.
    format!("{}.{}.{count}", process::getpid().as_raw_pid(), environment::boottime_now().as_nanos()).into_bytes()
}

impl From<std_process::Command> for Command {
    /// Takes everything that is set on `command`, for settings that [`Command`] does not have, such as a user ID or an `unsafe`
    /// hook before the program starts. What is set for stdin, stdout and stderr must be set again for [`output`](Command::output).
    fn from(command: std_process::Command) -> Command {
        Command::from_inner(command)
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("command", &self.inner).field("grace", &self.grace).finish_non_exhaustive()
    }
}
