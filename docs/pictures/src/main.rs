//! Draws the pictures of the documentation that are made from recorded data: the chart of the bench, and the terminal.
//! `scripts/pictures` runs this program. The other pictures are drawn by hand or photographed.

mod chart;
mod svg;
mod terminal;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::{env, fs};

const USAGE: &str = "\
usage: ripcord-pictures chart FILE      draws what `ripcord-bench --json FILE` wrote
       ripcord-pictures terminal FILE   draws a recording of `scripts/pictures record`
The picture is an SVG file, written to stdout";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let drawn = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["chart", path] => draw(path, chart::draw),
        ["terminal", path] => draw(path, terminal::draw),
        _ => Err(USAGE.to_owned()),
    };
    match drawn {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // If stderr is closed, the exit code still reports the failure.
            let _ = writeln!(io::stderr(), "ripcord-pictures: {message}");
            ExitCode::from(2)
        }
    }
}

fn draw(path: &str, picture: fn(&str) -> Result<String, String>) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let svg = picture(&text).map_err(|error| format!("{path}: {error}"))?;
    io::stdout().write_all(svg.as_bytes()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
