//! Ends a trace on every path.

use std::fmt;
use std::thread;

use super::handle::Trace;
use super::span::End;
use crate::clock::Clock;
use crate::context::Context;

/// Ends its trace when dropped: by a return, a `?`, a panic, or the abort of the task that holds it.
///
/// Made by [`Context::start_trace`]. Give it a name, `_trace` at least: `let (ctx, _) = …` drops it at once.
#[must_use = "a trace ends when its guard is dropped"]
pub struct TraceGuard {
    trace: Trace,
    /// Whose end is the trace's mark.
    ctx: Context,
    /// The context's, which is asked for it once: that is a walk up.
    clock: Clock,
    /// Begun by a `Drop` during a panic, which is then not its own.
    was_panicking: bool,
}

impl TraceGuard {
    pub(super) fn new(trace: Trace, ctx: Context, clock: Clock) -> Self {
        TraceGuard { trace, ctx, clock, was_panicking: thread::panicking() }
    }

    /// Ends the trace now, and gives it to be read.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let (_ctx, trace) = ctx.start_trace("import");
    /// cancel.cancel_with("out of disk");
    /// let trace = trace.end();
    /// assert!(trace.is_ended());
    /// assert!(trace.to_string().starts_with("- import (canceled: out of disk): "));
    /// ```
    #[doc(alias = "EndTrace")]
    pub fn end(self) -> Trace {
        self.trace.clone()
    }

    /// The trace, which is still under way.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }
}

impl Drop for TraceGuard {
    fn drop(&mut self) {
        let error = self.ctx.err();
        let panicked = !self.was_panicking && thread::panicking();
        let when = self.clock.ticks();
        let end = End { when, error, panicked };
        self.trace.tree.end(self.trace.at, end.clone());
        self.trace.span.end(&end);
    }
}

impl fmt::Debug for TraceGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TraceGuard").field(&self.trace).finish()
    }
}
