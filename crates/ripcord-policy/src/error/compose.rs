//! Constructors of the error, and the changes that an outer policy makes to the error of an inner policy.

use std::time::Duration;

use ripcord::Context;

use super::attempt::CallError;
use super::{AttemptError, Error, Failure, Inner, Panicked, Refused, StopDetails};
use crate::SharedError;

impl<E> Error<E> {
    /// Creates the error of a call that `end` ended. `error` is the error that the call returned, if any.
    pub(crate) fn ended(end: ripcord::Error, error: Option<E>) -> Self {
        Self::single(1, Failure::Refused(Refused::ended(end)), error)
    }

    /// Creates the error of an attempt whose own timeout passed. `error` is the error that the call returned, if any.
    pub(crate) fn timed_out(timeout: Duration, end: ripcord::Error, error: Option<E>) -> Self {
        Self::single(1, Failure::TimedOut(timeout, end), error)
    }

    /// Creates the error of a load that another caller started. The type of the load's error is not `E`.
    pub(crate) fn load(error: SharedError) -> Self {
        Self::single(1, Failure::Load(error), None)
    }

    /// Creates the error of a retry that stopped after `attempts`. `last` is the error of the last attempt.
    pub(crate) fn stopped(attempts: u32, stop: StopDetails, last: Option<Error<E>>) -> Self {
        let mut last = last.and_then(|last| last.0.last);
        if let (StopDetails::Ended(_), Some(attempt)) = (&stop, &mut last)
            && attempt.refused().is_some_and(|refused| refused.context_error().is_some())
        {
            // The retry reports the same end, so only the call's own error is kept.
            attempt.failure = Failure::Call;
            last = last.filter(|attempt| attempt.error.is_some());
        }
        Error(Box::new(Inner { attempts, stop: Some(stop), last }))
    }

    pub(super) fn single(attempts: u32, failure: Failure, error: Option<E>) -> Self {
        Error(Box::new(Inner { attempts, stop: None, last: Some(AttemptError::new(failure, error)) }))
    }

    /// Returns the error of a call under `ctx`: the end of `ctx` if it has ended, with the call's own error as the source.
    pub(crate) fn under(mut self, ctx: &Context) -> Self {
        if self.is_end() {
            return self;
        }
        let Some(end) = ctx.err() else { return self };
        match (&mut self.0.stop, &mut self.0.last) {
            (Some(stop), _) => *stop = StopDetails::Ended(end),
            (None, Some(last)) => last.failure = Failure::Refused(Refused::ended(end)),
            (None, None) => {}
        }
        self
    }

    /// Returns whether this error reports the end of the caller's context.
    fn is_end(&self) -> bool {
        let refused = self.refused().is_some_and(|refused| refused.context_error().is_some());
        refused || matches!(self.0.stop, Some(StopDetails::Ended(_)))
    }

    /// Returns the same error with `earlier`, the error of an earlier attempt, if a policy refused the last attempt and it has no
    /// own error.
    pub(crate) fn after(mut self, earlier: Option<E>) -> Self {
        if let Some(AttemptError { failure: Failure::Refused(_), error: error @ None }) = &mut self.0.last {
            *error = earlier.map(CallError);
        }
        self
    }

    /// Returns the same error with the number of attempts set to `attempts`. Used by hedges.
    pub(crate) fn with_attempts(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// Returns the same error, with the call's own error, if any, replaced by the result of `change`.
    pub(crate) fn and_then<F>(self, change: impl FnOnce(E) -> Error<F>) -> Error<F> {
        let Inner { attempts, stop, last } = *self.0;
        let Some(AttemptError { failure, error }) = last else {
            return Error(Box::new(Inner { attempts, stop, last: None }));
        };
        let below = error.map(|CallError(error)| change(error));
        let last = match (failure, below) {
            (Failure::Call, Some(below)) if stop.is_none() => return below,
            (Failure::Call, below) => return Error::stopped_or(attempts, stop, below),
            (failure, below) => AttemptError::new(failure, below.and_then(Error::into_last)),
        };
        Error(Box::new(Inner { attempts, stop, last: Some(last) }))
    }

    fn stopped_or(attempts: u32, stop: Option<StopDetails>, last: Option<Error<E>>) -> Self {
        match stop {
            Some(stop) => Error::stopped(attempts, stop, last),
            None => Error(Box::new(Inner { attempts, stop: None, last: None })),
        }
    }
}

impl<E> From<Refused> for Error<E> {
    fn from(refused: Refused) -> Self {
        Self::single(0, Failure::Refused(refused), None)
    }
}

impl<E> From<ripcord::Error> for Error<E> {
    fn from(end: ripcord::Error) -> Self {
        Self::from(Refused::ended(end))
    }
}

impl<E> From<Panicked> for Error<E> {
    fn from(panicked: Panicked) -> Self {
        Self::single(1, Failure::Panicked(panicked), None)
    }
}

/// Joins the errors of two nested policies into one error. If a policy runs inside the call of another policy, the inner
/// policy returns an `Error<E>`, and the outer policy returns an `Error<Error<E>>`.
impl<E> From<Error<Error<E>>> for Error<E> {
    fn from(error: Error<Error<E>>) -> Self {
        error.and_then(|below| below)
    }
}
