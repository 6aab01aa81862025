//! The terminal that this program shares with its command.
//!
//! With a controlling terminal, the command stays in this program's process group. The command can then read the terminal and
//! receives Ctrl-C, and the job control of the caller's shell treats both as one job. If the command had its own group, the other
//! commands of a pipeline, such as a pager, would lose the terminal.

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

    /// Returns the terminal to this program's group, if the command has taken it from this group. If the command was ended, also
    /// restores the modes, because a killed editor leaves the echo turned off.
    pub(super) fn give_back(&self, was_ended: bool) {
        let own = getpgrp();
        if self.foreground != Some(own) {
            return;
        }
        if tcgetpgrp(&self.file) != Ok(own) {
            // SIGTTOU is blocked, because it would stop a background group. A failure means that the terminal is closed.
            let _blocked = SigSet::from(SIGTTOU).thread_block();
            let _hung_up = tcsetpgrp(&self.file, own);
        }
        if let Some(modes) = self.modes.as_ref().filter(|_| was_ended) {
            let _hung_up = tcsetattr(&self.file, OptionalActions::Now, modes);
        }
    }
}
