//! To and from `tokio_util::sync::CancellationToken`, for code bases that have both: without a task for either.

use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll, Wake, Waker};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::canceler::CancelHandle;
use crate::context::Context;
use crate::raw::tree;

impl Context {
    /// Returns a context that ends when this one does, or when `token` is canceled. Its cause is then `cancellation token canceled`.
    /// When the token's `cancel` returns, the context is done.
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

    /// Returns a token that is canceled when this context ends. Tokens have no cause.
    ///
    /// Each call returns a token of its own. Canceling it has no effect on the context.
    ///
    /// The token does not keep the context alive. It is also canceled when the context would have ended after all of its
    /// handles were dropped: at a deadline, with a context above, or with the token that the context was made of. There are
    /// exceptions, which all concern the time after the last handle of a context was dropped:
    ///
    /// - Of a [merged](Context::merge) context, the token follows the first of the two contexts only.
    /// - Of a context that [`with_cancellation_token`](Context::with_cancellation_token) derived from one that can end, the token
    ///   follows the one that can end only.
    /// - Of a [shielded](Context::shielded) context, the token may be canceled up to a millisecond late. If the context that it is
    ///   shielded from was made of a token, the end of that token counts only while that context lives.
    ///
    /// A token made of a context that is itself made of a token may be canceled a moment before the context is.
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
            // Each context has one token. These are its children, which tokio-util forgets when they are dropped.
            Some(node) => tree::token::shared_token(node).child_token(),
            None => CancellationToken::new(),
        }
    }
}

/// Waits for a token by being the waker of its future.
struct Listening {
    /// None once it is no longer of interest.
    cancelled: Mutex<Option<Pin<Box<WaitForCancellationFutureOwned>>>>,
    handle: CancelHandle,
    /// Of the call that made the context.
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

/// Dropped with the context: takes the waker back from the token, which held the last reference to it.
struct Listener(Arc<Listening>);

impl Drop for Listener {
    fn drop(&mut self) {
        let future = self.0.cancelled.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(future);
    }
}
