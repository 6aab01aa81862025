//! The Context that a call and then its body are under.

use std::pin::Pin;
use std::task::{Context as Task, Poll};

use ripcord::{Context, DoneOwned, Error};

/// A Context and the wait for its end. Takes its waker back when dropped.
#[derive(Debug)]
pub(super) struct Under {
    ctx: Context,
    done: DoneOwned,
}

impl Under {
    pub(super) fn new(ctx: Context) -> Self {
        Under { done: ctx.done_owned(), ctx }
    }

    /// How it ended, if it has.
    pub(super) fn err(&self) -> Option<Error> {
        self.ctx.err()
    }

    pub(super) fn poll_end(&mut self, task: &mut Task<'_>) -> Poll<Error> {
        Pin::new(&mut self.done).poll(task)
    }
}
