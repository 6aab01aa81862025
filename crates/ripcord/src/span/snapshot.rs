//! A copy of one span at one moment.

use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

use super::name::Name;
use crate::clock::{Clock, instant_of};
use crate::error::Error;

/// A copy of the data of one [`Span`](crate::Span) at one moment.
///
/// [`Span::snapshot`](crate::Span::snapshot) and [`Span::snapshots`](crate::Span::snapshots) return it.
#[derive(Clone)]
pub struct SpanSnapshot {
    depth: usize,
    data: Data,
    /// The end of the span, or the moment of the copy.
    until: i64,
}

impl SpanSnapshot {
    pub(super) fn new(depth: usize, data: Data) -> Self {
        let until = data.end.as_ref().map_or_else(|| data.clock.ticks(), |end| end.when);
        SpanSnapshot { depth, data, until }
    }

    /// Returns the depth of this span in the result of [`Span::snapshots`](crate::Span::snapshots). The span on which
    /// `snapshots` was called has depth 0, its children have depth 1, and each further level adds 1. In the result of
    /// [`Span::snapshot`](crate::Span::snapshot), the depth is 0.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Returns the name of the span.
    pub fn name(&self) -> &str {
        &self.data.name
    }

    /// Returns the time at which the span started, measured by the clock of the context in which the span started.
    pub fn start(&self) -> Instant {
        instant_of(self.data.start)
    }

    /// Returns the line of code that started the span.
    pub fn location(&self) -> &'static Location<'static> {
        self.data.location
    }

    /// Returns the time from the start to the end of the span, or to the moment of the copy if the span had not ended.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.until.saturating_sub(self.data.start).max(0).unsigned_abs())
    }

    /// Returns whether the span had ended at the moment of the copy.
    pub fn is_ended(&self) -> bool {
        self.data.end.is_some()
    }

    /// Returns whether the span ended because a panic dropped its guard.
    pub fn is_panicked(&self) -> bool {
        self.data.end.as_ref().is_some_and(|end| end.panicked)
    }

    /// Returns the error of the context that [`start_span`](crate::Context::start_span) returned with the span, if this
    /// context had ended when the span ended. Returns `None` if the span had not ended at the moment of the copy.
    pub fn err(&self) -> Option<&Error> {
        self.data.end.as_ref()?.error.as_ref()
    }
}

impl fmt::Debug for SpanSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanSnapshot")
            .field("depth", &self.depth)
            .field("name", &self.name())
            .field("duration", &self.duration())
            .field("ended", &self.is_ended())
            .field("panicked", &self.is_panicked())
            .field("err", &self.err())
            .finish()
    }
}

/// The record of a span. Cloning it runs no user code.
#[derive(Clone)]
pub(super) struct Data {
    name: Name,
    clock: Clock,
    location: &'static Location<'static>,
    start: i64,
    end: Option<End>,
}

#[derive(Clone)]
pub(super) struct End {
    pub(super) when: i64,
    pub(super) error: Option<Error>,
    pub(super) panicked: bool,
}

impl Data {
    pub(super) fn new(start: i64, name: Name, clock: Clock, location: &'static Location<'static>) -> Self {
        Data { name, clock, location, start, end: None }
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    /// Called once, by the guard.
    pub(super) fn end(&mut self, end: End) {
        self.end = Some(end);
    }
}
