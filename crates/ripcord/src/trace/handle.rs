//! Reading a trace, also while it is under way.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::name::Name;
use super::span::Span;
use super::tracing_span::TracingSpan;
use super::tree::Tree;
use crate::error::Error;
use crate::value::Value;

/// One call that was traced, and the tree of calls below it, to be read at any time. A clone is the same trace.
///
/// Printed it is the hierarchy, a line for each call and two spaces for each level:
///
/// ```text
/// - Main: 751.9ms
///   - FunctionA: 751.9ms
///     - FunctionB (canceled: out of disk): 501.3ms
///       - FunctionD (running): 300.2ms
/// ```
///
/// A precision, as in `{:.3}`, gives the durations that many digits instead of one. `{:#}` says of what was canceled all that
/// the error's own `{:#}` says. Deeper than 64 levels lines are no longer moved to the right, and give their level instead.
/// Line breaks and other control characters of names and causes are escaped.
///
/// It is a [`Value`], so work that has a context of another origin can be put under a trace: `ctx.with_value(trace)`.
///
/// ```
/// use ripcord::Context;
///
/// let (ctx, guard) = Context::background().start_trace("request");
/// let trace = ctx.trace().expect("it was started");
/// let job = Context::background().with_value(trace.clone());
/// drop(job.start_trace("index"));
/// drop(guard);
/// assert_eq!(trace.children()[0].name(), "index");
/// ```
#[derive(Clone)]
pub struct Trace {
    pub(super) tree: Arc<Tree>,
    pub(super) at: u32,
    pub(super) name: Name,
    pub(super) span: TracingSpan,
}

impl Trace {
    /// So many traces below its root does a tree record that [`Context::start_trace`](crate::Context::start_trace) began, in
    /// one or two megabytes when full. Not a promise of stability: another number is for
    /// [`Context::start_root_trace`](crate::Context::start_root_trace).
    pub const LIMIT: usize = 10_000;

    /// The name it was begun with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it was begun, on its context's clock.
    pub fn start(&self) -> Instant {
        self.span().start()
    }

    /// How long it took; while it is under way, how long until now.
    pub fn duration(&self) -> Duration {
        self.span().duration()
    }

    /// Whether its guard has been dropped.
    pub fn is_ended(&self) -> bool {
        self.span().is_ended()
    }

    /// Whether its guard was dropped by a panic.
    pub fn is_panicked(&self) -> bool {
        self.span().is_panicked()
    }

    /// Why its context was done when it ended: `None` while it is under way, and when the context was not done.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context};
    ///
    /// let (clock, time) = Clock::manual();
    /// let ctx = Context::background().with_clock(clock).with_timeout(Duration::from_secs(1));
    /// let (_ctx, trace) = ctx.start_trace("query");
    /// time.advance(Duration::from_secs(3));
    /// let trace = trace.end();
    /// assert!(trace.err().is_some_and(|error| error.is_deadline_exceeded()));
    /// assert_eq!(trace.to_string(), "- query (deadline exceeded): 3.0s");
    /// ```
    pub fn err(&self) -> Option<Error> {
        self.span().err().cloned()
    }

    /// Those directly below it, in the order in which they were begun, as of now.
    pub fn children(&self) -> Vec<Trace> {
        let children = self.tree.children(self.at);
        let trace = |(at, name)| Trace { tree: Arc::clone(&self.tree), at, name, span: TracingSpan::none() };
        children.into_iter().map(trace).collect()
    }

    /// This trace alone as it was at one moment: for who wants more than one thing of it, since each look takes the tree's lock.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (_ctx, trace) = Context::background().start_trace("request");
    /// let span = trace.end().span();
    /// assert!(span.is_ended() && span.err().is_none());
    /// assert_eq!((span.depth(), span.name()), (0, "request"));
    /// ```
    pub fn span(&self) -> Span {
        Span::new(0, self.tree.get(self.at))
    }

    /// This trace and all below it as they were at one moment, each before its children: for what walks the whole tree. A loop
    /// does, where a walk by [`children`](Trace::children) would recurse.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (ctx, trace) = Context::background().start_trace("request");
    /// drop(ctx.start_trace("query"));
    /// let lines: Vec<_> = trace.end().spans().iter().map(|span| (span.depth(), span.name().to_owned())).collect();
    /// assert_eq!(lines, [(0, "request".to_owned()), (1, "query".to_owned())]);
    /// ```
    pub fn spans(&self) -> Vec<Span> {
        self.first_spans(usize::MAX)
    }

    /// The first `most` of its [`spans`](Trace::spans): for who shows no more of a tree that may be large. The tree's lock is held
    /// for no more than those.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (ctx, trace) = Context::background().start_trace("import");
    /// for _ in 0..100 {
    ///     drop(ctx.start_trace("line"));
    /// }
    /// assert_eq!((trace.trace().first_spans(10).len(), trace.trace().recorded()), (10, 101));
    /// ```
    pub fn first_spans(&self, most: usize) -> Vec<Span> {
        self.tree.walk(self.at, most).into_iter().map(|(depth, data)| Span::new(depth, data)).collect()
    }

    /// How many traces are recorded in the whole tree, wherever in it this one is, its root among them.
    pub fn recorded(&self) -> usize {
        self.tree.recorded()
    }

    /// How many traces were begun in the whole tree, wherever in it this one is, after its limit was reached. Those are not
    /// recorded.
    pub fn dropped(&self) -> u64 {
        self.tree.dropped()
    }
}

impl Value for Trace {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tree.roots() {
            Some(_) => f.write_str("RootTraces"),
            None => write!(f, "Trace({})", self.name().escape_debug()),
        }
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.span(), f)
    }
}
