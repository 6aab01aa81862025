//! The error of a context that has ended, and its origin.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::cause::Cause;
use crate::clock::Clock;
use crate::raw::compact::{Compact, View};
use crate::raw::movable::Moves;
use crate::raw::node::{End, Node, flag, state};

/// The error of a context that has ended: the context was canceled, its deadline passed, or its idle timeout expired.
///
/// [`Context::err`](crate::Context::err), [`check`](crate::Context::check) and the futures of a context return it.
///
/// The format `{}` prints the same text as Go: `context canceled` or `context deadline exceeded`. The format `{:#}` also
/// prints the cause and the [`Origin`]: the line of code that canceled the context or set the deadline, the context's
/// name, and the timeout or the time since the cancel.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
///
/// let ctx = Context::background().with_name("fetch-user").with_timeout_cause(Duration::ZERO, "no time left for the user");
/// let error = ctx.err().expect("a timeout of zero has passed");
/// assert_eq!(error.to_string(), "context deadline exceeded");
/// let text = format!("{error:#}");
/// assert!(text.starts_with("context deadline exceeded: no time left for the user (timeout of 0ns set at "));
/// assert!(text.ends_with(" in fetch-user)"));
/// ```
#[derive(Clone)]
pub struct Error(
    /// Most errors have neither a name nor a cause. They hold a location and a time that `Moment::pack` has packed.
    Compact<Details>,
);

/// The parts of an error with a name, a cause, or a deadline that was moved.
struct Details {
    moment: Moment,
    nanoseconds: i64,
    location: &'static Location<'static>,
    name: Option<Arc<Cow<'static, str>>>,
    cause: Option<Cause>,
    /// For a movable deadline or an idle timeout.
    moves: Option<Moves>,
}

/// What ended the context, and the meaning of the nanoseconds stored with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// A deadline passed. The nanoseconds are the original timeout.
    Deadline,
    /// A cancel. The nanoseconds are its time on the system's clock.
    Canceled,
    /// A cancel on another clock. The error does not hold that clock. The nanoseconds are the time from the cancel to the
    /// creation of the error.
    CanceledBefore,
    /// Like `Canceled`, by a dropped `Canceler`.
    Dropped,
    /// Like `CanceledBefore`, by a dropped `Canceler`.
    DroppedBefore,
}

/// The way in which a context ended: by a cancel, or by a deadline or an idle timeout. [`Error::kind`] returns it.
/// There will be no further variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The context was canceled. Go's `context.Canceled`.
    #[doc(alias = "context.Canceled")]
    Canceled,
    /// The context's deadline passed, or its idle timeout expired. Go's `context.DeadlineExceeded`.
    #[doc(alias = "context.DeadlineExceeded")]
    DeadlineExceeded,
}

impl Error {
    /// Returns how the context ended: [`Canceled`](ErrorKind::Canceled) for a cancel,
    /// [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) for a deadline or an idle timeout.
    pub fn kind(&self) -> ErrorKind {
        match self.moment().0 {
            Moment::Deadline => ErrorKind::DeadlineExceeded,
            _ => ErrorKind::Canceled,
        }
    }

    /// Returns whether the context was canceled.
    pub fn is_canceled(&self) -> bool {
        self.kind() == ErrorKind::Canceled
    }

    /// Returns whether the context's deadline passed or its idle timeout expired.
    pub fn is_deadline_exceeded(&self) -> bool {
        self.kind() == ErrorKind::DeadlineExceeded
    }

    /// Returns the cause that was passed to a method such as [`cancel_with`](crate::Canceler::cancel_with) or
    /// [`with_timeout_cause`](crate::Context::with_timeout_cause), or `None` if no cause was passed.
    ///
    /// The cause is also the error's [`source`](StdError::source). If you always need a cause, use
    /// [`Context::cause`](crate::Context::cause), which returns the error itself if no cause was passed.
    pub fn cause(&self) -> Option<&Cause> {
        self.details()?.cause.as_ref()
    }

