//! What a service reports to the fleet.

use std::net::SocketAddr;

use ripcord_http::inspector::Inspector;
use serde::{Deserialize, Serialize};

use crate::serve::RedisOutage;

/// Maximum number of contexts in flight in a report.
const MAX_LIVE: usize = 100;

/// Maximum number of contexts in a report that ended early.
const MAX_ENDED: usize = 20;

/// The contexts of a service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Report {
    address: SocketAddr,
    redis: Redis,
    live: Vec<Live>,
    /// Contexts in flight that are not in `live`.
    not_shown: u64,
    ended_early: Vec<Ended>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Redis {
    available: bool,
    /// What the limits do while Redis is unavailable.
    limits: RedisOutage,
}

/// A context in flight, as the inspector describes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Live {
    name: String,
    request_id: Option<String>,
    state: String,
    age_ms: f64,
    deadline: Option<Deadline>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Deadline {
    left_ms: f64,
    of_ms: f64,
}

/// A context that was canceled or whose deadline passed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ended {
    name: String,
    request_id: Option<String>,
    ago_ms: f64,
    why: String,
}

/// The part of the inspector's snapshot that a report contains.
#[derive(Deserialize)]
struct Snapshot {
    summary: Summary,
    live: Vec<Live>,
    cut_short: Vec<CutShort>,
}

#[derive(Deserialize)]
struct Summary {
    not_shown: u64,
}

#[derive(Deserialize)]
struct CutShort {
    name: String,
    request_id: Option<String>,
    ago_ms: f64,
    end: Option<End>,
}

#[derive(Deserialize)]
struct End {
    kind: String,
    causes: Vec<String>,
}

impl Report {
    /// Creates the report of a service from its inspector.
    pub(super) fn new(inspector: &Inspector, address: SocketAddr, available: bool, limits: RedisOutage) -> Report {
        let snapshot: Snapshot = serde_json::from_str(&inspector.json()).expect("the inspector's own format");
        let mut live = snapshot.live;
        let left_out = live.len().saturating_sub(MAX_LIVE);
        live.truncate(MAX_LIVE);
        // A handler that panicked has no end.
        let ended = |ended: CutShort| {
            let why = why(ended.end?);
            Some(Ended { name: ended.name, request_id: ended.request_id, ago_ms: ended.ago_ms, why })
        };
        Report {
            address,
            redis: Redis { available, limits },
            live,
            not_shown: snapshot.summary.not_shown + left_out as u64,
            ended_early: snapshot.cut_short.into_iter().filter_map(ended).take(MAX_ENDED).collect(),
        }
    }
}

/// Returns the kind of the end, and its causes.
fn why(end: End) -> String {
    std::iter::once(end.kind).chain(end.causes).collect::<Vec<_>>().join(": ")
}
