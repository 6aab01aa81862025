//! Who may call the work off.

use std::fmt;
use std::panic::Location;

use crate::cause::Cause;
use crate::context::Context;
use crate::raw::node::NodeRef;
use crate::raw::tree;

/// Cancels the context it was made with, when told to or when dropped. Go's `CancelFunc`.
///
/// There is one for each context; [`handle`](Canceler::handle) makes more hands that can cancel, and
/// [`detach`](Canceler::detach) gives the drop behaviour up.
#[must_use = "a canceler that is dropped cancels its context at once"]
#[doc(alias = "context.CancelFunc")]
#[doc(alias = "context.CancelCauseFunc")]
pub struct Canceler {
    /// None only while it is being dropped.
    node: Option<NodeRef>,
}

impl Canceler {
    #[inline]
    pub(crate) fn new(node: NodeRef) -> Self {
        Canceler { node: Some(node) }
    }

    /// Ends the context, and all below it, unless it has ended already: the first end wins.
    ///
    /// When this returns, every context below is done, also when another thread is ending one above at the same moment. A
    /// deadline that has passed unnoticed came first. Wakers are woken in this thread; functions of
    /// [`after_func`](Context::after_func) are started and not waited for.
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

    /// As [`cancel`](Canceler::cancel), saying why.
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

    /// Cancels as [`cancel_with`](Canceler::cancel_with) does, with `location` as the line that the error reports.
    ///
    /// For libraries that cancel on behalf of their caller: pass the caller's line, from a `#[track_caller]` function.
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

    /// Another hand that can cancel, without effect when it is dropped.
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

    /// Disables cancel-on-drop: the context goes on until its parent ends, its deadline passes, or a [`CancelHandle`] ends it.
    ///
    /// If none of these can happen anymore, functions registered with [`after_func`](Context::after_func) are dropped.
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
            // With nobody left to see the end there is nothing to write down.
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

/// Cancels a context when told to, and only then: the clone of a [`Canceler`] that can be handed on.
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

    /// As [`Canceler::cancel`].
    #[track_caller]
    pub fn cancel(&self) {
        self.end(Location::caller(), None);
    }

    /// As [`Canceler::cancel_with`].
    #[track_caller]
    pub fn cancel_with(&self, cause: impl Into<Cause>) {
        self.end(Location::caller(), Some(cause.into()));
    }

    /// As [`Canceler::cancel_at`].
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
