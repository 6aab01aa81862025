//! One error shape for every policy.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::retry::RetryError;
use crate::{Outcome, SharedError};

/// Why a call was refused on this side, without reaching what it was meant for.
///
/// A rejection is neutral everywhere: it trips no breaker, spends no retry budget, and is not the callee's fault.
/// More kinds may be added.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejected {
    /// The circuit breaker of this name lets nothing through.
    BreakerOpen {
        /// The breaker's name.
        name: Arc<str>,
        /// Until its next probe is allowed; zero when it is half-open with all of its probes under way.
        retry_after: Duration,
    },
    /// The rate limiter has no token to give.
    Limited {
        /// Until there will be one, if the rate is above zero.
        retry_after: Option<Duration>,
    },
    /// More tokens were asked for at once than the limiter ever holds.
    ExceedsBurst {
        /// Tokens asked for.
        requested: u32,
        /// The most that can be had at once.
        burst: u32,
    },
    /// The worker pool's queue is full.
    PoolFull {
        /// Tasks the queue holds.
        capacity: usize,
    },
    /// As many calls are under way as the bulkhead admits, and its queue is full.
    BulkheadFull {
        /// Calls under way at once.
        limit: usize,
    },
    /// It could not have finished before the deadline, so it was not begun.
    Deadline {
        /// What it would have taken at the least.
        needed: Duration,
        /// What was left of the caller's deadline.
        remaining: Duration,
    },
    /// The pool or cache has been closed; the word says which.
    Closed(&'static str),
}

impl Rejected {
    /// How long to wait before trying again is of use, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Rejected::BreakerOpen { retry_after, .. } => Some(*retry_after),
            Rejected::Limited { retry_after } => *retry_after,
            _ => None,
        }
    }

    /// Whether trying again later can help at all: not after a deadline, a close, or a request above the burst.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Rejected::ExceedsBurst { .. } | Rejected::Deadline { .. } | Rejected::Closed(_))
    }

    /// Whether the caller's deadline was the reason.
    pub fn is_deadline_exceeded(&self) -> bool {
        matches!(self, Rejected::Deadline { .. })
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejected::BreakerOpen { name, retry_after } if retry_after.is_zero() => {
                write!(f, "circuit breaker '{name}' is HALF-OPEN and probing")
            }
            Rejected::BreakerOpen { name, .. } => write!(f, "circuit breaker '{name}' is OPEN"),
            Rejected::Limited { retry_after: Some(after) } => write!(f, "rate limited for another {after:?}"),
            Rejected::Limited { retry_after: None } => f.write_str("rate limited"),
            Rejected::ExceedsBurst { requested, burst } => {
                write!(f, "{requested} tokens exceed the burst of {burst}")
            }
            Rejected::PoolFull { capacity } => write!(f, "queue of {capacity} is full"),
            Rejected::BulkheadFull { limit } => write!(f, "all {limit} places are taken"),
            Rejected::Deadline { needed, remaining } => {
                write!(f, "deadline too near: needs {needed:?}, {remaining:?} left")
            }
            Rejected::Closed(what) => write!(f, "{what} is closed"),
        }
    }
}

impl std::error::Error for Rejected {}

/// A closure given to a policy panicked; what is left of the panic.
///
/// The payload's text, when it had one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    message: Arc<str>,
}

impl Panicked {
    /// From what `catch_unwind` or a join returned.
    pub fn new(payload: &(dyn Any + Send)) -> Self {
        let message = match (payload.downcast_ref::<&'static str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => (*text).into(),
            (_, Some(text)) => text.as_str().into(),
            _ => "no message".into(),
        };
        Panicked { message }
    }

    /// The panic's message.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.message)
    }
}

impl std::error::Error for Panicked {}

/// What went wrong with a call made through a policy; `E` is the call's own error.
///
/// More kinds may be added. `Display` is each kind's own message and leaves what lies below to
/// [`source`](std::error::Error::source), except that the call's own error, or another's, shows as itself.
///
/// ```
/// use ripcord_policy::{Error, Rejected};
/// use std::time::Duration;
///
/// let error: Error<std::io::Error> = Error::Rejected(Rejected::BreakerOpen {
///     name: "users".into(),
///     retry_after: Duration::from_secs(2),
/// });
/// assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
/// assert_eq!(error.to_string(), "circuit breaker 'users' is OPEN");
/// assert!(!error.is_deadline_exceeded());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error<E> {
    /// The call's own error.
    Inner(E),
    /// The caller's context ended first.
    Context(ripcord::Error),
    /// The call was refused locally and not sent.
    Rejected(Rejected),
    /// One attempt did not finish within its own timeout, this long; the caller had time left.
    AttemptTimeout(Duration),
    /// A closure run on the caller's behalf panicked.
    Panicked(Panicked),
    /// Work shared with other callers, begun by one of them, failed with an error that is not an `E`: a stack's cache is
    /// loaded through elsewhere too, with errors of another type.
    Foreign(SharedError),
    /// A retry gave up: after how many attempts, on which error, and why.
    Retry(Box<RetryError<Error<E>>>),
}

