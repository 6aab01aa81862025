//! The JSON output: medians, all samples, targets and verdicts.

use std::io::{self, Write};

use super::{Line, Target, Unit};

/// Writes an array with one object per line. Times are in nanoseconds.
pub(crate) fn write_json(out: &mut dyn Write, lines: &[Line], judged: bool) -> io::Result<()> {
    writeln!(out, "[")?;
    for (index, line) in lines.iter().enumerate() {
        let comma = if index + 1 < lines.len() { "," } else { "" };
        writeln!(out, "  {{{}}}{comma}", fields(line, judged).join(", "))?;
    }
    writeln!(out, "]")
}

fn fields(line: &Line, judged: bool) -> Vec<String> {
    let unit = match line.unit {
        Unit::Time => "ns",
        Unit::Bytes => "bytes",
    };
    let at_most = match line.target {
        Target::AtMost(limit) => Some(limit),
        _ => None,
    };
    let verdict = if judged { line.verdict().show() } else { "tried out".to_owned() };
    let measured = &line.measured;
    let floor = measured.floor.as_ref();
    let field = |name: &str, value: String| format!("\"{name}\": {value}");
    vec![
        field("row", text(line.row)),
        field("what", text(&line.what)),
        field("unit", text(unit)),
        field("ours", number(measured.ours.median())),
        field("rival", text(line.rival.name)),
        field("rivals", number(measured.rivals.median())),
        field("ratio", number(line.ratio())),
        field("target", text(&line.target.show(line.unit))),
        field("target_at_most", number(at_most)),
        field("target_ratio", number(line.target.least_ratio())),
        field("floor", floor.map_or("null".to_owned(), |(name, _)| text(name))),
        field("floors", number(floor.and_then(|(_, figure)| figure.median()))),
        field("floor_ratio", number(line.floor_ratio())),
        field("floor_target", number(line.floor_target)),
        field("verdict", text(&verdict)),
        field("samples", list(measured.ours.samples())),
        field("rival_samples", list(measured.rivals.samples())),
        field("floor_samples", list(floor.map_or(&[][..], |(_, figure)| figure.samples()))),
    ]
}

fn list(values: &[f64]) -> String {
    let values: Vec<String> = values.iter().map(|value| number(Some(*value))).collect();
    format!("[{}]", values.join(", "))
}

/// Formats a number. JSON has no infinities and no NaN, so these become null.
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
