//! Each trace as a span of the crate `tracing` too.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};

use tracing::field::{Empty, display};
use tracing::subscriber::NoSubscriber;
use tracing::{Span, dispatcher, info_span};

use super::handle::Trace;
use super::span::End;
use crate::context::Context;

macro_rules! span {
    ($name:expr $(, parent: $parent:expr)?) => {
        info_span!(
            target: "ripcord",
            $(parent: $parent,)?
            "trace",
            otel.name = $name,
            otel.kind = Empty,
            otel.status_code = Empty,
            error = Empty,
            cause = Empty,
            origin = Empty,
            panicked = Empty,
        )
    };
}

/// A trace's span, if a subscriber wants one.
///
/// It is open for as long as the guard or a context of the trace is held, and its subscriber is told when it closes: so a clone
/// sees it and does not hold it, or whoever kept a [`Trace`] to be read later would keep it from being exported.
pub(super) struct TracingSpan(Hold);

enum Hold {
    /// Nobody wants one.
    None,
    Open(Arc<Open>),
    Seen(Weak<Open>),
}

/// A span that is told to the subscriber it was begun with, in whichever thread that happens: another would not know it.
///
/// A feature takes no auto trait from a [`Trace`]. What a panic leaves of a span is its subscriber's to look after.
struct Open(AssertUnwindSafe<Span>);

impl Open {
    /// Calls `act` with the span's own subscriber as the thread's.
    fn within<R>(&self, act: impl FnOnce(&Span) -> R) -> Option<R> {
        self.0.with_subscriber(|(_, subscriber)| dispatcher::with_default(subscriber, || act(&self.0)))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // The span closes here, and a registry then closes those above it in the thread's subscriber.
        let subscriber = self.0.with_subscriber(|(_, subscriber)| subscriber.clone());
        let span = std::mem::replace(&mut *self.0, Span::none());
        if let Some(subscriber) = subscriber {
            dispatcher::with_default(&subscriber, || drop(span));
        }
    }
}

impl Clone for TracingSpan {
    fn clone(&self) -> Self {
        TracingSpan(match &self.0 {
            Hold::None => Hold::None,
            Hold::Open(span) => Hold::Seen(Arc::downgrade(span)),
            Hold::Seen(span) => Hold::Seen(Weak::clone(span)),
        })
    }
}

impl TracingSpan {
    /// Under that of `parent`.
    pub(super) fn under(parent: &Trace, name: &str) -> Self {
        let parent = parent.span.get();
        let child = parent.and_then(|open| open.within(|parent| Self::open(span!(name, parent: parent.id()))));
        child.unwrap_or_else(|| Self::current(name))
    }

    /// Under the one that this thread is in, if there is one.
    pub(super) fn current(name: &str) -> Self {
        Self::open(span!(name))
    }

    /// Under none.
    pub(super) fn root(name: &str) -> Self {
        Self::open(span!(name, parent: None))
    }

    pub(super) fn none() -> Self {
        TracingSpan(Hold::None)
    }

    fn open(span: Span) -> Self {
        // Where one thread has a subscriber, a thread without gets spans that nobody hears of.
        let heard = span.with_subscriber(|(_, subscriber)| !subscriber.is::<NoSubscriber>());
        TracingSpan(match heard {
            Some(true) => Hold::Open(Arc::new(Open(AssertUnwindSafe(span)))),
            _ => Hold::None,
        })
    }

    /// As `clone`, and holds it open.
    pub(super) fn hold(&self) -> Self {
        TracingSpan(self.get().map_or(Hold::None, Hold::Open))
    }

    fn get(&self) -> Option<Arc<Open>> {
        match &self.0 {
            Hold::None => None,
            Hold::Open(span) => Some(Arc::clone(span)),
            Hold::Seen(span) => span.upgrade(),
        }
    }

    /// What the guard saw. Called with no lock held: a subscriber is foreign code.
    pub(super) fn end(&self, end: &End) {
        let record = |span: &Span| {
            if let Some(error) = &end.error {
                span.record("error", display(error));
                span.record("origin", display(error.origin()));
                if let Some(cause) = error.cause() {
                    span.record("cause", display(cause));
                }
            }
            if end.panicked {
                span.record("panicked", true);
            }
            if end.panicked || end.error.is_some() {
                span.record("otel.status_code", "error");
            }
            // It closes with the last context that carries it; until it was last left is how long it took.
            span.in_scope(|| ());
        };
        self.get().and_then(|open| open.within(record));
    }
}

impl Trace {
    /// Its span of the crate `tracing`, to run a future in: `future.instrument(ctx.tracing_span())`. Disabled when no subscriber wants
    /// it, when the trace has ended and every context that carries it is gone, and for a trace that was got from another's
    /// [`children`](Trace::children).
    pub fn tracing_span(&self) -> Span {
        self.span.get().map_or_else(Span::none, |span| Span::clone(&span.0))
    }
}

impl Context {
    /// The span of the trace nearest at or above this context, in the crate `tracing`; disabled if there is none.
    ///
    /// Each trace is a span, below that of the trace it was begun under; the first of a tree is below the span that the
    /// thread was in, unless it is one of [`start_root_trace`](Context::start_root_trace). The trace's name is in the field
    /// `otel.name`. When its guard is dropped, `error`, `origin` and `cause` say how its context was done by then, and `panicked`
    /// whether a panic dropped it. It closes with the last context that carries it, or span below it.
    ///
    /// ```
    /// use ripcord::Context;
    /// use tracing::{Instrument, info};
    ///
    /// # futures::executor::block_on(async {
    /// let (ctx, _trace) = Context::background().start_trace("import");
    /// let span = ctx.tracing_span();
    /// async move { info!("an event of that span") }.instrument(span).await;
    /// # });
    /// ```
    pub fn tracing_span(&self) -> Span {
        self.trace().as_ref().map_or_else(Span::none, Trace::tracing_span)
    }
}
