//! Converts entries, records, spans and errors into the types of [`shape`](super::shape).

use std::collections::BTreeMap;
use std::error::Error as _;
use std::time::{Duration, Instant};

use http::StatusCode;
use ripcord::{Error, ErrorKind, SpanSnapshot, TaskInfo};

use super::shape::{About, Counters, Deadline, End, FinishedEntry, Live, Span, State, Task};
use crate::inspector::entry::{self, Entry, EntryEnd, Facts};
use crate::inspector::tasks::TasksByEntry;
use crate::inspector::text::shown;
use crate::server::{DeadlineSource, ServerStats};
use crate::trace_context::hex;

/// Maximum number of causes shown from one chain.
const MAX_CAUSES: usize = 8;
/// Maximum number of calls that a list shows for a live entry. The view of one entry shows all recorded calls.
const MAX_LIVE_SPANS: usize = 40;
/// Maximum number of tasks that a list shows for a live entry. The view of one entry shows all tasks.
const MAX_LIVE_TASKS: usize = 20;

/// Describes a live entry, with at most `max` calls and `max` tasks. If `max` is `None`, the limits of a list apply.
pub(super) fn live(entry: &Entry, tasks: &TasksByEntry, max: Option<usize>) -> Live {
    let ctx = &entry.ctx;
    let now = ctx.clock().now();
    let age = now.saturating_duration_since(entry.started);
    // If the context ended after the answer, this end does not count.
    let error = entry.ended.as_ref().map_or_else(|| ctx.err(), |ended| ended.error.clone());
    let deadline = ctx.deadline();
    let held = (entry.ended.is_some() || error.is_some()).then(|| {
        // The time since the end of the context or the answer, whichever was earlier.
        let since_answer = entry.ended.as_ref().map(|ended| age.saturating_sub(ended.latency));
        let ended_at = error.as_ref().and_then(|_| ctx.ended_at());
        let since_end = ended_at.map(|ended_at| now.saturating_duration_since(ended_at));
        since_answer.max(since_end).unwrap_or_default()
    });
    let facts = entry.facts();
    let deadline = deadline.map(|deadline| {
        let of = deadline.saturating_duration_since(entry.started);
        describe_deadline(facts.deadline, deadline.saturating_duration_since(now), of)
    });
    let is_panicked = entry.ended.as_ref().is_some_and(|ended| ended.is_panicked);
    let end = error.as_ref().map(end);
    let root = Root {
        name: entry.name(),
        started: entry.started,
        took: entry.ended.as_ref().map_or(age, |ended| ended.latency),
        ended: entry.ended.as_ref(),
    };
    let (spans, spans_not_shown) = spans(&root, entry.root.as_ref(), max.unwrap_or(MAX_LIVE_SPANS));
    let (tasks, tasks_not_shown) = describe_tasks(tasks.below(entry.id), max.unwrap_or(MAX_LIVE_TASKS));
    Live {
        about: about(entry.id, entry.is_request(), &facts, entry.name(), entry.status, deadline, end),
        parent: entry.parent(),
        state: state(held.is_some(), error.as_ref(), is_panicked),
        age_ms: milliseconds(age),
        held_ms: held.map(milliseconds),
        chain: shown(ctx),
        spans,
        spans_not_shown,
        tasks,
        tasks_not_shown,
    }
}

/// Returns at most `max` tasks and the number of tasks left out. Tasks whose context has ended come first. Both groups have their
/// oldest task first.
fn describe_tasks(tasks: &[TaskInfo], max: usize) -> (Vec<Task>, u64) {
    let (ended, running): (Vec<_>, Vec<_>) = tasks.iter().partition(|task| task.is_ended());
    let describe = |task: &TaskInfo| Task {
        name: task.name().map(shown),
        location: shown(task.location()),
        age_ms: milliseconds(task.age()),
        is_ended: task.is_ended(),
    };
    let shown = ended.into_iter().chain(running).take(max).map(describe).collect();
    (shown, tasks.len().saturating_sub(max) as u64)
}

/// Describes a finished entry, with or without its spans.
pub(super) fn over(over: &entry::FinishedEntry, with_spans: bool) -> FinishedEntry {
    let ended = &over.ended;
    let lived = over.dropped.saturating_duration_since(over.started);
    let deadline = over.timeout.map(|of| describe_deadline(over.facts.deadline, of.saturating_sub(ended.latency), of));
    let root = Root { name: &over.name, started: over.started, took: ended.latency, ended: Some(ended) };
    let (spans, spans_not_shown) = with_spans.then(|| spans(&root, over.root.as_ref(), usize::MAX)).unzip();
    let end = ended.error.as_ref().map(end);
    FinishedEntry {
        about: about(over.id, over.is_request, &over.facts, &over.name, over.status, deadline, end),
        state: state(true, ended.error.as_ref(), ended.is_panicked),
        took_ms: milliseconds(ended.latency),
        ago_ms: milliseconds(over.clock.now().saturating_duration_since(over.dropped)),
        held_ms: milliseconds(lived.saturating_sub(ended.latency)),
        spans,
        spans_not_shown,
    }
}

