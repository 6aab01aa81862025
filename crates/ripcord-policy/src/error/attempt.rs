//! What one attempt of a call failed with.

use std::fmt;
use std::time::Duration;

use super::{Panicked, Refused};
use crate::{Outcome, SharedError};

/// The failure of one attempt, with the call's own error if the call returned one.
#[derive(Clone, Debug)]
pub(crate) struct AttemptError<E> {
    pub(crate) failure: Failure,
    pub(crate) error: Option<E>,
}

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
    pub(super) fn end(&self) -> Option<&ripcord::Error> {
        match &self.failure {
            Failure::Refused(refused) => refused.end(),
            Failure::TimedOut(_, end) => Some(end),
            _ => None,
        }
    }

    pub(super) fn map<F>(self, change: impl FnOnce(E) -> F) -> AttemptError<F> {
        AttemptError { failure: self.failure, error: self.error.map(change) }
    }
}

/// Whether `error` only repeats what `end` says, as does a call that returns the end of its context.
pub(super) fn repeats(end: &ripcord::Error, error: &impl fmt::Display) -> bool {
    error.to_string() == end.to_string()
}

/// Returns what the details of `error` add to those of `end`, which it repeats: a nested policy's error has a last error of its own.
pub(super) fn addition(end: &ripcord::Error, error: &impl fmt::Display) -> Option<String> {
    format!("{error:#}").strip_prefix(&format!("{end:#}")).map(str::to_owned)
}

impl<E: fmt::Display> AttemptError<E> {
    /// The call's error, unless it repeats the end that is printed already.
    fn news(&self) -> Option<&E> {
        self.error.as_ref().filter(|error| !self.end().is_some_and(|end| repeats(end, error)))
    }
}

impl<E: fmt::Display> AttemptError<E> {
    /// Prints the failure; with `{:#}` also its details and, after `separator`, the call's own error.
    pub(super) fn print(&self, separator: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            Failure::Call => {
                return match &self.error {
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
        match (&self.error, self.end()) {
            (Some(error), Some(end)) if repeats(end, error) => f.write_str(&addition(end, error).unwrap_or_default()),
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
        match (self.news(), &self.error) {
            (Some(error), _) => Some(error),
            (None, Some(repeated)) => repeated.source().or(below),
            (None, None) => below,
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
        match &self.failure {
            // Printed as itself, so what lies below it comes next.
            Failure::Call => self.error.as_ref()?.source(),
            Failure::Load(error) => error.source(),
            Failure::Refused(refused) => self.source_or(refused.source()),
            Failure::TimedOut(_, end) => self.source_or(end.source()),
            Failure::Panicked(_) => None,
        }
    }

    fn description(&self) -> &str {
        if self.outcome() == Outcome::Neutral { super::NEUTRAL } else { "" }
    }
}
