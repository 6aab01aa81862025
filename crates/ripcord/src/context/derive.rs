//! The constructors: the contexts without a parent, and the methods that derive a context from another.

use std::borrow::Cow;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Context;
use crate::canceler::Canceler;
use crate::cause::Cause;
use crate::clock::{Clock, nanoseconds, ticks_of};
use crate::raw::node::{End, Kind, Merge, NEVER, NodeRef, Payload, Shield, flag};
use crate::raw::tree;
use crate::raw::values::OwnedValue;
use crate::value::Value;

impl Context {
    /// Returns the empty context, from which all other contexts are derived. It never ends, and has no deadline, no
    /// values and no name.
    ///
    /// The function is `const` and allocates nothing.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// static ROOT: Context = Context::background();
    /// assert!(!ROOT.is_done());
    /// assert_eq!(ROOT.to_string(), "Background");
    /// ```
    #[doc(alias = "context.Background")]
    pub const fn background() -> Context {
        Context(None)
    }

    /// Returns an empty context like [`background`](Context::background). Use it as a placeholder until it is clear which
    /// context to use. Its `Display` prints `TODO`.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let ctx = Context::todo();
    /// assert!(!ctx.is_done());
    /// assert_eq!(ctx.to_string(), "TODO");
    /// ```
    #[doc(alias = "context.TODO")]
    pub fn todo() -> Context {
        Context::from_node(NodeRef::todo())
    }

    /// Returns a child context and its [`Canceler`]. The child is canceled when [`cancel`](Canceler::cancel) is called or
    /// when the `Canceler` is dropped.
    ///
    /// The child also ends when this context ends. Canceling the child does not end this context.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let (child, _cancel_child) = ctx.with_cancel();
    /// cancel.cancel_with("no longer needed");
    /// assert!(child.is_done());
    /// assert_eq!(child.cause().unwrap().to_string(), "no longer needed");
    /// ```
    #[doc(alias = "context.WithCancel")]
    #[doc(alias = "context.WithCancelCause")]
    #[track_caller]
    #[must_use = "a canceler that is dropped cancels its context at once"]
    #[inline]
    pub fn with_cancel(&self) -> (Context, Canceler) {
        self.cancelable_at(Location::caller())
    }

    /// Creates a context like `with_cancel`, for a call at `location`.
    #[inline]
    pub(crate) fn cancelable_at(&self, location: &'static Location<'static>) -> (Context, Canceler) {
        let (parent, flags) = self.as_parent();
        let end = End { location, cause: None, detail: 0 };
        let (node, canceler) = NodeRef::new_pair(parent, flags, Payload::Cancel { when: self.copied_deadline() }, end);
        (Context::from_node(Some(node)), Canceler::new(canceler))
    }

    /// Returns a child context that ends after `timeout`, or when this context ends. The timeout starts with this call,
    /// and this context's [clock](Context::clock) measures it.
    ///
    /// With a timeout of zero, the returned child has already ended. A timeout of more than 292 years, such as
    /// [`Duration::MAX`], sets no deadline. If this context already has an earlier deadline, the timeout has no effect, and
    /// the method returns a clone of this context. There is one exception: if the earlier deadline is
    /// [movable](Context::with_movable_deadline) or belongs to another [clock](Context::with_clock), the method returns a
    /// child, because that deadline can still become the later one.
    ///
    /// The child has no [`Canceler`]: only the timeout or the end of this context ends it. To be able to cancel the child,
    /// call this method on a context from [`with_cancel`](Context::with_cancel).
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::Context;
    ///
    /// let ctx = Context::background().with_timeout(Duration::from_secs(5));
    /// assert!(ctx.remaining().unwrap() <= Duration::from_secs(5));
    /// assert!(ctx.with_timeout(Duration::ZERO).is_done());
    /// ```
    #[doc(alias = "context.WithTimeout")]
    #[track_caller]
    #[must_use]
    #[inline]
    pub fn with_timeout(&self, timeout: Duration) -> Context {
        self.timeout(timeout, Location::caller(), || None)
    }

