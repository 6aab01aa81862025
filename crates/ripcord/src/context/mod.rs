//! The context and its queries. `derive` creates contexts, `display` prints them, and `current` holds the
//! ambient one.

// rustdoc lists a type's methods in the order of its modules, from the constructors to the ambient context.
mod derive;
mod display;
mod movable;

use std::time::{Duration, Instant};

pub(crate) use movable::ticks;

use crate::cause::Cause;
use crate::clock::{Clock, instant_of};
use crate::error::{Error, Origin};
use crate::raw::node::{NEVER, NodeRef, flag};
use crate::raw::{tree, values};
use crate::value::Value;

/// Carries a deadline, a cancellation signal and request-scoped values through a chain of calls. Go's `context.Context`.
///
/// [`Context::background`] creates the first context of a program. Every `with_*` method derives a new context, called a
/// child, from its parent. Pass a context as the first argument, `ctx: &Context`, to every function that waits.
///
/// A context *ends* once: when it is canceled, when its deadline passes, when its
/// [idle timeout](Context::with_idle_timeout) expires, or when its parent ends. The end of a context also ends the
/// contexts derived from it. There are two exceptions: a context from [`without_cancel`](Context::without_cancel) does
/// not end, and a context from [`shielded`](Context::shielded) ends later. The end of a child does not end its parent.
///
/// ```
/// use std::time::Duration;
/// use ripcord::{Context, Error};
///
/// async fn fetch(ctx: &Context, key: u32) -> Result<String, Error> {
///     ctx.sleep(Duration::from_millis(1)).await?; // ends early if the context ends
///     Ok(format!("value {key}"))
/// }
///
/// # futures::executor::block_on(async {
/// // 1. The context of a request. It ends after 5 s, or earlier if `cancel` is called.
/// let (request, cancel) = Context::background().with_name("GET /").with_cancel();
/// let ctx = request.with_timeout(Duration::from_secs(5));
/// assert_eq!(fetch(&ctx, 1).await?, "value 1");
///
/// // 2. `run` drops any future when the context ends, even a future that takes no context.
/// cancel.cancel_with("the client has disconnected");
/// let error = ctx.run(std::future::pending::<()>()).await.unwrap_err();
///
/// // 3. The error contains the cause and the line that canceled the context.
/// assert!(error.is_canceled());
/// assert!(format!("{error:#}").starts_with("context canceled: the client has disconnected (canceled at "));
/// # Ok::<(), Error>(()) }).unwrap();
/// ```
///
/// # Which method
///
/// | to | use |
/// |---|---|
/// | create the first context | [`background`](Context::background) |
/// | limit the time | [`with_timeout`](Context::with_timeout), [`with_deadline`](Context::with_deadline) |
/// | move a deadline later or earlier | [`with_movable_deadline`](Context::with_movable_deadline) |
/// | end work that makes no progress | [`with_idle_timeout`](Context::with_idle_timeout) |
/// | cancel | [`with_cancel`](Context::with_cancel) |
/// | carry a value or a name | [`with_value`](Context::with_value), [`with_name`](Context::with_name) |
/// | end work when either of two contexts ends | [`merge`](Context::merge) |
/// | continue after the caller's context has ended | [`without_cancel`](Context::without_cancel), [`shielded`](Context::shielded) |
/// | check in a loop | [`check`](Context::check), [`is_done`](Context::is_done) |
/// | drop a future when the context ends | [`run`](Context::run) |
/// | wait | [`sleep`](Context::sleep) and [`done`](Context::done) in async code, [`sleep_blocking`](Context::sleep_blocking) and [`wait`](Context::wait) on threads |
/// | run a function when the context ends | [`after_func`](Context::after_func) |
/// | record a call | [`start_span`](Context::start_span) |
///
/// # Clones and memory
///
/// A context is immutable. A clone refers to the same context. A context keeps its ancestors (its parent, the parent's
/// parent, and so on) alive, but not its children. Dropping the last clone frees the context, even while its parent is
/// alive.
///
/// `Display` and `Debug` print the chain of contexts in Go's format, for example
/// `Background.WithName(import).WithCancel`.
#[derive(Clone)]
#[doc(alias = "context.Context")]
// `None` is the background.
pub struct Context(Option<NodeRef>);

