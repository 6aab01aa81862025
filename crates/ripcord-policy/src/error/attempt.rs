//! The failure of one attempt of a call.

use std::fmt;
use std::time::Duration;

use super::neutral::answer;
use super::refused::print_details;
use super::{Panicked, Refused};
use crate::{Outcome, SharedError};

/// The failure of one attempt, with the call's own error if the call returned one.
#[derive(Clone, Debug)]
pub(crate) struct AttemptError<E> {
    pub(crate) failure: Failure,
    pub(crate) error: Option<CallError<E>>,
}

/// The error that the call returned.
///
/// As a source, this error skips the end of a context directly below it: see [`below`](CallError::below).
#[derive(Clone, Debug)]
pub(crate) struct CallError<E>(pub(crate) E);

/// The kind of failure of an attempt.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The call returned an error.
    Call,
    /// A policy refused the attempt, or the caller's context ended.
    Refused(Refused),
    /// The attempt's own timeout passed. Holds the length of the timeout and the end of the attempt's context.
    TimedOut(Duration, ripcord::Error),
    /// The call panicked in a task that the policy spawned.
    Panicked(Panicked),
    /// A load started by another caller failed with an error whose type is not `E`.
    Load(SharedError),
}

impl<E> AttemptError<E> {
    pub(super) fn new(failure: Failure, error: Option<E>) -> Self {
        AttemptError { failure, error: error.map(CallError) }
    }

    pub(super) fn call_error(&self) -> Option<&E> {
        self.error.as_ref().map(|error| &error.0)
    }

    pub(super) fn outcome(&self) -> Outcome {
        match &self.failure {
            Failure::Refused(_) => Outcome::Neutral,
            Failure::Load(error) if error.is_neutral() => Outcome::Neutral,
            Failure::Call | Failure::TimedOut(..) | Failure::Panicked(_) | Failure::Load(_) => Outcome::Failure,
        }
    }

    pub(super) fn refused(&self) -> Option<&Refused> {
        match &self.failure {
            Failure::Refused(refused) => Some(refused),
            _ => None,
        }
    }

    /// Returns the end of the context if the attempt failed because its context ended.
    pub(super) fn context_error(&self) -> Option<&ripcord::Error> {
        match &self.failure {
            Failure::Refused(refused) => refused.context_error(),
            Failure::TimedOut(_, end) => Some(end),
            _ => None,
        }
    }

    pub(super) fn map<F>(self, change: impl FnOnce(E) -> F) -> AttemptError<F> {
        AttemptError::new(self.failure, self.error.map(|CallError(error)| change(error)))
    }
}

/// Returns whether `error` prints the same text as `end`. This is the case if the call returned the end of its context.
pub(super) fn repeats(end: &ripcord::Error, error: &impl fmt::Display) -> bool {
    error.to_string() == end.to_string()
}

/// Returns the last error in the details of `error`, which repeats `end`. The error of a nested policy has its own last error.
pub(super) fn last_error_of(end: &ripcord::Error, error: &impl fmt::Display) -> Option<String> {
    let details = format!("{error:#}");
    let rest = details.strip_prefix(&format!("{end:#}"))?;
    Some(rest[rest.find(LAST_ERROR)?..].to_owned())
}

/// The text before the call's own error.
pub(super) const LAST_ERROR: &str = ", last error: ";

impl<E: std::error::Error + 'static> CallError<E> {
    /// Returns the call's error as the source of an error that reports `end`. If `end` is also the direct source of the call's
    /// error, the returned error skips it, so that a chain of sources contains `end` only once.
    pub(super) fn below(&self, end: &ripcord::Error) -> &(dyn std::error::Error + 'static) {
        match end_below(&self.0) {
            Some(repeated) if repeats(end, repeated) => self,
            _ => &self.0,
        }
    }
}

/// Returns the source of `error` if it is the end of a context.
fn end_below(error: &impl std::error::Error) -> Option<&ripcord::Error> {
    error.source()?.downcast_ref()
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: std::error::Error + 'static> std::error::Error for CallError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match end_below(&self.0) {
            Some(end) => end.source(),
            None => self.0.source(),
        }
    }
}

impl<E: fmt::Display> AttemptError<E> {
    /// Prints the failure. With `{:#}`, also prints its details and, after `separator`, the call's own error.
    pub(super) fn print(&self, separator: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            Failure::Call => {
                return match self.call_error() {
                    Some(error) => error.fmt(f),
                    None => Ok(()),
                };
            }
            Failure::Refused(refused) => fmt::Display::fmt(refused, f)?,
            Failure::TimedOut(timeout, end) => {
                write!(f, "attempt timed out after {timeout:?}")?;
                print_details(f, format_args!("set at {}", end.origin().location()))?;
            }
            Failure::Panicked(panicked) => fmt::Display::fmt(panicked, f)?,
            Failure::Load(error) => fmt::Display::fmt(error, f)?,
        }
        if !f.alternate() {
            return Ok(());
        }
        match (self.call_error(), self.context_error()) {
            (Some(error), Some(end)) if repeats(end, error) => {
                f.write_str(&last_error_of(end, error).unwrap_or_default())
            }
            (Some(error), _) => write!(f, "{separator}{error:#}"),
            (None, _) => Ok(()),
        }
    }
}

impl<E: std::error::Error + 'static> AttemptError<E> {
    /// Returns the call's error. If this error repeats the end, returns its source instead. If there is no such error, returns
    /// `below`, the source of the end.
    fn source_or<'a>(
        &'a self,
        below: Option<&'a (dyn std::error::Error + 'static)>,
    ) -> Option<&'a (dyn std::error::Error + 'static)> {
        match (&self.error, self.context_error()) {
            (Some(error), Some(end)) if repeats(end, &error.0) => error.0.source().or(below),
            (Some(error), Some(end)) => Some(error.below(end)),
            (Some(error), None) => Some(&error.0),
            (None, _) => below,
        }
    }
}

/// Prints the failure as the source of a retry's error.
impl<E: fmt::Display> fmt::Display for AttemptError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.print(": ", f)
    }
}

impl<E: std::error::Error + 'static> std::error::Error for AttemptError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let (Outcome::Neutral, Some(answer)) = (self.outcome(), answer()) {
            return Some(answer);
        }
        match &self.failure {
            // The failure prints the call's error itself, so the source of that error comes next.
            Failure::Call => self.call_error()?.source(),
            Failure::Load(error) => error.source(),
            Failure::Refused(refused) => self.source_or(refused.source()),
            Failure::TimedOut(_, end) => self.source_or(end.source()),
            Failure::Panicked(_) => None,
        }
    }
}
