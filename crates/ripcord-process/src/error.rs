//! The errors of commands.

use std::error::Error as StdError;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::panic::Location;
use std::time::Duration;

use crate::exit::{Exit, Output};

/// The error of a command. The command's context ended, or the command could not be started, watched or ended.
///
/// A context ends when it is canceled or when its deadline passes. A command that exits with a status other than 0 does not
/// cause an error: see [`Exit::status`].
///
/// `{}` prints the program and a short text, such as `pg_dump: context deadline exceeded`. `{:#}` prints all details on one
/// line: the source line that ran the command, the cause, the source line that canceled the context or set the deadline, the
/// signals that were sent, and the exit status.
///
/// The [`source`](StdError::source) is the [`ripcord::Error`] of the context if the context ended. Otherwise, it is the
/// [`io::Error`] of the operating system.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_process::Command;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let ctx = Context::background().with_name("backup").with_timeout(Duration::from_secs(1));
/// let error = Command::new("sh").args(["-c", "echo started; sleep 60"]).output(&ctx).await.unwrap_err();
/// assert!(error.is_deadline_exceeded());
/// assert_eq!(error.to_string(), "sh: context deadline exceeded");
/// assert_eq!(error.output().unwrap().stdout, b"started\n");
/// assert!(format!("{error:#}").contains("in backup); it was sent SIGTERM: signal: 15 (SIGTERM)"));
/// # }
/// ```
pub struct Error(Box<Repr>);

struct Repr {
    program: OsString,
    location: &'static Location<'static>,
    kind: Kind,
}

pub(crate) enum Kind {
    /// The context had ended before the command was started.
    NotStarted(ripcord::Error),
    Start(io::Error),
    /// The context ended the command.
    Ended {
        error: ripcord::Error,
        grace: Duration,
        output: Output,
    },
    /// The command cannot be watched, or cannot be ended.
    Watch(io::Error),
}

/// The parts of a command that its errors name.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) program: OsString,
    pub(crate) location: &'static Location<'static>,
    pub(crate) grace: Duration,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", OsStr::display(&self.program), self.location)
    }
}

impl Run {
    pub(crate) fn error(&self, kind: Kind) -> Error {
        Error::new(&self.program, self.location, kind)
    }
}

impl Error {
    pub(crate) fn new(program: &OsStr, location: &'static Location<'static>, kind: Kind) -> Error {
        Error(Box::new(Repr { program: program.to_owned(), location, kind }))
    }

    /// Adds the output of a command whose context ended.
    pub(crate) fn with_pipes(mut self, stdout: Vec<u8>, stderr: Vec<u8>) -> Error {
        if let Kind::Ended { output, .. } = &mut self.0.kind {
            (output.stdout, output.stderr) = (stdout, stderr);
        }
        self
    }

    /// Returns the error of the command's context, if the context ended the command or had ended before the command was started.
    /// Otherwise, returns `None`.
    pub fn context_error(&self) -> Option<&ripcord::Error> {
        match &self.0.kind {
            Kind::NotStarted(error) | Kind::Ended { error, .. } => Some(error),
            Kind::Start(_) | Kind::Watch(_) => None,
        }
    }

    /// Returns whether the command failed because the deadline of its context passed or an idle timeout expired. The command was
    /// then ended by its context, or was never started.
    pub fn is_deadline_exceeded(&self) -> bool {
        self.context_error().is_some_and(ripcord::Error::is_deadline_exceeded)
    }

    /// Returns whether the command failed because its context was canceled. The command was then ended by its context, or was
    /// never started.
    pub fn is_canceled(&self) -> bool {
        self.context_error().is_some_and(ripcord::Error::is_canceled)
    }

    /// Returns whether the command was not started, because its context had already ended or because the program could not be
    /// started.
    ///
    /// Such a command had no effect, except if this process has no file descriptor left for the command's pipes. In this case, the
    /// program may have run until it received `SIGKILL`.
    pub fn is_not_started(&self) -> bool {
        matches!(self.0.kind, Kind::NotStarted(_) | Kind::Start(_))
    }

