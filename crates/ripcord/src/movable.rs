//! The handles that move a deadline.

use std::fmt;
use std::time::{Duration, Instant};

use crate::clock::{instant_of, nanoseconds};
use crate::context::{Context, ticks};
use crate::raw::node::{Kind, NEVER, NodeRef};
use crate::raw::tree;

/// A handle that moves the deadline of a context. [`Context::with_movable_deadline`] returns the handle with the context.
///
/// Clones move the same deadline. Dropping a handle does not move or remove the deadline.
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

    /// Moves the deadline to `deadline`, later or earlier. Returns `true` if the deadline was moved, and `false` if the
    /// context has already ended.
    ///
    /// If the result is `true`, this deadline does not end the context before `deadline`. If the result is `false`,
    /// nothing has changed. Once the old deadline has passed, the result is `false`, even if no code has checked the
    /// context since. If the old deadline passes during the call, either the deadline is moved or the context ends, and
    /// all threads see the same result.
    ///
    /// A `deadline` in the past ends the context immediately. A `deadline` more than 292 years away removes the deadline.
    ///
    /// Moving the deadline later is cheap: the call takes no lock. Moving the deadline earlier takes a lock. A call that
    /// ends the context also wakes the waiters, like [`Canceler::cancel`](crate::Canceler::cancel).
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use ripcord::Context;
    ///
    /// let (ctx, deadline) = Context::background().with_movable_deadline(Instant::now() + Duration::from_secs(5));
    /// assert!(deadline.reset(Instant::now() + Duration::from_secs(60)));
    /// assert!(deadline.reset(Instant::now())); // ends the context
    /// assert!(ctx.is_done());
    /// assert!(!deadline.reset(Instant::now() + Duration::from_secs(60)));
    /// ```
    pub fn reset(&self, deadline: Instant) -> bool {
        let when = ticks(deadline, self.0.clock());
        tree::move_deadline(&self.0, |_| when)
    }

    /// Moves the deadline to the current time plus `timeout`. The context's [clock](Context::clock) measures the time.
    ///
    /// A timeout of more than 292 years, such as [`Duration::MAX`], removes the deadline. Like
    /// [`reset`](MovableDeadline::reset), returns `true` if the deadline was moved, and `false` if the context has already
    /// ended.
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

    /// Moves the deadline to `deadline`, unless the current deadline is already later. Returns `true` if the deadline
    /// was moved or is already later, and `false` if the context has already ended.
    ///
    /// A `deadline` more than 292 years away removes the deadline.
    ///
    /// Use this method if several threads need the context, each until its own instant: the context then lives until
    /// the latest of these instants. If the result is `true`, this deadline does not end the context before `deadline`,
    /// unless a call of [`reset`] or [`reset_after`](MovableDeadline::reset_after) moves it earlier.
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

    /// Returns the current value of this deadline, or `None` if the deadline was removed or is more than 292 years away.
    ///
    /// The context may have an ancestor with an earlier deadline: [`Context::deadline`] returns the earliest deadline. This
    /// method returns the value even after the context has ended.
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
        f.debug_tuple("MovableDeadline").field(&Context::from_node(Some(self.0.clone()))).finish()
    }
}

/// A handle that records progress, so that an idle timeout does not end its context. [`Context::with_idle_timeout`]
/// returns the handle with the context.
///
/// Clones restart the same timeout. Dropping a handle does not restart or remove the timeout.
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

    /// Records progress: restarts the idle timeout. Returns `true` if the timeout was restarted, and `false` if the
    /// context has already ended.
    ///
    /// If the result is `true`, the context ends when the full timeout passes again without progress. Once the timeout
    /// has expired, the result is `false`, even if no code has checked the context since. A call is cheap and takes no
    /// lock.
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

    /// Returns the time at which the idle timeout ends the context if no further progress is recorded. Returns `None`
    /// if the timeout is longer than 292 years, such as [`Duration::MAX`].
    ///
    /// After the context has ended, the returned time does not change anymore.
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
        f.debug_tuple("IdleTimeout").field(&Context::from_node(Some(self.0.clone()))).finish()
    }
}

fn get(node: &NodeRef) -> Option<Instant> {
    match node.kind() {
        Kind::Movable(movable) => Some(movable.when()).filter(|when| *when != NEVER).map(instant_of),
        _ => None,
    }
}