impl Context {
    /// Returns the time at which this context's deadline passes, or `None` if it has no deadline.
    ///
    /// A child inherits its parent's deadline. If both have a deadline, the earlier one counts. This method returns the
    /// deadline even after the context has ended. An [idle timeout](Context::with_idle_timeout) is not a deadline.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use ripcord::Context;
    ///
    /// let soon = Instant::now() + Duration::from_secs(1);
    /// let ctx = Context::background().with_deadline(soon).with_timeout(Duration::from_secs(60));
    /// assert_eq!(ctx.deadline(), Some(soon));
    /// ```
    #[doc(alias = "Deadline")]
    pub fn deadline(&self) -> Option<Instant> {
        let when = self.deadline_ticks();
        (when != NEVER).then(|| instant_of(when))
    }

    /// Returns the time left until this context's [deadline](Context::deadline), or zero if the deadline has passed.
    /// Returns `None` if the context has no deadline. The context's [clock](Context::clock) measures the time.
    ///
    /// A canceled context still reports the time until its deadline. Use [`is_done`](Context::is_done) to find out
    /// whether a context has ended.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context};
    ///
    /// let (clock, time) = Clock::manual();
    /// let ctx = Context::background().with_clock(clock).with_timeout(Duration::from_secs(5));
    /// time.advance(Duration::from_secs(2));
    /// assert_eq!(ctx.remaining(), Some(Duration::from_secs(3)));
    /// ```
    pub fn remaining(&self) -> Option<Duration> {
        loop {
            let when = self.deadline_ticks();
            if when == NEVER {
                return None;
            }
            let left = when.saturating_sub(self.clock_ref().ticks());
            // Once zero was returned, no observer may report a live context. If the context is live, either the deadline was
            // moved meanwhile, or the deadline's clock shows an earlier time than this context's clock.
            let is_exact = left > 0 || self.err().is_some() || self.flags() & flag::MOVABLE == 0;
            if is_exact || self.deadline_ticks() == when {
                return Some(Duration::from_nanos(left.max(0).unsigned_abs()));
            }
        }
    }

    /// Returns the origin of this context's [deadline](Context::deadline): the timeout, the line of code that set the
    /// deadline, and the [name](Context::with_name) of the context on which the deadline was set.
    ///
    /// This method also works before the deadline passes. For example, a function that refuses a call because too little
    /// time is left can report the line that set the deadline.
    ///
    /// Returns `None` if this context has no deadline. Also returns `None` if the context that was created with this
    /// deadline (this context or an ancestor) has ended for another reason, such as a cancel.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::Context;
    ///
    /// let ctx = Context::background().with_name("GET /users").with_timeout(Duration::from_secs(5));
    /// let origin = ctx.with_name("query").deadline_origin().unwrap();
    /// assert_eq!(origin.timeout(), Some(Duration::from_secs(5)));
    /// assert_eq!(origin.name(), Some("GET /users"));
    /// ```
    pub fn deadline_origin(&self) -> Option<Origin> {
        if self.deadline_ticks() == NEVER {
            return None;
        }
        tree::deadline_origin(self.ender()?)
    }

    /// Returns whether the context has ended. A call is cheap enough for a hot loop.
    ///
    /// The method compares the deadline with the clock, so it works without an executor and without a timer. It never
    /// reports a deadline early. In a hot loop, most calls do not read the clock, so a deadline may be reported up to 1
    /// ms late. Once any method has reported the end of a context, all methods report it.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let mut rounds = 0;
    /// while !ctx.is_done() {
    ///     rounds += 1;
    ///     if rounds == 1000 {
    ///         cancel.cancel();
    ///     }
    /// }
    /// assert_eq!(rounds, 1000);
    /// ```
    #[inline]
    pub fn is_done(&self) -> bool {
        self.0.as_ref().is_some_and(|node| !node.goes_on_at_a_glance() && self.is_done_slow())
    }

    /// A separate function, so that the fast path needs only the node's state.
    #[inline(never)]
    fn is_done_slow(&self) -> bool {
        self.0.as_ref().is_some_and(|node| node.ended_in_a_loop())
    }

