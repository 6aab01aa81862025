//! The handles that move a deadline.

use std::fmt;
use std::time::{Duration, Instant};

use crate::clock::{instant_of, nanoseconds};
use crate::context::{Context, ticks};
use crate::raw::node::{Kind, NEVER, NodeRef};
use crate::raw::tree;

/// Moves the deadline of a context. [`Context::with_movable_deadline`] returns it.
///
/// Clones move the same deadline. Dropping a handle has no effect on the deadline.
///
/// ```
/// use std::time::{Duration, Instant};
/// use ripcord::Context;
///
/// let soon = Instant::now() + Duration::from_secs(5);
/// let (ctx, deadline) = Context::background().with_movable_deadline(soon);
/// assert!(deadline.reset(soon + Duration::from_secs(60)));
/// assert_eq!(ctx.deadline(), Some(soon + Duration::from_secs(60)));
/// ```
pub struct MovableDeadline(NodeRef);

impl MovableDeadline {
    pub(crate) fn new(node: NodeRef) -> Self {
        tree::add_movable_handle(&node);
        MovableDeadline(node)
    }

    /// Moves the deadline to `deadline`, later or earlier. Returns whether the deadline was moved.
    ///
    /// After `true`, this deadline does not end the context before `deadline`. `false` means that the context has already
    /// ended, and that nothing has changed. If the old deadline has passed, `false` is returned even if no code has
    /// noticed the end. If a call races with the expiry, one of them wins, and all threads see the same result.
    ///
    /// A deadline in the past ends the context now. A deadline more than 292 years away removes the deadline.
    ///
    /// Moving the deadline later takes no lock and changes no timer. Moving it earlier may take as long as a cancel.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use ripcord::Context;
    ///
    /// let (ctx, deadline) = Context::background().with_movable_deadline(Instant::now() + Duration::from_secs(5));
    /// assert!(deadline.reset(Instant::now() + Duration::from_secs(60)));
    /// assert!(deadline.reset(Instant::now())); // ends it
    /// assert!(ctx.is_done());
    /// assert!(!deadline.reset(Instant::now() + Duration::from_secs(60)));
    /// ```
    pub fn reset(&self, deadline: Instant) -> bool {
        let when = ticks(deadline, self.0.clock());
        tree::move_deadline(&self.0, |_| when)
    }

    /// Moves the deadline to `timeout` from now, measured by the context's clock. Returns the same as
    /// [`reset`](MovableDeadline::reset).
    ///
    /// [`Duration::MAX`] removes the deadline.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context};
    ///
    /// let (clock, time) = Clock::manual();
    /// let (ctx, deadline) = Context::background().with_clock(clock).with_movable_deadline(time.now() + Duration::from_secs(5));
    /// assert!(deadline.reset_after(Duration::from_secs(60)));
    /// assert_eq!(ctx.remaining(), Some(Duration::from_secs(60)));
    /// assert!(deadline.reset_after(Duration::MAX));
    /// assert_eq!(ctx.remaining(), None);
    /// ```
    pub fn reset_after(&self, timeout: Duration) -> bool {
        let timeout = nanoseconds(timeout).unwrap_or(NEVER);
        tree::move_deadline(&self.0, |now| now.saturating_add(timeout))
    }

    /// Moves the deadline to `deadline`, unless the deadline is already later. Returns `false` if the context has already
    /// ended.
    ///
    /// Use it if several threads each need the context until their own instant. A call of `extend` never shortens the
    /// time that another call has requested. After `true`, this deadline does not end the context before `deadline`,
    /// unless a call of [`reset`] moves it.
    ///
    /// [`reset`]: MovableDeadline::reset
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use ripcord::Context;
    ///
    /// let (soon, late) = (Instant::now() + Duration::from_secs(5), Instant::now() + Duration::from_secs(60));
    /// let (_ctx, deadline) = Context::background().with_movable_deadline(soon);
    /// assert!(deadline.extend(late));
    /// assert!(deadline.extend(soon));
    /// assert_eq!(deadline.get(), Some(late));
    /// ```
    pub fn extend(&self, deadline: Instant) -> bool {
        tree::extend_deadline(&self.0, ticks(deadline, self.0.clock()))
    }

    /// Returns the current setting of this deadline, or `None` if no deadline is set.
    ///
    /// The setting does not include deadlines of ancestors. It remains available after the context has ended.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use ripcord::Context;
    ///
    /// let later = Instant::now() + Duration::from_secs(60);
    /// let parent = Context::background().with_timeout(Duration::from_secs(5));
    /// let (ctx, deadline) = parent.with_movable_deadline(later);
    /// assert_eq!(deadline.get(), Some(later));
    /// assert_eq!(ctx.deadline(), parent.deadline());
    /// ```
    pub fn get(&self) -> Option<Instant> {
        get(&self.0)
    }
}

impl Clone for MovableDeadline {
    fn clone(&self) -> Self {
        MovableDeadline::new(self.0.clone())
    }
}

impl Drop for MovableDeadline {
    fn drop(&mut self) {
        tree::drop_movable_handle(&self.0);
    }
}

impl fmt::Debug for MovableDeadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MovableDeadline").field(&Context::of(Some(self.0.clone()))).finish()
    }
}

/// Records the progress of work, so that its idle timeout does not end the context. [`Context::with_idle_timeout`]
/// returns it.
///
/// Clones restart the same timeout. Dropping a handle has no effect on the timeout.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
///
/// let (ctx, idle) = Context::background().with_idle_timeout(Duration::from_secs(30));
/// assert!(idle.reset()); // a part of the upload has arrived
/// assert!(!ctx.is_done());
/// ```
#[derive(Clone)]
pub struct IdleTimeout(NodeRef);

impl IdleTimeout {
    pub(crate) fn new(node: NodeRef) -> Self {
        IdleTimeout(node)
    }

    /// Records progress: restarts the timeout now. Returns whether the timeout was restarted.
    ///
    /// `false` means that the context has already ended, and that nothing has changed. If the timeout has expired,
    /// `false` is returned even if no code has noticed the end. If two calls race, the later instant wins. A call reads
    /// the clock once, takes no lock and changes no timer.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context};
    ///
    /// let (clock, time) = Clock::manual();
    /// let (ctx, idle) = Context::background().with_clock(clock).with_idle_timeout(Duration::from_secs(30));
    /// time.advance(Duration::from_secs(29));
    /// assert!(idle.reset());
    /// time.advance(Duration::from_secs(29));
    /// assert!(!ctx.is_done());
    /// time.advance(Duration::from_secs(1));
    /// assert!(!idle.reset() && ctx.is_done());
    /// ```
    pub fn reset(&self) -> bool {
        tree::reset_idle_timeout(&self.0)
    }

    /// Returns the time at which the context ends without further progress, or `None` if the timeout never ends it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context};
    ///
    /// let (clock, time) = Clock::manual();
    /// let (_ctx, idle) = Context::background().with_clock(clock).with_idle_timeout(Duration::from_secs(30));
    /// assert_eq!(idle.get(), Some(time.now() + Duration::from_secs(30)));
    /// ```
    pub fn get(&self) -> Option<Instant> {
        get(&self.0)
    }
}

impl fmt::Debug for IdleTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IdleTimeout").field(&Context::of(Some(self.0.clone()))).finish()
    }
}

fn get(node: &NodeRef) -> Option<Instant> {
    match node.kind() {
        Kind::Movable(movable) => Some(movable.when()).filter(|when| *when != NEVER).map(instant_of),
        _ => None,
    }
}
