//! Beginning a trace, and finding the one that is under way.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, Location};
use std::sync::Arc;
use std::time::Instant;

use super::guard::TraceGuard;
use super::handle::Trace;
use super::name::Name;
use super::span::Data;
use super::tracing_span::{Start, TracingSpan};
use super::tree::Tree;
use crate::clock::{Clock, ticks_of};
use crate::context::Context;

impl Context {
    /// Begins a trace of this name, under the one nearest in this context; without one it is the root of a new tree.
    ///
    /// The context returned carries the trace, so that what is begun with that lies under it: also in other tasks and threads,
    /// at the same time. The guard ends the trace when it is dropped, by a return, a `?`, a panic, or the abort of the task that
    /// holds it. A context that is done by then leaves its mark: take the timeout first and then begin the trace.
    ///
    /// Time is that of the context's clock. A tree records [`Trace::LIMIT`] traces below its root; see
    /// [`start_root_trace`](Context::start_root_trace) for what lives longer than a request.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context};
    ///
    /// let (clock, time) = Clock::manual();
    /// let ctx = Context::background().with_clock(clock);
    ///
    /// let (ctx, main) = ctx.start_trace("Main");
    /// time.advance(Duration::from_millis(100));
    /// {
    ///     let (_ctx, _trace) = ctx.start_trace("FunctionA");
    ///     time.advance(Duration::from_millis(50));
    /// }
    /// let tree = main.end();
    /// assert_eq!(tree.to_string(), "- Main: 150.0ms\n  - FunctionA: 50.0ms");
    /// ```
    #[doc(alias = "StartTrace")]
    #[doc(alias = "AddChild")]
    #[must_use = "a trace ends when its guard is dropped"]
    #[track_caller]
    pub fn start_trace(&self, name: impl Into<Cow<'static, str>>) -> (Context, TraceGuard) {
        self.start_trace_at(name, Location::caller())
    }

    /// Begins a trace like [`start_trace`](Context::start_trace), with a caller's line. For libraries that trace on behalf of their
    /// users: the line is in the trace's [`tracing_span`](Context::tracing_span).
    ///
    /// ```
    /// use std::panic::Location;
    /// use ripcord::{Context, TraceGuard};
    ///
    /// #[track_caller]
    /// fn query(ctx: &Context) -> (Context, TraceGuard) {
    ///     ctx.start_trace_at("query", Location::caller())
    /// }
    /// # let _ = query(&Context::background());
    /// ```
    #[must_use = "a trace ends when its guard is dropped"]
    pub fn start_trace_at(
        &self,
        name: impl Into<Cow<'static, str>>,
        location: &'static Location<'static>,
    ) -> (Context, TraceGuard) {
        let Some(parent) = self.nearest_trace() else {
            return self.root_trace(name.into(), Trace::LIMIT, None, location, TracingSpan::current);
        };
        let (name, clock) = (Name::from(name.into()), self.clock());
        match parent.tree.add(parent.at, Data::new(name.clone(), clock.clone())) {
            Ok(at) => {
                let span = TracingSpan::under(&parent, &Start { name: &name, location, ctx: self });
                self.under(Trace { tree: Arc::clone(&parent.tree), at, name, span }, clock)
            }
            // Nothing below it will be recorded either, so the context stays the one that it is.
            Err(data) => {
                let trace = Trace::root(name, data, 0, TracingSpan::none());
                (self.clone(), TraceGuard::new(trace, self.clone(), clock))
            }
        }
    }

    /// Begins a tree of its own, also under another trace, which will not show it, with room for `limit` traces below the
    /// root (at most 2^32 - 2).
    ///
    /// A tree keeps every trace that was begun in it until the last context and the last [`Trace`] of it are gone. For work
    /// that never ends, a server or a queue's worker, begin a root for each request instead of one for the whole.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (server, _serving) = Context::background().start_trace("server");
    /// let (request, trace) = server.start_root_trace("GET /slow", 2);
    /// for query in ["users", "orders", "stock", "prices"] {
    ///     let (_ctx, _trace) = request.start_trace(query);
    /// }
    /// let tree = trace.end();
    /// assert_eq!(tree.children().len(), 2);
    /// assert_eq!(tree.dropped(), 2);
    /// assert!(tree.to_string().ends_with("\n(2 more not recorded)"));
    /// ```
    #[must_use = "a trace ends when its guard is dropped"]
    #[track_caller]
    pub fn start_root_trace(&self, name: impl Into<Cow<'static, str>>, limit: usize) -> (Context, TraceGuard) {
        self.root_trace(name.into(), limit, None, Location::caller(), TracingSpan::root)
    }

