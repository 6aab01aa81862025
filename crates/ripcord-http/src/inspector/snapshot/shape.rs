//! The inspector's JSON. The crate's README documents the fields under "The inspector".

use std::collections::BTreeMap;

use serde::Serialize;

use crate::inspector::status::Reading;

#[derive(Debug, Serialize)]
pub(in crate::inspector) struct Snapshot {
    /// The version of the format. A renamed field or a new meaning of a field increases the version, but a new field does not.
    pub(super) version: u32,
    pub(super) summary: Summary,
    pub(super) statuses: Vec<Reading>,
    pub(super) counters: Option<Counters>,
    pub(super) live: Vec<Live>,
    pub(super) finished: Vec<Bucket>,
    pub(super) cut_short: Vec<FinishedEntry>,
}

#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) live: u64,
    pub(super) not_shown: u64,
    /// The number of entries that have ended and whose context is still held.
    pub(super) ended_but_held: u64,
    pub(super) oldest_ms: Option<f64>,
    pub(super) started: u64,
    pub(super) finished: u64,
    pub(super) canceled_here: u64,
}

/// The sums over all layers whose requests are shown.
#[derive(Debug, Serialize)]
pub(super) struct Counters {
    pub(super) requests: u64,
    pub(super) in_flight: u64,
    pub(super) deadlines_received: u64,
    pub(super) deadlines_clamped: u64,
    pub(super) headers_malformed: BTreeMap<&'static str, u64>,
    pub(super) expired_before_start: u64,
    pub(super) timed_out: u64,
    pub(super) canceled: u64,
    pub(super) disconnected: u64,
    pub(super) panicked: u64,
    pub(super) detached: u64,
}

#[derive(Debug, Serialize)]
pub(in crate::inspector) struct Live {
    #[serde(flatten)]
    pub(super) about: About,
    pub(super) parent: Option<u64>,
    pub(super) state: State,
    pub(super) age_ms: f64,
    /// Time since the end of the entry.
    pub(super) held_ms: Option<f64>,
    /// The `Display` of the context.
    pub(super) chain: String,
    pub(super) spans: Vec<Span>,
    pub(super) spans_not_shown: u64,
    pub(super) tasks: Vec<Task>,
    pub(super) tasks_not_shown: u64,
}

/// A task that is not finished.
#[derive(Debug, Serialize)]
pub(super) struct Task {
    /// The nearest name at or above the task's context.
    pub(super) name: Option<String>,
    /// File, line and column of the spawn.
    pub(super) location: String,
    pub(super) age_ms: f64,
    /// Whether the task's context has ended.
    pub(super) is_ended: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Bucket {
    pub(super) from_ms: u64,
    pub(super) to_ms: Option<u64>,
    pub(super) count: u64,
    pub(super) kept: Vec<FinishedEntry>,
}

#[derive(Debug, Serialize)]
pub(in crate::inspector) struct FinishedEntry {
    #[serde(flatten)]
    pub(super) about: About,
    pub(super) state: State,
    pub(super) took_ms: f64,
    /// Time since the last context of the entry was dropped.
    pub(super) ago_ms: f64,
    /// Time from the end of the entry to the drop of the entry's last context.
    pub(super) held_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) spans: Option<Vec<Span>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) spans_not_shown: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct About {
    pub(super) id: u64,
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) request_id: Option<String>,
    pub(super) trace_id: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) deadline: Option<Deadline>,
    pub(super) end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Running,
    /// The entry finished normally.
    Ended,
    Canceled,
    DeadlineExceeded,
    Panicked,
}

#[derive(Debug, Serialize)]
pub(super) struct Deadline {
    /// For a finished entry: the time left at its end.
    pub(super) left_ms: f64,
    pub(super) of_ms: f64,
    pub(super) source: &'static str,
    pub(super) header: Option<&'static str>,
}

/// The end of a context, with its origin and cause.
#[derive(Debug, Serialize)]
pub(super) struct End {
    pub(super) kind: &'static str,
    /// The cause and its sources.
    pub(super) causes: Vec<String>,
    /// File, line and column of the cancel, or of the line that set the deadline.
    pub(super) location: String,
    /// The nearest name at or above the context that ended first.
    pub(super) origin: Option<String>,
    /// Whether a dropped `Canceler` ended the context.
    pub(super) canceler_dropped: bool,
    /// Whether an idle timeout ended the context.
    pub(super) is_idle_timeout: bool,
    pub(super) timeout_ms: Option<f64>,
    pub(super) ago_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Span {
    pub(super) depth: usize,
    pub(super) name: String,
    /// Time since the first span's start.
    pub(super) start_ms: f64,
    pub(super) took_ms: f64,
    pub(super) state: State,
    pub(super) end: Option<End>,
}
