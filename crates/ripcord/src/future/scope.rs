//! A future with an ambient context.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as Task, Poll};

use super::Scope;

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<F::Output> {
        let (future, ctx) = self.project();
        ctx.sync_scope(|| future.poll(task))
    }
}

impl<F> fmt::Debug for Scope<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scope").field(self.state()).finish()
    }
}
