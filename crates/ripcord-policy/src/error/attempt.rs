//! What one attempt of a call failed with.

use std::fmt;
use std::time::Duration;

use super::neutral::answer;
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
/// As a source, it leaves out the end of a context that lies right below it: see [`below`](CallError::below).
#[derive(Clone, Debug)]
pub(crate) struct CallError<E>(pub(crate) E);

/// How an attempt failed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The call returned an error, and that is all.
    Call,
    /// A policy refused the attempt, or the caller's context ended.
    Refused(Refused),
    /// The attempt's own timeout, this long, passed; the end is that of the attempt's context.
    TimedOut(Duration, ripcord::Error),
    /// The call panicked on a task of the policy's own.
    Panicked(Panicked),
    /// A load that others started failed with an error that is not an `E`.
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

    /// The end of the context, if that is what the attempt failed with.
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

/// Whether `error` only repeats what `end` says, as does a call that returns the end of its context.
pub(super) fn repeats(end: &ripcord::Error, error: &impl fmt::Display) -> bool {
    error.to_string() == end.to_string()
}

/// Returns the last error in the details of `error`, which repeats `end`: a nested policy's error has one of its own.
pub(super) fn last_error_of(end: &ripcord::Error, error: &impl fmt::Display) -> Option<String> {
    let details = format!("{error:#}");
    let rest = details.strip_prefix(&format!("{end:#}"))?;
    Some(rest[rest.find(LAST_ERROR)?..].to_owned())
}

/// Stands before the call's own error.
pub(super) const LAST_ERROR: &str = ", last error: ";

impl<E: std::error::Error + 'static> CallError<E> {
    /// Returns the call's error as the source of an error that reports `end`. If `end` lies right below the call's error too, what
    /// is returned leaves it out, so that a chain of sources tells of it once.
    pub(super) fn below(&self, end: &ripcord::Error) -> &(dyn std::error::Error + 'static) {
        match end_below(&self.0) {
            Some(repeated) if repeats(end, repeated) => self,
            _ => &self.0,
        }
    }
}

/// The end of a context, if it is the source of `error`.
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
    /// Prints the failure; with `{:#}` also its details and, after `separator`, the call's own error.
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
                if f.alternate() {
                    write!(f, " (set at {})", end.origin().location())?;
                }
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
    /// The call's error; what lies below it, if it repeats the end; else `below`, which lies below the end.
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

/// As the source of a retry's error.
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
            // Printed as itself, so what lies below it comes next.
            Failure::Call => self.call_error()?.source(),
            Failure::Load(error) => error.source(),
            Failure::Refused(refused) => self.source_or(refused.source()),
            Failure::TimedOut(_, end) => self.source_or(end.source()),
            Failure::Panicked(_) => None,
        }
    }
}
