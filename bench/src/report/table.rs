//! The table as text.

use std::io::{self, Write};

use super::{Line, Verdict, three_digits};

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

const HEADING: [&str; COLUMNS] =
    ["row", "what", "ours", "rival's", "rival", "ratio", "target", "floor's", "floor", "ratio", "target", "verdict"];
const COLUMNS: usize = 12;
/// Columns of figures, which are aligned to the right.
const RIGHT: [usize; 5] = [2, 3, 5, 7, 9];

/// Writes the table. `judged` is false under `--test`, because its figures are meaningless and get no verdict.
pub(crate) fn write_table(out: &mut dyn Write, lines: &[Line], judged: bool, colours: bool) -> io::Result<()> {
    let paint = |colour: &str, text: &str| {
        if colours { format!("{colour}{text}{PLAIN}") } else { text.to_owned() }
    };
    let heading = HEADING.map(str::to_owned);
    let rows: Vec<_> = lines.iter().map(|line| cells(line, judged)).collect();
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        [&heading].into_iter().chain(&rows).map(|row| row[column].len()).max().unwrap_or(0)
    });
    writeln!(out, "{}", paint(BOLD, &aligned(&heading, &widths)))?;
    for (line, row) in lines.iter().zip(&rows) {
        let text = aligned(row, &widths);
        let colour = match line.verdict() {
            _ if !judged => PLAIN,
            Verdict::Holds | Verdict::AtFloor => GREEN,
            Verdict::FallsShort { .. } => RED,
            Verdict::NotRun(_) => YELLOW,
            Verdict::Open => PLAIN,
        };
        let verdict = &row[COLUMNS - 1];
        writeln!(out, "{}{}", &text[..text.len() - verdict.len()], paint(colour, verdict))?;
    }
    if judged {
        let count = |wanted: fn(&Verdict) -> bool| lines.iter().filter(|line| wanted(&line.verdict())).count();
        writeln!(
            out,
            "{} hold, {} fall short, {} not run",
            count(|verdict| matches!(verdict, Verdict::Holds | Verdict::AtFloor)),
            count(|verdict| matches!(verdict, Verdict::FallsShort { .. })),
            count(|verdict| matches!(verdict, Verdict::NotRun(_))),
        )?;
    }
    Ok(())
}

fn cells(line: &Line, judged: bool) -> [String; COLUMNS] {
    let none = || "-".to_owned();
    let show = |value: Option<f64>| value.map_or_else(none, |value| line.unit.show(value));
    let floor = line.measured.floor.as_ref();
    [
        line.row.to_owned(),
        line.what.clone(),
        show(line.measured.ours.median()),
        show(line.measured.rivals.median()),
        line.rival.name.to_owned(),
        line.ratio().map_or_else(none, times),
        line.target.show(line.unit),
        show(floor.and_then(|(_, figure)| figure.median())),
        floor.map_or_else(none, |(name, _)| (*name).to_owned()),
        line.floor_ratio().map_or_else(none, times),
        line.floor_target.map_or_else(none, |times| format!("within {times}x")),
        if judged { line.verdict().show() } else { "tried out".to_owned() },
    ]
}

fn aligned(row: &[String; COLUMNS], widths: &[usize; COLUMNS]) -> String {
    let mut text = String::new();
    for (column, (cell, &width)) in row.iter().zip(widths).enumerate() {
        if column > 0 {
            text.push_str("  ");
        }
        // The last column is not padded.
        let width = if column + 1 < COLUMNS { width } else { 0 };
        text.push_str(&if RIGHT.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") });
    }
    text
}

fn times(ratio: f64) -> String {
    // If our cost is almost zero, the quotient is huge and its digits are noise.
    if ratio >= 10_000.0 { ">9999x".to_owned() } else { format!("{}x", three_digits(ratio)) }
}
