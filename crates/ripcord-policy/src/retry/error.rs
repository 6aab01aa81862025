//! What a retry that gave up says.

use std::fmt;
use std::time::Duration;

use crate::{ConfigError, Error, Outcome};

/// Why a retry stopped without a result. More reasons may be added.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Stop {
    /// Every attempt allowed was made.
    Exhausted,
    /// `retry_if` said that trying again is of no use.
    NotRetryable,
    /// The next wait would have ended at or past the deadline, so it was not begun.
    Deadline {
        /// The wait that was due.
        needed: Duration,
        /// What was left.
        remaining: Duration,
    },
    /// The caller's context ended: before the first attempt, in one, or while waiting for the next.
    Context(ripcord::Error),
    /// The retry budget has no tokens left.
    Budget,
    /// It runs inside an attempt of another retry, which does the retrying: one attempt was all it had.
    Nested,
    /// The retry was built from settings out of bounds; nothing was attempted.
    Config(ConfigError),
}

/// A retry that gave up: the last real error, the attempts made, and why it stopped.
///
/// `Display` is one line with the last error in it, as in Go's `%w`; [`source`](std::error::Error::source) is that
/// error.
#[derive(Clone, Debug)]
pub struct RetryError<E>(Box<Story<E>>);

/// Boxed, so that the result of a run that succeeds is no larger than it has to be.
#[derive(Clone, Debug)]
struct Story<E> {
    last: Option<E>,
    attempts: u32,
    stop: Stop,
    /// Whether the last error says that the caller's time was up, or too little.
    out_of_time: bool,
}

impl<E> RetryError<E> {
    pub(crate) fn new(last: Option<E>, attempts: u32, stop: Stop) -> Self {
        RetryError(Box::new(Story { last, attempts, stop, out_of_time: false }))
    }

    /// Says that the last error tells of too little time.
    pub(crate) fn out_of_time(mut self, out_of_time: bool) -> Self {
        self.0.out_of_time = out_of_time;
        self
    }

    /// The error of the last attempt; `None` when there was no attempt.
    pub fn last(&self) -> Option<&E> {
        self.0.last.as_ref()
    }

    /// [`RetryError::last`], by value.
    pub fn into_last(self) -> Option<E> {
        self.0.last
    }

    /// Attempts begun, the first one included.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Why there was no further attempt.
    pub fn stop(&self) -> &Stop {
        &self.0.stop
    }

    /// Whether the caller ran out of time: its deadline passed, the next wait would have reached it, or, [over
    /// policies](crate::Retry::over_policies), one further in refused the last attempt for want of time.
    pub fn is_deadline_exceeded(&self) -> bool {
        match &self.0.stop {
            Stop::Context(error) => error.is_deadline_exceeded(),
            Stop::Deadline { .. } => true,
            _ => self.0.out_of_time,
        }
    }

    /// Whether the caller's context was canceled.
    pub fn is_canceled(&self) -> bool {
        matches!(&self.0.stop, Stop::Context(error) if error.is_canceled())
    }

    /// The same story with the last error changed by `change`.
    pub fn map_last<F>(self, change: impl FnOnce(E) -> F) -> RetryError<F> {
        let Story { last, attempts, stop, out_of_time } = *self.0;
        RetryError::new(last.map(change), attempts, stop).out_of_time(out_of_time)
    }
}

impl<E> RetryError<Error<E>> {
    /// What giving up says about the callee: nothing when the caller ended it, otherwise what the last error says.
    pub fn outcome(&self) -> Outcome {
        match (&self.0.stop, &self.0.last) {
            (Stop::Context(_), _) | (_, None) => Outcome::Neutral,
            (_, Some(last)) => last.outcome(),
        }
    }

    /// The wait after which another try is of use, when the last error knows.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.last.as_ref().and_then(Error::retry_after)
    }
}

impl<E: fmt::Display> fmt::Display for RetryError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.stop {
            Stop::Exhausted => match self.0.attempts {
                1 => f.write_str("the only attempt failed")?,
                attempts => write!(f, "all {attempts} attempts failed")?,
            },
            Stop::NotRetryable => write!(f, "not retryable, gave up after {}", Attempts(self.0.attempts))?,
            Stop::Deadline { needed, remaining } => write!(
                f,
                "context deadline exceeded before the next attempt: due in {needed:?}, {remaining:?} left, gave up after {}",
                Attempts(self.0.attempts)
            )?,
            Stop::Context(error) => write!(f, "{error} after {}", Attempts(self.0.attempts))?,
            Stop::Budget => write!(f, "retry budget is spent, gave up after {}", Attempts(self.0.attempts))?,
            Stop::Nested => f.write_str("the attempt failed, an outer retry decides on another")?,
            Stop::Config(error) => write!(f, "retry is misconfigured: {error}")?,
        }
        match &self.0.last {
            Some(last) => write!(f, ", last error: {last}"),
            None => Ok(()),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for RetryError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match (&self.0.last, &self.0.stop) {
            (Some(last), _) => Some(last),
            (None, Stop::Context(error)) => Some(error),
            (None, Stop::Config(error)) => Some(error),
            (None, _) => None,
        }
    }
}

/// `1 attempt`, `2 attempts`.
struct Attempts(u32);

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 attempt"),
            count => write!(f, "{count} attempts"),
        }
    }
}
