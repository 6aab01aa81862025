//! The `ripcord` binary: parses its arguments, runs a command, and returns an exit code.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{
    Parser, Subcommand,
    error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion},
};
#[cfg(target_os = "linux")]
use ripcord_cli::run;
use ripcord_cli::{queue, serve};

/// Commands that run under a ripcord context
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the reference service: an HTTP server that gives each request a context
    Serve(Box<serve::Args>),
    /// Show and change a work queue in Redis
    Queue(queue::Args),
    /// Run a command with a deadline, and end all of its processes
    #[cfg(target_os = "linux")]
    Run(run::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => match error.kind() {
            DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
            _ => return refuse(one_line(&error), usage_code()),
        },
    };
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(*args),
        Command::Queue(args) => {
            return match queue::run(&args) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => refuse(&error, error.code()),
            };
        }
        #[cfg(target_os = "linux")]
        Command::Run(args) => return run::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(error, USAGE),
    }
}

/// Returns the error on one line. The lines after the error repeat the usage. If the error is a list, its items are indented.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let items: Vec<&str> = lines.take_while(|line| line.starts_with("  ")).map(str::trim).collect();
    match first.ends_with(':') {
        true => format!("{first} {}", items.join(", ")),
        false => first.to_owned(),
    }
}

/// The exit code for invalid settings.
const USAGE: u8 = 2;

/// Returns the exit code for invalid arguments. `ripcord run` reserves the low exit codes for the command.
fn usage_code() -> u8 {
    #[cfg(target_os = "linux")]
    if std::env::args_os().nth(1).is_some_and(|command| command == "run") {
        return run::FAILURE;
    }
    USAGE
}

fn refuse(error: impl fmt::Display, code: u8) -> ExitCode {
    // If stderr is closed, the exit code still reports the failure.
    let _ = writeln!(io::stderr(), "ripcord: {error}");
    ExitCode::from(code)
}