    /// Returns the context's error if the context has ended, and `None` if it has not ended.
    ///
    /// After the end, every call returns the same kind of error, cause and origin.
    ///
    /// ```
    /// use ripcord::{Context, ErrorKind};
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// assert!(ctx.err().is_none());
    /// cancel.cancel();
    /// assert_eq!(ctx.err().map(|error| error.kind()), Some(ErrorKind::Canceled));
    /// ```
    #[doc(alias = "Err")]
    #[inline]
    pub fn err(&self) -> Option<Error> {
        let node = self.0.as_ref()?;
        match node.end() {
            Some((bits, end)) => Some(Error::from_end(node, bits, end)),
            None => self.err_from_above(),
        }
    }

    /// Returns the error if the context's own node is not marked. The nodes of names, values and clocks are never marked.
    #[inline(never)]
    fn err_from_above(&self) -> Option<Error> {
        let node = self.ender()?;
        let (bits, end) = node.end().or_else(|| tree::settled(node))?;
        Some(Error::from_end(node, bits, end))
    }

    /// Returns the time at which the context ended, or `None` if it has not ended.
    ///
    /// This is the time at which the context was canceled, its deadline passed or its idle timeout expired, even if
    /// code noticed the end later. The context's [clock](Context::clock) measures the time. If the context ended
    /// because an ancestor ended, the ancestor's clock measures the time.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context};
    ///
    /// let (clock, time) = Clock::manual();
    /// let start = time.now();
    /// let (ctx, _idle) = Context::background().with_clock(clock).with_idle_timeout(Duration::from_secs(30));
    /// assert_eq!(ctx.ended_at(), None);
    /// time.advance(Duration::from_secs(100));
    /// assert_eq!(ctx.ended_at(), Some(start + Duration::from_secs(30)));
    /// ```
    pub fn ended_at(&self) -> Option<Instant> {
        let node = self.ender()?;
        node.end().or_else(|| tree::settled(node))?;
        Some(instant_of(node.ended_at()))
    }

    /// Returns `Ok(())` if the context has not ended, and its error if it has ended. Use it with `?` in a loop.
    ///
    /// # Errors
    ///
    /// Returns the same error as [`err`](Context::err).
    ///
    /// ```
    /// use ripcord::{Context, Error};
    ///
    /// fn sum(ctx: &Context, numbers: &[u64]) -> Result<u64, Error> {
    ///     let mut sum = 0;
    ///     for number in numbers {
    ///         ctx.check()?;
    ///         sum += number;
    ///     }
    ///     Ok(sum)
    /// }
    /// assert_eq!(sum(&Context::background(), &[1, 2]).unwrap(), 3);
    /// ```
    #[inline]
    pub fn check(&self) -> Result<(), Error> {
        if self.is_done() { self.err().map_or(Ok(()), Err) } else { Ok(()) }
    }

    /// Returns the cause of the context's end, or `None` if the context has not ended.
    ///
    /// The cause is the value that was passed to [`cancel_with`](crate::Canceler::cancel_with),
    /// [`with_timeout_cause`](Context::with_timeout_cause) or a similar method. Without such a value, the cause is the
    /// context's [`Error`], as in Go.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// assert!(ctx.cause().is_none());
    /// cancel.cancel_with("the client has gone");
    /// assert_eq!(ctx.cause().unwrap().to_string(), "the client has gone");
    /// ```
    #[doc(alias = "context.Cause")]
    pub fn cause(&self) -> Option<Cause> {
        let error = self.err()?;
        Some(error.cause().cloned().unwrap_or_else(|| Cause::from(error)))
    }

    /// Returns the value of type `V` that was set with [`with_value`](Context::with_value) on this context or on its
    /// nearest ancestor with such a value. Returns `None` if there is no such value.
    ///
    /// Values remain available after the context has ended.
    ///
    /// ```
    /// use ripcord::{Context, Value};
    ///
    /// struct UserId(u64);
    /// impl Value for UserId {}
    ///
    /// let ctx = Context::background().with_value(UserId(7));
    /// assert_eq!(ctx.value::<UserId>().map(|user| user.0), Some(7));
    /// ```
    #[doc(alias = "Value")]
    pub fn value<V: Value>(&self) -> Option<&V> {
        values::find(self.0.as_ref()?)
    }

