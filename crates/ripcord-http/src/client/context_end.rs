//! The context of a call and of its response's body.

use std::pin::Pin;
use std::task::{Context as Task, Poll};

use ripcord::{Context, DoneOwned, Error};

/// A context and the wait for its end. Removes its waker when dropped.
#[derive(Debug)]
pub(super) struct ContextEnd {
    ctx: Context,
    done: DoneOwned,
    /// Whether the call has its own idle timeout.
    is_idle: bool,
}

impl ContextEnd {
    pub(super) fn new(ctx: Context, is_idle: bool) -> Self {
        ContextEnd { done: ctx.done_owned(), ctx, is_idle }
    }

    /// Reports that the head or a chunk of the response has arrived.
    pub(super) fn progress(&self) {
        if self.is_idle {
            self.ctx.progress();
        }
    }

    /// Returns the context's end, if it has ended.
    pub(super) fn err(&self) -> Option<Error> {
        self.ctx.err()
    }

    pub(super) fn poll_end(&mut self, task: &mut Task<'_>) -> Poll<Error> {
        Pin::new(&mut self.done).poll(task)
    }
}
