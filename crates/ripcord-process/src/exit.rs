//! How a command ended.

use std::process::ExitStatus;

use crate::tree::Process;

/// How a command ended, and what it left behind.
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

    /// Returns whether the command itself was ended by a `SIGKILL` of this library.
    pub fn was_killed(&self) -> bool {
        self.killed
    }

    /// Returns whether this library sent `SIGKILL` to the command or to what it left behind.
    pub fn was_tree_killed(&self) -> bool {
        self.tree_killed
    }

    /// Returns the processes that still ran when the command had exited on its own. They have been ended.
    ///
    /// Empty if the command was ended.
    pub fn left_behind(&self) -> &[Process] {
        &self.left_behind
    }

    /// Returns the processes that could not be ended: they belong to another user, or the kernel does not let them go.
    pub fn survivors(&self) -> &[Process] {
        &self.survivors
    }
}

/// How a command ended, and what it wrote to the pipes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How the command ended.
    pub exit: Exit,
    /// What the command and its descendants wrote to stdout. Empty if that was not piped.
    pub stdout: Vec<u8>,
    /// What the command and its descendants wrote to stderr. Empty if that was not piped.
    pub stderr: Vec<u8>,
}
