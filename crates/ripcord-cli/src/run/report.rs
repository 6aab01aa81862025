//! The line about the end of a run.

use std::{
    error::Error,
    fmt::{self, Write as _},
    io::{self, Write as _},
};

use ripcord_process::{Exit, InheritedDeadline, Process};

use super::{Args, printable::printable, signals::Received};

/// The deadline that a flag sets. This is the cause when the deadline ends the command.
#[derive(Debug)]
pub(super) struct FlagDeadline {
    pub(super) flag: &'static str,
    pub(super) text: String,
}

impl fmt::Display for FlagDeadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.flag.trim_start_matches('-');
        write!(f, "the {what} of {} ({})", printable(&self.text), self.flag)
    }
}

impl Error for FlagDeadline {}

/// Writes one line to stderr, with one write.
pub(super) fn line(text: &str) {
    // If stderr is closed, the exit code still reports the end.
    let _closed = io::stderr().write_all(format!("ripcord: {text}\n").as_bytes());
}

/// Returns the message if nothing was started.
pub(super) fn not_started(name: &str, error: &ripcord::Error) -> String {
    format!("{name}: not started: {} has passed", deadline(error))
}

/// Returns the message about the end of a run. `None` if the command ended on its own, no process was left and no signal forwarded.
pub(super) fn ended(
    args: &Args,
    name: &str,
    error: Option<&ripcord::Error>,
    exit: Option<&Exit>,
    forwarded: Option<&Received>,
) -> Option<String> {
    let mut parts = Vec::new();
    let (left, survivors) = exit.map_or((&[][..], &[][..]), |exit| (exit.left_behind(), exit.survivors()));
    if let Some(error) = error {
        parts.push(format!("deadline exceeded: {} has passed, sent SIGTERM", deadline(error)));
    }
    if let Some(forwarded) = forwarded {
        parts.push(format!("forwarded {forwarded}"));
    }
    if !left.is_empty() {
        parts.push(format!("left running: {}; sent SIGTERM", list(left)));
    }
    let last = parts.last_mut()?;
    if exit.is_some_and(Exit::was_tree_killed) {
        match forwarded {
            Some(_) if left.is_empty() && error.is_none() => last.push_str(", then SIGKILL"),
            _ => {
                let _infallible = write!(last, ", and SIGKILL after a grace period of {}", printable(&args.grace.text));
            }
        }
    }
    if !survivors.is_empty() {
        parts.push(format!("could not end {}", list(survivors)));
    }
    Some(format!("{name}: {}", parts.join("; ")))
}

/// Returns the text for the deadline that has passed.
fn deadline(error: &ripcord::Error) -> String {
    let cause = error.cause();
    if let Some(inherited) = cause.and_then(|cause| cause.downcast_ref::<InheritedDeadline>()) {
        return inherited.to_string();
    }
    cause.map_or_else(|| error.to_string(), ToString::to_string)
}

fn list(processes: &[Process]) -> String {
    let processes: Vec<String> = processes.iter().map(|process| printable(&process.to_string())).collect();
    processes.join(", ")
}
