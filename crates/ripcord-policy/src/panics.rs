//! Catching panics of user code, so that a panic harms only its own call.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use crate::Panicked;

/// The payload of a panic.
pub(crate) type Payload = Box<dyn Any + Send>;

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A future whose panics become its result, and whose drop does not panic.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct CatchPanic<T> {
    /// The future. `None` once it has ended.
    future: Option<BoxFuture<T>>,
}

impl<T> CatchPanic<T> {
    pub(crate) fn new(future: BoxFuture<T>) -> Self {
        Self { future: Some(future) }
    }
}

impl<T> Future for CatchPanic<T> {
    type Output = Result<T, Payload>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(future) = this.future.as_mut() else {
            return Poll::Pending;
        };
        // A panic can only break the state of the future, and the future is not polled again.
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        let result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(value)) => Ok(value),
            Err(payload) => Err(payload),
        };
        let future = this.future.take();
        shielded(|| drop(future));
        Poll::Ready(result)
    }
}

impl<T> Drop for CatchPanic<T> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            shielded(|| drop(future));
        }
    }
}

/// Makes a call and waits for it. A panic of the call becomes an error.
pub(crate) async fn catching<Fut: Future>(call: impl FnOnce() -> Fut) -> Result<Fut::Output, Payload> {
    let future = begin_catching(call)?;
    keep_catching(pin!(future)).await
}

/// Starts a call. [`begin_catching`] and [`keep_catching`] together do the same as [`catching`], but with one level of futures
/// less. The compiler limits the nesting of futures, and a stack has many levels.
pub(crate) fn begin_catching<Fut>(call: impl FnOnce() -> Fut) -> Result<Fut, Payload> {
    // After a panic the call is not used again.
    catch_unwind(AssertUnwindSafe(call))
}

/// Waits for a started call.
pub(crate) fn keep_catching<Fut: Future>(
    mut future: Pin<&mut Fut>,
) -> impl Future<Output = Result<Fut::Output, Payload>> {
    poll_fn(move |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
}

/// Wakes a task. The waker is user code: its panic harms neither the caller nor the next task.
///
/// Must not be called under a lock.
pub(crate) fn wake(waker: Waker) {
    shielded(|| waker.wake());
}

/// Runs user code, such as a hook or a drop, and discards its panic. The process's panic hook has reported the panic already.
pub(crate) fn shielded(run: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
        discard(payload);
    }
}

/// Returns the error of a panic, and drops the payload.
pub(crate) fn panicked(payload: Payload) -> Panicked {
    let panicked = Panicked::new(&*payload);
    discard(payload);
    panicked
}

/// Drops the payload of a panic. The payload is a user value whose drop may panic in turn. The payload of this second panic is
/// leaked, because its drop could panic again without end.
pub(crate) fn discard(payload: Payload) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}
