//! Running a future with an ambient context.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as Task, Poll};

use pin_project_lite::pin_project;

use crate::context::Context;

pin_project! {
    /// The future that [`Context::scope`] returns. Ready with the output of the future that was passed to `scope`.
    /// While that future is polled, [`Context::current`] returns the context on which `scope` was called.
    #[must_use = "futures do nothing unless polled"]
    pub struct Scope<F> {
        #[pin]
        future: F,
        ctx: Context,
    }
}

impl<F> Scope<F> {
    pub(crate) fn new(ctx: Context, future: F) -> Self {
        Scope { future, ctx }
    }
}

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.ctx.sync_scope(|| this.future.poll(task))
    }
}

impl<F> fmt::Debug for Scope<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scope").field(&self.ctx).finish()
    }
}
