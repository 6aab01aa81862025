//! The attempts of a run, and the signals that are forwarded to them.

use std::{
    cell::{Cell, RefCell},
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    pin::pin,
    time::Duration,
};

use futures_util::future::{Either, select};
use ripcord::Context;
use ripcord_policy::{Jitter, Retry};
use ripcord_process::{ChildHandle, Command, Error, Exit};

use super::{
    Args,
    end::{self, End},
    printable::printable,
    report,
    signals::{Received, Signals},
    terminal::Terminal,
};

/// Maximum wait before the first retry. The maximum doubles with each retry.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(30);

/// The error number of a file that is executable and has no known format, such as a script without `#!`.
const ENOEXEC: i32 = 8;

pub(super) struct Session<'a> {
    args: &'a Args,
    name: String,
    terminal: Option<Terminal>,
    /// The command of the running attempt.
    current: RefCell<Option<ChildHandle>>,
    /// The first signal that was forwarded.
    forwarded: RefCell<Option<Received>>,
    /// Whether a signal has arrived, even one that the terminal also sent to the command. Then there are no further attempts.
    is_interrupted: Cell<bool>,
}

/// The result of an attempt.
type Attempt = Result<Exit, Error>;

impl<'a> Session<'a> {
    pub(super) fn new(args: &'a Args, name: String, terminal: Option<Terminal>) -> Self {
        let (current, forwarded) = (RefCell::default(), RefCell::default());
        Session { args, name, terminal, current, forwarded, is_interrupted: Cell::new(false) }
    }

    /// Makes the attempts and forwards signals meanwhile. Then writes the last line.
    pub(super) async fn run(&self, ctx: &Context, signals: &mut Signals) -> io::Result<End> {
        let attempts = pin!(self.attempts(ctx));
        let forward = pin!(self.forward(ctx, signals));
        match select(attempts, forward).await {
            Either::Left((last, _)) => Ok(self.report(last?)),
            Either::Right((received, _)) => {
                report::line(&format!("{}: {received} while no attempt ran", self.name));
                Ok(End::Signal(received.signal.as_raw()))
            }
        }
    }

    /// Makes attempts until one succeeds or a further attempt cannot help. Returns the result of the last attempt.
    async fn attempts(&self, ctx: &Context) -> io::Result<Attempt> {
        let retry = Retry::builder()
            .max_attempts(self.args.retries.0.saturating_add(1))
            .base(FIRST_DELAY)
            .max_delay(MAX_DELAY)
            .jitter(Jitter::Equal)
            .retry_if(|attempt: &Failed| attempt.is_retryable)
            .build()
            .map_err(io::Error::other)?;
        let ended = retry.run(ctx, |ctx| async move { self.attempt(&ctx).await }).await;
        match ended {
            Ok(exit) => Ok(Ok(exit)),
            Err(error) => match error.into_last() {
                Some(failed) => Ok(failed.attempt),
                // The deadline has passed before the first attempt. `run_once` reports this and starts nothing.
                None => Ok(self.run_once(ctx).await),
            },
        }
    }

    async fn attempt(&self, ctx: &Context) -> Result<Exit, Failed> {
        let attempt = self.run_once(ctx).await;
        self.current.replace(None);
        match attempt {
            Ok(exit) if exit.success() => Ok(exit),
            attempt => {
                let is_final = |code| (i32::from(super::FAILURE)..=i32::from(end::NOT_FOUND)).contains(&code);
                let is_failure = attempt.as_ref().is_ok_and(|exit| !exit.status().code().is_some_and(is_final));
                Err(Failed { is_retryable: is_failure && !self.is_interrupted.get(), attempt })
            }
        }
    }

