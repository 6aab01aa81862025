//! The exit of `ripcord run`.

use std::{os::unix::process::ExitStatusExt as _, process::ExitCode, process::ExitStatus};

use ripcord_process::Exit;
use rustix::process::{Resource, Rlimit, getpid, setrlimit};
use signal_hook::low_level::{emulate_default_handler, raise};

/// Exit code if the deadline has ended the command.
pub(super) const DEADLINE: u8 = 124;
/// Exit code if the command was found, but cannot be run.
pub(super) const NOT_EXECUTABLE: u8 = 126;
/// Exit code if the command was not found.
pub(super) const NOT_FOUND: u8 = 127;
/// Exit code if `ripcord run` had to kill the command.
pub(super) const KILLED: u8 = 128 + 9;

/// The exit of `ripcord run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Code(u8),
    /// The signal that has ended the command also ends this process.
    Signal(i32),
}

impl End {
    /// Returns the exit for a command that its deadline has not ended.
    pub(super) fn from_exit(exit: &Exit) -> End {
        if exit.was_killed() { End::Code(KILLED) } else { End::from_status(exit.status()) }
    }

    fn from_status(status: ExitStatus) -> End {
        match (status.code(), status.signal()) {
            (Some(code), _) => End::Code(u8::try_from(code).unwrap_or(super::FAILURE)),
            (None, Some(signal)) => End::Signal(signal),
            (None, None) => End::Code(super::FAILURE),
        }
    }

    /// Ends this process with the signal, or returns the exit code.
    pub(super) fn exit(self) -> ExitCode {
        match self {
            End::Code(code) => ExitCode::from(code),
            End::Signal(signal) => {
                // The kernel does not deliver such signals to process 1.
                if getpid().as_raw_pid() != 1 {
                    die_of(signal);
                }
                ExitCode::from(u8::try_from(128 + signal).unwrap_or(super::FAILURE))
            }
        }
    }
}

/// Ends this process with a signal. Returns if the signal does not end processes.
fn die_of(signal: i32) {
    // The command has already written its own core dump.
    let _refused = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    // `emulate_default_handler` supports and unblocks each signal with a name. Other signals end a process unless they are ignored.
    if emulate_default_handler(signal).is_err() {
        let _ignored = raise(signal);
    }
}
