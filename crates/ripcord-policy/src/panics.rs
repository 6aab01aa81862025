//! Users' code that panics harms only its own call.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::Panicked;

/// What a panic carried.
pub(crate) type Payload = Box<dyn Any + Send>;

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A future whose panics become its result, and whose drop does not panic.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct CatchPanic<T> {
    /// None once it has ended.
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
        // A panic leaves nothing broken behind but the future's own state, and that is not looked at again.
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

/// Wakes somebody else's task, whose waker may be anybody's code: its panic is neither the caller's nor the next one's.
///
/// Not to be called under a lock.
pub(crate) fn wake(waker: Waker) {
    shielded(|| waker.wake());
}

/// Runs what is the user's: a hook, or a drop. Its panic is told to nobody but the process's panic hook, which has spoken already.
pub(crate) fn shielded(run: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
        discard(payload);
    }
}

/// What to say of a panic, whose payload goes with it.
pub(crate) fn panicked(payload: Payload) -> Panicked {
    let panicked = Panicked::new(&*payload);
    discard(payload);
    panicked
}

/// Drops what a panic carried: a user's value, whose drop may panic in turn. What that one carried is leaked, or there would be no
/// end of it.
pub(crate) fn discard(payload: Payload) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}