    /// Returns a child like [`with_timeout`](Context::with_timeout), and records `location` as the line that set the
    /// timeout.
    ///
    /// This method is for libraries whose users set the timeout. Get the location from [`Location::caller`] in a
    /// `#[track_caller]` function that the user calls.
    ///
    /// ```
    /// use std::panic::Location;
    /// use std::time::Duration;
    /// use ripcord::Context;
    ///
    /// struct Client {
    ///     timeout: (Duration, &'static Location<'static>),
    /// }
    /// impl Client {
    ///     #[track_caller]
    ///     fn timeout(timeout: Duration) -> Client {
    ///         Client { timeout: (timeout, Location::caller()) }
    ///     }
    ///     fn call_context(&self, ctx: &Context) -> Context {
    ///         ctx.with_timeout_at(self.timeout.0, self.timeout.1)
    ///     }
    /// }
    ///
    /// let client = Client::timeout(Duration::from_secs(5)); // the error will report this line
    /// let line = line!() - 1;
    /// let ctx = client.call_context(&Context::background());
    /// assert_eq!(ctx.deadline_origin().unwrap().location().line(), line);
    /// ```
    #[must_use]
    pub fn with_timeout_at(&self, timeout: Duration, location: &'static Location<'static>) -> Context {
        self.timeout(timeout, location, || None)
    }

    /// Returns a child like [`with_timeout`](Context::with_timeout). If this timeout ends the child, the child's
    /// [cause](Context::cause) is `cause`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::Context;
    ///
    /// let ctx = Context::background().with_timeout_cause(Duration::ZERO, "the budget of the search is spent");
    /// assert_eq!(ctx.cause().unwrap().to_string(), "the budget of the search is spent");
    /// ```
    #[doc(alias = "context.WithTimeoutCause")]
    #[track_caller]
    #[must_use]
    pub fn with_timeout_cause(&self, timeout: Duration, cause: impl Into<Cause>) -> Context {
        self.timeout(timeout, Location::caller(), || Some(cause.into()))
    }

    /// Returns a child like [`with_timeout_cause`](Context::with_timeout_cause), and records `location` as the line that
    /// set the timeout.
    ///
    /// This method is for libraries whose users set the timeout: see [`with_timeout_at`](Context::with_timeout_at).
    ///
    /// ```
    /// use std::panic::Location;
    /// use std::time::Duration;
    /// use ripcord::Context;
    ///
    /// let here = Location::caller();
    /// let ctx = Context::background().with_timeout_cause_at(Duration::ZERO, "the client's limit", here);
    /// assert_eq!(ctx.err().unwrap().origin().location(), here);
    /// ```
    #[must_use]
    pub fn with_timeout_cause_at(
        &self,
        timeout: Duration,
        cause: impl Into<Cause>,
        location: &'static Location<'static>,
    ) -> Context {
        self.timeout(timeout, location, || Some(cause.into()))
    }

    /// Returns a child context that ends at `deadline`, or when this context ends.
    ///
    /// With a deadline in the past, the returned child has already ended. A deadline more than 292 years away has no
    /// effect. If this context already has an earlier deadline, the new deadline has no effect, and the method returns a
    /// clone of this context. There is one exception: if the earlier deadline is
    /// [movable](Context::with_movable_deadline) or belongs to another [clock](Context::with_clock), the method returns a
    /// child, because that deadline can still become the later one.
    ///
    /// If this context has a [manual clock](Clock::manual), compute the deadline from [`Clock::now`], not from
    /// `Instant::now`.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use ripcord::Context;
    ///
    /// let deadline = Instant::now() + Duration::from_secs(60);
    /// let ctx = Context::background().with_deadline(deadline);
    /// assert_eq!(ctx.deadline(), Some(deadline));
    /// assert!(ctx.with_deadline(Instant::now()).is_done());
    /// ```
    #[doc(alias = "context.WithDeadline")]
    #[track_caller]
    #[must_use]
    pub fn with_deadline(&self, deadline: Instant) -> Context {
        self.deadline_at(deadline, Location::caller(), || None)
    }

