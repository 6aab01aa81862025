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

impl Context {
    /// Sleeps for `duration` or until the context ends. This context's [clock](Context::clock) measures the duration,
    /// starting at this call, not at the first poll.
    ///
    /// The result is `Ok` if the duration was over before the context ended, even if the returned future is polled later.
    /// If the duration and the context end at the same instant, the result is the error.
    ///
    /// # Errors
    ///
    /// Returns the context's error if the context ended first.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future ends the sleep.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::Context;
    ///
    /// # futures::executor::block_on(async {
    /// let ctx = Context::background();
    /// assert!(ctx.sleep(Duration::from_millis(1)).await.is_ok());
    /// let ctx = ctx.with_timeout(Duration::from_millis(1));
    /// assert!(ctx.sleep(Duration::from_secs(60)).await.unwrap_err().is_deadline_exceeded());
    /// # });
    /// ```
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep { ctx: self.clone(), elapsed: DoneOwned::new(self.timer(duration)) }
    }
}

impl Sleep {
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
