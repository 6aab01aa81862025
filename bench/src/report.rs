//! The lines of the table: the figures, both targets, and the verdict.

mod json;
mod table;

pub(crate) use json::write_json;
pub(crate) use table::write_table;

pub(crate) use crate::rival::{Rival, TOKIO, TOKIO_UTIL, TOWER_HTTP, TOWER_RESILIENCE};

use crate::harness::{Measured, percentile};

/// One comparison. A row with several targets has several lines.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) row: &'static str,
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) measured: Measured,
    pub(crate) rival: Rival,
    /// The target against the rival.
    pub(crate) target: Target,
    /// The target against the floor: the largest allowed multiple of the floor. `None` without a target.
    pub(crate) floor_target: Option<f64>,
    /// Whether the rival's ratio is the median of the ratios of all rounds, instead of the ratio of the medians.
    pub(crate) by_round: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    /// Nanoseconds, printed in a readable unit.
    Time,
    Bytes,
}

/// The condition on the medians of ours and the rival's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// The rival's cost is at least this multiple of ours.
    Ratio(f64),
    /// Our cost is at most this multiple of the rival's.
    Within(f64),
    /// Our cost is at most the rival's cost plus this share of it. Two equal sides differ by this share from run to run.
    NoWorse(f64),
    /// Our cost is at most this value, whatever the rival's cost is.
    AtMost(f64),
    /// The line has no target. It is printed for comparison.
    Shown,
}

/// The largest multiple of the floor at which a line still counts as being at its floor.
const AT_FLOOR: f64 = 1.05;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Holds,
    /// The rival's target is not reached, but our cost is no higher than the floor.
    AtFloor,
    FallsShort {
        rival: bool,
        floor: bool,
    },
    NotRun(String),
    /// The line has no target.
    Open,
}

impl Line {
    /// Creates a line whose figures are times.
    pub(crate) fn time(
        row: &'static str,
        what: impl Into<String>,
        measured: Measured,
        rival: Rival,
        target: Target,
    ) -> Self {
        Line { row, what: what.into(), unit: Unit::Time, measured, rival, target, floor_target: None, by_round: false }
    }

    /// Creates a line whose figures are bytes.
    pub(crate) fn bytes(
        row: &'static str,
        what: impl Into<String>,
        measured: Measured,
        rival: Rival,
        target: Target,
    ) -> Self {
        Line { unit: Unit::Bytes, ..Line::time(row, what, measured, rival, target) }
    }

    /// Sets the target against the floor: ours may cost at most `times` the floor.
    pub(crate) fn within_floor(self, times: f64) -> Self {
        Line { floor_target: Some(times), ..self }
    }

    /// Compares ours and the rival's round by round. Use this for two sides that differ less than the machine differs from round to
    /// round.
    pub(crate) fn by_round(self) -> Self {
        Line { by_round: true, ..self }
    }

    /// Returns the rival's cost divided by ours. It is above 1 if ours is cheaper.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let Measured { ours, rivals, .. } = &self.measured;
        if self.by_round {
            let rounds = ours.samples().iter().zip(rivals.samples());
            return percentile(&rounds.map(|(ours, rivals)| rivals / ours).collect::<Vec<_>>(), 50);
        }
        Some(rivals.median()? / ours.median()?)
    }

    /// Returns our cost divided by the floor.
    pub(crate) fn floor_ratio(&self) -> Option<f64> {
        let (_, floor) = self.measured.floor.as_ref()?;
        Some(self.measured.ours.median()? / floor.median()?)
    }

    /// Returns the ratios and the verdict on one line, for the progress output.
    pub(crate) fn summary(&self) -> String {
        let rival = self.ratio().map(|ratio| format!("{}x {}, ", three_digits(ratio), self.rival.name));
        let floor = self.floor_ratio().map(|ratio| format!("{}x of the floor, ", three_digits(ratio)));
        let (rival, floor) = (rival.unwrap_or_default(), floor.unwrap_or_default());
        format!("        {} {}: {rival}{floor}{}", self.row, self.what, self.verdict().show())
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if matches!(self.target, Target::Shown) {
            return match &self.rival.missing {
                Some(reason) => Verdict::NotRun(reason.clone()),
                None => Verdict::Open,
            };
        }
        let floor = self.floor_target.zip(self.floor_ratio()).is_none_or(|(times, ratio)| ratio <= times);
        let rival = match (self.target, self.target.least_ratio()) {
            (Target::AtMost(limit), _) => self.measured.ours.median().map(|ours| ours <= limit),
            (_, Some(least)) => self.ratio().map(|ratio| ratio >= least),
            (_, None) => None,
        };
        match rival {
            None => Verdict::NotRun(self.rival.missing.clone().unwrap_or_else(|| "no figure".to_owned())),
            Some(true) if floor => Verdict::Holds,
            Some(_) if self.floor_ratio().is_some_and(|ratio| ratio <= AT_FLOOR) => Verdict::AtFloor,
            Some(rival) => Verdict::FallsShort { rival: !rival, floor: !floor },
        }
    }
}

impl Verdict {
    pub(crate) fn show(&self) -> String {
        match self {
            Verdict::Holds => "holds".to_owned(),
            Verdict::AtFloor => "holds (at its floor)".to_owned(),
            Verdict::FallsShort { rival: true, floor: false } => "falls short (rival)".to_owned(),
            Verdict::FallsShort { rival: false, .. } => "falls short (floor)".to_owned(),
            Verdict::FallsShort { rival: true, floor: true } => "falls short (both)".to_owned(),
            Verdict::NotRun(reason) => format!("not run ({reason})"),
            Verdict::Open => "for comparison".to_owned(),
        }
    }
}

impl Unit {
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Unit::Bytes => format!("{value:.1} B"),
            Unit::Time => {
                let (scaled, unit) = match value.abs() {
                    size if size < 1e3 => (value, "ns"),
                    size if size < 1e6 => (value / 1e3, "us"),
                    size if size < 1e9 => (value / 1e6, "ms"),
                    _ => (value / 1e9, "s"),
                };
                format!("{} {unit}", three_digits(scaled))
            }
        }
    }
}

impl Target {
    /// Returns the smallest ratio, as [`Line::ratio`] computes it, that reaches the target.
    pub(crate) fn least_ratio(self) -> Option<f64> {
        match self {
            Target::Ratio(ratio) => Some(ratio),
            Target::Within(times) => Some(1.0 / times),
            Target::NoWorse(share) => Some(1.0 / (1.0 + share)),
            Target::AtMost(_) | Target::Shown => None,
        }
    }

    pub(crate) fn show(self, unit: Unit) -> String {
        match self {
            Target::Ratio(ratio) => format!("{ratio}x"),
            Target::Within(times) => format!("{times} of it"),
            Target::NoWorse(share) => format!("no worse ({}%)", (share * 100.0).round()),
            Target::AtMost(limit) => format!("at most {}", unit.show(limit)),
            Target::Shown => "-".to_owned(),
        }
    }
}

/// Formats with three significant digits and no exponent.
pub(crate) fn three_digits(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.01 => 3,
        _ => 6,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests;
