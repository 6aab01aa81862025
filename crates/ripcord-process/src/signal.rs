//! Signals by number and name.

use std::fmt;

/// A Unix signal, such as `SIGTERM`.
///
/// ```
/// use ripcord_process::Signal;
///
/// assert_eq!(Signal::TERM.to_string(), "SIGTERM");
/// assert_eq!(Signal::from_raw(10), Some(Signal::USR1));
/// assert_eq!(Signal::from_raw(0), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signal(rustix::process::Signal);

impl Signal {
    /// `SIGTERM` asks a process to end. The command `kill` and service managers send this signal.
    pub const TERM: Signal = Signal(rustix::process::Signal::TERM);
    /// `SIGINT` asks a process to end. The terminal sends this signal when the user presses Ctrl-C.
    pub const INT: Signal = Signal(rustix::process::Signal::INT);
    /// `SIGHUP` tells a process that its terminal was closed. Many daemons reload their configuration when they receive it.
    pub const HUP: Signal = Signal(rustix::process::Signal::HUP);
    /// `SIGQUIT` ends a process with a core dump. The terminal sends this signal when the user presses Ctrl-\.
    pub const QUIT: Signal = Signal(rustix::process::Signal::QUIT);
    /// `SIGUSR1` has no fixed meaning. Each program defines its own.
    pub const USR1: Signal = Signal(rustix::process::Signal::USR1);
    /// `SIGUSR2` has no fixed meaning. Each program defines its own.
    pub const USR2: Signal = Signal(rustix::process::Signal::USR2);
    /// `SIGKILL` ends a process immediately. A process cannot handle or ignore it.
    pub const KILL: Signal = Signal(rustix::process::Signal::KILL);
    /// `SIGCONT` continues a stopped process.
    pub const CONT: Signal = Signal(rustix::process::Signal::CONT);

    /// Returns the signal with the given number. Returns `None` if no signal with a name has this number. Realtime signals have no
    /// names.
    pub fn from_raw(number: i32) -> Option<Signal> {
        rustix::process::Signal::from_named_raw(number).map(Signal)
    }

    /// Returns the number of the signal.
    pub fn as_raw(self) -> i32 {
        self.0.as_raw()
    }

    pub(crate) fn to_rustix(self) -> rustix::process::Signal {
        self.0
    }
}

/// The names of the signals with a name.
const NAMES: [(rustix::process::Signal, &str); 31] = {
    use rustix::process::Signal as S;
    [
        (S::HUP, "SIGHUP"),
        (S::INT, "SIGINT"),
        (S::QUIT, "SIGQUIT"),
        (S::ILL, "SIGILL"),
        (S::TRAP, "SIGTRAP"),
        (S::ABORT, "SIGABRT"),
        (S::BUS, "SIGBUS"),
        (S::FPE, "SIGFPE"),
        (S::KILL, "SIGKILL"),
        (S::USR1, "SIGUSR1"),
        (S::SEGV, "SIGSEGV"),
        (S::USR2, "SIGUSR2"),
        (S::PIPE, "SIGPIPE"),
        (S::ALARM, "SIGALRM"),
        (S::TERM, "SIGTERM"),
        (S::STKFLT, "SIGSTKFLT"),
        (S::CHILD, "SIGCHLD"),
        (S::CONT, "SIGCONT"),
        (S::STOP, "SIGSTOP"),
        (S::TSTP, "SIGTSTP"),
        (S::TTIN, "SIGTTIN"),
        (S::TTOU, "SIGTTOU"),
        (S::URG, "SIGURG"),
        (S::XCPU, "SIGXCPU"),
        (S::XFSZ, "SIGXFSZ"),
        (S::VTALARM, "SIGVTALRM"),
        (S::PROF, "SIGPROF"),
        (S::WINCH, "SIGWINCH"),
        (S::IO, "SIGIO"),
        (S::POWER, "SIGPWR"),
        (S::SYS, "SIGSYS"),
    ]
};

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(signal, _)| *signal == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "signal {}", self.as_raw()),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
