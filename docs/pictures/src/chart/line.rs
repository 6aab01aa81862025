//! The lines of the bench that the chart shows.

use serde::Deserialize;

/// What the chart uses of a line of `ripcord-bench --json`.
#[derive(Deserialize)]
struct Object {
    row: String,
    what: String,
    rival: String,
    verdict: String,
    rivals: Option<f64>,
    ratio: Option<f64>,
    target_ratio: Option<f64>,
    target_at_most: Option<f64>,
    floor_ratio: Option<f64>,
    floor_target: Option<f64>,
}

/// A line with a ratio to its rival and a target.
pub(super) struct Line {
    pub(super) row: String,
    pub(super) what: String,
    pub(super) rival: String,
    /// The rival's cost divided by ours.
    pub(super) ratio: f64,
    /// The smallest ratio that reaches the target.
    pub(super) target: f64,
    pub(super) verdict: Verdict,
    /// Our cost divided by the floor, and the largest allowed multiple, if it is exceeded.
    pub(super) missed_floor: Option<(f64, f64)>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    Holds,
    /// The target against the rival is missed, and perhaps the one against the floor too.
    MissesRival,
    /// Only the target against the floor is missed.
    MissesFloor,
}

/// Returns the lines of the JSON text that have a ratio and a target, in the order of the table.
pub(super) fn read(json: &str) -> Result<Vec<Line>, String> {
    let objects: Vec<Object> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let mut lines = Vec::new();
    for object in objects {
        lines.extend(Line::new(object)?);
    }
    if lines.is_empty() { Err("no line with a ratio and a target".to_owned()) } else { Ok(lines) }
}

impl Line {
    /// Returns `None` if there is nothing to draw: the line has no target, or the rival did not run.
    fn new(object: Object) -> Result<Option<Line>, String> {
        let verdict = match object.verdict.as_str() {
            verdict if verdict.starts_with("holds") => Verdict::Holds,
            "falls short (floor)" => Verdict::MissesFloor,
            "falls short (rival)" | "falls short (both)" => Verdict::MissesRival,
            verdict if verdict == "for comparison" || verdict.starts_with("not run") => return Ok(None),
            "tried out" => return Err("the figures of --test have no meaning".to_owned()),
            verdict => return Err(format!("unknown verdict {verdict:?}")),
        };
        // A target of some bytes or nanoseconds is reached at the ratio at which we cost exactly that.
        let at_most = object.rivals.zip(object.target_at_most);
        let target = object.target_ratio.or(at_most.map(|(rivals, limit)| rivals / limit));
        let Some((ratio, target)) = object.ratio.zip(target) else { return Ok(None) };
        let floor = object.floor_ratio.zip(object.floor_target);
        Ok(Some(Line {
            row: object.row,
            what: object.what,
            rival: object.rival,
            ratio,
            target,
            verdict,
            missed_floor: floor.filter(|(ratio, target)| verdict != Verdict::Holds && ratio > target),
        }))
    }

    /// Returns the name of the section: what the letter of the row stands for.
    pub(super) fn section(&self) -> &str {
        match self.row.chars().next() {
            Some('C') => "Core",
            Some('P') => "Policies",
            Some('H') => "HTTP server",
            Some('G') => "gRPC",
            Some('Q') => "Postgres",
            Some('R') => "Redis",
            _ => &self.row,
        }
    }
}

impl Verdict {
    /// Returns the CSS class of the bar.
    pub(super) fn class(self) -> &'static str {
        match self {
            Verdict::Holds => "holds",
            Verdict::MissesRival => "rival",
            Verdict::MissesFloor => "floor",
        }
    }

    /// Returns the CSS class of the ratio.
    pub(super) fn emphasis(self) -> &'static str {
        match self {
            Verdict::Holds => "",
            Verdict::MissesRival | Verdict::MissesFloor => self.class(),
        }
    }
}
