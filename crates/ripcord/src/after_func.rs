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

impl Context {
    /// Registers `run`, a function that is called on a background thread when the context ends. If the context has
    /// already ended, the function starts immediately.
    ///
    /// The function runs at most once. It does not run if [`stop`](AfterFunc::stop) returned `true`, or if nothing can
    /// end the context anymore. A call that cancels the context does not wait for the function. A panic of the function
    /// affects no other code, and the panic hook reports it. Dropping the returned [`AfterFunc`] leaves the function
    /// registered.
    ///
    /// At most 256 functions run at the same time in one process. Further functions wait in a queue, so a function that
    /// blocks delays them. If no background thread is running and none can be started, the function runs on the thread
    /// that ends the context.
    ///
    /// # Memory
    ///
    /// A registered function keeps its context alive until the function has run or is stopped. The function is dropped
    /// without running when nothing can end the context anymore: the context and its ancestors have no deadline and no
    /// idle timeout, all their cancelers were [detached](crate::Canceler::detach), and all their
    /// [cancel handles](crate::CancelHandle) and [deadline handles](crate::MovableDeadline) were dropped.
    ///
    /// A context that was derived from a `CancellationToken` keeps the function until the token is canceled, even if all
    /// clones of the token have been dropped. Stop such a function when it is no longer needed.
    ///
    /// # Time
    ///
    /// The function runs outside of any tokio runtime. If the context's [clock](Context::clock) is `Clock::tokio`, the
    /// runtime's time determines when a deadline starts the function, even while that time is paused. Inside the
    /// function, `Clock::tokio` shows the system's time.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let (sender, receiver) = mpsc::channel();
    /// let _stop = ctx.after_func(move || sender.send("cleaned up").unwrap());
    /// cancel.cancel();
    /// assert_eq!(receiver.recv(), Ok("cleaned up"));
    /// ```
    #[doc(alias = "context.AfterFunc")]
    pub fn after_func(&self, run: impl FnOnce() + Send + 'static) -> AfterFunc {
        AfterFunc::register(self, Box::new(run))
    }
}

impl AfterFunc {
    fn register(ctx: &Context, run: Box<dyn FnOnce() + Send>) -> Self {
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
