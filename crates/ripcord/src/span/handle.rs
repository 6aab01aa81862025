//! The handle of a span. It can read the span at any time.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::name::Name;
use super::snapshot::SpanSnapshot;
use super::tracing_span::TracingSpan;
use super::tree::Tree;
use crate::error::Error;
use crate::value::Value;

/// One recorded call, and the tree of calls below it.
///
/// [`Context::start_span`](crate::Context::start_span) starts a span. [`Span::builder`] has more settings. A span can be
/// read at any time, even before it ends. Clones refer to the same span. A span ends when its
/// [`SpanGuard`](crate::SpanGuard) is dropped, not when a `Span` is dropped.
///
/// `Display` prints the tree, one line for each call, indented by two spaces for each level:
///
/// ```text
/// - Main: 751.9ms
///   - FunctionA: 751.9ms
///     - FunctionB (canceled: out of disk): 501.3ms
///       - FunctionD (running): 300.2ms
/// ```
///
/// A precision, as in `{:.3}`, sets the number of decimals of the durations. The default is one. The format `{:#}` prints
/// each error in the `{:#}` format of [`Error`](crate::Error), with its origin. Lines below level 64 are not indented
/// further and show their level instead. Control characters in names and causes are escaped.
///
/// A span is a [`Value`]. After `let ctx = ctx.with_value(span)`, the spans that are started under `ctx` are children
/// of `span`, even if `ctx` was not derived from the context in which `span` started:
///
/// ```
/// use ripcord::Context;
///
/// let (ctx, guard) = Context::background().start_span("request");
/// let span = ctx.span().expect("a span was started");
/// let job = Context::background().with_value(span.clone());
/// drop(job.start_span("index"));
/// drop(guard);
/// assert_eq!(span.children()[0].name(), "index");
/// ```
#[derive(Clone)]
pub struct Span {
    pub(super) tree: Arc<Tree>,
    pub(super) at: u32,
    pub(super) name: Name,
    pub(super) tracing: TracingSpan,
}

impl Span {
    /// Returns the name of the span.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the time at which the span started, measured by the clock of the context in which the span started.
    pub fn start(&self) -> Instant {
        self.snapshot().start()
    }

    /// Returns the time from the start to the end of the span. If the span has not ended, returns the time from its start
    /// to this call.
    pub fn duration(&self) -> Duration {
        self.snapshot().duration()
    }

    /// Returns whether the span has ended.
    pub fn is_ended(&self) -> bool {
        self.snapshot().is_ended()
    }

    /// Returns whether the span ended because a panic dropped its guard.
    pub fn is_panicked(&self) -> bool {
        self.snapshot().is_panicked()
    }

    /// Returns the error of the context that [`start_span`](crate::Context::start_span) returned with the span, if this
    /// context had ended when the span ended. Returns `None` while the span has not ended.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context};
    ///
    /// let (clock, time) = Clock::manual();
    /// let ctx = Context::background().with_clock(clock).with_timeout(Duration::from_secs(1));
    /// let (_ctx, span) = ctx.start_span("query");
    /// time.advance(Duration::from_secs(3));
    /// let span = span.end();
    /// assert!(span.err().is_some_and(|error| error.is_deadline_exceeded()));
    /// assert_eq!(span.to_string(), "- query (deadline exceeded): 3.0s");
    /// ```
    pub fn err(&self) -> Option<Error> {
        self.snapshot().err().cloned()
    }

    /// Returns the children of this span, in the order in which they started. To get all spans below this span, use
    /// [`snapshots`](Span::snapshots).
    pub fn children(&self) -> Vec<Span> {
        let children = self.tree.children(self.at);
        let span = |(at, name)| Span { tree: Arc::clone(&self.tree), at, name, tracing: TracingSpan::default() };
        children.into_iter().map(span).collect()
    }

    /// Returns a copy of the span's current data. Use it to read several properties of a span: most other methods of
    /// `Span` lock the tree in each call.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (_ctx, span) = Context::background().start_span("request");
    /// let snapshot = span.end().snapshot();
    /// assert!(snapshot.is_ended() && snapshot.err().is_none());
    /// assert_eq!((snapshot.depth(), snapshot.name()), (0, "request"));
    /// ```
    pub fn snapshot(&self) -> SpanSnapshot {
        SpanSnapshot::new(0, self.tree.get(self.at))
    }

    /// Returns copies of this span and of all spans below it, taken at one moment. Each span comes before its children.
    ///
    /// Use a loop over the copies instead of a recursive walk over [`children`](Span::children).
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (ctx, span) = Context::background().start_span("request");
    /// drop(ctx.start_span("query"));
    /// let lines: Vec<_> = span.end().snapshots().iter().map(|span| (span.depth(), span.name().to_owned())).collect();
    /// assert_eq!(lines, [(0, "request".to_owned()), (1, "query".to_owned())]);
    /// ```
    pub fn snapshots(&self) -> Vec<SpanSnapshot> {
        self.tree.walk(self.at).into_iter().map(|(depth, data)| SpanSnapshot::new(depth, data)).collect()
    }

    /// Returns the number of spans that were not recorded because the [limit](crate::SpanBuilder::limit) of this span's
    /// tree was reached. This number counts the whole tree, not only the spans below this span.
    pub fn dropped(&self) -> u64 {
        self.tree.dropped()
    }
}

impl Value for Span {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tree.lazy_roots() {
            Some(_) => f.write_str("LazyRoots"),
            None => write!(f, "Span({})", self.name().escape_debug()),
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.snapshot(), f)
    }
}
