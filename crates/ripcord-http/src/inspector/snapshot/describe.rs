//! One entry, one record, one span, one error, in the words of [`shape`](super::shape).

use std::collections::BTreeMap;
use std::error::Error as _;
use std::time::Duration;

use ripcord::{Error, ErrorKind, Trace};

use super::shape::{About, Counters, Deadline, End, Live, Over, Span, State};
use crate::inspector::entry::{Entry, Kind};
use crate::inspector::text::shown;
use crate::server::{DeadlineSource, ServerStats};
use crate::trace_context::hex;

/// So many links of a cause's chain are shown.
const MOST_CAUSES: usize = 8;
/// So many calls of a trace that is under way are shown. All that is recorded is shown of one alone.
const MOST_LIVE_SPANS: usize = 40;

/// Of one that is over by now, `None`.
pub(super) fn live(entry: &Entry, most_spans: Option<usize>) -> Option<Live> {
    let ctx = entry.life()?.ctx;
    let root = entry.trace.span();
    let now = ctx.clock().now();
    let age = now.saturating_duration_since(root.start());
    // What ends its context after it was answered ends nothing any more.
    let error = if root.is_ended() { root.err().cloned() } else { ctx.err() };
    let deadline = ctx.deadline();
    let held = (root.is_ended() || error.is_some()).then(|| {
        // Of its two ends, the context's and the answer, the earlier.
        let since_answer = root.is_ended().then(|| age.saturating_sub(root.duration()));
        let since_end = error.as_ref().and_then(|error| match error.kind() {
            ErrorKind::Canceled => error.origin().elapsed(),
            ErrorKind::DeadlineExceeded => deadline.map(|deadline| now.saturating_duration_since(deadline)),
        });
        since_answer.max(since_end).unwrap_or_default()
    });
    let deadline = deadline.map(|deadline| {
        let of = deadline.saturating_duration_since(root.start());
        deadline_of(&entry.kind, deadline.saturating_duration_since(now), of)
    });
    let (spans, spans_not_shown) = spans(&entry.trace, most_spans.unwrap_or(MOST_LIVE_SPANS));
    Some(Live {
        about: about(entry, deadline, error.as_ref().map(end)),
        parent: entry.parent,
        state: state(held.is_some(), error.as_ref(), root.is_panicked() || entry.has_panicked()),
        age_ms: milliseconds(age),
        held_ms: held.map(milliseconds),
        chain: shown(&ctx),
        spans,
        spans_not_shown,
    })
}

/// With its spans or without. Of one that is not over, `None`.
pub(super) fn over(entry: &Entry, with_spans: bool) -> Option<Over> {
    let ended = entry.end()?;
    let lived = ended.dropped.saturating_duration_since(entry.trace.start());
    let deadline = ended.timeout.map(|of| deadline_of(&entry.kind, of.saturating_sub(ended.latency), of));
    let (spans, spans_not_shown) = with_spans.then(|| spans(&entry.trace, usize::MAX)).unzip();
    Some(Over {
        about: about(entry, deadline, ended.error.as_ref().map(end)),
        state: state(true, ended.error.as_ref(), ended.is_panicked),
        took_ms: milliseconds(ended.latency),
        ago_ms: milliseconds(ended.clock.now().saturating_duration_since(ended.dropped)),
        held_ms: milliseconds(lived.saturating_sub(ended.latency)),
        spans,
        spans_not_shown,
    })
}

fn about(entry: &Entry, deadline: Option<Deadline>, end: Option<End>) -> About {
    let (kind, request_id, trace_id) = match &entry.kind {
        Kind::Request { request_id, traceparent, .. } => {
            ("request", Some(shown(request_id)), Some(hex::text(&traceparent.trace_id())))
        }
        Kind::Watched => ("watched", None, None),
    };
    About {
        id: entry.id,
        kind,
        name: shown(entry.trace.name()),
        request_id,
        trace_id,
        status: entry.status(),
        deadline,
        end,
    }
}

/// The sum of them.
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

fn deadline_of(kind: &Kind, left: Duration, of: Duration) -> Deadline {
    let (source, header) = match kind {
        Kind::Request { deadline: DeadlineSource::Header(header), .. } => ("header", Some(*header)),
        Kind::Request { deadline: DeadlineSource::Clamped(header), .. } => ("clamped", Some(*header)),
        _ => ("local", None),
    };
    Deadline { left_ms: milliseconds(left), of_ms: milliseconds(of), source, header }
}

fn end(error: &Error) -> End {
    let origin = error.origin();
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next.filter(|_| causes.len() < MOST_CAUSES) {
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
        timeout_ms: origin.timeout().map(milliseconds),
        ago_ms: origin.elapsed().map(milliseconds),
    }
}

/// The first ones, and how many more there are.
fn spans(trace: &Trace, most: usize) -> (Vec<Span>, u64) {
    let all = trace.spans();
    let hidden = all.len().saturating_sub(most) as u64 + trace.dropped();
    let start = trace.start();
    let describe = |span: &ripcord::Span| Span {
        depth: span.depth(),
        name: shown(span.name()),
        start_ms: milliseconds(span.start().saturating_duration_since(start)),
        took_ms: milliseconds(span.duration()),
        state: state(span.is_ended(), span.err(), span.is_panicked()),
        end: span.err().map(end),
    };
    (all.iter().take(most).map(describe).collect(), hidden)
}

/// To the microsecond.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    // Exact: as many microseconds as an f64 counts are 285 years.
    duration.as_micros() as f64 / 1000.0
}
