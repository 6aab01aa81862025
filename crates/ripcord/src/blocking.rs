//! Waiting on plain threads.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use crate::context::Context;
use crate::error::Error;

impl Context {
    /// Blocks the thread until the context ends. On one that never ends it blocks for ever.
    ///
    /// Not for async code, where it holds a worker up: there it is [`done`](Context::done). On a manual clock another thread has
    /// to advance; on tokio's it must not be the runtime's only thread that blocks.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::Context;
    ///
    /// let ctx = Context::background().with_timeout(Duration::from_millis(1));
    /// assert!(ctx.wait().is_deadline_exceeded());
    /// ```
    pub fn wait(&self) -> Error {
        block_on(self.done())
    }

    /// As [`wait`](Context::wait), for at most `timeout` by this context's clock; `None` when it has not ended by then.
    /// When both come at the same time, the end counts.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// assert!(ctx.wait_timeout(Duration::from_millis(1)).is_none());
    /// cancel.cancel();
    /// assert!(ctx.wait_timeout(Duration::from_secs(60)).is_some());
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Error> {
        self.with_timeout(timeout).wait();
        self.err()
    }

    /// As [`sleep`](Context::sleep), blocking the thread.
    ///
    /// # Errors
    ///
    /// The context's error, when it ended first.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// assert!(ctx.sleep_blocking(Duration::from_millis(1)).is_ok());
    /// cancel.cancel();
    /// assert!(ctx.sleep_blocking(Duration::from_secs(60)).is_err());
    /// ```
    pub fn sleep_blocking(&self, duration: Duration) -> Result<(), Error> {
        block_on(self.sleep(duration))
    }
}

/// Polls a future on this thread, which it blocks, until the future is ready.
///
/// It lets plain threads call everything that is async. Do not call it from async code: it blocks the executor's thread. A
/// future that needs a runtime's timer or I/O, such as tokio's, needs that runtime entered or running elsewhere; the futures of
/// this crate need none.
///
/// # Panics
///
/// If the future panics.
///
/// ```
/// use std::time::Duration;
/// use ripcord::{Context, block_on};
///
/// let ctx = Context::background().with_timeout(Duration::from_millis(1));
/// assert!(block_on(ctx.run(std::future::pending::<()>())).is_err());
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Parked(std::thread::current())));
    let mut task = std::task::Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut task) {
            Poll::Ready(output) => return output,
            // A wake before this leaves a token, so none is lost; one meant for somebody else costs a poll.
            Poll::Pending => std::thread::park(),
        }
    }
}

struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}
