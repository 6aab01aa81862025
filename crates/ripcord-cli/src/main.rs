//! The `ripcord` binary: parse, run, exit code.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{
    Parser, Subcommand,
    error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion},
};
use ripcord_cli::serve;

/// Programs that run under a ripcord Context.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the reference service: an HTTP server whose every request has a Context
    Serve(Box<serve::Args>),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => match error.kind() {
            DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
            _ => return refuse(first_line(&error)),
        },
    };
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(*args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(error),
    }
}

/// What was wrong in one line: clap's others repeat the usage.
fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

fn refuse(error: impl fmt::Display) -> ExitCode {
    // With nobody left to read the line, the exit code still tells.
    let _ = writeln!(io::stderr(), "ripcord: {error}");
    ExitCode::from(2)
}
