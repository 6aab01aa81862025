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

/// A running command. Returned by [`Command::spawn`](crate::Command::spawn).
///
/// ```
/// use std::process::Stdio;
/// use ripcord::Context;
/// use ripcord_process::Command;
/// use tokio::io::AsyncWriteExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ctx = Context::background();
/// let mut child = Command::new("sort").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn(&ctx)?;
/// let mut stdin = child.stdin.take().expect("it is piped");
/// stdin.write_all(b"two\none\n").await?;
/// drop(stdin); // `sort` reads to the end
/// assert_eq!(child.wait_with_output().await?.stdout, b"one\ntwo\n");
/// # Ok(())
/// # }
/// ```
///
/// Wait for the command with [`wait`](Child::wait) or [`wait_with_output`](Child::wait_with_output). Send signals with the
/// [`ChildHandle`] from [`handle`](Child::handle). A background task ends the command when its context is canceled or its deadline
/// passes, even if no caller waits for the command.
///
/// # Dropping a child
///
/// Dropping a `Child` sends `SIGKILL` to the command and all of its descendants. These processes are reaped in the background. To
/// give them time to clean up, cancel the context of the command and call [`wait`](Child::wait) instead.
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
    /// Returns the process ID of the command. The command's process group has the same ID, unless
    /// [`share_group`](crate::Command::share_group) is set.
    ///
    /// After the command has ended, the operating system may give the same ID to another process. To send signals, use
    /// [`handle`](Child::handle): a handle never signals another process.
    pub fn id(&self) -> u32 {
        self.handle.pid
    }

    /// Returns a handle that sends signals to the command. The handle can be used while another task waits for the command.
    pub fn handle(&self) -> ChildHandle {
        self.handle.clone()
    }

    /// Waits until the command exits, and returns its exit status.
    ///
    /// If [`stdin`](Child::stdin) still contains the pipe, this method closes the pipe first. If [`stdout`](Child::stdout) or
    /// [`stderr`](Child::stderr) is piped, read the pipe in another task, or use [`wait_with_output`](Child::wait_with_output).
    ///
    /// If the command leaves processes running, they receive `SIGTERM` and, after the [grace period](crate::Command::grace),
    /// `SIGKILL`. The future waits for them too. If the context ends after the command has exited, this method still returns the
    /// exit status.
    ///
    /// # Errors
    ///
    /// * The command's context was canceled or its deadline passed before the command exited ([`Error::context_error`]). The
    ///   command was ended.
    /// * The command cannot be watched or ended ([`Error::io_error`]).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not end the command. A later call returns the same result.
    pub async fn wait(&mut self) -> Result<Exit, Error> {
        drop(self.stdin.take());
        self.handle.shared.ended.done().await;
        self.result()
    }

    /// Waits like [`wait`](Child::wait), and captures the command's output in the meantime. Returns the exit status and the output.
    ///
    /// Only pipes that are still in [`stdout`](Child::stdout) and [`stderr`](Child::stderr) are read. Otherwise, the output is
    /// empty.
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
        // Otherwise, a command that reads stdin to its end would keep its output open.
        drop(self.stdin.take());
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

/// A handle that sends signals to a running command. Returned by [`Child::handle`].
///
/// After the command and all of its descendants have ended, the methods send no signal. So a signal never reaches an unrelated
/// process. Dropping the handle does not affect the command.
#[derive(Clone)]
pub struct ChildHandle {
    pub(crate) pid: u32,
    pub(crate) shared: Arc<Shared>,
}

impl ChildHandle {
    /// Sends a signal to all processes in the command's process group. If the command
    /// [shares the group](crate::Command::share_group) of this process, only the processes of the command receive the signal.
    ///
    /// Returns `Ok(false)` if the command and all of its descendants have already ended.
    ///
    /// If the command ignores the signal, it continues. To end the command, use [`end`](ChildHandle::end) or
    /// [`kill`](ChildHandle::kill).
    ///
    /// # Errors
    ///
    /// Returns an error if all of these processes belong to another user, and this process has no permission to signal them.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        self.shared.with_tree(|tree| tree.signal_group(signal)).transpose().map(|sent| sent.is_some())
    }

    /// Starts to end the command, and returns immediately. Sends `signal` now, to the same processes as
    /// [`signal`](ChildHandle::signal). After the [grace period](crate::Command::grace), all remaining processes of the command
    /// receive `SIGKILL`.
    ///
    /// Returns `Ok(false)` if the command and all of its descendants have already ended.
    ///
    /// To wait for the end, call [`Child::wait`]. `wait` returns the exit status, even if the command's context ends during the
    /// grace period. If a grace period has already started, this method does not extend it.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`signal`](ChildHandle::signal).
    pub fn end(&self, signal: Signal) -> io::Result<bool> {
        self.shared.request(Request::StartGrace);
        self.shared.with_tree(|tree| tree.ask_to_end(signal)).transpose().map(|sent| sent.is_some())
    }

    /// Sends `SIGKILL` to the command and all of its descendants, and returns immediately. Returns `false` if the command and all
    /// of its descendants have already ended.
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
