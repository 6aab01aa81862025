//! Entries: requests and watched work.

use std::time::{Duration, Instant};

use http::StatusCode;
use ripcord::{CancelHandle, Clock, Context, Error, Span};

use super::entry_guard::nearest;
use super::tasks::TaskList;
use crate::RequestId;
use crate::server::DeadlineSource;
use crate::trace_context::Traceparent;

/// The kind of an entry.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Request { deadline: DeadlineSource },
    Watched,
}

/// The state of a live entry. All other data is in the entry's context.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) kind: Kind,
    /// The start of the entry, on the clock of the entry's context.
    pub(super) started: Instant,
    /// See invariant 2 of the registry.
    pub(super) ctx: Context,
    pub(super) cancel: CancelHandle,
    /// `None` until the request is answered.
    pub(super) status: Option<StatusCode>,
    /// The root span of the entry's calls. `None` until the first call.
    pub(super) root: Option<Span>,
    /// The tasks below the entry. `None` if they are in the server's list.
    pub(super) tasks: Option<TaskList>,
    /// `None` until the request is answered or dropped. Its context may be held longer.
    pub(super) ended: Option<EntryEnd>,
}

/// The end of an entry.
#[derive(Clone)]
pub(super) struct EntryEnd {
    /// The time from the start to the answer or the drop.
    pub(super) latency: Duration,
    /// The end of the entry's context, if the context had ended by then.
    pub(super) error: Option<Error>,
    pub(super) is_panicked: bool,
}

impl Entry {
    pub(super) fn name(&self) -> &str {
        self.ctx.name().unwrap_or("unnamed")
    }

    /// Returns the ID of the nearest entry above.
    pub(super) fn parent(&self) -> Option<u64> {
        nearest(&self.ctx).map(|place| place.id)
    }

    pub(super) fn facts(&self) -> Facts {
        match self.kind {
            Kind::Request { deadline } => Facts {
                request_id: self.ctx.value::<RequestId>().cloned(),
                traceparent: self.ctx.value::<Traceparent>().copied(),
                deadline,
            },
            Kind::Watched => Facts { request_id: None, traceparent: None, deadline: DeadlineSource::Local },
        }
    }

    pub(super) fn is_request(&self) -> bool {
        matches!(self.kind, Kind::Request { .. })
    }

    /// Returns whether the entry failed: status 500 or above, an ended context, or a panic.
    pub(super) fn is_cut_short(&self) -> bool {
        let is_failed = self.status.is_some_and(|status| status.as_u16() >= 500);
        is_failed || self.ended.as_ref().is_some_and(|ended| ended.error.is_some() || ended.is_panicked)
    }
}

/// Facts from a request's context.
pub(super) struct Facts {
    pub(super) request_id: Option<RequestId>,
    pub(super) traceparent: Option<Traceparent>,
    pub(super) deadline: DeadlineSource,
}

/// A finished entry. This value holds no context, so the inspector does not keep a request's values alive.
pub(super) struct FinishedEntry {
    pub(super) id: u64,
    pub(super) is_request: bool,
    pub(super) facts: Facts,
    pub(super) name: String,
    pub(super) status: Option<StatusCode>,
    pub(super) started: Instant,
    pub(super) ended: EntryEnd,
    pub(super) is_cut_short: bool,
    /// The time between the entry's start and its deadline.
    pub(super) timeout: Option<Duration>,
    pub(super) root: Option<Span>,
    /// The time at which the last context of the entry was dropped, on the entry's clock.
    pub(super) dropped: Instant,
    pub(super) clock: Clock,
}

impl FinishedEntry {
    /// Creates the record of an entry whose last context is being dropped. Returns `None` if the entry has not ended.
    pub(super) fn from_entry(entry: &Entry) -> Option<Self> {
        let clock = entry.ctx.clock();
        Some(FinishedEntry {
            id: entry.id,
            is_request: entry.is_request(),
            facts: entry.facts(),
            name: entry.name().to_owned(),
            status: entry.status,
            started: entry.started,
            ended: entry.ended.clone()?,
            is_cut_short: entry.is_cut_short(),
            timeout: entry.ctx.deadline().map(|deadline| deadline.saturating_duration_since(entry.started)),
            root: entry.root.clone(),
            dropped: clock.now(),
            clock,
        })
    }
}
