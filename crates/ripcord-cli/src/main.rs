//! The `ripcord` binary: parse, run, exit code.

mod logger;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
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
    Serve(serve::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    logger::install();
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With nobody left to read the line, the exit code still tells.
            let _ = writeln!(io::stderr(), "ripcord: {error}");
            ExitCode::from(2)
        }
    }
}
