//! Running a future until it is ready or its context ends.

use std::borrow::Borrow;
use std::fmt;
use std::pin::Pin;
use std::task::{Context as Task, Poll};

use pin_project_lite::pin_project;

use super::done::WakerKey;
use crate::context::Context;
use crate::error::Error;

pin_project! {
    /// The future that [`Context::run`] returns. Ready with the output of the future that was passed to `run`, or with the
    /// context's error if the context ended first.
    #[must_use = "futures do nothing unless polled"]
    pub struct Run<'a, F> {
        #[pin]
        future: F,
        ending: Ending<&'a Context>,
    }
}

impl Context {
    /// Runs `future` until it is ready or the context ends. If the context ends first, `future` is dropped without
    /// another poll.
    ///
    /// If the context has already ended at the first poll, `future` is never polled. If `future` is ready at the poll
    /// that notices the context's end, the output of `future` is returned.
    ///
    /// # Errors
    ///
    /// Returns the context's error if the context ended first.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future drops `future`. The returned future is as cancel safe as `future`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::Context;
    ///
    /// # futures::executor::block_on(async {
    /// let ctx = Context::background().with_timeout(Duration::from_millis(1));
    /// let never = std::future::pending::<()>();
    /// assert!(ctx.run(never).await.unwrap_err().is_deadline_exceeded());
    /// # });
    /// ```
    pub fn run<F: Future>(&self, future: F) -> Run<'_, F> {
        Run { future, ending: Ending::new(self) }
    }
}

pin_project! {
    /// The future that [`FutureExt::with_context`] returns. Ready with the output of the original future, or with the
    /// context's error if the context ended first.
    ///
    /// Unlike [`Run`], it owns its context, so it can be spawned.
    #[must_use = "futures do nothing unless polled"]
    pub struct WithContext<F> {
        #[pin]
        future: F,
        ending: Ending<Context>,
    }
}

/// Adds the method [`with_context`](FutureExt::with_context) to every future. The method does the same as
/// [`Context::run`], and can be called at the end of a method chain.
///
/// OpenTelemetry has a trait with the same name and the same method. If both traits are in scope, a call is ambiguous.
/// Use [`Context::run`] in this case, or import only one of the traits in each module.
pub trait FutureExt: Future + Sized {
    /// Runs this future until it is ready or `ctx` ends, like [`Context::run`]. If `ctx` ends first, this future is
    /// dropped without another poll.
    ///
    /// The returned future owns a clone of `ctx`, so it can be spawned.
    ///
    /// # Errors
    ///
    /// Returns the error of `ctx` if `ctx` ended first.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future drops this future. The returned future is as cancel safe as this future.
    ///
    /// ```
    /// use ripcord::{Context, FutureExt};
    ///
    /// # futures::executor::block_on(async {
    /// let ctx = Context::background();
    /// assert_eq!(async { 7 }.with_context(&ctx).await.unwrap(), 7);
    /// # });
    /// ```
    fn with_context(self, ctx: &Context) -> WithContext<Self> {
        WithContext { future: self, ending: Ending::new(ctx.clone()) }
    }
}

impl<F: Future> FutureExt for F {}

impl<F: Future> Future for Run<'_, F> {
    type Output = Result<F::Output, Error>;

    fn poll(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.ending.poll(this.future, task)
    }
}

impl<F: Future> Future for WithContext<F> {
    type Output = Result<F::Output, Error>;

    fn poll(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.ending.poll(this.future, task)
    }
}

/// The context of a future, and the state of its run. Removes its waker when dropped.
pub(crate) struct Ending<C: Borrow<Context>> {
    ctx: C,
    waker: WakerKey,
    started: bool,
}

impl<C: Borrow<Context>> Ending<C> {
    pub(crate) fn new(ctx: C) -> Self {
        Ending { ctx, waker: WakerKey::new(), started: false }
    }

    pub(super) fn context(&self) -> &Context {
        self.ctx.borrow()
    }

    pub(crate) fn poll<F: Future>(
        &mut self,
        future: Pin<&mut F>,
        task: &mut Task<'_>,
    ) -> Poll<Result<F::Output, Error>> {
        let ctx = self.ctx.borrow();
        if !self.started {
            // A future whose context is done is never polled.
            if let Some(error) = ctx.err() {
                return Poll::Ready(Err(error));
            }
            self.started = true;
        }
        // The future is polled first, so that a result that is ready at the same time as the end is not lost.
        if let Poll::Ready(output) = future.poll(task) {
            return Poll::Ready(Ok(output));
        }
        self.waker.poll_error(ctx, task.waker(), true).map(Err)
    }
}

impl<C: Borrow<Context>> Drop for Ending<C> {
    #[inline]
    fn drop(&mut self) {
        self.waker.forget(self.ctx.borrow());
    }
}

impl<F> fmt::Debug for Run<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Run").field(self.ending.ctx).finish()
    }
}

impl<F> fmt::Debug for WithContext<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WithContext").field(&self.ending.ctx).finish()
    }
}
