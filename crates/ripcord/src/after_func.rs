//! Functions that run when a context ends.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::background;
use crate::context::Context;
use crate::raw::node::NodeRef;
use crate::raw::tree::{self, Registered};
use crate::slab::NONE;

/// A handle that unregisters a function. [`Context::after_func`] registers the function and returns the handle.
///
/// Dropping the handle leaves the function registered. [`stop`](AfterFunc::stop) unregisters it.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
///
/// let ctx = Context::background().with_timeout(Duration::from_secs(60));
/// let after = ctx.after_func(|| println!("the deadline has passed"));
/// assert!(after.stop());
/// ```
pub struct AfterFunc {
    /// The node whose end the function waits for. `None` if nothing can end the context.
    node: Option<NodeRef>,
    state: AtomicU32,
}

/// Values of `AfterFunc::state` that are not keys. The function has started, never runs, or was stopped.
const STARTED: u32 = NONE;
const NEVER: u32 = NONE - 1;
const STOPPED: u32 = NONE - 2;

impl AfterFunc {
    pub(crate) fn register(ctx: &Context, run: Box<dyn FnOnce() + Send>) -> Self {
        let (Some(node), Some(context)) = (ctx.ender(), ctx.node()) else {
            return AfterFunc { node: None, state: AtomicU32::new(NEVER) };
        };
        let key = match tree::add_callback(node, context.clone(), run) {
            Registered::Waiting(key) => key,
            Registered::Ended(run) => {
                background::spawn(run);
                STARTED
            }
            Registered::Never => NEVER,
        };
        AfterFunc { node: Some(node.clone()), state: AtomicU32::new(key) }
    }

    /// Unregisters and drops the function. Returns `true` if the function was not scheduled and will never run.
    ///
    /// Returns `false` if the end of the context has already scheduled the function: it waits for a thread, is running,
    /// or has run. Also returns `false` if `stop` was called before. The call does not wait for a running function.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let after = ctx.after_func(|| unreachable!("it was stopped"));
    /// assert!(after.stop());
    /// cancel.cancel();
    /// assert!(!after.stop());
    /// ```
    pub fn stop(&self) -> bool {
        // Only the call that takes the key may use it. After that call, the key may belong to another function.
        match (self.state.swap(STOPPED, Ordering::AcqRel), &self.node) {
            (STARTED | STOPPED, _) => false,
            (NEVER, _) | (_, None) => true,
            (key, Some(node)) => tree::remove_callback(node, key),
        }
    }
}

impl fmt::Debug for AfterFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AfterFunc").finish_non_exhaustive()
    }
}
