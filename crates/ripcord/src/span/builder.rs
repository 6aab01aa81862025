//! Starting spans, and finding the span in progress.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location};
use std::sync::Arc;
use std::time::Instant;

use super::guard::SpanGuard;
use super::handle::Span;
use super::name::Name;
use super::snapshot::Data;
use super::tracing_span::TracingSpan;
use super::tree::Tree;
use crate::clock::{Clock, ticks_of};
use crate::context::Context;

impl Context {
    /// Starts a [`Span`], which records the start and the end of a call under `name`. Returns a child context that carries
    /// the span, and the guard that ends the span when dropped.
    ///
    /// The new span is a child of this context's [`span`](Context::span). If this context has no span, the new span is the
    /// root of a new tree. Pass the returned context to the functions that the call uses: spans that they start, also in
    /// other tasks and threads, become children of the new span.
    ///
    /// The span ends when the guard is dropped: at a return, a `?`, a panic, or the abort of the task that holds the
    /// guard. If the returned context has ended before the span ends, the span also records the context's error. To
    /// record a timeout, set it before the span starts: a timeout that is set on the returned context ends only a child
    /// of the returned context.
    ///
    /// The context's [clock](Context::clock) measures the time. A tree records up to [`SpanBuilder::DEFAULT_LIMIT`] spans.
    /// [`Span::builder`] has more settings.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context};
    ///
    /// let (clock, time) = Clock::manual();
    /// let ctx = Context::background().with_clock(clock);
    ///
    /// let (ctx, main) = ctx.start_span("Main");
    /// time.advance(Duration::from_millis(100));
    /// {
    ///     let (_ctx, _span) = ctx.start_span("FunctionA");
    ///     time.advance(Duration::from_millis(50));
    /// }
    /// let tree = main.end();
    /// assert_eq!(tree.to_string(), "- Main: 150.0ms\n  - FunctionA: 50.0ms");
    /// ```
    #[must_use = "a span ends when its guard is dropped"]
    #[track_caller]
    pub fn start_span(&self, name: impl Into<Cow<'static, str>>) -> (Context, SpanGuard) {
        Span::builder(name).start(self)
    }

    /// Starts a [`Span`] with this name. Returns a child context that carries the span, and the guard that ends the span
    /// when dropped. Alias of [`start_span`](Context::start_span).
    #[doc(alias = "StartTrace")]
    #[doc(alias = "AddChild")]
    #[must_use = "a span ends when its guard is dropped"]
    #[track_caller]
    pub fn start_trace(&self, name: impl Into<Cow<'static, str>>) -> (Context, SpanGuard) {
        self.start_span(name)
    }

    /// Returns the [`Span`] that this context or its nearest ancestor with a span carries. Returns `None` if none of them
    /// carries a span.
    ///
    /// Usually this is the span of the call in progress: [`start_span`](Context::start_span) returns a context that
    /// carries the new span. A context still carries its span after the span has ended.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// assert!(Context::background().span().is_none());
    /// let (ctx, _span) = Context::background().start_span("import");
    /// assert_eq!(ctx.span().unwrap().name(), "import");
    /// ```
    pub fn span(&self) -> Option<Span> {
        self.nearest_span().map(Cow::into_owned)
    }

    /// Returns the [`Span`] that this context or its nearest ancestor with a span carries. Alias of
    /// [`span`](Context::span).
    #[doc(alias = "GetTraceFromContext")]
    pub fn trace(&self) -> Option<Span> {
        self.span()
    }

    fn nearest_span(&self) -> Option<Cow<'_, Span>> {
        let nearest = self.value::<Span>()?;
        match nearest.tree.lazy_roots() {
            None => Some(Cow::Borrowed(nearest)),
            Some(root) => root(self).map(Cow::Owned),
        }
    }
}

impl Span {
    /// Returns a builder for a span with this name. [`SpanBuilder::start`] starts the span.
    pub fn builder(name: impl Into<Cow<'static, str>>) -> SpanBuilder {
        SpanBuilder::new(name.into())
    }