    async fn run_once(&self, ctx: &Context) -> Attempt {
        let mut spawned = self.command(&self.args.command).spawn(ctx);
        // Runs the file in a shell, like execvp(3) and timeout(1).
        if let Err(error) = &spawned
            && error.io_error().and_then(io::Error::raw_os_error) == Some(ENOEXEC)
            && let Some(script) = find(error.program())
        {
            let mut command = vec![OsString::from("/bin/sh"), script.into_os_string()];
            command.extend_from_slice(&self.args.command[1..]);
            spawned = self.command(&command).spawn(ctx);
        }
        let mut child = spawned?;
        self.current.replace(Some(child.handle()));
        child.wait().await
    }

    fn command(&self, command: &[OsString]) -> Command {
        let (program, args) = command.split_first().expect("a run has a command");
        let mut command = Command::new(program);
        command.args(args).grace(self.args.grace.duration).adopt_orphans(true).share_group(self.terminal.is_some());
        command
    }

    /// Forwards signals to the command. Returns the first signal that arrives while no command runs.
    async fn forward(&self, ctx: &Context, signals: &mut Signals) -> Received {
        let mut is_ending = false;
        loop {
            let received = signals.next().await;
            self.is_interrupted.set(true);
            let Some(handle) = self.current.borrow().clone() else { return received };
            // The terminal has also sent this signal to the command.
            if self.terminal.is_some() && received.is_from_terminal() {
                continue;
            }
            let signal = received.signal;
            // After the deadline, the command has received SIGTERM. A caller with the same deadline sends SIGTERM to this program
            // at that moment. It is not forwarded, because a second SIGTERM would kill the command.
            if received.asks_to_end() && !is_ending && ctx.is_done() {
                is_ending = true;
                continue;
            }
            let sent = match received.asks_to_end() {
                true if is_ending => Ok(handle.kill()),
                true => handle.end(signal),
                false => handle.signal(signal),
            };
            // The command may have just ended. If none of its processes can be signaled, nothing else can be done.
            if let Ok(false) = sent {
                return received;
            }
            is_ending |= received.asks_to_end();
            self.forwarded.borrow_mut().get_or_insert(received);
        }
    }

    /// Writes the last line, if there is a message. Returns the exit.
    fn report(&self, last: Attempt) -> End {
        let forwarded = self.forwarded.borrow();
        let (end, error, exit) = match &last {
            Ok(exit) => (End::from_exit(exit), None, Some(exit)),
            Err(error) => match (error.context_error(), error.exit()) {
                (Some(ended), None) => {
                    report::line(&report::not_started(&self.name, ended));
                    return End::Code(end::DEADLINE);
                }
                (Some(ended), Some(exit)) => {
                    let code = if exit.was_killed() { end::KILLED } else { end::DEADLINE };
                    (End::Code(code), Some(ended), Some(exit))
                }
                (None, _) => {
                    report::line(&printable(&error.to_string()));
                    return End::Code(code_of(error));
                }
            },
        };
        if let Some(terminal) = &self.terminal {
            terminal.give_back(error.is_some() || forwarded.is_some());
        }
        if let Some(line) = report::ended(self.args, &self.name, error, exit, forwarded.as_ref()) {
            report::line(&line);
        }
        end
    }
}

/// An attempt that failed.
struct Failed {
    attempt: Attempt,
    is_retryable: bool,
}

/// Returns the exit code for a command that could not be started or watched.
fn code_of(error: &Error) -> u8 {
    /// `EAGAIN`, `ENOMEM`, `ENFILE` and `EMFILE`: the system is out of processes, memory or descriptors.
    const NO_ROOM: [i32; 4] = [11, 12, 23, 24];

    match error.io_error() {
        _ if error.is_not_found() => end::NOT_FOUND,
        Some(io) if io.raw_os_error().is_none_or(|number| NO_ROOM.contains(&number)) => super::FAILURE,
        _ if error.is_not_started() => end::NOT_EXECUTABLE,
        _ => super::FAILURE,
    }
}

/// Returns the file of a program, searched in `PATH` if necessary.
fn find(program: &OsStr) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(program.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}
