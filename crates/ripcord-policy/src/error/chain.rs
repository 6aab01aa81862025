//! The text and the sources of an [`Error`].

use std::fmt;

use super::attempt::{self, AttemptError, Failure, LAST_ERROR};
use super::stop::Details as StopDetails;
use super::{Error, Inner, neutral};
use crate::Outcome;

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { attempts, stop, last } = &*self.0;
        match (stop, last) {
            (None, None) => Ok(()),
            (None, Some(last)) => last.print(LAST_ERROR, f),
            (Some(stop), last) => {
                stop.print(*attempts, f)?;
                match (last, stop) {
                    (Some(last), StopDetails::Ended(end)) if f.alternate() && self.is_repeated(last) => {
                        f.write_str(&attempt::last_error_of(end, last).unwrap_or_default())
                    }
                    (Some(last), _) if f.alternate() => write!(f, "{LAST_ERROR}{last:#}"),
                    _ => Ok(()),
                }
            }
        }
    }
}

impl<E: fmt::Display> Error<E> {
    /// Returns whether the last attempt only repeats the reason why the retry stopped.
    fn is_repeated(&self, last: &AttemptError<E>) -> bool {
        match &self.0.stop {
            Some(StopDetails::Ended(end)) => attempt::repeats(end, last),
            _ => false,
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let (Outcome::Neutral, Some(answer)) = (self.outcome(), neutral::answer()) {
            return Some(answer);
        }
        let Inner { stop, last, .. } = &*self.0;
        match (stop, last) {
            (None, last) => last.as_ref()?.source(),
            (Some(StopDetails::Ended(end)), Some(last)) if self.is_repeated(last) => {
                last.source().or_else(|| end.source())
            }
            (Some(StopDetails::Ended(end)), Some(AttemptError { failure: Failure::Call, error: Some(error) })) => {
                Some(error.below(end))
            }
            (Some(_), Some(AttemptError { failure: Failure::Call, error: Some(error) })) => Some(&error.0),
            (Some(_), Some(last)) => Some(last),
            (Some(StopDetails::Ended(end)), None) => end.source(),
            (Some(_), None) => None,
        }
    }
}
