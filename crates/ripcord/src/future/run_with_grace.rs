//! Running a future for a grace period after the end of its context.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::run::Ending;
use crate::context::Context;
use crate::error::Error;

pin_project! {
    /// The future that [`Context::run_with_grace`] returns. Ready with the output of the future that `run_with_grace` runs,
    /// or with the context's error if that future was dropped at the end of the grace period or never created.
    #[must_use = "futures do nothing unless polled"]
    pub struct RunWithGrace<F> {
        // `None` if the context was done at the call, and after the future was dropped.
        #[pin]
        future: Option<F>,
        until: Ending<Context>,
    }
}

impl Context {
    /// Runs a future that may continue for up to `grace` after this context has ended. Use it for work whose cleanup
    /// contains `.await`.
    ///
    /// `make` receives a clone of this context and returns the future. The end of the context does not end the future: the
    /// future must notice the end, for example with [`done`](Context::done), clean up, and return. If the future is not
    /// ready when the grace period is over, it is dropped. If the future is ready at the poll that notices the end of the
    /// grace period, its output is returned.
    ///
    /// The grace period starts when the context ends, even if code notices the end later or the future is first polled
    /// later. The context's [clock](Context::clock) measures the grace period. With a grace of zero, this method does
    /// the same as [`run`](Context::run). With [`Duration::MAX`], the future has no time limit.
    ///
    /// # Errors
    ///
    /// Returns the context's error in two cases: if the context had ended before this call, or if the grace period was
    /// over before the future was ready. In the first case, `make` is not called.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future drops the future from `make` immediately, without a grace period. To prevent this,
    /// spawn the work with `Context::spawn_with_grace` (feature `tokio`).
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context};
    ///
    /// # futures::executor::block_on(async {
    /// let ctx = Context::background().with_timeout(Duration::from_millis(1));
    /// let result = ctx.run_with_grace(Duration::from_secs(5), |ctx| async move {
    ///     let error = ctx.done().await; // in place of the work
    ///     let cleanup = Context::background();
    ///     cleanup.sleep(Duration::from_millis(1)).await?; // roll back
    ///     assert!(error.is_deadline_exceeded());
    ///     Ok::<_, ripcord::Error>("rolled back")
    /// });
    /// assert_eq!(result.await??, "rolled back");
    /// # Ok::<(), ripcord::Error>(()) }).unwrap();
    /// ```
    pub fn run_with_grace<F, Fut>(&self, grace: Duration, make: F) -> RunWithGrace<Fut>
    where
        F: FnOnce(Context) -> Fut,
        Fut: Future,
    {
        if self.is_done() {
            return RunWithGrace { future: None, until: Ending::new(self.clone()) };
        }
        RunWithGrace { future: Some(make(self.clone())), until: Ending::new(self.shielded(grace)) }
    }
}

impl<F: Future> Future for RunWithGrace<F> {
    type Output = Result<F::Output, Error>;

    fn poll(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        match this.future.as_mut().as_pin_mut() {
            Some(future) => {
                let result = this.until.poll(future, task);
                if result.is_ready() {
                    this.future.set(None);
                }
                result
            }
            // The context was done at the call.
            None => this.until.poll(std::pin::pin!(std::future::pending()), task),
        }
    }
}

impl<F> fmt::Debug for RunWithGrace<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RunWithGrace").field(self.until.context()).finish()
    }
}