    /// Returns the [`Origin`] of the context's end: the line of code that canceled the context or set the deadline, the
    /// context's name, and the timeout or the time since the cancel.
    pub fn origin(&self) -> Origin {
        Origin(self.clone())
    }

    /// Searches `error` and its chain of [sources](StdError::source) for the error of a context. Returns `None` if the chain
    /// contains no such error.
    ///
    /// Use this function to find out whether an operation failed because a context ended. The search also looks inside an
    /// [`io::Error`], whose `source` skips the error that it contains.
    ///
    /// The result is also `None` in these cases:
    ///
    /// - `error` is an error of a policy of `ripcord-policy`. Its text already contains the context's error, and its sources
    ///   start below. Use its method `context_error`. A type that wraps such an error can return the result of
    ///   `context_error` as its source.
    /// - No context has ended, because the operation did not start: too little time was left. Use the method
    ///   `is_deadline_exceeded` of the errors of `ripcord-policy` and `ripcord-http`.
    ///
    /// ```
    /// use std::io;
    /// use ripcord::{Context, Error};
    ///
    /// fn read(ctx: &Context) -> io::Result<u8> {
    ///     ctx.check()?;
    ///     Ok(7)
    /// }
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// cancel.cancel_with("the client has gone");
    /// let error = read(&ctx).unwrap_err();
    /// assert_eq!(Error::find_in(&error).unwrap().cause().unwrap().to_string(), "the client has gone");
    /// assert!(Error::find_in(&io::Error::other("disk full")).is_none());
    /// ```
    pub fn find_in<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Error>() {
                return Some(found);
            }
            next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(held) => Some(held),
                None => error.source(),
            };
        }
        None
    }

    /// Returns what ended the context, and the nanoseconds stored with it.
    fn moment(&self) -> (Moment, i64) {
        match self.0.view() {
            View::Location(_, packed) => Moment::unpack(packed),
            View::Shared(details) => (details.moment, details.nanoseconds),
        }
    }

    fn details(&self) -> Option<&Details> {
        match self.0.view() {
            View::Location(..) => None,
            View::Shared(details) => Some(details),
        }
    }

    /// Creates the error of a done node from the bits and the end that `Node::end` returned.
    #[inline]
    pub(crate) fn from_end(node: &Node, bits: u8, end: &End) -> Error {
        if node.flags & (flag::NAMED | flag::CLOCK | flag::MOVABLE) == 0 && end.cause.is_none() {
            let moment = match bits & (state::DEADLINE | state::DROPPED) {
                0 => Moment::Canceled,
                state::DROPPED => Moment::Dropped,
                _ => Moment::Deadline,
            };
            if let Some(packed) = moment.pack(end.detail) {
                return Error(Compact::location(end.location, packed));
            }
        }
        Error::with_details(node, bits, end)
    }

    #[cold]
    fn with_details(node: &Node, bits: u8, end: &End) -> Error {
        let dropped = bits & state::DROPPED != 0;
        let mut moves = None;
        let (moment, nanoseconds) = if bits & state::DEADLINE != 0 {
            let origin = if node.flags & flag::NO_COPY == 0 { node } else { node.origin_of_end() };
            moves = origin.moves_before_end();
            let set = origin.end().map_or(0, |(_, end)| end.detail);
            (Moment::Deadline, moves.map_or(set, |moves| moves.timeout))
        } else if node.flags & flag::CLOCK == 0 {
            (if dropped { Moment::Dropped } else { Moment::Canceled }, end.detail)
        } else {
            // A shielded node ended later than the node where its end began.
            let origin = if node.flags & flag::SHIELDED == 0 { None } else { node.origin_of_end().end() };
            let at = origin.map_or(end.detail, |(_, end)| end.detail);
            let before = node.clock().ticks().saturating_sub(at);
            (if dropped { Moment::DroppedBefore } else { Moment::CanceledBefore }, before)
        };
        let name = if node.flags & flag::NAMED == 0 { None } else { node.origin_of_end().name().cloned() };
        Error(Compact::shared(Details {
            moment,
            nanoseconds,
            location: end.location,
            name,
            cause: end.cause.clone(),
            moves,
        }))
    }
}

