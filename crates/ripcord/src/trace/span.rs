//! One trace as it was at one moment.

use std::fmt;
use std::time::{Duration, Instant};

use super::name::Name;
use crate::clock::{Clock, instant_of};
use crate::error::Error;

/// One line of a tree, as it was when [`Trace::spans`](crate::Trace::spans) was called.
#[derive(Clone)]
pub struct Span {
    depth: usize,
    data: Data,
    /// When it ended, or when it was looked at.
    until: i64,
}

impl Span {
    pub(super) fn new(depth: usize, data: Data) -> Self {
        let until = data.end.as_ref().map_or_else(|| data.clock.ticks(), |end| end.when);
        Span { depth, data, until }
    }

    /// How far below the trace that was asked for its spans; of that one itself, 0.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The name it was begun with.
    pub fn name(&self) -> &str {
        &self.data.name
    }

    /// When it was begun, on its context's clock.
    pub fn start(&self) -> Instant {
        instant_of(self.data.start)
    }

    /// How long it took; of one that was under way, how long until it was looked at.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.until.saturating_sub(self.data.start).max(0).unsigned_abs())
    }

    /// Whether it had ended.
    pub fn is_ended(&self) -> bool {
        self.data.end.is_some()
    }

    /// Whether a panic ended it.
    pub fn is_panicked(&self) -> bool {
        self.data.end.as_ref().is_some_and(|end| end.panicked)
    }

    /// Why its context was done when it ended, if it was.
    pub fn err(&self) -> Option<&Error> {
        self.data.end.as_ref()?.error.as_ref()
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Span")
            .field("depth", &self.depth)
            .field("name", &self.name())
            .field("duration", &self.duration())
            .field("ended", &self.is_ended())
            .field("panicked", &self.is_panicked())
            .field("err", &self.err())
            .finish()
    }
}

/// What is recorded of a trace. A clone runs no user's code.
#[derive(Clone)]
pub(super) struct Data {
    name: Name,
    clock: Clock,
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
    pub(super) fn new(name: Name, clock: Clock) -> Self {
        let start = clock.ticks();
        Data::since(start, name, clock)
    }

    pub(super) fn since(start: i64, name: Name, clock: Clock) -> Self {
        Data { name, clock, start, end: None }
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    /// Called once, by the guard.
    pub(super) fn end(&mut self, end: End) {
        self.end = Some(end);
    }
}
