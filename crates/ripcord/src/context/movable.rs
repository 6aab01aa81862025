//! The constructors of movable deadlines and idle timeouts.

use std::panic::Location;
use std::time::{Duration, Instant};

use super::Context;
use crate::cause::Cause;
use crate::clock::{Clock, nanoseconds, ticks_of};
use crate::movable::{IdleTimeout, MovableDeadline};
use crate::raw::movable::Movable;
use crate::raw::node::{End, NEVER, NodeRef, Payload, flag};
use crate::raw::tree;

impl Context {
    /// Returns a child context with a deadline, and a [`MovableDeadline`] that moves this deadline later or earlier.
    ///
    /// The child ends at its deadline, or when this context ends. Contexts derived from the child inherit the deadline.
    /// On the child and on these contexts, [`deadline`](Context::deadline) and [`remaining`](Context::remaining) follow
    /// each move. A move changes no other deadline: an earlier deadline of an ancestor still ends the child, and a
    /// descendant keeps a deadline of its own.
    ///
    /// With a deadline in the past, the returned child has already ended. A deadline more than 292 years away has no
    /// effect until it is moved. If this context has a [manual clock](Clock::manual), compute the deadline from
    /// [`Clock::now`], not from `Instant::now`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context};
    ///
    /// let (clock, time) = Clock::manual();
    /// let (ctx, deadline) = Context::background().with_clock(clock).with_movable_deadline(time.now() + Duration::from_secs(5));
    /// time.advance(Duration::from_secs(4));
    /// assert!(deadline.reset_after(Duration::from_secs(60)));
    /// time.advance(Duration::from_secs(59));
    /// assert_eq!(ctx.remaining(), Some(Duration::from_secs(1)));
    /// time.advance(Duration::from_secs(1));
    /// assert!(ctx.err().is_some_and(|error| error.is_deadline_exceeded()));
    /// assert!(!deadline.reset_after(Duration::from_secs(60))); // `ctx` has ended: no effect
    /// ```
    #[track_caller]
    #[must_use = "only the returned context ends at the deadline"]
    pub fn with_movable_deadline(&self, deadline: Instant) -> (Context, MovableDeadline) {
        self.movable_deadline(deadline, Location::caller(), None)
    }

    /// Returns a child and a handle like [`with_movable_deadline`](Context::with_movable_deadline). If the deadline ends
    /// the child, the child's [cause](Context::cause) is `cause`.
    ///
    /// ```
    /// use std::time::Instant;
    /// use ripcord::Context;
    ///
    /// let (ctx, _deadline) = Context::background().with_movable_deadline_cause(Instant::now(), "nobody waits anymore");
    /// assert_eq!(ctx.cause().unwrap().to_string(), "nobody waits anymore");
    /// ```
    #[track_caller]
    #[must_use = "only the returned context ends at the deadline"]
    pub fn with_movable_deadline_cause(
        &self,
        deadline: Instant,
        cause: impl Into<Cause>,
    ) -> (Context, MovableDeadline) {
        self.movable_deadline(deadline, Location::caller(), Some(cause.into()))
    }

    /// Returns a child and a handle like [`with_movable_deadline`](Context::with_movable_deadline), and records
    /// `location` as the line that set the deadline.
    ///
    /// This method is for libraries whose users set the deadline: see [`with_timeout_at`](Context::with_timeout_at).
    #[must_use = "only the returned context ends at the deadline"]
    pub fn with_movable_deadline_at(
        &self,
        deadline: Instant,
        location: &'static Location<'static>,
    ) -> (Context, MovableDeadline) {
        self.movable_deadline(deadline, location, None)
    }

    /// Returns a child context that ends when no progress was recorded for `timeout`, and an [`IdleTimeout`] that records
    /// progress.
    ///
    /// Two methods record progress: [`IdleTimeout::reset`], and [`Context::progress`] on the child or its descendants.
    /// The child also ends when this context ends. This context's [clock](Context::clock) measures the timeout.
    ///
    /// The streams of `Context::io` and [`Context::io_blocking`] record progress. An HTTP call of `ripcord-http` does not: call
    /// `progress` after each part of the response that you read.
    ///
    /// An idle timeout is not a deadline. [`deadline`](Context::deadline) and [`remaining`](Context::remaining) ignore it.
    /// A policy of `ripcord-policy` that refuses calls near the deadline ignores it too. `ripcord-http` does not send an
    /// idle timeout to other services.
    ///
    /// With a timeout of zero, the returned child has already ended. A timeout of more than 292 years, such as
    /// [`Duration::MAX`], never ends the child.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context};
    ///
    /// let (clock, time) = Clock::manual();
    /// let (ctx, idle) = Context::background().with_clock(clock).with_idle_timeout(Duration::from_secs(30));
    /// for _ in 0..14 {
    ///     time.advance(Duration::from_secs(20));
    ///     assert!(idle.reset()); // a part of the stream has arrived
    /// }
    /// assert_eq!(ctx.deadline(), None);
    /// time.advance(Duration::from_secs(30));
    /// let text = format!("{:#}", ctx.err().unwrap());
    /// assert!(text.starts_with("context deadline exceeded (idle for 30s: timeout set at "), "{text}");
    /// assert!(text.ends_with("; reset 14 times, last 30s ago)"), "{text}");
    /// ```
    #[track_caller]
    #[must_use = "only the returned context ends with the timeout"]
    pub fn with_idle_timeout(&self, timeout: Duration) -> (Context, IdleTimeout) {
        self.idle_timeout(timeout, Location::caller(), None)
    }

