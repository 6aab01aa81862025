//! The guard that ends a span.

use std::fmt;
use std::thread;

use super::handle::Span;
use super::snapshot::End;
use crate::clock::Clock;
use crate::context::Context;

/// A guard that ends its [`Span`] when dropped: by a return, a `?`, a panic, or the abort of the task that holds the
/// guard.
///
/// [`Context::start_span`] returns it. Bind it to a name, at least `_span`: `let (ctx, _) = …` drops it immediately.
///
/// ```
/// use ripcord::Context;
///
/// let (ctx, guard) = Context::background().start_span("import");
/// assert!(!ctx.span().unwrap().is_ended());
/// drop(guard);
/// assert!(ctx.span().unwrap().is_ended());
/// ```
#[must_use = "a span ends when its guard is dropped"]
pub struct SpanGuard {
    span: Span,
    /// The context whose end the span records.
    ctx: Context,
    /// The context's clock. It is stored, because finding it takes a walk up the tree.
    clock: Clock,
    /// Whether the span was started in a `Drop` during a panic. That panic is not the span's own panic.
    was_panicking: bool,
}

impl SpanGuard {
    pub(super) fn new(span: Span, ctx: Context, clock: Clock) -> Self {
        SpanGuard { span, ctx, clock, was_panicking: thread::panicking() }
    }

    /// Ends the span like a drop of the guard, and returns the span.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let (_ctx, span) = ctx.start_span("import");
    /// cancel.cancel_with("out of disk");
    /// let span = span.end();
    /// assert!(span.is_ended());
    /// assert!(span.to_string().starts_with("- import (canceled: out of disk): "));
    /// ```
    #[doc(alias = "EndTrace")]
    pub fn end(self) -> Span {
        self.span.clone()
    }

    /// Returns the span. It has not ended, because it ends when this guard is dropped.
    pub fn span(&self) -> &Span {
        &self.span
    }
}

impl Drop for SpanGuard {
    fn drop(&mut self) {
        let error = self.ctx.err();
        #[cfg(feature = "metrics")]
        crate::metrics::call_ended(&self.span.name, &self.ctx, &self.clock);
        let panicked = !self.was_panicking && thread::panicking();
        let when = self.clock.ticks();
        let end = End { when, error, panicked };
        self.span.tree.end(self.span.at, end.clone());
        self.span.tracing.end(&end);
    }
}

impl fmt::Debug for SpanGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SpanGuard").field(&self.span).finish()
    }
}
