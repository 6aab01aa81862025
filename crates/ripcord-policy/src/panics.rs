//! Users' code that panics harms only its own call.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// What a panic carried.
pub(crate) type Payload = Box<dyn Any + Send>;

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs a future to its end or its panic. The future is dropped here too, and a panic of its drop is caught as well.
///
/// Dropping this drops the future inside.
pub(crate) async fn catch_panic<T>(future: BoxFuture<T>) -> Result<T, Payload> {
    let mut slot = Some(future);
    poll_fn(|cx| {
        let Some(future) = slot.as_mut() else {
            return Poll::Pending;
        };
        // Nothing of ours is touched by the closure: a panic leaves no broken state behind but the future's own.
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        let result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(value)) => Ok(value),
            Err(payload) => Err(payload),
        };
        let future = slot.take();
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
        Poll::Ready(result.and_then(|value| dropped.map(|()| value)))
    })
    .await
}

/// Runs a hook of the user's. Its panic is told to nobody but the panic hook, which has already spoken.
pub(crate) fn run_hook(hook: impl FnOnce()) {
    drop(catch_unwind(AssertUnwindSafe(hook)));
}
