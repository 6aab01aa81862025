//! Sleeping under a context.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use super::DoneOwned;
use crate::context::Context;
use crate::error::Error;

/// The future that [`Context::sleep`] returns. Ready with `Ok` when the duration is over, or with the context's error if
/// the context ended first.
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    ctx: Context,
    /// The end of a context below `ctx` with the duration as its timeout.
    elapsed: DoneOwned,
}

impl Sleep {
    #[track_caller]
    pub(crate) fn new(ctx: &Context, duration: Duration) -> Self {
        Sleep { ctx: ctx.clone(), elapsed: DoneOwned::new(ctx.timer(duration)) }
    }

    /// Returns the context whose end ends the sleep.
    pub(crate) fn context(&self) -> &Context {
        self.elapsed.context()
    }
}

impl Future for Sleep {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        match Pin::new(&mut self.elapsed).poll(task) {
            Poll::Ready(_) if self.elapsed.is_own_deadline(&self.ctx) => Poll::Ready(Ok(())),
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sleep").field(&self.elapsed).finish()
    }
}
