//! Metrics through the facade crate `metrics`.
//!
//! The recorder is foreign code. It is called without any lock, and its panics are caught.

use std::ffi::OsStr;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::Instant;

use ::metrics::{SharedString, Unit, counter, describe_counter, describe_histogram, histogram};
use ripcord::Context;

use crate::exit::Exit;

const COMMANDS: &str = "ripcord_process_commands_total";
const KILLED: &str = "ripcord_process_commands_killed_total";
const LEFT_BEHIND: &str = "ripcord_process_left_behind_total";
const DURATION: &str = "ripcord_process_command_duration_seconds";
const TIME_LEFT: &str = "ripcord_process_command_time_left_seconds";
const OVERRUN: &str = "ripcord_process_command_overrun_seconds";

/// Registers the help texts and units of this crate's metrics with the recorder of the crate `metrics`. Call this function once,
/// after you have installed the recorder.
///
/// Every [`Command`](crate::Command) records these metrics:
///
/// | metric | type | labels | meaning |
/// |---|---|---|---|
/// | `ripcord_process_commands_total` | counter | `program`, `result` | commands that have ended or could not be started. `result` is `success`, `failure` (an exit status other than 0, or a signal), `deadline_exceeded` or `canceled` (the context ended the command), `not_started`, or `error` (the command could not be watched or ended) |
/// | `ripcord_process_commands_killed_total` | counter | `program` | commands for which `SIGKILL` was sent to the command or to a process that belongs to it |
/// | `ripcord_process_left_behind_total` | counter | `program` | processes that were still running when the command had exited on its own |
/// | `ripcord_process_command_duration_seconds` | histogram | `program` | time from the start of a command until the command and its descendants have ended |
/// | `ripcord_process_command_time_left_seconds` | histogram | `program` | time left when a command was started, if its context had a deadline |
/// | `ripcord_process_command_overrun_seconds` | histogram | `program` | time from the end of the context until the command and its descendants have ended, if the context ended the command |
///
/// `program` is the file name of the program. Each program that you run adds a value of this label. Times are measured by the clock
/// of the command's context. A command that is still running when its tokio runtime shuts down is not counted.
///
/// Without a recorder, nothing is recorded.
pub fn describe_metrics() {
    describe_counter!(COMMANDS, Unit::Count, "Commands, by program and result.");
    describe_counter!(KILLED, Unit::Count, "Commands that needed SIGKILL, themselves or their descendants.");
    describe_counter!(LEFT_BEHIND, Unit::Count, "Processes that commands have left behind.");
    describe_histogram!(DURATION, Unit::Seconds, "From a command's start until it and its descendants were gone.");
    describe_histogram!(TIME_LEFT, Unit::Seconds, "Time left when a command was started.");
    describe_histogram!(OVERRUN, Unit::Seconds, "Time from the end of a context until its command was gone.");
}

/// Counts a command that could not be started.
pub(crate) fn not_started(program: &OsStr) {
    contained(|| count(&label(program), "not_started"));
}

/// A running command.
#[derive(Debug)]
pub(crate) struct RunningCommand {
    ctx: Context,
    program: SharedString,
    started: Instant,
}

impl RunningCommand {
    /// Records the start of a command.
    pub(crate) fn start(program: &OsStr, ctx: &Context) -> Self {
        let program = label(program);
        if let Some(left) = ctx.remaining() {
            contained(|| histogram!(TIME_LEFT, "program" => program.clone()).record(left.as_secs_f64()));
        }
        RunningCommand { ctx: ctx.clone(), program, started: ctx.clock().now() }
    }

    /// Records the end of the command and of all its descendants. `error` is the end of the context that ended it.
    pub(crate) fn ended(&self, exit: Option<&Exit>, error: Option<&ripcord::Error>) {
        let result = match (exit, error) {
            (None, _) => "error",
            (_, Some(error)) if error.is_deadline_exceeded() => "deadline_exceeded",
            (_, Some(_)) => "canceled",
            (Some(exit), None) if exit.success() => "success",
            _ => "failure",
        };
        let now = self.ctx.clock().now();
        let record = |metric, since: Instant| {
            let metric = histogram!(metric, "program" => self.program.clone());
            metric.record(now.saturating_duration_since(since).as_secs_f64());
        };
        contained(|| {
            count(&self.program, result);
            record(DURATION, self.started);
            if let Some(ended) = self.ctx.ended_at().filter(|_| error.is_some()) {
                record(OVERRUN, ended);
            }
            let Some(exit) = exit else { return };
            if exit.was_tree_killed() {
                counter!(KILLED, "program" => self.program.clone()).increment(1);
            }
            let left_behind = exit.left_behind().len() as u64;
            if left_behind > 0 {
                counter!(LEFT_BEHIND, "program" => self.program.clone()).increment(left_behind);
            }
        });
    }
}

fn count(program: &SharedString, result: &'static str) {
    counter!(COMMANDS, "program" => program.clone(), "result" => result).increment(1);
}

/// Returns the file name of a program.
fn label(program: &OsStr) -> SharedString {
    let name = Path::new(program).file_name().unwrap_or(program);
    name.to_string_lossy().into_owned().into()
}

/// Calls the recorder, and discards its panic.
fn contained(record: impl FnOnce()) {
    // Unwind safe: a panicking recorder can break only its own state.
    let _ = panic::catch_unwind(AssertUnwindSafe(record));
}
