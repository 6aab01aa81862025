//! Running a future until a grace after the end of its context.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::run::Ending;
use crate::context::Context;
use crate::error::Error;

pin_project! {
    /// A future that ends some time after its context: see [`Context::run_with_grace`].
    #[must_use = "futures do nothing unless polled"]
    pub struct RunWithGrace<F> {
        // `None` if the context was done at the call, and after the future was dropped.
        #[pin]
        future: Option<F>,
        until: Ending<Context>,
    }
}

impl Context {
    /// Runs a future until it is ready, or until `grace` after the end of this context: for work with cleanup that awaits.
    ///
    /// `make` receives this context. The future has to watch it and finish early once it has ended. The grace starts at the
    /// instant at which the context ends, by its clock, whoever notices the end and when, also if that is before the first poll.
    /// With a grace of 0 this is [`run`](Context::run), with [`Duration::MAX`] the future has no limit. If the future is ready at
    /// the same poll at which the grace is seen to be over, its result counts.
    ///
    /// If the context is done at the call, `make` is not called.
    ///
    /// # Errors
    ///
    /// The context's error, if it was done at the call, or if the future was dropped at the end of the grace: then it may never
    /// have been polled.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the future, without grace. Spawn it as a task to prevent that: `Context::spawn_with_grace`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context};
    ///
    /// # futures::executor::block_on(async {
    /// let ctx = Context::background().with_timeout(Duration::from_millis(1));
    /// let result = ctx.run_with_grace(Duration::from_secs(5), |ctx| async move {
    ///     let error = ctx.done().await; // the work is cut short
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