    /// Returns a child like [`with_deadline`](Context::with_deadline), and records `location` as the line that set the
    /// deadline.
    ///
    /// This method is for libraries whose users set the deadline: see [`with_timeout_at`](Context::with_timeout_at).
    ///
    /// ```
    /// use std::panic::Location;
    /// use std::time::Instant;
    /// use ripcord::Context;
    ///
    /// let here = Location::caller();
    /// let ctx = Context::background().with_deadline_at(Instant::now(), here);
    /// assert_eq!(ctx.err().unwrap().origin().location(), here);
    /// ```
    #[must_use]
    pub fn with_deadline_at(&self, deadline: Instant, location: &'static Location<'static>) -> Context {
        self.deadline_at(deadline, location, || None)
    }

    /// Returns a child like [`with_deadline`](Context::with_deadline). If this deadline ends the child, the child's
    /// [cause](Context::cause) is `cause`.
    ///
    /// ```
    /// use std::time::Instant;
    /// use ripcord::Context;
    ///
    /// let ctx = Context::background().with_deadline_cause(Instant::now(), "the market has closed");
    /// assert_eq!(ctx.cause().unwrap().to_string(), "the market has closed");
    /// ```
    #[doc(alias = "context.WithDeadlineCause")]
    #[track_caller]
    #[must_use]
    pub fn with_deadline_cause(&self, deadline: Instant, cause: impl Into<Cause>) -> Context {
        self.deadline_at(deadline, Location::caller(), || Some(cause.into()))
    }

    /// Returns a child context that carries `value`. The key is the type `V`: [`ctx.value::<V>()`](Context::value)
    /// returns the value.
    ///
    /// The child and all contexts derived from it carry the value. In these contexts, `value` replaces a value of the
    /// same type that an ancestor carries. This context does not change.
    ///
    /// ```
    /// use ripcord::{Context, Value};
    ///
    /// struct RequestId(&'static str);
    /// impl Value for RequestId {}
    ///
    /// let ctx = Context::background().with_value(RequestId("req-1"));
    /// let below = ctx.with_value(RequestId("req-2"));
    /// assert_eq!(below.value::<RequestId>().unwrap().0, "req-2");
    /// assert_eq!(ctx.value::<RequestId>().unwrap().0, "req-1");
    /// ```
    #[doc(alias = "context.WithValue")]
    #[must_use]
    pub fn with_value<V: Value>(&self, value: V) -> Context {
        let value = OwnedValue::new(value, self.0.as_deref());
        self.derive(flag::VALUES, Payload::Value(value))
    }

    /// Returns a child context with a name, such as the name of a request or a job, for people who read errors and logs.
    ///
    /// The name appears in the [errors](crate::Error) and the `Display` of the child, in metrics, and on the debug pages of
    /// `ripcord-http`. Contexts derived from the child inherit the name.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let ctx = Context::background().with_name("fetch-user");
    /// assert_eq!(ctx.name(), Some("fetch-user"));
    /// assert_eq!(ctx.to_string(), "Background.WithName(fetch-user)");
    /// ```
    #[must_use]
    pub fn with_name(&self, name: impl Into<Cow<'static, str>>) -> Context {
        self.derive(flag::NAMED, Payload::Name(Arc::new(name.into())))
    }

    /// Returns a child context that does not end when this context ends, for work that must finish after the caller has
    /// returned.
    ///
    /// The child inherits the values, the name and the clock of this context. It does not inherit the deadline, the error
    /// or the cause.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let detached = ctx.without_cancel();
    /// cancel.cancel();
    /// assert!(!detached.is_done());
    /// ```
    #[doc(alias = "context.WithoutCancel")]
    #[must_use]
    pub fn without_cancel(&self) -> Context {
        let (parent, flags) = self.as_parent();
        Context::from_node(Some(NodeRef::new(
            parent,
            flags & !(flag::DEADLINE | flag::CLOCKS | flag::SHIELDED | flag::MOVABLE),
            Payload::WithoutCancel,
            nowhere(),
        )))
    }

