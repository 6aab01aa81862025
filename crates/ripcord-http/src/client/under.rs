//! The context of a call and then of its body.

use std::pin::Pin;
use std::task::{Context as Task, Poll};

use ripcord::{Context, DoneOwned, Error};

/// A context and the wait for its end. Removes its waker when dropped.
#[derive(Debug)]
pub(super) struct Under {
    ctx: Context,
    done: DoneOwned,
}

impl Under {
    pub(super) fn new(ctx: Context) -> Self {
        Under { done: ctx.done_owned(), ctx }
    }

    /// Returns the context's end, if it has ended.
    pub(super) fn err(&self) -> Option<Error> {
        self.ctx.err()
    }

    pub(super) fn poll_end(&mut self, task: &mut Task<'_>) -> Poll<Error> {
        Pin::new(&mut self.done).poll(task)
    }
}
