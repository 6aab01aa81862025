//! How a context ended: Go's two errors, with the story behind them.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::cause::Cause;
use crate::clock::Clock;
use crate::raw::node::{End, Node, flag, state};
use crate::raw::tree;

/// Why a context is done: it was canceled, or its deadline passed.
///
/// `{}` prints Go's text, `context canceled` or `context deadline exceeded`; `{:#}` tells the story: the cause, the file and
/// line that cancelled or set the deadline, the nearest name at or above the place where the end began, the original timeout,
/// or how long ago the cancel was.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
///
/// let ctx = Context::background().with_name("fetch-user").with_timeout_cause(Duration::ZERO, "no time left for the user");
/// let error = ctx.err().expect("a timeout of zero has passed");
/// assert_eq!(error.to_string(), "context deadline exceeded");
/// let story = format!("{error:#}");
/// assert!(story.starts_with("context deadline exceeded: no time left for the user (timeout of 0ns set at "));
/// assert!(story.ends_with(" in fetch-user)"));
/// ```
#[derive(Clone)]
pub struct Error(Repr);

/// Two words, so that it is returned in registers and makes no `Result` large (row C20).
#[derive(Clone)]
enum Repr {
    /// No name, no cause, and a time that `Moment::units` can say: most of them.
    Plain {
        moment: Moment,
        units: u32,
        location: &'static Location<'static>,
    },
    Story(Arc<Story>),
}

struct Story {
    moment: Moment,
    nanoseconds: i64,
    location: &'static Location<'static>,
    name: Option<Arc<Cow<'static, str>>>,
    cause: Option<Cause>,
}

/// What happened, and what the time kept with it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// A deadline passed: its original timeout.
    Deadline,
    /// It was canceled: when, on the system's clock.
    Canceled,
    /// It was canceled on a clock of its own, which the error does not hold: how long before the error was made.
    CanceledBefore,
    /// As the two above, by a `Canceler` that was dropped.
    Dropped,
    DroppedBefore,
}

/// The two ways in which a context ends. Complete: there will be no third.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Somebody called the work off: Go's `context.Canceled`.
    #[doc(alias = "context.Canceled")]
    Canceled,
    /// There was no time left: Go's `context.DeadlineExceeded`.
    #[doc(alias = "context.DeadlineExceeded")]
    DeadlineExceeded,
}

impl Error {
    /// Which of the two it is.
    pub fn kind(&self) -> ErrorKind {
        match self.moment() {
            Moment::Deadline => ErrorKind::DeadlineExceeded,
            _ => ErrorKind::Canceled,
        }
    }

    /// Whether somebody called the work off.
    pub fn is_canceled(&self) -> bool {
        self.kind() == ErrorKind::Canceled
    }

    /// Whether there was no time left.
    pub fn is_deadline_exceeded(&self) -> bool {
        self.kind() == ErrorKind::DeadlineExceeded
    }

    /// The cause that was given, if one was. It is the error's [`source`](StdError::source) as well.
    pub fn cause(&self) -> Option<&Cause> {
        match &self.0 {
            Repr::Plain { .. } => None,
            Repr::Story(story) => story.cause.as_ref(),
        }
    }

    /// Where the end began.
    pub fn origin(&self) -> Origin<'_> {
        Origin { error: self }
    }

    fn moment(&self) -> Moment {
        match &self.0 {
            Repr::Plain { moment, .. } => *moment,
            Repr::Story(story) => story.moment,
        }
    }

    fn nanoseconds(&self) -> i64 {
        match &self.0 {
            Repr::Plain { moment, units, .. } => moment.nanoseconds(*units),
            Repr::Story(story) => story.nanoseconds,
        }
    }

    /// The error of a done node, with the bits and the end that were read of it.
    #[inline]
    pub(crate) fn of(node: &Node, bits: u8, end: &End) -> Error {
        if node.flags & (flag::NAMED | flag::CLOCK) == 0 && end.cause.is_none() {
            let moment = match bits & (state::DEADLINE | state::DROPPED) {
                0 => Moment::Canceled,
                state::DROPPED => Moment::Dropped,
                _ => Moment::Deadline,
            };
            if let Some(units) = moment.units(end.detail) {
                return Error(Repr::Plain { moment, units, location: end.location });
            }
        }
        Error::story(node, bits, end)
    }

    #[cold]
    fn story(node: &Node, bits: u8, end: &End) -> Error {
        let dropped = bits & state::DROPPED != 0;
        let (moment, nanoseconds) = if bits & state::DEADLINE != 0 {
            (Moment::Deadline, end.detail)
        } else if node.flags & flag::CLOCK == 0 {
            (if dropped { Moment::Dropped } else { Moment::Canceled }, end.detail)
        } else {
            let before = node.clock().ticks().saturating_sub(end.detail);
            (if dropped { Moment::DroppedBefore } else { Moment::CanceledBefore }, before)
        };
        let name = if node.flags & flag::NAMED == 0 { None } else { name_of_origin(node) };
        Error(Repr::Story(Arc::new(Story {
            moment,
            nanoseconds,
            location: end.location,
            name,
            cause: end.cause.clone(),
        })))
    }
}

