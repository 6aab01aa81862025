//! The signals that are forwarded to the command.
//!
//! Each signal has a handler. The command does not inherit handlers: in the command, such a signal has its default action again. If
//! the caller, such as nohup, has set a signal to be ignored, the signal gets no handler. Then this program and the command ignore
//! the signal. No signal is blocked, because the command would inherit the blocked signals.

use std::{fmt, fs, io, thread};

use nix::sys::signal::SigSet;
use ripcord_process::Signal;
use signal_hook::{
    iterator::{SignalsInfo, exfiltrator::WithOrigin},
    low_level::siginfo::{Cause, Origin},
};
use tokio::sync::mpsc;

/// A signal that this program has received.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) signal: Signal,
    sender: Sender,
}

#[derive(Clone, Debug)]
enum Sender {
    Terminal,
    Process {
        pid: u32,
        name: Option<String>,
    },
    /// The sender is outside this container.
    Unknown,
}

impl Received {
    /// Returns whether a terminal has sent the signal. A terminal sends it to every process of the group.
    pub(super) fn is_from_terminal(&self) -> bool {
        matches!(self.sender, Sender::Terminal)
    }

    /// Returns whether the signal asks the command to end. Such a signal starts the grace period.
    pub(super) fn asks_to_end(&self) -> bool {
        [Signal::TERM, Signal::INT].contains(&self.signal)
    }
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.signal)?;
        match &self.sender {
            Sender::Terminal => f.write_str(" from the terminal"),
            Sender::Process { pid, name: Some(name) } => {
                write!(f, " from {} ({pid})", super::printable::printable(name))
            }
            Sender::Process { pid, name: None } => write!(f, " from process {pid}"),
            Sender::Unknown => Ok(()),
        }
    }
}

/// The signals to forward, in the order in which they are received.
pub(super) struct Signals(mpsc::UnboundedReceiver<Received>);

impl Signals {
    /// Starts to receive the signals to forward. Unblocks all signals, because some callers leave signals blocked.
    ///
    /// Call this function before any thread is started, because threads inherit the blocked signals.
    pub(super) fn start() -> io::Result<Signals> {
        let ignored = ignored();
        let forwarded = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];
        let numbers = forwarded.map(Signal::as_raw).into_iter().filter(|number| ignored & 1 << (number - 1) == 0);
        let mut signals = SignalsInfo::<WithOrigin>::new(numbers)?;
        // The handlers must be installed first. Otherwise, a pending signal would end this process.
        SigSet::empty().thread_set_mask()?;
        let (sender, receiver) = mpsc::unbounded_channel();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for origin in &mut signals {
                let _exiting = Received::new(&origin).map(|received| sender.send(received));
            }
        })?;
        Ok(Signals(receiver))
    }

    /// Waits for the next signal. Dropping the future loses no signal.
    pub(super) async fn next(&mut self) -> Received {
        match self.0.recv().await {
            Some(received) => received,
            // The thread ends with the process.
            None => std::future::pending().await,
        }
    }
}

impl Received {
    fn new(origin: &Origin) -> Option<Received> {
        let sender = match (origin.cause, origin.process) {
            (Cause::Kernel, _) => Sender::Terminal,
            (_, Some(process)) if process.pid > 0 => {
                Sender::Process { pid: process.pid.unsigned_abs(), name: name_of(process.pid) }
            }
            _ => Sender::Unknown,
        };
        Some(Received { signal: Signal::from_raw(origin.signal)?, sender })
    }
}

/// Returns the signals that this process ignores, one bit per signal. Without `/proc`, returns no signal.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn name_of(pid: i32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end().to_owned())
}
