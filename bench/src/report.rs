//! The lines of the table: two figures, the target, and whether it holds.

mod json;
mod table;

pub(crate) use json::write_json;
pub(crate) use table::write_table;

use crate::harness::{Figure, percentile};

/// Whom we are compared with.
#[derive(Clone, Debug)]
pub(crate) struct Rival {
    pub(crate) name: &'static str,
    /// Why it did not run, when it did not.
    pub(crate) missing: Option<String>,
}

impl Rival {
    /// One that is compiled in, and so always runs.
    pub(crate) const fn named(name: &'static str) -> Self {
        Rival { name, missing: None }
    }
}

pub(crate) const TOKIO_UTIL: Rival = Rival::named("tokio-util");
pub(crate) const TOKIO: Rival = Rival::named("tokio");
pub(crate) const TOWER_RESILIENCE: Rival = Rival::named("tower-resilience");

/// One comparison. A row of performance.md with several targets has several lines.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) row: &'static str,
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) ours: Figure,
    pub(crate) rivals: Figure,
    pub(crate) rival: Rival,
    pub(crate) target: Target,
    /// Whether the ratio is the median of each round's, and not that of the medians.
    pub(crate) by_round: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    /// In nanoseconds; printed in whatever unit reads best.
    Time,
    Bytes,
}

/// What has to be true of the medians.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// The rival's cost is at least so many times ours.
    Faster(f64),
    /// Ours is at most so many times the rival's cost; for a rival that does less.
    Within(f64),
    /// Ours does at least this share of what the rival does in the same time; for ours that does more.
    Share(f64),
    /// Ours costs no more than the rival's, but for [`NOISE`]: two equals would otherwise fail
    /// every other run.
    NoWorse,
    /// Ours is no more than the rival's, exactly; for what does not vary.
    NoMore,
    /// Ours is at most this, whatever the rival's is.
    AtMost(f64),
    /// Printed for comparison only.
    Shown,
}

/// How much worse still counts as [`Target::NoWorse`].
const NOISE: f64 = 1.05;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Holds,
    FallsShort,
    NotRun(String),
    /// There is no target.
    Open,
}

impl Line {
    /// A line whose figures are times; ours first, then the rival's.
    pub(crate) fn time(
        row: &'static str,
        what: impl Into<String>,
        [ours, rivals]: [Figure; 2],
        rival: Rival,
        target: Target,
    ) -> Self {
        Line { row, what: what.into(), unit: Unit::Time, ours, rivals, rival, target, by_round: false }
    }

    /// A line whose figures are bytes; ours first, then the rival's.
    pub(crate) fn bytes(
        row: &'static str,
        what: impl Into<String>,
        [ours, rivals]: [Figure; 2],
        rival: Rival,
        target: Target,
    ) -> Self {
        Line { row, what: what.into(), unit: Unit::Bytes, ours, rivals, rival, target, by_round: false }
    }

    /// Compares the two sides of each round: for sides so close that the machine's ups and downs from one round to the next are
    /// more than what is between them.
    pub(crate) fn by_round(self) -> Self {
        Line { by_round: true, ..self }
    }

    /// How many times ours the rival's cost is: above one, ours is the cheaper.
    pub(crate) fn ratio(&self) -> Option<f64> {
        if self.by_round {
            let rounds = self.ours.samples().iter().zip(self.rivals.samples());
            return percentile(&rounds.map(|(ours, rivals)| rivals / ours).collect::<Vec<_>>(), 50);
        }
        Some(self.rivals.median()? / self.ours.median()?)
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let holds = match self.target {
            Target::Shown => match &self.rival.missing {
                Some(reason) => return Verdict::NotRun(reason.clone()),
                None => return Verdict::Open,
            },
            Target::AtMost(limit) => self.ours.median().map(|ours| ours <= limit),
            Target::Faster(times) => self.ratio().map(|ratio| ratio >= times),
            Target::Within(times) => self.ratio().map(|ratio| ratio * times >= 1.0),
            Target::Share(share) => self.ratio().map(|ratio| ratio >= share),
            Target::NoWorse => self.ratio().map(|ratio| ratio * NOISE >= 1.0),
            Target::NoMore => self.ratio().map(|ratio| ratio >= 1.0),
        };
        match holds {
            Some(true) => Verdict::Holds,
            Some(false) => Verdict::FallsShort,
            None => Verdict::NotRun(self.rival.missing.clone().unwrap_or_else(|| "no figure".to_owned())),
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
    pub(crate) fn show(self, unit: Unit) -> String {
        match self {
            Target::Faster(times) => format!("{times}x faster"),
            Target::Within(times) => format!("within {times}x"),
            Target::Share(share) => format!("{share} of it"),
            Target::NoWorse => "no worse (5%)".to_owned(),
            Target::NoMore => "no more".to_owned(),
            Target::AtMost(limit) => format!("at most {}", unit.show(limit)),
            Target::Shown => "-".to_owned(),
        }
    }
}

/// Three digits that matter, without an exponent.
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