impl Moment {
    /// The variants in the order of their discriminants.
    const ALL: [Moment; 5] =
        [Moment::Deadline, Moment::Canceled, Moment::CanceledBefore, Moment::Dropped, Moment::DroppedBefore];

    /// Packs the moment and the nanoseconds into 63 bits. Returns `None` for 18 years and more.
    #[inline]
    fn pack(self, nanoseconds: i64) -> Option<u64> {
        let time = u64::try_from(nanoseconds).ok()?;
        (time >> TIME_BITS == 0).then_some((self as u64) << TIME_BITS | time)
    }

    fn unpack(packed: u64) -> (Moment, i64) {
        let moment = Moment::ALL[(packed >> TIME_BITS) as usize % Moment::ALL.len()];
        (moment, (packed & ((1 << TIME_BITS) - 1)) as i64)
    }
}

const TIME_BITS: u32 = 59;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind() {
            ErrorKind::Canceled => "context canceled",
            ErrorKind::DeadlineExceeded => "context deadline exceeded",
        })?;
        if f.alternate() {
            if let Some(cause) = self.cause() {
                write!(f, ": {cause:#}")?;
            }
            write!(f, " ({})", self.origin())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind())
            .field("origin", &self.origin())
            .field("cause", &self.cause())
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause().map(|cause| cause.as_error() as _)
    }
}

impl From<Error> for io::Error {
    /// Converts an exceeded deadline to [`io::ErrorKind::TimedOut`] and a cancel to [`io::ErrorKind::Other`].
    ///
    /// A cancel does not become [`io::ErrorKind::Interrupted`], because functions of the standard library such as
    /// [`read_to_end`](io::Read::read_to_end) repeat a call that returns this kind.
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Canceled => io::ErrorKind::Other,
            ErrorKind::DeadlineExceeded => io::ErrorKind::TimedOut,
        };
        io::Error::new(kind, error)
    }
}

/// Describes where a context was canceled, or where its deadline or idle timeout was set: the line of code, the context's
/// name, and the timeout or the time since the cancel.
///
/// [`Error::origin`] returns the origin of an error. [`Context::deadline_origin`](crate::Context::deadline_origin)
/// returns the origin of a deadline. An `Origin` owns its data and does not keep the context alive.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
///
/// let ctx = Context::background().with_name("fetch-user").with_timeout(Duration::ZERO);
/// let origin = ctx.err().expect("a timeout of zero has passed").origin();
/// assert_eq!(origin.name(), Some("fetch-user"));
/// assert_eq!(origin.timeout(), Some(Duration::ZERO));
/// assert!(origin.to_string().starts_with("timeout of 0ns set at "));
/// ```
#[derive(Clone)]
pub struct Origin(Error);

impl Origin {
    /// Creates the origin of a fixed deadline.
    pub(crate) fn of_deadline(node: &Node, location: &'static Location<'static>, timeout: i64) -> Origin {
        let name = node.name().cloned();
        Origin(Error(Compact::shared(Details {
            moment: Moment::Deadline,
            nanoseconds: timeout,
            location,
            name,
            cause: None,
            moves: None,
        })))
    }

    /// Creates the origin of a movable deadline.
    pub(crate) fn of_movable_deadline(node: &Node, location: &'static Location<'static>, moves: Moves) -> Origin {
        Origin(Error(Compact::shared(Details {
            moment: Moment::Deadline,
            nanoseconds: moves.timeout,
            location,
            name: node.name().cloned(),
            cause: None,
            moves: Some(moves),
        })))
    }

    /// Returns the line of code that canceled the context, or set the deadline or the idle timeout.
    ///
    /// If the context was canceled by the drop of its [`Canceler`](crate::Canceler), this is the line that created the
    /// canceler. A call that moves a deadline or restarts an idle timeout does not change this line.
    pub fn location(&self) -> &'static Location<'static> {
        match self.0.0.view() {
            View::Location(location, _) => location,
            View::Shared(details) => details.location,
        }
    }