impl Moment {
    /// The time in 32 bits: a timeout in whole milliseconds, a moment in some that are about as long and cheaper to count.
    #[inline]
    fn units(self, nanoseconds: i64) -> Option<u32> {
        match self {
            Moment::Deadline if nanoseconds % MILLISECOND != 0 => None,
            Moment::Deadline => u32::try_from(nanoseconds / MILLISECOND).ok(),
            _ => u32::try_from(nanoseconds >> SHIFT).ok(),
        }
    }

    fn nanoseconds(self, units: u32) -> i64 {
        match self {
            Moment::Deadline => i64::from(units) * MILLISECOND,
            _ => i64::from(units) << SHIFT,
        }
    }
}

const MILLISECOND: i64 = 1_000_000;
/// 2^20 ns are 1.05 ms.
const SHIFT: u32 = 20;

/// The nearest name at or above the node where the end began.
fn name_of_origin(node: &Node) -> Option<Arc<Cow<'static, str>>> {
    let mut origin = node;
    while origin.end().is_some_and(|(bits, _)| bits & state::OWN == 0) {
        match tree::earlier_of(origin.cancel_parent(), origin.second_parent()) {
            Some(parent) => origin = parent,
            None => break,
        }
    }
    origin.name().cloned()
}

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
    /// A deadline is [`io::ErrorKind::TimedOut`], a cancel [`io::ErrorKind::Other`]: never `Interrupted`, on which the
    /// standard library's loops try again for ever.
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Canceled => io::ErrorKind::Other,
            ErrorKind::DeadlineExceeded => io::ErrorKind::TimedOut,
        };
        io::Error::new(kind, error)
    }
}

/// Where an end began: the place in the source, the context's name, and the time.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    error: &'a Error,
}

impl<'a> Origin<'a> {
    /// The file and line that cancelled, or set the deadline; for a [`Canceler`](crate::Canceler) that was dropped, the one
    /// that made it.
    pub fn location(&self) -> &'static Location<'static> {
        match &self.error.0 {
            Repr::Plain { location, .. } => location,
            Repr::Story(story) => story.location,
        }
    }

    /// The nearest name at or above the context where the end began.
    pub fn name(&self) -> Option<&'a str> {
        match &self.error.0 {
            Repr::Plain { .. } => None,
            Repr::Story(story) => story.name.as_ref().map(|name| &***name),
        }
    }

    /// For a deadline the timeout it was set with; for one in the past, zero.
    pub fn timeout(&self) -> Option<Duration> {
        (self.error.moment() == Moment::Deadline).then(|| duration(self.error.nanoseconds()))
    }

    /// For a cancel how long ago it was, to some milliseconds.
    pub fn elapsed(&self) -> Option<Duration> {
        let nanoseconds = self.error.nanoseconds();
        match self.error.moment() {
            Moment::Deadline => None,
            Moment::Canceled | Moment::Dropped => Some(duration(Clock::SYSTEM.ticks().saturating_sub(nanoseconds))),
            Moment::CanceledBefore | Moment::DroppedBefore => Some(duration(nanoseconds)),
        }
    }

    /// Whether it was not a call of `cancel` but the drop of a [`Canceler`](crate::Canceler).
    pub fn is_dropped_canceler(&self) -> bool {
        matches!(self.error.moment(), Moment::Dropped | Moment::DroppedBefore)
    }
}

fn duration(nanoseconds: i64) -> Duration {
    Duration::from_nanos(nanoseconds.max(0).unsigned_abs())
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = self.location();
        match (self.timeout(), self.is_dropped_canceler()) {
            (Some(timeout), _) => write!(f, "timeout of {timeout:?} set at {location}")?,
            (None, false) => write!(f, "canceled at {location}")?,
            (None, true) => write!(f, "canceler of {location} dropped")?,
        }
        if let Some(name) = self.name() {
            write!(f, " in {name}")?;
        }
        if let Some(elapsed) = self.elapsed() {
            // It is known to some milliseconds only.
            match elapsed.as_millis() {
                0..10 => f.write_str(", just now")?,
                milliseconds @ 10..1000 => write!(f, ", {milliseconds}ms ago")?,
                _ => write!(f, ", {elapsed:.1?} ago")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
