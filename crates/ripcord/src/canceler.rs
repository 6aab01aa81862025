//! The handles that cancel a context.

use std::fmt;
use std::panic::Location;

use crate::cause::Cause;
use crate::context::Context;
use crate::raw::node::NodeRef;
use crate::raw::tree;

/// Cancels the context it was created with, by a call of [`cancel`](Canceler::cancel) or when dropped. Go's `CancelFunc`.
///
/// [`handle`](Canceler::handle) returns cloneable handles that cancel the same context. [`detach`](Canceler::detach) disables
/// cancel-on-drop.
#[must_use = "a canceler that is dropped cancels its context at once"]
#[doc(alias = "context.CancelFunc")]
#[doc(alias = "context.CancelCauseFunc")]
pub struct Canceler {
    /// `None` only during the drop.
    node: Option<NodeRef>,
}

impl Canceler {
    #[inline]
    pub(crate) fn new(node: NodeRef) -> Self {
        Canceler { node: Some(node) }
    }

    /// Ends the context and all contexts below it. If the context has ended already, this has no effect: the first end wins.
    ///
    /// When this returns, every context below is done, even if another thread is ending a context above at the same moment. A
    /// deadline that has passed wins, even if it was not noticed. Wakers are called on this thread. The functions of
    /// [`after_func`](Context::after_func) are started but not awaited.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let child = ctx.with_name("child");
    /// cancel.cancel();
    /// assert!(ctx.is_done() && child.is_done());
    /// ```
    #[track_caller]
    pub fn cancel(&self) {
        self.end(Location::caller(), None);
    }

    /// Cancels like [`cancel`](Canceler::cancel), with a cause.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// cancel.cancel_with("superseded by a newer request");
    /// cancel.cancel_with("too late"); // the first end wins
    /// assert_eq!(ctx.cause().unwrap().to_string(), "superseded by a newer request");
    /// ```
    #[track_caller]
    pub fn cancel_with(&self, cause: impl Into<Cause>) {
        self.end(Location::caller(), Some(cause.into()));
    }

    /// Cancels like [`cancel_with`](Canceler::cancel_with), with `location` as the line that the error reports.
    ///
    /// For libraries that cancel for their caller: pass the caller's line, from a `#[track_caller]` function.
    ///
    /// ```
    /// use std::panic::Location;
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let asked_at = Location::caller();
    /// cancel.cancel_at("superseded by a newer request", asked_at);
    /// assert_eq!(ctx.err().unwrap().origin().location(), asked_at);
    /// ```
    pub fn cancel_at(&self, cause: impl Into<Cause>, location: &'static Location<'static>) {
        self.end(location, Some(cause.into()));
    }

    /// Returns a cloneable handle that cancels the same context. Dropping it has no effect.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let handle = cancel.handle();
    /// std::thread::spawn(move || handle.cancel()).join().unwrap();
    /// assert!(ctx.is_done());
    /// ```
    pub fn handle(&self) -> CancelHandle {
        CancelHandle::new(self.node.clone())
    }

    /// Disables cancel-on-drop: the context then ends with its parent, at its deadline, or by a [`CancelHandle`].
    ///
    /// If none of these can happen anymore, the functions registered with [`after_func`](Context::after_func) are dropped.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// cancel.detach();
    /// assert!(!ctx.is_done());
    /// ```
    pub fn detach(mut self) {
        if let Some(node) = self.node.take() {
            tree::detach(&node);
        }
    }

    #[inline]
    fn end(&self, location: &'static Location<'static>, cause: Option<Cause>) {
        if let Some(node) = &self.node {
            tree::cancel(node, location, cause);
        }
    }
}

impl Drop for Canceler {
    #[inline]
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            // No observer is left, so the end need not be recorded.
            if node.is_sole() {
                node.drop_likely_sole();
            } else {
                tree::cancel_dropped(&node);
            }
        }
    }
}

impl fmt::Debug for Canceler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Canceler").field(&Context::of(self.node.clone())).finish()
    }
}

/// Cancels a context. Dropping it has no effect. Returned by [`Canceler::handle`].
pub struct CancelHandle {
    node: Option<NodeRef>,
}

impl CancelHandle {
    fn new(node: Option<NodeRef>) -> Self {
        if let Some(node) = &node {
            tree::add_handle(node);
        }
        CancelHandle { node }
    }

    /// Cancels like [`Canceler::cancel`].
    #[track_caller]
    pub fn cancel(&self) {
        self.end(Location::caller(), None);
    }

    /// Cancels like [`Canceler::cancel_with`].
    #[track_caller]
    pub fn cancel_with(&self, cause: impl Into<Cause>) {
        self.end(Location::caller(), Some(cause.into()));
    }

    /// Cancels like [`Canceler::cancel_at`].
    pub fn cancel_at(&self, cause: impl Into<Cause>, location: &'static Location<'static>) {
        self.end(location, Some(cause.into()));
    }

    pub(crate) fn end(&self, location: &'static Location<'static>, cause: Option<Cause>) {
        if let Some(node) = &self.node {
            tree::cancel(node, location, cause);
        }
    }
}

impl Clone for CancelHandle {
    fn clone(&self) -> Self {
        CancelHandle::new(self.node.clone())
    }
}

impl Drop for CancelHandle {
    fn drop(&mut self) {
        if let Some(node) = &self.node {
            tree::drop_handle(node);
        }
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancelHandle").field(&Context::of(self.node.clone())).finish()
    }
}