    /// Returns a child and a handle like [`with_idle_timeout`](Context::with_idle_timeout). If the idle timeout ends the
    /// child, the child's [cause](Context::cause) is `cause`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::Context;
    ///
    /// let (ctx, _idle) = Context::background().with_idle_timeout_cause(Duration::ZERO, "the upload has stalled");
    /// assert_eq!(ctx.cause().unwrap().to_string(), "the upload has stalled");
    /// ```
    #[track_caller]
    #[must_use = "only the returned context ends with the timeout"]
    pub fn with_idle_timeout_cause(&self, timeout: Duration, cause: impl Into<Cause>) -> (Context, IdleTimeout) {
        self.idle_timeout(timeout, Location::caller(), Some(cause.into()))
    }

    /// Returns a child and a handle like [`with_idle_timeout`](Context::with_idle_timeout), and records `location` as the
    /// line that set the timeout.
    ///
    /// This method is for libraries whose users set the timeout: see [`with_timeout_at`](Context::with_timeout_at).
    #[must_use = "only the returned context ends with the timeout"]
    pub fn with_idle_timeout_at(
        &self,
        timeout: Duration,
        location: &'static Location<'static>,
    ) -> (Context, IdleTimeout) {
        self.idle_timeout(timeout, location, None)
    }

    /// Records progress: restarts the [idle timeout](Context::with_idle_timeout) of this context or of its nearest
    /// ancestor with an idle timeout. Returns whether the timeout was restarted.
    ///
    /// This method is for code that has the context but not the [`IdleTimeout`]. The search for an idle timeout stops
    /// at a context from [`without_cancel`](Context::without_cancel) or [`shielded`](Context::shielded). At a
    /// [merged](Context::merge) context, the search continues in both merged contexts, and restarts the nearest idle
    /// timeout of each.
    ///
    /// Returns `false` if the search finds no idle timeout, or if the context of at least one found idle timeout has
    /// ended. The other found timeouts are restarted.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::Context;
    ///
    /// fn read_chunk(ctx: &Context) {
    ///     ctx.progress();
    /// }
    /// let (ctx, idle) = Context::background().with_idle_timeout(Duration::from_secs(30));
    /// let before = idle.get();
    /// read_chunk(&ctx.with_name("download"));
    /// assert!(idle.get() > before);
    /// assert!(!Context::background().progress());
    /// ```
    pub fn progress(&self) -> bool {
        self.ender().is_some_and(tree::progress)
    }

    fn movable_deadline(
        &self,
        deadline: Instant,
        location: &'static Location<'static>,
        cause: Option<Cause>,
    ) -> (Context, MovableDeadline) {
        let clock = self.clock_ref();
        let now = clock.ticks();
        let movable = Movable::deadline(ticks(deadline, clock), now, self.clock_of_its_own());
        let node = self.movable(movable, now, location, cause);
        (Context::from_node(Some(node.clone())), MovableDeadline::new(node))
    }

    fn idle_timeout(
        &self,
        timeout: Duration,
        location: &'static Location<'static>,
        cause: Option<Cause>,
    ) -> (Context, IdleTimeout) {
        let now = self.clock_ref().ticks();
        let movable = Movable::idle_timeout(nanoseconds(timeout).unwrap_or(NEVER), now, self.clock_of_its_own());
        let node = self.movable(movable, now, location, cause);
        (Context::from_node(Some(node.clone())), IdleTimeout::new(node))
    }

    fn movable(
        &self,
        movable: Movable,
        now: i64,
        location: &'static Location<'static>,
        cause: Option<Cause>,
    ) -> NodeRef {
        let is_past = movable.when() <= now;
        let (parent, flags) = self.as_parent();
        let end = End { location, cause, detail: 0 };
        let flags = flags | flag::DEADLINE | flag::MOVABLE;
        let node = NodeRef::new(parent, flags, Payload::Movable(Box::new(movable)), end);
        if is_past {
            tree::end_at_birth(&node);
        }
        node
    }

    fn clock_of_its_own(&self) -> Option<Clock> {
        (self.flags() & flag::CLOCK != 0).then(|| self.clock())
    }
}

/// Converts an instant to ticks of `clock`. Returns `NEVER` for an instant more than 292 years away.
pub(crate) fn ticks(instant: Instant, clock: &Clock) -> i64 {
    ticks_of(instant).unwrap_or_else(|| if instant < clock.now() { i64::MIN } else { NEVER })
}
