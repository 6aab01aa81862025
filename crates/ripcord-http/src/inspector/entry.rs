//! One piece of work: a request, or what a program puts under the inspector itself.

use std::time::{Duration, Instant};

use http::StatusCode;
use ripcord::{CancelHandle, Clock, Context, Error, Trace};

use super::held::nearest;
use crate::RequestId;
use crate::server::DeadlineSource;
use crate::trace_context::Traceparent;

/// What kind of work it is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Request { deadline: DeadlineSource },
    Watched,
}

/// Work that is under way, as it is at a moment. What else there is to know of it is found by its context.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) kind: Kind,
    /// On its context's clock.
    pub(super) begun: Instant,
    /// See invariant 2 of the registry.
    pub(super) ctx: Context,
    pub(super) cancel: CancelHandle,
    /// `None` as long as it is not answered.
    pub(super) status: Option<StatusCode>,
    /// Of its calls, once there have been some.
    pub(super) trace: Option<Trace>,
    /// `None` as long as it is neither answered nor given up. Its context may be held for longer.
    pub(super) ended: Option<Ended>,
}

/// How it ended.
#[derive(Clone)]
pub(super) struct Ended {
    /// Until it was answered or given up.
    pub(super) latency: Duration,
    /// Why its context was done by then.
    pub(super) error: Option<Error>,
    pub(super) is_panicked: bool,
}

impl Entry {
    pub(super) fn name(&self) -> &str {
        self.ctx.name().unwrap_or("unnamed")
    }

    /// The nearest entry above.
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

    /// Whether it ended otherwise than with an answer of its own.
    pub(super) fn is_cut_short(&self) -> bool {
        let is_failed = self.status.is_some_and(|status| status.as_u16() >= 500);
        is_failed || self.ended.as_ref().is_some_and(|ended| ended.error.is_some() || ended.is_panicked)
    }
}

/// What a request's context says of it.
pub(super) struct Facts {
    pub(super) request_id: Option<RequestId>,
    pub(super) traceparent: Option<Traceparent>,
    pub(super) deadline: DeadlineSource,
}

/// Work that is over: all that is told of it, and no context, so that nothing outlives its request for being looked at.
pub(super) struct Over {
    pub(super) id: u64,
    pub(super) is_request: bool,
    pub(super) facts: Facts,
    pub(super) name: String,
    pub(super) status: Option<StatusCode>,
    pub(super) begun: Instant,
    pub(super) ended: Ended,
    pub(super) is_cut_short: bool,
    /// The time that it had.
    pub(super) timeout: Option<Duration>,
    pub(super) trace: Option<Trace>,
    /// When the last context was dropped, on its clock.
    pub(super) dropped: Instant,
    pub(super) clock: Clock,
}

impl Over {
    /// Of one whose last context is being dropped. `None` if it has not ended.
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        let clock = entry.ctx.clock();
        Some(Over {
            id: entry.id,
            is_request: entry.is_request(),
            facts: entry.facts(),
            name: entry.name().to_owned(),
            status: entry.status,
            begun: entry.begun,
            ended: entry.ended.clone()?,
            is_cut_short: entry.is_cut_short(),
            timeout: entry.ctx.deadline().map(|deadline| deadline.saturating_duration_since(entry.begun)),
            trace: entry.trace.clone(),
            dropped: clock.now(),
            clock,
        })
    }
}