    /// Begins a trace like [`start_root_trace`](Context::start_root_trace), for work that began at `start` on this context's clock,
    /// with a caller's line. For servers that trace on behalf of their users.
    ///
    /// ```
    /// use std::panic::Location;
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context};
    ///
    /// let (clock, time) = Clock::manual();
    /// let ctx = Context::background().with_clock(clock.clone());
    /// let arrived = clock.now();
    /// time.advance(Duration::from_secs(2));
    /// let (_ctx, trace) = ctx.start_root_trace_at("request", 100, arrived, Location::caller());
    /// assert_eq!(trace.end().duration(), Duration::from_secs(2));
    /// ```
    #[must_use = "a trace ends when its guard is dropped"]
    pub fn start_root_trace_at(
        &self,
        name: impl Into<Cow<'static, str>>,
        limit: usize,
        start: Instant,
        location: &'static Location<'static>,
    ) -> (Context, TraceGuard) {
        self.root_trace(name.into(), limit, ticks_of(start), location, TracingSpan::root)
    }

    /// A context in which roots are begun when they are needed: what is traced below, with no trace of its own in between, lies
    /// under the one that `root` gives. It is given the context that the trace is begun in, each time; where it gives `None`, that
    /// trace is a root itself.
    ///
    /// For servers: most requests trace no call, and so need no root. A guard that lies in a value must be of a context above that
    /// value; of one below it would keep itself alive.
    ///
    /// ```
    /// use std::sync::OnceLock;
    /// use ripcord::{Context, TraceGuard, Value};
    ///
    /// #[derive(Default)]
    /// struct Request(OnceLock<TraceGuard>);
    /// impl Value for Request {}
    ///
    /// let server = Context::background().with_root_traces(|ctx| {
    ///     let request = ctx.value::<Request>()?;
    ///     Some(request.0.get_or_init(|| Context::background().start_root_trace("request", 100).1).trace().clone())
    /// });
    /// let request = server.with_value(Request::default());
    /// drop(request.start_trace("query"));
    /// drop(request.start_trace("render"));
    /// let trace = request.trace().unwrap();
    /// assert_eq!((trace.name(), trace.children().len()), ("request", 2));
    /// assert!(server.trace().is_none());
    /// ```
    #[must_use]
    pub fn with_root_traces(&self, root: impl Fn(&Context) -> Option<Trace> + Send + Sync + 'static) -> Context {
        let name = Name::Static("roots");
        let tree = Tree::with_roots(Data::new(name.clone(), self.clock()), AssertUnwindSafe(Box::new(root)));
        self.with_value(Trace { tree: Arc::new(tree), at: Tree::ROOT, name, span: TracingSpan::none() })
    }

    /// The trace nearest at or above this context: the call that is under way.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// assert!(Context::background().trace().is_none());
    /// let (ctx, _trace) = Context::background().start_trace("import");
    /// assert_eq!(ctx.trace().unwrap().name(), "import");
    /// ```
    #[doc(alias = "GetTraceFromContext")]
    pub fn trace(&self) -> Option<Trace> {
        self.nearest_trace().map(Cow::into_owned)
    }

    fn nearest_trace(&self) -> Option<Cow<'_, Trace>> {
        let nearest = self.value::<Trace>()?;
        match nearest.tree.roots() {
            None => Some(Cow::Borrowed(nearest)),
            Some(roots) => roots(self).map(Cow::Owned),
        }
    }

    fn root_trace(
        &self,
        name: Cow<'static, str>,
        limit: usize,
        start: Option<i64>,
        location: &'static Location<'static>,
        span: fn(&Start<'_>) -> TracingSpan,
    ) -> (Context, TraceGuard) {
        let (name, clock) = (Name::from(name), self.clock());
        let data = Data::since(start.unwrap_or_else(|| clock.ticks()), name.clone(), clock.clone());
        let span = span(&Start { name: &name, location, ctx: self });
        self.under(Trace::root(name, data, limit, span), clock)
    }

    fn under(&self, trace: Trace, clock: Clock) -> (Context, TraceGuard) {
        // The one in the context and the guard's hold the span of `tracing` open; clones of them do not.
        let ctx = self.with_value(Trace { span: trace.span.hold(), ..trace.clone() });
        let guard = TraceGuard::new(trace, ctx.clone(), clock);
        (ctx, guard)
    }
}

impl Trace {
    fn root(name: Name, data: Data, limit: usize, span: TracingSpan) -> Trace {
        Trace { tree: Arc::new(Tree::new(data, limit)), at: Tree::ROOT, name, span }
    }
}