    /// Returns a child of `ctx` in which the function `root` creates the roots of span trees on demand.
    ///
    /// `root` is called when a span starts under the returned context and has no parent there. `root` receives the context
    /// in which the span starts. The new span becomes a child of the span that `root` returns. If `root` returns `None`, the
    /// new span is a root itself. [`Context::span`] also calls `root` if it finds no span under the returned context, and
    /// returns the result of `root`.
    ///
    /// Use this function in a server: only a request that starts a span then gets a root span. As in the example, store
    /// the [`SpanGuard`] of the root in a value of the request's context. Do not start the root in the request's context
    /// itself: the guard would keep the context alive, and the context would keep the guard alive, which is a leak.
    ///
    /// ```
    /// use std::sync::OnceLock;
    /// use ripcord::{Context, Span, SpanGuard, Value};
    ///
    /// #[derive(Default)]
    /// struct Request(OnceLock<SpanGuard>);
    /// impl Value for Request {}
    ///
    /// let server = Span::with_lazy_roots(&Context::background(), |ctx| {
    ///     let request = ctx.value::<Request>()?;
    ///     let root = || Span::builder("request").root().start(&Context::background()).1;
    ///     Some(request.0.get_or_init(root).span().clone())
    /// });
    /// let request = server.with_value(Request::default());
    /// drop(request.start_span("query"));
    /// drop(request.start_span("render"));
    /// let span = request.span().unwrap();
    /// assert_eq!((span.name(), span.children().len()), ("request", 2));
    /// assert!(server.span().is_none());
    /// ```
    #[must_use = "only contexts derived from the returned context have such roots"]
    #[track_caller]
    pub fn with_lazy_roots(ctx: &Context, root: impl Fn(&Context) -> Option<Span> + Send + Sync + 'static) -> Context {
        let (name, clock) = (Name::from(Cow::Borrowed("roots")), ctx.clock());
        let data = Data::new(clock.ticks(), name.clone(), clock, Location::caller());
        let tree = Tree::with_lazy_roots(data, AssertUnwindSafe(Box::new(root)));
        ctx.with_value(Span { tree: Arc::new(tree), at: Tree::ROOT, name, tracing: TracingSpan::default() })
    }
}

/// Builds a [`Span`] that has a limit, a start time or a location, or that is the root of a new tree. [`Span::builder`]
/// returns the builder.
///
/// ```
/// use ripcord::{Context, Span};
///
/// let (server, _serving) = Context::background().start_span("server");
/// let (request, span) = Span::builder("GET /slow").root().limit(2).start(&server);
/// for query in ["users", "orders", "stock", "prices"] {
///     let (_ctx, _span) = request.start_span(query);
/// }
/// let tree = span.end();
/// assert_eq!(tree.children().len(), 2);
/// assert_eq!(tree.dropped(), 2);
/// assert!(tree.to_string().ends_with("\n(2 more not recorded)"));
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct SpanBuilder {
    name: Name,
    is_root: bool,
    limit: usize,
    start: Option<Instant>,
    location: Option<&'static Location<'static>>,
}

impl SpanBuilder {
    /// The default [`limit`](SpanBuilder::limit): 10,000 spans, which take one or two megabytes. A later version may change
    /// the value.
    pub const DEFAULT_LIMIT: usize = 10_000;

    fn new(name: Cow<'static, str>) -> Self {
        let limit = SpanBuilder::DEFAULT_LIMIT;
        SpanBuilder { name: Name::from(name), is_root: false, limit, start: None, location: None }
    }

    /// Makes the new span the root of a new tree, even if the context that is passed to [`start`](SpanBuilder::start)
    /// already carries a span.
    ///
    /// A tree keeps all recorded spans until the last context and the last [`Span`] of the tree are dropped. Work that
    /// never ends, such as a server or a queue worker, should therefore start a root for each request or job.
    pub fn root(self) -> Self {
        SpanBuilder { is_root: true, ..self }
    }

    /// Sets the maximum number of spans that are recorded below the new span, if the new span is the root of its tree.
    /// Otherwise this setting has no effect: the limit of the root counts for the whole tree.
    ///
    /// Spans above the limit are not recorded. [`Span::dropped`] returns their number.
    ///
    /// Default: [`DEFAULT_LIMIT`](SpanBuilder::DEFAULT_LIMIT). A limit above 2^32 - 2 counts as 2^32 - 2.
    pub fn limit(self, limit: usize) -> Self {
        SpanBuilder { limit, ..self }
    }

    /// Sets the start time of the span. Default: the time at which [`start`](SpanBuilder::start) is called.
    ///
    /// Take the time from the [clock](Context::clock) of the context that is passed to `start`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context, Span};
    ///
    /// let (clock, time) = Clock::manual();
    /// let ctx = Context::background().with_clock(clock.clone());
    /// let arrived = clock.now();
    /// time.advance(Duration::from_secs(2));
    /// let (_ctx, span) = Span::builder("request").start_time(arrived).start(&ctx);
    /// assert_eq!(span.end().duration(), Duration::from_secs(2));
    /// ```
    pub fn start_time(self, start: Instant) -> Self {
        SpanBuilder { start: Some(start), ..self }
    }