    /// Returns the [name](crate::Context::with_name) of the context that was canceled or on which the deadline was set.
    ///
    /// If that context has no name, this is the name of its nearest ancestor with a name. Returns `None` if none of them
    /// has a name.
    pub fn name(&self) -> Option<&str> {
        self.0.details()?.name.as_ref().map(|name| &***name)
    }

    /// Returns whether an [idle timeout](crate::Context::with_idle_timeout) ended the context, rather than a deadline or
    /// a cancel.
    pub fn is_idle_timeout(&self) -> bool {
        self.moves().is_some_and(|moves| moves.is_idle)
    }

    fn moves(&self) -> Option<&Moves> {
        self.0.details()?.moves.as_ref()
    }

    /// Returns the timeout with which the deadline or the idle timeout was set. Returns `None` if the context was
    /// canceled.
    ///
    /// If an instant was set as the deadline, this is the time from the call that set the deadline to the deadline, or
    /// zero if the deadline was in the past. For a [movable deadline](crate::Context::with_movable_deadline), this is the
    /// time from the creation of the context to the deadline after the last move.
    pub fn timeout(&self) -> Option<Duration> {
        let (moment, nanoseconds) = self.0.moment();
        (moment == Moment::Deadline).then(|| duration(nanoseconds))
    }

    /// Returns the time since the context was canceled. Returns `None` if the context ended at a deadline or by an idle
    /// timeout.
    ///
    /// If the context's clock is the system's clock, this is the time from the cancel to this call of `elapsed`. If
    /// another clock was set with [`with_clock`](crate::Context::with_clock), this is the time from the cancel until
    /// the context returned the error, for example from [`err`](crate::Context::err).
    pub fn elapsed(&self) -> Option<Duration> {
        let (moment, nanoseconds) = self.0.moment();
        match moment {
            Moment::Deadline => None,
            Moment::Canceled | Moment::Dropped => Some(duration(Clock::SYSTEM.ticks().saturating_sub(nanoseconds))),
            Moment::CanceledBefore | Moment::DroppedBefore => Some(duration(nanoseconds)),
        }
    }

    /// Returns whether the context was canceled because its [`Canceler`](crate::Canceler) was dropped, not by a call of
    /// `cancel`.
    pub fn is_dropped_canceler(&self) -> bool {
        matches!(self.0.moment().0, Moment::Dropped | Moment::DroppedBefore)
    }
}

fn duration(nanoseconds: i64) -> Duration {
    Duration::from_nanos(nanoseconds.max(0).unsigned_abs())
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = self.location();
        match (self.timeout(), self.is_dropped_canceler()) {
            (Some(timeout), _) if self.is_idle_timeout() => {
                write!(f, "idle for {timeout:?}: timeout set at {location}")?
            }
            (Some(_), _) if self.moves().is_some() => write!(f, "deadline set at {location}")?,
            (Some(timeout), _) => write!(f, "timeout of {timeout:?} set at {location}")?,
            (None, false) => write!(f, "canceled at {location}")?,
            (None, true) => write!(f, "canceler of {location} dropped")?,
        }
        if let Some(name) = self.name() {
            write!(f, " in {name}")?;
        }
        if let Some(moves) = self.moves().filter(|moves| moves.count > 0) {
            let moved = if moves.is_idle { "reset" } else { "moved" };
            let times = if moves.count == 1 { "time" } else { "times" };
            write!(f, "; {moved} {} {times}, last {}", moves.count, Ago(duration(moves.since_last)))?;
        }
        if let Some(elapsed) = self.elapsed() {
            // The time of a cancel is accurate to a few milliseconds.
            match elapsed.as_millis() {
                0..10 => f.write_str(", just now")?,
                milliseconds @ 10..1000 => write!(f, ", {milliseconds}ms ago")?,
                _ => write!(f, ", {elapsed:.1?} ago")?,
            }
        }
        Ok(())
    }
}

/// Prints a duration as a time in the past, to the millisecond.
struct Ago(Duration);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX) {
            0..10 => f.write_str("just now"),
            milliseconds => write!(f, "{:?} ago", Duration::from_millis(milliseconds)),
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
