//! A running command.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Kind};
use crate::exit::{Exit, Output};
use crate::pipe::{ChildInput, ChildOutput, read_both};
use crate::signal::Signal;
use crate::supervisor::{Outcome, Request, Shared};
use crate::tree::Tree;

/// A running command, made by [`Command::spawn`](crate::Command::spawn).
///
/// A task of the runtime watches it and ends it when its context ends, also while nobody waits for it.
///
/// # Dropping it
///
/// Dropping a `Child` sends `SIGKILL` to the command and all of its descendants at once. They are reaped in the background. To give
/// them time, cancel the context and wait.
#[derive(Debug)]
pub struct Child {
    /// The command's stdin, if it was piped. Dropping it closes the command's stdin.
    pub stdin: Option<ChildInput>,
    /// The command's stdout, if it was piped.
    pub stdout: Option<ChildOutput>,
    /// The command's stderr, if it was piped.
    pub stderr: Option<ChildOutput>,
    pub(crate) handle: ChildHandle,
    pub(crate) run: Run,
}

/// What errors say of a command.
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

impl Child {
    /// Returns the number of the command's process. It is also the number of its group, unless the command shares ours.
    ///
    /// Another process may get the number once the command has ended. Use [`handle`](Child::handle) to send signals.
    pub fn id(&self) -> u32 {
        self.handle.pid
    }

    /// Returns a handle that sends signals to the command, also while another task waits for it.
    pub fn handle(&self) -> ChildHandle {
        self.handle.clone()
    }

    /// Waits until the command has ended and none of its descendants is left. Closes stdin first, if it is still here.
    ///
    /// A command that has exited when its context ends counts as exited on its own.
    ///
    /// # Errors
    ///
    /// Returns an error if the context ended the command, or if the command cannot be watched or ended.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time. The command is not affected, and a later call returns the same.
    pub async fn wait(&mut self) -> Result<Exit, Error> {
        drop(self.stdin.take());
        self.handle.shared.ended.done().await;
        self.result()
    }

    /// Waits as [`wait`](Child::wait) does, and reads `stdout` and `stderr` meanwhile, as far as they are piped and still here.
    ///
    /// # Errors
    ///
    /// As [`wait`](Child::wait). If the context ended the command, [`Error::output`] holds what it wrote until then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the child, which kills the command.
    pub async fn wait_with_output(mut self) -> Result<Output, Error> {
        let read = read_both(self.stdout.take(), self.stderr.take()).await;
        let ended = self.wait().await;
        let (stdout, stderr) = read.map_err(|error| self.run.error(Kind::Watch(error)))?;
        match ended {
            Ok(exit) => Ok(Output { exit, stdout, stderr }),
            Err(error) => Err(error.with_pipes(stdout, stderr)),
        }
    }

    fn result(&self) -> Result<Exit, Error> {
        match self.handle.shared.outcome() {
            Ok(Outcome { exit, error: None }) => Ok(exit),
            Ok(Outcome { exit, error: Some(error) }) => {
                let output = Output { exit, stdout: Vec::new(), stderr: Vec::new() };
                Err(self.run.error(Kind::Ended { error, grace: self.run.grace, output }))
            }
            Err(error) => Err(self.run.error(Kind::Watch(error))),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // At once, also if the runtime does not run anymore. The supervisor then ends whatever has left the group.
        self.handle.kill();
    }
}

impl Run {
    pub(crate) fn error(&self, kind: Kind) -> Error {
        Error::new(&self.program, self.location, kind)
    }
}

/// Sends signals to a running command. Dropping it has no effect.
///
/// A signal never reaches an unrelated process: once the command has ended, nothing is sent.
#[derive(Clone)]
pub struct ChildHandle {
    pub(crate) pid: u32,
    pub(crate) shared: Arc<Shared>,
}

impl ChildHandle {
    /// Sends a signal to the command's group. Returns `false` if the command has ended.
    ///
    /// It only passes the signal on. To end the command, use [`end`](ChildHandle::end) or [`kill`](ChildHandle::kill).
    ///
    /// # Errors
    ///
    /// Returns an error if no process of the group may be signaled, because they belong to another user.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        self.shared.with_tree(|tree| tree.signal_group(signal)).transpose().map(|sent| sent.is_some())
    }

    /// Sends a signal to the command's group, and `SIGKILL` to everything that is left after the grace period. Returns `false`
    /// if the command has ended.
    ///
    /// [`Child::wait`] then returns the command's exit, and no error: the context has not ended. If a grace period has already
    /// started, it is not extended.
    ///
    /// # Errors
    ///
    /// Returns an error if no process of the group may be signaled, because they belong to another user.
    pub fn end(&self, signal: Signal) -> io::Result<bool> {
        self.shared.request(Request::StartGrace);
        self.shared.with_tree(|tree| tree.ask_to_end(signal)).transpose().map(|sent| sent.is_some())
    }

    /// Sends `SIGKILL` to the command and all of its descendants. Returns `false` if the command has ended.
    pub fn kill(&self) -> bool {
        self.shared.request(Request::Kill);
        self.shared.with_tree(Tree::kill_group).is_some()
    }
}

impl fmt::Debug for ChildHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildHandle").field("pid", &self.pid).field("has_ended", &self.shared.ended.is_done()).finish()
    }
}