impl<E> Error<E> {
    /// Whether time ran out for the caller: its deadline passed, or the work could not have ended before it.
    ///
    /// An attempt's own timeout is not the caller's: see [`Error::is_attempt_timeout`].
    pub fn is_deadline_exceeded(&self) -> bool {
        match self {
            Error::Context(error) => error.is_deadline_exceeded(),
            Error::Rejected(rejected) => rejected.is_deadline_exceeded(),
            Error::Retry(gave_up) => gave_up.is_deadline_exceeded(),
            _ => false,
        }
    }

    /// Whether the caller's context was canceled.
    pub fn is_canceled(&self) -> bool {
        match self {
            Error::Context(error) => error.is_canceled(),
            Error::Retry(gave_up) => gave_up.is_canceled(),
            _ => false,
        }
    }

    /// Whether it was refused locally and never sent.
    pub fn is_rejected(&self) -> bool {
        matches!(self, Error::Rejected(_))
    }

    /// Whether one attempt ran into its own timeout.
    pub fn is_attempt_timeout(&self) -> bool {
        matches!(self, Error::AttemptTimeout(_))
    }

    /// How long to wait before trying again is of use, where a local rejection knows.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Rejected(rejected) => rejected.retry_after(),
            Error::Retry(gave_up) => gave_up.retry_after(),
            _ => None,
        }
    }

    /// What this error says about the callee.
    ///
    /// The caller's own end and local rejections are neutral; everything else is a failure.
    pub fn outcome(&self) -> Outcome {
        match self {
            Error::Context(_) | Error::Rejected(_) => Outcome::Neutral,
            Error::Foreign(error) if error.is_neutral() => Outcome::Neutral,
            Error::Inner(_) | Error::AttemptTimeout(_) | Error::Panicked(_) | Error::Foreign(_) => Outcome::Failure,
            Error::Retry(gave_up) => gave_up.outcome(),
        }
    }

    /// The call's own error, if that is what this is or what the last attempt of a retry ended in.
    pub fn inner(&self) -> Option<&E> {
        match self {
            Error::Inner(error) => Some(error),
            Error::Retry(gave_up) => gave_up.last().and_then(Error::inner),
            _ => None,
        }
    }

    /// [`Error::inner`], by value.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Error::Inner(error) => Some(error),
            Error::Retry(gave_up) => gave_up.into_last().and_then(Error::into_inner),
            _ => None,
        }
    }

    /// The same error with the call's own error changed by `change`.
    pub fn map_inner<F>(self, change: impl FnOnce(E) -> F) -> Error<F> {
        self.map_inner_with(&mut Some(change))
    }

    /// A retry's error holds an `Error` in its turn: one concrete closure type for all levels keeps this finite.
    fn map_inner_with<F, C: FnOnce(E) -> F>(self, change: &mut Option<C>) -> Error<F> {
        match self {
            Error::Inner(error) => {
                let change = change.take().expect("an error holds at most one inner error");
                Error::Inner(change(error))
            }
            Error::Context(error) => Error::Context(error),
            Error::Rejected(rejected) => Error::Rejected(rejected),
            Error::AttemptTimeout(after) => Error::AttemptTimeout(after),
            Error::Panicked(panicked) => Error::Panicked(panicked),
            Error::Foreign(error) => Error::Foreign(error),
            Error::Retry(gave_up) => Error::Retry(Box::new(gave_up.map_last(|last| last.map_inner_with(change)))),
        }
    }
}

impl<E> Error<Error<E>> {
    /// One level instead of two, for a policy called inside of another.
    pub fn flatten(self) -> Error<E> {
        match self {
            Error::Inner(error) => error,
            Error::Context(error) => Error::Context(error),
            Error::Rejected(rejected) => Error::Rejected(rejected),
            Error::AttemptTimeout(after) => Error::AttemptTimeout(after),
            Error::Panicked(panicked) => Error::Panicked(panicked),
            Error::Foreign(error) => Error::Foreign(error),
            Error::Retry(gave_up) => Error::Retry(Box::new(gave_up.map_last(Error::flatten))),
        }
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Inner(error) => error.fmt(f),
            Error::Context(error) => error.fmt(f),
            Error::Rejected(rejected) => rejected.fmt(f),
            Error::AttemptTimeout(after) => write!(f, "attempt timed out after {after:?}"),
            Error::Panicked(panicked) => panicked.fmt(f),
            Error::Foreign(error) => error.fmt(f),
            Error::Retry(gave_up) => gave_up.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Shown as itself above, so what lies below it comes next.
            Error::Inner(error) => error.source(),
            Error::Foreign(error) => error.source(),
            Error::Context(error) => Some(error),
            Error::Rejected(rejected) => Some(rejected),
            Error::Panicked(panicked) => Some(panicked),
            Error::AttemptTimeout(_) => None,
            // Shown as itself too.
            Error::Retry(gave_up) => gave_up.source(),
        }
    }
}

impl<E> From<ripcord::Error> for Error<E> {
    fn from(error: ripcord::Error) -> Self {
        Error::Context(error)
    }
}

impl<E> From<Rejected> for Error<E> {
    fn from(rejected: Rejected) -> Self {
        Error::Rejected(rejected)
    }
}

impl<E> From<RetryError<Error<E>>> for Error<E> {
    fn from(gave_up: RetryError<Error<E>>) -> Self {
        Error::Retry(Box::new(gave_up))
    }
}

impl<E> From<Panicked> for Error<E> {
    fn from(panicked: Panicked) -> Self {
        Error::Panicked(panicked)
    }
}