    /// Returns a child context that ends `grace` later than this context. Use it for cleanup after this context has ended.
    ///
    /// The child ends with the error and the cause of this context. It inherits the values, the name and the clock. Its
    /// deadline is this context's deadline plus `grace`.
    ///
    /// The grace period starts when this context ends, even if code notices the end later. This context's
    /// [clock](Context::clock) measures the grace period. If this context ended more than `grace` ago, the returned
    /// child has already ended.
    ///
    /// With a grace of zero, the method returns a clone of this context. With a grace of more than 292 years, such as
    /// [`Duration::MAX`], it does the same as [`without_cancel`](Context::without_cancel).
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context};
    ///
    /// let (clock, time) = Clock::manual();
    /// let (ctx, cancel) = Context::background().with_clock(clock).with_cancel();
    /// let cleanup = ctx.shielded(Duration::from_secs(5));
    /// cancel.cancel_with("the client has gone");
    /// time.advance(Duration::from_secs(4));
    /// assert!(ctx.is_done() && !cleanup.is_done());
    /// time.advance(Duration::from_secs(1));
    /// assert_eq!(cleanup.cause().unwrap().to_string(), "the client has gone");
    /// ```
    #[must_use]
    pub fn shielded(&self, grace: Duration) -> Context {
        let Some(grace) = nanoseconds(grace) else { return self.without_cancel() };
        // A context that cannot end needs no shield.
        if grace == 0 || self.ender().is_none() {
            return self.clone();
        }
        let (parent, flags) = self.as_parent();
        let when = self.copied_deadline().saturating_add(grace);
        let shield = Box::new(Shield { grace, when, clock: self.clock() });
        // With these flags, no descendant takes the fast paths that trust only its own state (invariant 12 of the tree).
        let flags = flags | flag::SHIELDED | flag::DEADLINE | flag::CLOCK;
        Context::from_node(Some(NodeRef::new(parent, flags, Payload::Shielded(shield), nowhere())))
    }

    /// Returns a context that ends when this context or `other` ends.
    ///
    /// The deadline of the returned context is the earlier of the two deadlines. Its clock is this context's clock. A
    /// value or a name is looked up in this context first, then in `other`. If this context is
    /// [`background`](Context::background) or [`todo`](Context::todo), the method returns a clone of `other`, with the
    /// clock of `other`. If `other` is one of these two, the method returns a clone of this context.
    ///
    /// If both contexts have ended, the earlier end determines the error. If both ended at the same instant, a deadline
    /// takes precedence over a cancel, and this context's deadline takes precedence over the deadline of `other`.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (shutdown, stop) = Context::background().with_cancel();
    /// let (request, _cancel) = Context::background().with_cancel();
    /// let ctx = request.merge(&shutdown);
    /// stop.cancel_with("shutting down");
    /// assert_eq!(ctx.cause().unwrap().to_string(), "shutting down");
    /// assert!(!request.is_done());
    /// ```
    #[must_use]
    pub fn merge(&self, other: &Context) -> Context {
        let below_root = |ctx: &Context| ctx.0.clone().filter(|node| !matches!(node.kind(), Kind::Todo));
        let (Some(first), Some(second)) = (below_root(self), below_root(other)) else {
            // A root has no end, no deadline and no values.
            return if below_root(self).is_some() { self.clone() } else { other.clone() };
        };
        let when = self.copied_deadline().min(other.copied_deadline());
        // The deadlines of the two contexts may be on different clocks.
        let both = self.flags() | other.flags();
        let flags = if both & flag::CLOCK == 0 { both } else { both | flag::CLOCKS };
        let merge = Payload::Merge(Box::new(Merge::new(second, when)));
        let node = NodeRef::new(Some(first), flags, merge, nowhere());
        tree::watch_merged(&node);
        Context::from_node(Some(node))
    }

    /// Returns a child context that uses `clock`. The clock measures the sleeps and the new deadlines of the child and
    /// of all contexts derived from it. A circuit breaker or a rate limiter of `ripcord-policy` does not use this
    /// clock: set the clock of the policy in its builder.
    ///
    /// Call this method on a context without a deadline, such as [`background`](Context::background). If this context
    /// has a deadline, the child inherits this deadline, but the old clock still measures it. The child then ends as
    /// soon as one of its deadlines is reached on the clock of that deadline. [`deadline`](Context::deadline) returns
    /// the earlier instant, even if the two clocks show different times.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context};
    ///
    /// let (clock, time) = Clock::manual();
    /// let ctx = Context::background().with_clock(clock).with_timeout(Duration::from_secs(60));
    /// time.advance(Duration::from_secs(60));
    /// assert!(ctx.is_done());
    /// ```
    #[must_use]
    pub fn with_clock(&self, clock: Clock) -> Context {
        let is_timed = self.flags() & flag::DEADLINE != 0;
        self.derive(if is_timed { flag::CLOCK | flag::CLOCKS } else { flag::CLOCK }, Payload::Clock(Box::new(clock)))
    }

    /// Creates a context like `with_timeout`, for a sleep or a wait. The metrics do not count its end.
    #[track_caller]
    pub(crate) fn timer(&self, timeout: Duration) -> Context {
        let ctx = self.with_timeout(timeout);
        if let Some(node) = ctx.node()
            && !ctx.ptr_eq(self)
        {
            node.set_timer();
        }
        ctx
    }

    // ===== helpers =====

    #[inline]
    fn timeout(
        &self,
        timeout: Duration,
        location: &'static Location<'static>,
        cause: impl FnOnce() -> Option<Cause>,
    ) -> Context {
        let now = self.clock_ref().ticks();
        let timeout = nanoseconds(timeout).unwrap_or(NEVER);
        self.deadline_in_ticks(now.saturating_add(timeout), timeout, location, cause)
    }

    fn deadline_at(
        &self,
        deadline: Instant,
        location: &'static Location<'static>,
        cause: impl FnOnce() -> Option<Cause>,
    ) -> Context {
        let Some(when) = ticks_of(deadline) else {
            // The deadline cannot be represented. Either it is too far in the future, so it has no effect, or it is too far in
            // the past.
            let is_past = deadline < self.clock_ref().now();
            return self.deadline_in_ticks(if is_past { i64::MIN } else { NEVER }, 0, location, cause);
        };
        let timeout = when.saturating_sub(self.clock_ref().ticks());
        self.deadline_in_ticks(when, timeout.max(0), location, cause)
    }

    #[inline]
    fn deadline_in_ticks(
        &self,
        when: i64,
        timeout: i64,
        location: &'static Location<'static>,
        cause: impl FnOnce() -> Option<Cause>,
    ) -> Context {
        // A deadline that is not the earliest has no effect, unless the earlier deadline can be moved or is on another clock.
        if when == NEVER || self.copied_deadline() <= when {
            return self.clone();
        }
        let (parent, flags) = self.as_parent();
        let end = End { location, cause: cause(), detail: timeout };
        let clock = (flags & flag::CLOCK != 0).then(|| self.clock());
        let node = NodeRef::new(parent, flags | flag::DEADLINE, Payload::Deadline { when, clock }, end);
        if timeout <= 0 {
            tree::end_at_birth(&node);
        }
        Context::from_node(Some(node))
    }

    /// Returns a context that ends when this context ends, or when a listener cancels it with the handle that `make_listener`
    /// receives.
    #[allow(dead_code, reason = "for the features `tokio-util` and `signals`")]
    #[track_caller]
    pub(crate) fn attached(&self, make_listener: impl FnOnce(crate::CancelHandle) -> Box<dyn Send + Sync>) -> Context {
        let (inner, canceler) = self.with_cancel();
        let handle = canceler.handle();
        canceler.detach();
        inner.derive(0, Payload::Attached(make_listener(handle)))
    }

    /// Returns a context with a node that has no end of its own.
    fn derive(&self, more_flags: u8, payload: Payload) -> Context {
        let (parent, flags) = self.as_parent();
        Context::from_node(Some(NodeRef::new(parent, flags | more_flags, payload, nowhere())))
    }

    #[inline]
    pub(super) fn as_parent(&self) -> (Option<NodeRef>, u8) {
        (self.0.clone(), self.flags())
    }
}

/// The end of a node that has no end of its own.
fn nowhere() -> End {
    End { location: Location::caller(), cause: None, detail: 0 }
}
