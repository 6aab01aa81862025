//! A running command.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::error::{Error, Kind, Run};
use crate::exit::{Exit, Output};
use crate::pipe::{ChildInput, ChildOutput, read_both};
use crate::signal::Signal;
use crate::supervisor::{CommandEnd, Request, Shared};
use crate::tree::Tree;

/// A running command. Returned by [`Command::spawn`](crate::Command::spawn), whose documentation has an example.
///
/// Wait for the command with [`wait`](Child::wait) or [`wait_with_output`](Child::wait_with_output). Send signals with the
/// [`ChildHandle`] from [`handle`](Child::handle). A background task ends the command when its context is canceled or its deadline
/// passes, even if no caller waits for the command.
///
/// # Dropping a child
///
/// Dropping a `Child` sends `SIGKILL` to the command and all of its descendants. They are reaped in the background. To give them
/// time to clean up, cancel the context of the command and call [`wait`](Child::wait).
#[derive(Debug)]
pub struct Child {
    /// The pipe to the command's stdin, if stdin was piped. Dropping the pipe closes the command's stdin.
    pub stdin: Option<ChildInput>,
    /// The pipe from the command's stdout, if stdout was piped. If no task reads the pipe, the command blocks when the pipe is
    /// full.
    pub stdout: Option<ChildOutput>,
    /// The pipe from the command's stderr, if stderr was piped. If no task reads the pipe, the command blocks when the pipe is
    /// full.
    pub stderr: Option<ChildOutput>,
    pub(crate) handle: ChildHandle,
    pub(crate) run: Run,
}

impl Child {
    /// Returns the process ID of the command. It is also the ID of the command's process group, unless
    /// [`share_group`](crate::Command::share_group) is set.
    ///
    /// When the command has ended, another process may get the same ID. Use [`handle`](Child::handle) to send signals, because a
    /// handle never signals such a process.
    pub fn id(&self) -> u32 {
        self.handle.pid
    }

    /// Returns a handle that sends signals to the command. The handle can be used while another task waits for the command.
    pub fn handle(&self) -> ChildHandle {
        self.handle.clone()
    }

    /// Waits until the command exits and the processes that it leaves running have been ended. First closes the command's
    /// stdin, if [`stdin`](Child::stdin) still holds the pipe.
    ///
    /// The processes that the command leaves running receive `SIGTERM`, and `SIGKILL` after the
    /// [grace period](crate::Command::grace).
    ///
    /// If the command exits before its context ends, this method returns the exit status, not an error. If `stdout` or `stderr` is
    /// piped, read the pipe in another task, or use [`wait_with_output`](Child::wait_with_output).
    ///
    /// # Errors
    ///
    /// * The command's context was canceled or its deadline passed ([`Error::context_error`]). The command was then ended.
    /// * The command cannot be watched or ended ([`Error::io_error`]).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not affect the command. A later call returns the same result.
    pub async fn wait(&mut self) -> Result<Exit, Error> {
        drop(self.stdin.take());
        self.handle.shared.ended.done().await;
        self.result()
    }

    /// Waits like [`wait`](Child::wait), and reads the command's output. Reads `stdout` and `stderr`, if they were piped and
    /// the child still holds the pipes.
    ///
    /// # Errors
    ///
    /// Returns the errors listed for [`wait`](Child::wait), and errors of reading the pipes ([`Error::io_error`]). If the command's
    /// context ended the command, [`Error::output`] contains the output that the command wrote before its end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the child, which sends `SIGKILL` to the command and all of its descendants.
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
        match self.handle.shared.end() {
            Ok(CommandEnd { exit, error: None }) => Ok(exit),
            Ok(CommandEnd { exit, error: Some(error) }) => {
                let output = Output { exit, stdout: Vec::new(), stderr: Vec::new() };
                Err(self.run.error(Kind::Ended { error, grace: self.run.grace, output }))
            }
            Err(error) => Err(self.run.error(Kind::Watch(error))),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The kill is sent at once, even if the runtime no longer runs. The supervisor then ends the processes that have left the
        // group.
        self.handle.kill();
    }
}

/// Sends signals to a running command. Returned by [`Child::handle`].
///
/// When the command has ended, no signal is sent, so a signal never reaches an unrelated process. Dropping the handle has no
/// effect.
#[derive(Clone)]
pub struct ChildHandle {
    pub(crate) pid: u32,
    pub(crate) shared: Arc<Shared>,
}

impl ChildHandle {
    /// Sends a signal to the command's process group. Returns `false` if the command has ended.
    ///
    /// This method does not start a grace period. To end the command, use [`end`](ChildHandle::end) or
    /// [`kill`](ChildHandle::kill).
    ///
    /// # Errors
    ///
    /// Returns an error if this process may not signal any process of the group, because they belong to another user.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        self.shared.with_tree(|tree| tree.signal_group(signal)).transpose().map(|sent| sent.is_some())
    }

    /// Ends the command: sends `signal` to the command's process group and, after the [grace period](crate::Command::grace),
    /// `SIGKILL` to all remaining processes. Returns `false` if the command has ended.
    ///
    /// [`Child::wait`] then returns the exit status, even if the command's context ends during the grace period. If a grace period
    /// has already started, it is not extended.
    ///
    /// # Errors
    ///
    /// Returns an error if this process may not signal any process of the group, because they belong to another user.
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
