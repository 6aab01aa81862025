//! The handles that move a deadline.

use std::fmt;
use std::time::{Duration, Instant};

use crate::clock::{instant_of, nanoseconds};
use crate::context::{Context, ticks};
use crate::raw::node::{Kind, NEVER, NodeRef};
use crate::raw::tree;

/// Moves the deadline of a context: see [`Context::with_movable_deadline`]. Clones move the same deadline; dropping one has no
/// effect.
pub struct MovableDeadline(NodeRef);

impl MovableDeadline {
    pub(crate) fn new(node: NodeRef) -> Self {
        tree::add_movable_handle(&node);
        MovableDeadline(node)
    }

    /// Moves the deadline to `deadline`, later or earlier. Returns whether that took effect.
    ///
    /// `true` means that this deadline does not end the context before `deadline`. `false` means that the context has ended, for
    /// any reason, and that nothing has changed; this includes a deadline that has passed and that nobody has observed. If a reset
    /// and the expiry happen at the same time, one of them wins, and all observers agree on which.
    ///
    /// An instant in the past ends the context now. One more than 292 years away removes the deadline.
    ///
    /// Moving the deadline later takes no lock and touches no timer. Moving it earlier may cost as much as a cancel.
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

    /// Moves the deadline to `timeout` from now, by the context's clock, as [`reset`](MovableDeadline::reset) does.
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

    /// Moves the deadline to `deadline` unless it is later already. Returns `false`, and changes nothing, if the context has ended.
    ///
    /// Use this where several threads each need the context to live until an instant of their own: unlike [`reset`], none of them
    /// can shorten what another has asked for, whatever their order. `true` means that the context does not end by this deadline
    /// before `deadline`, unless somebody resets it.
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

    /// Returns this handle's deadline, even if a deadline above is earlier or the context has ended. `None` if there is no
    /// deadline.
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

/// Records progress, which postpones the end of a context: see [`Context::with_idle_timeout`]. Clones reset the same timeout;
/// dropping one has no effect.
#[derive(Clone)]
pub struct IdleTimeout(NodeRef);

impl IdleTimeout {
    pub(crate) fn new(node: NodeRef) -> Self {
        IdleTimeout(node)
    }

    /// Records progress: the timeout starts again now. Returns whether that took effect.
    ///
    /// `false` means that the context has ended, for any reason, and that nothing has changed; this includes a timeout that has
    /// passed and that nobody has observed. If two resets race, the later instant wins. A reset reads the clock once; it takes no
    /// lock and touches no timer.
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

    /// Returns when the context ends if there is no progress until then. `None` if the timeout is too long to ever end it.
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
