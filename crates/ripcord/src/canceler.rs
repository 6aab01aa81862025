//! The canceler of a context, and its cloneable handles.

use std::fmt;
use std::panic::Location;

use crate::cause::Cause;
use crate::context::Context;
use crate::raw::node::NodeRef;
use crate::raw::tree;

/// Cancels a context when [`cancel`](Canceler::cancel) is called or when the `Canceler` is dropped. Go's `CancelFunc`.
///
/// [`Context::with_cancel`] returns it together with the context. [`handle`](Canceler::handle) returns a cloneable handle
/// that cancels the same context. [`detach`](Canceler::detach) drops the canceler without canceling the context.
///
/// Bind the canceler to a name, at least `_cancel`: `let (ctx, _) = ...` drops it immediately, which cancels the context.
///
/// ```
/// use ripcord::Context;
///
/// let (ctx, cancel) = Context::background().with_cancel();
/// assert!(!ctx.is_done());
/// drop(cancel);
/// assert!(ctx.is_done());
/// ```
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

    /// Cancels the context and all contexts derived from it. Has no effect if the context has already ended.
    ///
    /// Two kinds of derived contexts do not end immediately: a context from [`without_cancel`](Context::without_cancel)
    /// does not end at all, and a context from [`shielded`](Context::shielded) ends later.
    ///
    /// When this method returns, the context and all other contexts derived from it have ended, even if another thread
    /// cancels an ancestor at the same time. If the context's deadline passed before the call, the context's error
    /// reports the deadline, not the cancel.
    ///
    /// The method calls the wakers of waiting futures on this thread. It starts the functions that were registered with
    /// [`after_func`](Context::after_func), but does not wait for them.
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

    /// Cancels the context like [`cancel`](Canceler::cancel), with `cause` as the [cause](Context::cause) of the
    /// context's end. The context's error also contains the cause.
    ///
    /// If the context has already ended, its cause does not change, and `cause` is dropped.
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

    /// Cancels the context with `cause`, like [`cancel_with`](Canceler::cancel_with), and records `location` as the
    /// line that canceled the context.
    ///
    /// This method is for libraries that cancel on behalf of their users. Get the location from [`Location::caller`] in
    /// a `#[track_caller]` function that the user calls.
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

    /// Returns a cloneable handle that cancels the same context. Dropping the handle does not cancel the context.
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

    /// Drops the canceler without canceling the context.
    ///
    /// The context still ends with its parent, at its deadline, or when a [`CancelHandle`] cancels it. If none of these
    /// can happen anymore, the context never ends, and the functions that were registered with
    /// [`after_func`](Context::after_func) are dropped without running.
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
        f.debug_tuple("Canceler").field(&Context::from_node(self.node.clone())).finish()
    }
}

/// A cloneable handle that cancels a context. [`Canceler::handle`] returns it.
///
/// Dropping a handle does not cancel the context. Dropping the [`Canceler`] still cancels the context, even if handles
/// exist.
///
/// ```
/// use ripcord::Context;
///
/// let (ctx, cancel) = Context::background().with_cancel();
/// let handle = cancel.handle();
/// drop(handle.clone());
/// assert!(!ctx.is_done());
/// handle.cancel_with("no longer needed");
/// assert_eq!(ctx.cause().unwrap().to_string(), "no longer needed");
/// ```
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

    /// Cancels the context and all contexts derived from it, like [`Canceler::cancel`]. Has no effect if the context
    /// has already ended.
    #[track_caller]
    pub fn cancel(&self) {
        self.end(Location::caller(), None);
    }

    /// Cancels the context with `cause` as the [cause](Context::cause) of its end, like [`Canceler::cancel_with`]. Has
    /// no effect if the context has already ended.
    #[track_caller]
    pub fn cancel_with(&self, cause: impl Into<Cause>) {
        self.end(Location::caller(), Some(cause.into()));
    }

    /// Cancels the context with `cause` as the [cause](Context::cause) of its end, and records `location` as the line
    /// that canceled the context, like [`Canceler::cancel_at`]. Has no effect if the context has already ended.
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
        f.debug_tuple("CancelHandle").field(&Context::from_node(self.node.clone())).finish()
    }
}
