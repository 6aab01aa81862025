//! ripcord beside its rivals: the rows of the performance table, measured in one run.

mod alloc;
mod command_line;
mod go;
mod harness;
mod http;
mod preemption;
mod progress;
mod report;
mod rows;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use command_line::{Order, Request};
use harness::Bench;
use report::{Line, Verdict};

#[global_allocator]
static ALLOCATOR: alloc::Allocator = alloc::Allocator;

fn main() -> ExitCode {
    let order = match command_line::parse(std::env::args().skip(1)) {
        Ok(Request::Measure(order)) => order,
        Ok(Request::Serve(sides)) => {
            return match http::serve(&sides) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("ripcord-bench: cannot serve: {error}");
                    ExitCode::from(2)
                }
            };
        }
        Ok(Request::Help) => {
            print!("{}", command_line::HELP);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("ripcord-bench: {message}");
            return ExitCode::from(2);
        }
    };
    match run(&order) {
        Ok(lines) if order.gate && lines.iter().any(|line| line.verdict() == Verdict::FallsShort) => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ripcord-bench: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(order: &Order) -> io::Result<Vec<Line>> {
    // Opened before anything is measured: minutes of work should not be lost to a misspelt path.
    let json = order.json.as_ref().map(create).transpose()?;
    let lines = measure(order);
    let judged = !order.test;
    report::write_table(&mut io::stdout().lock(), &lines, judged, io::stdout().is_terminal())?;
    if let Some(mut file) = json {
        report::write_json(&mut file, &lines, judged)?;
        file.flush()?;
    }
    Ok(lines)
}

fn create(path: &PathBuf) -> io::Result<BufWriter<File>> {
    let file = File::create(path).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
    Ok(BufWriter::new(file))
}

fn measure(order: &Order) -> Vec<Line> {
    let bench = Bench::new(order.test);
    let mut lines = Vec::new();
    for row in &order.rows {
        bench.progress().row(row.id, row.title);
        lines.extend((row.measure)(&bench));
    }
    bench.progress().clear();
    lines
}
