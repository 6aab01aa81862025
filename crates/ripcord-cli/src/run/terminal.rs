//! The terminal that this program shares with its command.
//!
//! With a controlling terminal, the command stays in this program's process group: it can read the terminal and receives Ctrl-C,
//! and the job control of the caller's shell treats both as one job. In a group of its own, the other commands of a pipeline, such
//! as a pager, would lose the terminal.

use std::{fs::File, fs::OpenOptions, os::unix::fs::OpenOptionsExt as _};

use nix::sys::signal::{SigSet, Signal::SIGTTOU};
use rustix::{
    fs::OFlags,
    process::{Pid, getpgrp},
    termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr, tcsetpgrp},
};

pub(super) struct Terminal {
    file: File,
    /// The group that had the terminal at the start.
    foreground: Option<Pid>,
    modes: Option<Termios>,
}

impl Terminal {
    /// Returns the controlling terminal, if there is one.
    pub(super) fn open() -> Option<Terminal> {
        let flags = i32::try_from((OFlags::NOCTTY | OFlags::CLOEXEC).bits()).ok()?;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open("/dev/tty").ok()?;
        let (foreground, modes) = (tcgetpgrp(&file).ok(), tcgetattr(&file).ok());
        Some(Terminal { file, foreground, modes })
    }

    /// Gives the terminal back to this program's group, if that had it and the command has taken it. After a command that was
    /// ended, also restores the modes: an editor that is killed leaves no echo.
    pub(super) fn give_back(&self, was_ended: bool) {
        let own = getpgrp();
        if self.foreground != Some(own) {
            return;
        }
        if tcgetpgrp(&self.file) != Ok(own) {
            // Without SIGTTOU, which would stop a background group. On failure the terminal is gone.
            let _blocked = SigSet::from(SIGTTOU).thread_block();
            let _hung_up = tcsetpgrp(&self.file, own);
        }
        if let Some(modes) = self.modes.as_ref().filter(|_| was_ended) {
            let _hung_up = tcsetattr(&self.file, OptionalActions::Now, modes);
        }
    }
}
