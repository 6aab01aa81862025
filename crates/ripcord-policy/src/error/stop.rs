//! Why a retry stopped.

use std::fmt;

use super::Refused;

/// Why a retry made no further attempt. More reasons may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stop {
    /// Every allowed attempt was made.
    Exhausted,
    /// `retry_if` rejected the error, or the error is one that another attempt cannot cure.
    NotRetryable,
    /// The caller's deadline passed, or the next wait would have ended at or after it.
    Deadline,
    /// The caller's context was canceled.
    Canceled,
    /// The retry budget has too few tokens.
    Budget,
    /// The retry ran inside an attempt of another retry, and so made one attempt only.
    Nested,
}

/// [`Stop`] with its details.
#[derive(Clone, Debug)]
pub(crate) enum Reason {
    Exhausted,
    NotRetryable,
    /// The wait for the next attempt would not have ended in time.
    TooNear(Refused),
    Ended(ripcord::Error),
    Budget,
    Nested,
}

impl Reason {
    pub(super) fn stop(&self) -> Stop {
        match self {
            Reason::Exhausted => Stop::Exhausted,
            Reason::NotRetryable => Stop::NotRetryable,
            Reason::TooNear(_) => Stop::Deadline,
            Reason::Ended(end) if end.is_deadline_exceeded() => Stop::Deadline,
            Reason::Ended(_) => Stop::Canceled,
            Reason::Budget => Stop::Budget,
            Reason::Nested => Stop::Nested,
        }
    }

    /// Prints the reason; with `{:#}` also its details and `attempts`, unless the text names them anyway.
    pub(super) fn print(&self, attempts: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Exhausted if attempts == 1 => return f.write_str("the only attempt failed"),
            Reason::Exhausted => return write!(f, "all {attempts} attempts failed"),
            Reason::Nested => return f.write_str("the attempt failed, and an outer retry decides on another"),
            Reason::NotRetryable => f.write_str("not retryable")?,
            Reason::TooNear(refused) => fmt::Display::fmt(refused, f)?,
            Reason::Ended(end) => fmt::Display::fmt(end, f)?,
            Reason::Budget => f.write_str("retry budget is spent")?,
        }
        match (f.alternate(), attempts) {
            (false, _) => Ok(()),
            (true, 0) => f.write_str(", before the first attempt"),
            (true, 1) => f.write_str(", after 1 attempt"),
            (true, _) => write!(f, ", after {attempts} attempts"),
        }
    }
}
