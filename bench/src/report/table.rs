//! The table for people.

use std::io::{self, Write};

use super::{Line, Verdict, three_digits};

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// `judged` is false when the rows were only tried out: the figures mean nothing then, and nothing
/// is said of them.
pub(crate) fn write_table(out: &mut dyn Write, lines: &[Line], judged: bool, colours: bool) -> io::Result<()> {
    let paint = |colour: &'static str, text: String| {
        if colours { format!("{colour}{text}{PLAIN}") } else { text }
    };
    let widest = lines.iter().map(|line| line.what.len()).max().unwrap_or(0).max("what".len());
    let widest_rival = lines.iter().map(|line| line.rival.name.len()).max().unwrap_or(0).max("rival".len());
    let heading = format!(
        "{:<4} {:<widest$} {:>10} {:>10}  {:<widest_rival$} {:>8}  {:<15} {}",
        "row", "what", "ours", "rival's", "rival", "ratio", "target", "verdict"
    );
    writeln!(out, "{}", paint(BOLD, heading.trim_end().to_owned()))?;
    for line in lines {
        let show = |value: Option<f64>| value.map_or("-".to_owned(), |value| line.unit.show(value));
        let verdict = match line.verdict() {
            _ if !judged => "tried out".to_owned(),
            Verdict::Holds => paint(GREEN, "holds".to_owned()),
            Verdict::FallsShort => paint(RED, "falls short".to_owned()),
            Verdict::NotRun(reason) => paint(YELLOW, format!("not run ({reason})")),
            Verdict::Open => "for comparison".to_owned(),
        };
        writeln!(
            out,
            "{:<4} {:<widest$} {:>10} {:>10}  {:<widest_rival$} {:>8}  {:<15} {verdict}",
            line.row,
            line.what,
            show(line.ours.median()),
            show(line.rivals.median()),
            line.rival.name,
            line.ratio().map_or("-".to_owned(), ratio),
            line.target.show(line.unit),
        )?;
    }
    if judged {
        let count = |wanted: &dyn Fn(&Verdict) -> bool| lines.iter().filter(|line| wanted(&line.verdict())).count();
        writeln!(
            out,
            "{} hold, {} fall short, {} not run",
            count(&|verdict| *verdict == Verdict::Holds),
            count(&|verdict| *verdict == Verdict::FallsShort),
            count(&|verdict| matches!(verdict, Verdict::NotRun(_))),
        )?;
    }
    Ok(())
}

fn ratio(ratio: f64) -> String {
    // Where ours does next to nothing the quotient is astronomic, and its digits are noise.
    if ratio >= 10_000.0 { ">9999x".to_owned() } else { format!("{}x", three_digits(ratio)) }
}
