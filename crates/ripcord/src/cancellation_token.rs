//! Conversions to and from `tokio_util::sync::CancellationToken`, for programs that use both types. They spawn no task.

use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll, Wake, Waker};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::canceler::CancelHandle;
use crate::context::Context;
use crate::raw::tree;

impl Context {
    /// Returns a child context that ends when `token` is canceled, or when this context ends.
    ///
    /// When the token's `cancel` returns, the child has ended. The [cause](Context::cause) of its end is the text
    /// `cancellation token canceled`. If this context ended first, the child has the error of this context.
    ///
    /// ```
    /// use ripcord::Context;
    /// use tokio_util::sync::CancellationToken;
    ///
    /// let token = CancellationToken::new();
    /// let ctx = Context::background().with_cancellation_token(&token);
    /// token.cancel();
    /// assert!(ctx.is_done());
    /// ```
    #[track_caller]
    #[must_use]
    pub fn with_cancellation_token(&self, token: &CancellationToken) -> Context {
        let cancelled = token.clone().cancelled_owned();
        let location = Location::caller();
        let ctx = self.attached(|handle| {
            let listening = Arc::new(Listening { cancelled: Mutex::new(Some(Box::pin(cancelled))), handle, location });
            Arc::clone(&listening).listen();
            Box::new(Listener(listening))
        });
        if self.ender().is_none()
            && let Some(node) = ctx.ender()
        {
            tree::token::adopt(node, token.child_token());
        }
        ctx
    }

    /// Returns a new token that is canceled when this context ends. The token does not contain the cause.
    ///
    /// Canceling the token has no effect on the context. If the context was derived from a token with
    /// [`with_cancellation_token`](Context::with_cancellation_token), the returned token may be canceled a moment before
    /// the context ends.
    ///
    /// # Dropped contexts
    ///
    /// The token does not keep the context alive. After the last clone of the context was dropped, the token is still
    /// canceled at the time at which the context would have ended: at its deadline, when an ancestor ends, or when a token
    /// from which the context was derived is canceled. There are three exceptions:
    ///
    /// - If the context was created by `one.merge(&other)`, the end of `other` no longer cancels the token.
    /// - If the context was created by `parent.with_cancellation_token(&first)` and `parent` can end, the cancellation of
    ///   `first` no longer cancels the returned token. The end of `parent` still cancels the returned token.
    /// - If the context was created by `parent.shielded(grace)`, the token may be canceled up to one millisecond late. If
    ///   `parent` was derived from another token, the cancellation of that token cancels the returned token only while
    ///   `parent` is alive.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let token = ctx.cancellation_token();
    /// cancel.cancel();
    /// assert!(token.is_cancelled());
    /// ```
    pub fn cancellation_token(&self) -> CancellationToken {
        match self.ender() {
            // Each context has one token. The returned tokens are its children. tokio-util forgets a child when the child is
            // dropped.
            Some(node) => tree::token::shared_token(node).child_token(),
            None => CancellationToken::new(),
        }
    }
}

/// Waits for a token. It is the waker of the token's future.
struct Listening {
    /// `None` after the token was canceled or the context was dropped.
    cancelled: Mutex<Option<Pin<Box<WaitForCancellationFutureOwned>>>>,
    handle: CancelHandle,
    /// The line that created the context.
    location: &'static Location<'static>,
}

impl Listening {
    fn listen(self: Arc<Self>) {
        let waker = Waker::from(Arc::clone(&self));
        let mut cancelled = self.cancelled.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(future) = cancelled.as_mut() else { return };
        if let Poll::Ready(()) = future.as_mut().poll(&mut Task::from_waker(&waker)) {
            let finished = cancelled.take();
            drop(cancelled);
            drop(finished);
            self.handle.cancel_at("cancellation token canceled", self.location);
        }
    }
}

impl Wake for Listening {
    fn wake(self: Arc<Self>) {
        self.listen();
    }
}

/// Removes the waker from the token when the context is dropped. The token holds the last reference to the waker.
struct Listener(Arc<Listening>);

impl Drop for Listener {
    fn drop(&mut self) {
        let future = self.0.cancelled.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(future);
    }
}