    /// Returns the [name](Context::with_name) of this context or of its nearest ancestor that has a name. Returns `None`
    /// if none of them has a name.
    ///
    /// In a context from `one.merge(&other)` ([`merge`](Context::merge)), the names of `one` and its ancestors take
    /// precedence over the names of `other` and its ancestors.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (ctx, _cancel) = Context::background().with_name("import").with_cancel();
    /// assert_eq!(ctx.name(), Some("import"));
    /// assert_eq!(Context::background().name(), None);
    /// ```
    pub fn name(&self) -> Option<&str> {
        self.0.as_ref()?.name().map(|name| &***name)
    }

    /// Returns the clock that measures this context's deadlines and sleeps.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Clock, Context};
    ///
    /// let (clock, time) = Clock::manual();
    /// let ctx = Context::background().with_clock(clock);
    /// let started = ctx.clock().now();
    /// time.advance(Duration::from_secs(3));
    /// assert_eq!(ctx.clock().now() - started, Duration::from_secs(3));
    /// ```
    pub fn clock(&self) -> Clock {
        self.clock_ref().clone()
    }

    /// Returns whether `self` and `other` refer to the same context, like `Arc::ptr_eq`.
    ///
    /// A clone refers to the same context. Some methods return a clone if there is nothing to add: for example,
    /// [`with_deadline`](Context::with_deadline) and [`with_timeout`](Context::with_timeout) if the context already has an
    /// earlier deadline.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let (ctx, _cancel) = Context::background().with_cancel();
    /// assert!(ctx.ptr_eq(&ctx.clone()));
    /// assert!(!ctx.ptr_eq(&ctx.with_name("another")));
    /// assert!(Context::background().ptr_eq(&Context::background()));
    /// ```
    #[must_use]
    pub fn ptr_eq(&self, other: &Context) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => std::ptr::eq(&raw const **one, &raw const **other),
            (None, None) => true,
            _ => false,
        }
    }

    // ===== for the rest of the crate =====

    /// Returns the context of a node. `None` is the background.
    #[inline]
    pub(crate) fn from_node(node: Option<NodeRef>) -> Context {
        Context(node)
    }

    /// Returns the node. `None` is the background.
    #[inline]
    pub(crate) fn node(&self) -> Option<&NodeRef> {
        self.0.as_ref()
    }

    /// Returns the node whose end is this context's end. Returns `None` if the context cannot end.
    #[inline]
    pub(crate) fn ender(&self) -> Option<&NodeRef> {
        self.0.as_ref()?.ender()
    }

    /// Returns the node's flags.
    #[inline]
    pub(crate) fn flags(&self) -> u8 {
        self.0.as_ref().map_or(0, |node| node.flags)
    }

    /// Returns every value of this type of this context and its ancestors. In a merged context, the values of both parents are
    /// included, each value once.
    pub(crate) fn all_values<V: Value>(&self) -> Vec<&V> {
        self.0.as_ref().map_or_else(Vec::new, |node| values::all(node))
    }

    pub(crate) fn clock_ref(&self) -> &Clock {
        self.0.as_ref().map_or(Clock::SYSTEM, |node| node.clock())
    }

    /// Returns the time left until the deadline or the idle timeout. Returns `None` without a deadline on the system's clock.
    pub(crate) fn remaining_of_system(&self) -> Option<Duration> {
        let when = self.ender().map_or(NEVER, |node| node.next_deadline());
        let counts = when != NEVER && self.flags() & flag::CLOCK == 0;
        counts.then(|| Duration::from_nanos(when.saturating_sub(Clock::SYSTEM.ticks()).max(0).unsigned_abs()))
    }

    /// Returns the effective deadline, or `NEVER`.
    #[inline]
    pub(crate) fn deadline_ticks(&self) -> i64 {
        if self.flags() & flag::NO_COPY == 0 {
            return self.copied_deadline();
        }
        self.ender().and_then(|node| node.effective_deadline()).map_or(NEVER, |(_, when)| when)
    }

    /// Returns the deadline that a context below this one copies, or `NEVER` (invariant 14 of the tree).
    #[inline]
    pub(crate) fn copied_deadline(&self) -> i64 {
        match self.0.as_ref() {
            Some(node) if node.flags & (flag::DEADLINE | flag::NO_COPY) == flag::DEADLINE => {
                node.ender().map_or(NEVER, |node| node.copied_deadline())
            }
            _ => NEVER,
        }
    }
}

impl Default for Context {
    /// Returns [`Context::background`].
    fn default() -> Self {
        Context::background()
    }
}
