//! The command line.

use std::path::PathBuf;

use crate::http::Side;
use crate::rows::{self, Row};

pub(crate) const HELP: &str = "\
Measures ripcord beside its rivals and a floor, row by row

usage: ripcord-bench [--rows C1,C4] [--json FILE] [--gate] [--test]
       ripcord-bench --serve NAME

  --rows C1,C4   measure only these rows
  --json FILE    also write the figures, with every sample, to FILE
  --gate         exit with status 1 if a row falls short of a target
  --test         run each row once with tiny sizes, without a verdict

  --serve NAME   run a server of H1 to H5 until the input ends: ours, inspected,
                 tower-http, bare, chapter, waiting-ours, waiting-tower-http,
                 waiting-bare, or several, as in ours,inspected
";

pub(crate) enum Request {
    Measure(Order),
    Serve(Vec<Side>),
    Help,
}

/// The rows to measure, and the output options.
pub(crate) struct Order {
    pub(crate) rows: Vec<&'static Row>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) gate: bool,
    pub(crate) test: bool,
}

pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Request, String> {
    let mut order = Order { rows: rows::ALL.iter().collect(), json: None, gate: false, test: false };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value (see --help)"));
        match argument.as_str() {
            "--rows" => order.rows = chosen(&value()?)?,
            "--json" => order.json = Some(value()?.into()),
            "--gate" => order.gate = true,
            "--test" => order.test = true,
            "--serve" => {
                let side = |name: &str| Side::named(name).ok_or(format!("unknown server {name} (see --help)"));
                return value()?.split(',').map(side).collect::<Result<_, _>>().map(Request::Serve);
            }
            "--help" | "-h" => return Ok(Request::Help),
            _ => return Err(format!("unknown flag {argument} (see --help)")),
        }
    }
    if order.gate && order.test {
        return Err("--gate and --test exclude each other: --test has no verdicts".to_owned());
    }
    Ok(Request::Measure(order))
}

fn chosen(names: &str) -> Result<Vec<&'static Row>, String> {
    names
        .split(',')
        .map(|name| {
            let named = |row: &&Row| row.id.eq_ignore_ascii_case(name.trim());
            rows::ALL.iter().find(named).ok_or_else(|| {
                let known: Vec<&str> = rows::ALL.iter().map(|row| row.id).collect();
                format!("unknown row {name} (there are {})", known.join(", "))
            })
        })
        .collect()
}
