//! The result of a command that has ended.

use std::process::ExitStatus;

use crate::tree::Process;

/// The exit status of a command, and the processes that the command left running. Returned by
/// [`Command::status`](crate::Command::status) and [`Child::wait`](crate::Child::wait).
///
/// ```
/// use ripcord::Context;
/// use ripcord_process::Command;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ripcord_process::Error> {
/// let exit = Command::new("sh").args(["-c", "sleep 60 & exit 3"]).status(&Context::background()).await?;
/// assert_eq!(exit.status().code(), Some(3));
/// assert_eq!(exit.left_behind().len(), 1); // the sleep was ended as well
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    pub(crate) status: ExitStatus,
    pub(crate) killed: bool,
    pub(crate) tree_killed: bool,
    pub(crate) left_behind: Vec<Process>,
    pub(crate) survivors: Vec<Process>,
}

impl Exit {
    /// Returns the exit status of the command itself.
    pub fn status(&self) -> ExitStatus {
        self.status
    }

    /// Returns whether the command exited with status 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Returns whether the command itself, not only one of its descendants, was ended by a `SIGKILL` that this crate sent.
    pub fn was_killed(&self) -> bool {
        self.killed
    }

    /// Returns whether this crate sent `SIGKILL` to the command or to any
    /// [process of the command](crate::Command#which-processes-belong-to-the-command).
    pub fn was_tree_killed(&self) -> bool {
        self.tree_killed
    }

    /// Returns the processes that the command left running when it exited on its own. They have received `SIGTERM` and, after the
    /// [grace period](crate::Command::grace), `SIGKILL`.
    ///
    /// The list is empty if the command was ended by its context or with a [`ChildHandle`](crate::ChildHandle).
    pub fn left_behind(&self) -> &[Process] {
        &self.left_behind
    }

    /// Returns the processes that could not be ended, because they belong to another user, or because they still existed 5 seconds
    /// after `SIGKILL`.
    pub fn survivors(&self) -> &[Process] {
        &self.survivors
    }
}

/// The exit status and the captured output of a command. Returned by [`Command::output`](crate::Command::output) and
/// [`Child::wait_with_output`](crate::Child::wait_with_output).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit status of the command, and the processes that the command left running.
    pub exit: Exit,
    /// The bytes that the command and its descendants wrote to stdout. Empty if stdout was not piped.
    pub stdout: Vec<u8>,
    /// The bytes that the command and its descendants wrote to stderr. Empty if stderr was not piped.
    pub stderr: Vec<u8>,
}