fn about(
    id: u64,
    is_request: bool,
    facts: &Facts,
    name: &str,
    status: Option<StatusCode>,
    deadline: Option<Deadline>,
    end: Option<End>,
) -> About {
    About {
        id,
        kind: if is_request { "request" } else { "watched" },
        name: shown(name),
        request_id: facts.request_id.as_ref().map(shown),
        trace_id: facts.traceparent.map(|traceparent| hex::text(&traceparent.trace_id())),
        status: status.map(|status| status.as_u16()),
        deadline,
        end,
    }
}

/// Returns the sums of the layers' counters.
pub(super) fn counters(servers: &[ServerStats]) -> Counters {
    let sum = |count: fn(&ServerStats) -> u64| servers.iter().map(count).sum();
    let mut headers_malformed = BTreeMap::new();
    for (header, count) in servers.iter().flat_map(ServerStats::malformed) {
        *headers_malformed.entry(header).or_default() += count;
    }
    Counters {
        requests: sum(|stats| stats.requests),
        in_flight: sum(|stats| stats.in_flight),
        deadlines_received: sum(|stats| stats.deadlines_received),
        deadlines_clamped: sum(|stats| stats.deadlines_clamped),
        headers_malformed,
        expired_before_start: sum(|stats| stats.expired),
        timed_out: sum(|stats| stats.timed_out),
        canceled: sum(|stats| stats.canceled),
        disconnected: sum(|stats| stats.disconnected),
        panicked: sum(|stats| stats.panicked),
        detached: sum(|stats| stats.detached),
    }
}

fn state(ended: bool, error: Option<&Error>, panicked: bool) -> State {
    match error.map(Error::kind) {
        _ if panicked => State::Panicked,
        Some(ErrorKind::Canceled) => State::Canceled,
        Some(ErrorKind::DeadlineExceeded) => State::DeadlineExceeded,
        None if ended => State::Ended,
        None => State::Running,
    }
}

fn describe_deadline(source: DeadlineSource, left: Duration, of: Duration) -> Deadline {
    let (source, header) = match source {
        DeadlineSource::Header(header) => ("header", Some(header)),
        DeadlineSource::Clamped(header) => ("clamped", Some(header)),
        DeadlineSource::Local | DeadlineSource::None => ("local", None),
    };
    Deadline { left_ms: milliseconds(left), of_ms: milliseconds(of), source, header }
}

fn end(error: &Error) -> End {
    let origin = error.origin();
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next.filter(|_| causes.len() < MAX_CAUSES) {
        causes.push(shown(cause));
        next = cause.source();
    }
    End {
        kind: match error.kind() {
            ErrorKind::Canceled => "canceled",
            ErrorKind::DeadlineExceeded => "deadline exceeded",
        },
        causes,
        location: shown(origin.location()),
        origin: origin.name().map(shown),
        canceler_dropped: origin.is_dropped_canceler(),
        is_idle_timeout: origin.is_idle_timeout(),
        timeout_ms: origin.timeout().map(milliseconds),
        ago_ms: origin.elapsed().map(milliseconds),
    }
}

/// The entry, shown as the first span. The entry may have no root span, or a root span with less information.
struct Root<'a> {
    name: &'a str,
    started: Instant,
    took: Duration,
    ended: Option<&'a EntryEnd>,
}

/// Returns at most `max` spans and the number of spans left out.
fn spans(root: &Root<'_>, recorded: Option<&ripcord::Span>, max: usize) -> (Vec<Span>, u64) {
    let error = root.ended.and_then(|ended| ended.error.as_ref());
    let first = Span {
        depth: 0,
        name: shown(root.name),
        start_ms: 0.0,
        took_ms: milliseconds(root.took),
        state: state(root.ended.is_some(), error, root.ended.is_some_and(|ended| ended.is_panicked)),
        end: error.map(end),
    };
    let snapshots = recorded.map(ripcord::Span::snapshots).unwrap_or_default();
    let hidden = snapshots.len().saturating_sub(max) as u64 + recorded.map_or(0, ripcord::Span::dropped);
    let describe = |span: &SpanSnapshot| Span {
        depth: span.depth(),
        name: shown(span.name()),
        start_ms: milliseconds(span.start().saturating_duration_since(root.started)),
        took_ms: milliseconds(span.duration()),
        state: state(span.is_ended(), span.err(), span.is_panicked()),
        end: span.err().map(end),
    };
    ([first].into_iter().chain(snapshots.iter().skip(1).map(describe)).take(max).collect(), hidden)
}

/// Converts to milliseconds, with microsecond precision.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    // An `f64` represents microseconds exactly for 285 years.
    duration.as_micros() as f64 / 1000.0
}
