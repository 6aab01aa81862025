//! The command `ripcord run`, which runs a command under a context, like timeout(1).
//!
//! ```text
//! environment            the deadline, trace and baggage that the caller has set
//! └─ run                 named after the command or `--name`; ends at the earlier of `--timeout` and `--deadline`
//!    └─ attempt          one for each attempt of `--retries`
//! ```
//!
//! | file | contents |
//! |---|---|
//! | `help.txt` | the manual page |
//! | `args.rs`, `duration.rs` | the flags and the syntax of their values |
//! | `session.rs` | the attempts, and the signals that are forwarded to them |
//! | `signals.rs` | receiving signals |
//! | `terminal.rs` | the terminal shared with the command |
//! | `report.rs` | the lines on stderr |
//! | `end.rs` | the exit of this program |
//!
//! [`ripcord_process`] starts and ends the command.

mod args;
mod duration;
mod end;
mod printable;
mod report;
mod session;
mod signals;
mod terminal;

use std::{ffi::OsStr, io, panic::catch_unwind, process::ExitCode};

use ripcord::Context;
use ripcord_process::FromEnv as _;
use tokio::runtime;

pub use args::Args;
use end::End;
use printable::printable;
use report::FlagDeadline;
use session::Session;
use signals::Signals;
use terminal::Terminal;

/// The exit code for an error of `ripcord run` itself.
pub const FAILURE: u8 = 125;

/// Runs the command in `args` and returns the exit code for this process. If a signal has ended the command, this function ends
/// this process with the same signal.
///
/// Call this function before any thread is started. It changes the signal mask of this thread, and new threads inherit the
/// mask.
pub fn run(args: &Args) -> ExitCode {
    // The runtime panics if no file descriptors are left. The panic hook has then written the reason.
    match catch_unwind(|| try_run(args)) {
        Ok(Ok(end)) => return end.exit(),
        Ok(Err(error)) => report::line(&format!("run: {error}")),
        Err(_panic) => {}
    }
    ExitCode::from(FAILURE)
}

fn try_run(args: &Args) -> io::Result<End> {
    let Some((program, _)) = args.command.split_first() else {
        return Err(io::Error::other(
            "no command: usage: ripcord run [--timeout D] [--grace D] [--retries N] [--] CMD..",
        ));
    };
    let mut signals = Signals::start()?;
    let name = name(args, program);
    let ctx = context(args, &name);
    if let Some(error) = ctx.err() {
        report::line(&report::not_started(&name, &error));
        return Ok(End::Code(end::DEADLINE));
    }
    // One thread is enough, and the blocking threads of the runtime start when they are needed.
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let end = runtime.block_on(async {
        let session = Session::new(args, name, Terminal::open());
        session.run(&ctx, &mut signals).await
    });
    runtime.shutdown_background();
    end
}

/// Returns the name in messages: `--name`, or the command.
fn name(args: &Args, program: &OsStr) -> String {
    let name = args.name.as_deref().unwrap_or(program);
    printable(&name.to_string_lossy())
}

/// Creates the context of the run. The earliest of three deadlines applies: the inherited deadline, `--timeout` and `--deadline`.
fn context(args: &Args, name: &str) -> Context {
    let mut ctx = Context::from_env().with_name(name.to_owned());
    if let Some(timeout) = &args.timeout {
        let cause = FlagDeadline { flag: "--timeout", text: timeout.text.clone() };
        ctx = ctx.with_timeout_cause(timeout.duration, cause);
    }
    if let Some(deadline) = &args.deadline {
        let left = duration::until(deadline.time).unwrap_or_default();
        ctx = ctx.with_timeout_cause(left, FlagDeadline { flag: "--deadline", text: deadline.text.clone() });
    }
    ctx
}
