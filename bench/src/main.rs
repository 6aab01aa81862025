//! Measures ripcord and its rivals: the rows of the performance table, in one run.

mod alloc;
mod command_line;
mod floor;
mod go;
mod harness;
mod http;
mod preemption;
mod progress;
mod report;
mod rival;
mod rows;
mod timing;

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
        Ok(lines) if order.gate && lines.iter().any(|line| matches!(line.verdict(), Verdict::FallsShort { .. })) => {
            ExitCode::FAILURE
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ripcord-bench: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(order: &Order) -> io::Result<Vec<Line>> {
    // Opened first, so that a wrong path does not discard minutes of measurements.
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
        let measured = (row.measure)(&bench);
        if !order.test {
            measured.iter().for_each(|line| bench.progress().say(&line.summary()));
        }
        lines.extend(measured);
    }
    bench.progress().clear();
    lines
}