    /// Sets the line of code to record as the start of the span. Default: the line that calls
    /// [`start`](SpanBuilder::start).
    ///
    /// This method is for libraries that start spans on behalf of their users. Get the location from
    /// [`Location::caller`] in a `#[track_caller]` function that the user calls.
    ///
    /// ```
    /// use std::panic::Location;
    /// use ripcord::{Context, Span, SpanGuard};
    ///
    /// #[track_caller]
    /// fn query(ctx: &Context) -> (Context, SpanGuard) {
    ///     Span::builder("query").location(Location::caller()).start(ctx)
    /// }
    /// # let _ = query(&Context::background());
    /// ```
    pub fn location(self, location: &'static Location<'static>) -> Self {
        SpanBuilder { location: Some(location), ..self }
    }

    /// Starts the span. Returns a child of `ctx` that carries the span, and the guard that ends the span when dropped.
    ///
    /// The new span is a child of the span of `ctx`. If `ctx` has no span, or if [`root`](SpanBuilder::root) was called, the
    /// new span is the root of a new tree.
    ///
    /// If the [limit](SpanBuilder::limit) of the tree is reached, the span is not recorded in the tree, and the
    /// returned context is a clone of `ctx`. The guard then holds a span that is the root of a separate tree. See also
    /// [`Context::start_span`].
    #[must_use = "a span ends when its guard is dropped"]
    #[track_caller]
    pub fn start(self, ctx: &Context) -> (Context, SpanGuard) {
        // Called here, because a call within a method of `Option` would return a line of that method.
        let caller = Location::caller();
        let location = self.location.unwrap_or(caller);
        let (name, clock) = (self.name, ctx.clock());
        #[cfg(feature = "metrics")]
        crate::metrics::call_started(&name, ctx);
        let start = self.start.and_then(ticks_of).unwrap_or_else(|| clock.ticks());
        let data = Data::new(start, name.clone(), clock.clone(), location);
        let start = Start { name: &name, location, ctx };
        let root = |data, limit, tracing| Span {
            tree: Arc::new(Tree::new(data, limit)),
            at: Tree::ROOT,
            name: name.clone(),
            tracing,
        };
        if self.is_root {
            return carry(ctx, root(data, self.limit, TracingSpan::begin(Parent::None, &start)), clock);
        }
        let Some(parent) = ctx.nearest_span() else {
            return carry(ctx, root(data, self.limit, TracingSpan::begin(Parent::Current, &start)), clock);
        };
        match parent.tree.add(parent.at, data) {
            Ok(at) => {
                let tracing = TracingSpan::begin(Parent::Span(&parent), &start);
                carry(ctx, Span { tree: Arc::clone(&parent.tree), at, name: name.clone(), tracing }, clock)
            }
            // The spans below would not be recorded either, so the context stays the same.
            Err(data) => {
                let span = root(data, 0, TracingSpan::default());
                (ctx.clone(), SpanGuard::new(span, ctx.clone(), clock))
            }
        }
    }
}

/// Returns a context that carries the span, and the span's guard.
fn carry(ctx: &Context, span: Span, clock: Clock) -> (Context, SpanGuard) {
    // The span in the context and the span in the guard hold the counterpart in `tracing` open. Other clones do not.
    let ctx = ctx.with_value(Span { tracing: span.tracing.hold(), ..span.clone() });
    let guard = SpanGuard::new(span, ctx.clone(), clock);
    (ctx, guard)
}

impl fmt::Debug for SpanBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SpanBuilder { name, is_root, limit, start, location } = self;
        f.debug_struct("SpanBuilder")
            .field("name", &&**name)
            .field("is_root", is_root)
            .field("limit", limit)
            .field("start", start)
            .field("location", &location.map(ToString::to_string))
            .finish()
    }
}

/// The start of a span, as its counterpart in the crate `tracing` records it.
#[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "only `tracing` reads the fields"))]
pub(super) struct Start<'a> {
    pub(super) name: &'a str,
    pub(super) location: &'static Location<'static>,
    pub(super) ctx: &'a Context,
}

/// The parent of a span's counterpart in the crate `tracing`.
#[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "only `tracing` reads the field"))]
pub(super) enum Parent<'a> {
    None,
    /// The current span of the thread in that crate.
    Current,
    Span(&'a Span),
}
