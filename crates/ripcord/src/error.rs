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
use crate::raw::node::{End, Node, Payload, flag, state};

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
pub struct Error {
    kind: ErrorKind,
    origin: Origin,
    cause: Option<Cause>,
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
        self.kind
    }

    /// Whether somebody called the work off.
    pub fn is_canceled(&self) -> bool {
        self.kind == ErrorKind::Canceled
    }

    /// Whether there was no time left.
    pub fn is_deadline_exceeded(&self) -> bool {
        self.kind == ErrorKind::DeadlineExceeded
    }

    /// The cause that was given, if one was. It is the error's [`source`](StdError::source) as well.
    pub fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// Where the end began.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The error of a done node, with the bits and the end that were read of it.
    pub(crate) fn of(node: &Node, bits: u8, end: &End) -> Error {
        let kind = if bits & state::DEADLINE == 0 { ErrorKind::Canceled } else { ErrorKind::DeadlineExceeded };
        let moment = match kind {
            ErrorKind::DeadlineExceeded => Moment::Timeout(end.detail),
            ErrorKind::Canceled if node.flags & flag::CLOCK == 0 => Moment::CanceledAt(end.detail),
            ErrorKind::Canceled => Moment::CanceledBefore(node.clock().ticks().saturating_sub(end.detail)),
        };
        let name = if node.flags & flag::NAMED == 0 { None } else { name_of_origin(node) };
        let origin = Origin { location: end.location, name, moment, dropped: bits & state::DROPPED != 0 };
        Error { kind, origin, cause: end.cause.clone() }
    }
}

/// The nearest name at or above the node where the end began.
fn name_of_origin(node: &Node) -> Option<Name> {
    let mut origin = node;
    while origin.end().is_some_and(|(bits, _)| bits & state::OWN == 0) {
        let done = |parent: Option<_>| parent.filter(|parent: &&crate::raw::node::NodeRef| parent.end().is_some());
        // A merged context inherits from either; the first that is done is right but for two that end at the same time.
        match done(origin.cancel_parent()).or_else(|| done(origin.second_parent())) {
            Some(parent) => origin = parent,
            None => break,
        }
    }
    let mut at = Some(origin);
    while let Some(node) = at {
        if let Payload::Name(name) = &node.payload {
            return Some(match &**name {
                Cow::Borrowed(name) => Name::Static(name),
                Cow::Owned(name) => Name::Shared(name.as_str().into()),
            });
        }
        at = node.parent.as_deref();
    }
    None
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ErrorKind::Canceled => "context canceled",
            ErrorKind::DeadlineExceeded => "context deadline exceeded",
        })?;
        if f.alternate() {
            if let Some(cause) = &self.cause {
                write!(f, ": {cause:#}")?;
            }
            write!(f, " ({})", self.origin)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error").field("kind", &self.kind).field("origin", &self.origin).field("cause", &self.cause).finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_ref().map(|cause| cause.as_error() as _)
    }
}

impl From<Error> for io::Error {
    /// A deadline is [`io::ErrorKind::TimedOut`], a cancel [`io::ErrorKind::Other`]: never `Interrupted`, on which the
    /// standard library's loops try again for ever.
    fn from(error: Error) -> Self {
        let kind = match error.kind {
            ErrorKind::Canceled => io::ErrorKind::Other,
            ErrorKind::DeadlineExceeded => io::ErrorKind::TimedOut,
        };
        io::Error::new(kind, error)
    }
}

/// Where an end began: the place in the source, the context's name, and the time.
#[derive(Clone)]
pub struct Origin {
    location: &'static Location<'static>,
    name: Option<Name>,
    moment: Moment,
    dropped: bool,
}

#[derive(Clone)]
enum Name {
    Static(&'static str),
    Shared(Arc<str>),
}

/// In nanoseconds, and of the system's clock where it is a moment.
#[derive(Clone, Copy)]
enum Moment {
    Timeout(i64),
    CanceledAt(i64),
    /// On a clock of its own, which the error does not hold: how long before the error was made.
    CanceledBefore(i64),
}

impl Origin {
    /// The file and line that cancelled, or set the deadline; for a [`Canceler`](crate::Canceler) that was dropped, the one
    /// that made it.
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// The nearest name at or above the context where the end began.
    pub fn name(&self) -> Option<&str> {
        match self.name.as_ref()? {
            Name::Static(name) => Some(name),
            Name::Shared(name) => Some(name),
        }
    }

    /// For a deadline the timeout it was set with; for one in the past, zero.
    pub fn timeout(&self) -> Option<Duration> {
        match self.moment {
            Moment::Timeout(timeout) => Some(duration(timeout)),
            _ => None,
        }
    }

    /// For a cancel how long ago it was, to some milliseconds.
    pub fn elapsed(&self) -> Option<Duration> {
        match self.moment {
            Moment::Timeout(_) => None,
            Moment::CanceledAt(at) => Some(duration(Clock::SYSTEM.ticks().saturating_sub(at))),
            Moment::CanceledBefore(before) => Some(duration(before)),
        }
    }

    /// Whether it was not a call of `cancel` but the drop of a [`Canceler`](crate::Canceler).
    pub fn is_dropped_canceler(&self) -> bool {
        self.dropped
    }
}

fn duration(nanoseconds: i64) -> Duration {
    Duration::from_nanos(nanoseconds.max(0).unsigned_abs())
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = self.location;
        match (self.timeout(), self.dropped) {
            (Some(timeout), _) => write!(f, "timeout of {timeout:?} set at {location}")?,
            (None, false) => write!(f, "canceled at {location}")?,
            (None, true) => write!(f, "canceler of {location} dropped")?,
        }
        if let Some(name) = self.name() {
            write!(f, " in {name}")?;
        }
        if let Some(elapsed) = self.elapsed() {
            write!(f, ", {elapsed:.1?} ago")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
