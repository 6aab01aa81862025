//! The same lines for programs: medians, every sample, the verdict.

use std::io::{self, Write};

use super::{Line, Target, Unit, Verdict};

pub(crate) fn write_json(out: &mut dyn Write, lines: &[Line], judged: bool) -> io::Result<()> {
    writeln!(out, "[")?;
    for (index, line) in lines.iter().enumerate() {
        let comma = if index + 1 < lines.len() { "," } else { "" };
        writeln!(out, "  {{{}}}{comma}", fields(line, judged).join(", "))?;
    }
    writeln!(out, "]")
}

fn fields(line: &Line, judged: bool) -> Vec<String> {
    let (verdict, reason) = match line.verdict() {
        _ if !judged => ("tried out", None),
        Verdict::Holds => ("holds", None),
        Verdict::FallsShort => ("falls short", None),
        Verdict::NotRun(reason) => ("not run", Some(reason)),
        Verdict::Open => ("for comparison", None),
    };
    let unit = match line.unit {
        Unit::Time => "ns",
        Unit::Bytes => "bytes",
    };
    let at_most = match line.target {
        Target::AtMost(limit) => Some(limit),
        _ => None,
    };
    let at_least_ratio = match line.target {
        Target::Faster(times) => Some(times),
        Target::Within(times) => Some(1.0 / times),
        Target::Share(share) => Some(share),
        _ => None,
    };
    vec![
        format!("\"row\": {}", text(line.row)),
        format!("\"what\": {}", text(&line.what)),
        format!("\"unit\": {}", text(unit)),
        format!("\"ours\": {}", number(line.ours.median())),
        format!("\"rival\": {}", text(line.rival.name)),
        format!("\"rivals\": {}", number(line.rivals.median())),
        format!("\"ratio\": {}", number(line.ratio())),
        format!("\"target\": {}", text(&line.target.show(line.unit))),
        format!("\"target_at_most\": {}", number(at_most)),
        format!("\"target_ratio\": {}", number(at_least_ratio)),
        format!("\"verdict\": {}", text(verdict)),
        format!("\"reason\": {}", reason.map_or("null".to_owned(), |reason| text(&reason))),
        format!("\"samples\": {}", list(line.ours.samples())),
        format!("\"rival_samples\": {}", list(line.rivals.samples())),
    ]
}

fn list(values: &[f64]) -> String {
    let values: Vec<String> = values.iter().map(|value| number(Some(*value))).collect();
    format!("[{}]", values.join(", "))
}

/// JSON has no way to write what is not a finite number.
fn number(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map_or("null".to_owned(), |value| value.to_string())
}

fn text(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(character))),
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}