    /// Returns whether the program was not found. A shell reports this with the exit code 127.
    ///
    /// Also returns `true` if the interpreter of a script or the directory set by [`current_dir`](crate::Command::current_dir)
    /// does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(&self.0.kind, Kind::Start(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Returns the operating system's error, if the command could not be started, watched or ended. Returns `None` if the error is
    /// that of the command's context.
    pub fn io_error(&self) -> Option<&io::Error> {
        match &self.0.kind {
            Kind::Start(error) | Kind::Watch(error) => Some(error),
            Kind::NotStarted(_) | Kind::Ended { .. } => None,
        }
    }

    /// Returns the exit status of a command that was ended by its context. Returns `None` if the command was not started, or could
    /// not be watched or ended.
    pub fn exit(&self) -> Option<&Exit> {
        self.output().map(|output| &output.exit)
    }

    /// Returns the exit status and the captured output of a command that was ended by its context. Returns `None` if the command
    /// was not started, or could not be watched or ended.
    ///
    /// The output is captured by [`Command::output`](crate::Command::output) and
    /// [`Child::wait_with_output`](crate::Child::wait_with_output). For `status` and `wait`, the output is empty.
    pub fn output(&self) -> Option<&Output> {
        match &self.0.kind {
            Kind::Ended { output, .. } => Some(output),
            _ => None,
        }
    }

    /// Converts the error to the exit status and the captured output of the command. Returns `None` if [`output`](Error::output)
    /// returns `None`.
    pub fn into_output(self) -> Option<Output> {
        match self.0.kind {
            Kind::Ended { output, .. } => Some(output),
            _ => None,
        }
    }

    /// Returns the program of the command, as passed to [`Command::new`](crate::Command::new).
    pub fn program(&self) -> &OsStr {
        &self.0.program
    }

    /// Returns the source line that called [`output`](crate::Command::output), [`status`](crate::Command::status) or
    /// [`spawn`](crate::Command::spawn).
    pub fn location(&self) -> &'static Location<'static> {
        self.0.location
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repr { program, location, kind } = &*self.0;
        write!(f, "{}", program.to_string_lossy().escape_debug())?;
        if f.alternate() {
            write!(f, " (run at {location})")?;
        }
        match kind {
            Kind::NotStarted(error) if f.alternate() => write!(f, ": not started: {error:#}"),
            Kind::NotStarted(error) => write!(f, ": not started: {error}"),
            Kind::Start(error) => write!(f, ": cannot be started: {error}"),
            Kind::Watch(error) => write!(f, ": {error}"),
            Kind::Ended { error, .. } if !f.alternate() => write!(f, ": {error}"),
            Kind::Ended { error, grace, output } => {
                write!(f, ": {error:#}; it was sent SIGTERM")?;
                if output.exit.killed {
                    write!(f, " and, after a grace period of {grace:?}, SIGKILL")?;
                }
                write!(f, ": {}", output.exit.status)
            }
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("program", &self.0.program).field("location", &self.0.location);
        match &self.0.kind {
            Kind::NotStarted(error) => debug.field("not_started", error),
            Kind::Start(error) | Kind::Watch(error) => debug.field("io", error),
            Kind::Ended { error, output, .. } => debug.field("ended", error).field("exit", &output.exit),
        };
        debug.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.kind {
            Kind::NotStarted(error) | Kind::Ended { error, .. } => Some(error),
            Kind::Start(error) | Kind::Watch(error) => Some(error),
        }
    }
}

impl From<Error> for io::Error {
    /// Converts this error to an [`io::Error`]. The kind is [`io::ErrorKind::TimedOut`] if the context's deadline passed, and
    /// [`io::ErrorKind::Other`] if the context was canceled. Otherwise, the kind is the kind of the operating system's error.
    fn from(error: Error) -> Self {
        let kind = match (error.context_error(), error.io_error()) {
            (Some(error), _) => io::Error::from(error.clone()).kind(),
            (None, Some(error)) => error.kind(),
            (None, None) => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
