//! The futures that wait for a context's end.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as Task, Poll, Waker};

use crate::context::Context;
use crate::error::Error;
use crate::raw::node::state;
use crate::raw::tree;
use crate::slab::NONE;

/// The future that [`Context::done`] returns. Ready, with the context's error, when the context has ended.
#[must_use = "futures do nothing unless polled"]
pub struct Done<'a> {
    ctx: &'a Context,
    waker: WakerKey,
}

/// The future that [`Context::done_owned`] returns. Ready, with the context's error, when the context has ended.
///
/// Unlike [`Done`], it owns its context, so it can be spawned.
#[must_use = "futures do nothing unless polled"]
pub struct DoneOwned {
    ctx: Context,
    waker: WakerKey,
}

impl Context {
    /// Waits until the context has ended. Returns the context's error. If nothing can end the context, the returned
    /// future is never ready.
    ///
    /// # Cancel safety
    ///
    /// The returned future may be dropped at any time. The end of a context is permanent, so a later call of `done` also
    /// returns the error.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// # futures::executor::block_on(async {
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// cancel.cancel();
    /// assert!(ctx.done().await.is_canceled());
    /// # });
    /// ```
    #[doc(alias = "Done")]
    pub fn done(&self) -> Done<'_> {
        Done { ctx: self, waker: WakerKey::new() }
    }

    /// Waits until the context has ended, and returns the context's error, like [`done`](Context::done). The returned
    /// future owns a clone of the context, so it can be spawned.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let done = ctx.done_owned();
    /// let waiting = std::thread::spawn(|| futures::executor::block_on(done));
    /// cancel.cancel();
    /// assert!(waiting.join().unwrap().is_canceled());
    /// ```
    pub fn done_owned(&self) -> DoneOwned {
        DoneOwned::new(self.clone())
    }
}

/// The key of a waker that is registered with a context, or `NONE` before the first poll. The owner calls `forget` when it is
/// dropped.
pub(super) struct WakerKey(u32);

impl WakerKey {
    pub(super) const fn new() -> Self {
        WakerKey(NONE)
    }

    /// Returns whether the context has ended, and registers the waker otherwise. `is_checked` is true if the caller has just
    /// seen that the context has not ended.
    #[inline]
    fn poll(&mut self, ctx: &Context, waker: &Waker, is_checked: bool) -> Poll<()> {
        match ctx.ender() {
            Some(node) => tree::poll_done(node, &mut self.0, waker, is_checked),
            None => Poll::Pending,
        }
    }

    #[inline]
    pub(super) fn poll_error(&mut self, ctx: &Context, waker: &Waker, is_checked: bool) -> Poll<Error> {
        match self.poll(ctx, waker, is_checked) {
            Poll::Ready(()) => ctx.err().map_or(Poll::Pending, Poll::Ready),
            Poll::Pending => Poll::Pending,
        }
    }

    #[inline]
    pub(super) fn forget(&self, ctx: &Context) {
        if self.0 != NONE
            && let Some(node) = ctx.ender()
        {
            tree::forget_waiter(node, self.0);
        }
    }
}

impl Future for Done<'_> {
    type Output = Error;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Error> {
        let ctx = self.ctx;
        self.waker.poll_error(ctx, task.waker(), false)
    }
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.waker.forget(self.ctx);
    }
}

impl fmt::Debug for Done<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Done").field(self.ctx).finish()
    }
}

impl DoneOwned {
    pub(crate) fn new(ctx: Context) -> Self {
        DoneOwned { ctx, waker: WakerKey::new() }
    }

    pub(crate) fn context(&self) -> &Context {
        &self.ctx
    }

    /// Returns whether the end began at the deadline of this future's own context, and not at `parent` or above.
    pub(super) fn is_own_deadline(&self, parent: &Context) -> bool {
        let (Some(node), parent) = (self.ctx.ender(), parent.ender()) else { return false };
        // If the parent's deadline is earlier, the future's context is the parent.
        let is_parent = parent.is_some_and(|parent| std::ptr::eq(&raw const **node, &raw const **parent));
        !is_parent && node.end().is_some_and(|(bits, _)| bits & state::OWN != 0)
    }
}

impl Future for DoneOwned {
    type Output = Error;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Error> {
        let this = &mut *self;
        this.waker.poll_error(&this.ctx, task.waker(), false)
    }
}

impl Drop for DoneOwned {
    fn drop(&mut self) {
        self.waker.forget(&self.ctx);
    }
}

impl fmt::Debug for DoneOwned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DoneOwned").field(&self.ctx).finish()
    }
}
