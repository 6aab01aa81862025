//! The error type of every policy.

mod attempt;
mod chain;
mod compose;
mod neutral;
mod panicked;
mod refused;
mod shared;
mod stop;

pub use panicked::Panicked;
pub use refused::Refused;
pub use shared::SharedError;
pub use stop::StopReason;

pub(crate) use attempt::{AttemptError, Failure};
pub(crate) use stop::Details as StopDetails;

use std::time::Duration;

use crate::Outcome;

/// The error of a call through a policy. `E` is the error type of the call itself. For a [`Cache`](crate::Cache) and a
/// [`WorkerPool`](crate::WorkerPool), `E` is [`SharedError`].
///
/// The *caller* is the code that called the policy. The methods answer these questions:
///
/// | question | method |
/// |---|---|
/// | what did the call itself return? | [`last`](Error::last) |
/// | did the caller's context end? | [`is_canceled`](Error::is_canceled), [`is_deadline_exceeded`](Error::is_deadline_exceeded), [`context_error`](Error::context_error) |
/// | did the last attempt reach its own timeout? | [`is_attempt_timeout`](Error::is_attempt_timeout) |
/// | did a policy refuse the call? | [`is_rejected`](Error::is_rejected), [`retry_after`](Error::retry_after) |
/// | how many attempts were made, and why no more? | [`attempts`](Error::attempts), [`stop_reason`](Error::stop_reason) |
/// | did the called service fail? | [`outcome`](Error::outcome) |
///
/// A context *ends* when it is canceled or when its deadline passes. If a call returns an error after its context has ended,
/// the policy reports how the context ended. The call's own error is then the [`source`](std::error::Error::source) and the
/// [`last`](Error::last) error.
///
/// The text contains the end of the context, so the sources start below it: [`ripcord::Error::find_in`] does not find it. Use
/// [`context_error`](Error::context_error). In your own error type, return it from `source`. The types of the sources are not
/// part of the API and may change. To get the call's own error as `E`, use [`last`](Error::last).
///
/// `{}` prints a short text, such as `all 3 attempts failed`. `{:#}` prints the text with all details and sources on one line.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_policy::{Outcome, Retry};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ripcord_policy::ConfigError> {
/// let retry = Retry::constant(Duration::ZERO).max_attempts(3).build()?;
/// let failed = retry.run(&Context::background(), |_| async { Err::<(), _>("connection refused") }).await;
///
/// let error = failed.unwrap_err();
/// assert_eq!(error.to_string(), "all 3 attempts failed");
/// assert_eq!(format!("{error:#}"), "all 3 attempts failed, last error: connection refused");
/// assert_eq!((error.last(), error.attempts()), (Some(&"connection refused"), 3));
/// assert_eq!(error.outcome(), Outcome::Failure);
/// assert!(!error.is_deadline_exceeded());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Error<E>(Box<Inner<E>>);

/// The content of an [`Error`]. It is boxed to keep the result of a successful call small.
#[derive(Clone, Debug)]
struct Inner<E> {
    attempts: u32,
    /// The reason why a retry stopped. `None` without a retry.
    stop: Option<StopDetails>,
    /// The failure of the last attempt. `None` only for a retry that made no attempt, or whose last attempt only repeats the reason
    /// why the retry stopped.
    last: Option<AttemptError<E>>,
}

impl<E> Error<E> {
    /// Creates the error of a call that made one attempt and returned `error`.
    pub fn new(error: E) -> Self {
        Self::single(1, Failure::Call, Some(error))
    }

    /// Creates the error of a call that made one attempt, which panicked.
    pub fn from_panic(panicked: Panicked) -> Self {
        Self::single(1, Failure::Panicked(panicked), None)
    }

    /// Returns the last error that the call itself returned. If a policy refused the last attempt of a retry, this is the
    /// error of an earlier attempt. Returns `None` if the call returned no error, for example because a policy refused the
    /// only attempt.
    pub fn last(&self) -> Option<&E> {
        self.0.last.as_ref()?.call_error()
    }

    /// Returns the error that [`last`](Error::last) returns, by value.
    pub fn into_last(self) -> Option<E> {
        Some(self.0.last?.error?.0)
    }

    /// Returns the number of attempts that were started. An attempt of a retry counts even if a policy inside the retry
    /// refused the attempt. The attempts of a hedge inside a retry do not count. Returns 0 if no attempt was started, for
    /// example because a circuit breaker refused the call.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Returns the reason why a [`Retry`](crate::Retry) made no further attempt. Returns `None` if the call was not made
    /// through a retry.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.0.stop.as_ref().map(StopDetails::reason)
    }

    /// If the call failed because a context was canceled or its deadline passed, returns the error of this context.
    /// Otherwise returns `None`.
    ///
    /// The context is the context that was passed to the policy, or a context that the policy derived from it: the context
    /// of an attempt that [timed out](Error::is_attempt_timeout), of a call that reached the deadline of a
    /// [`Stack`](crate::Stack), or of a job of a [`WorkerPool`](crate::WorkerPool).
    ///
    /// If only an attempt has timed out, [`outcome`](Error::outcome) is [`Outcome::Failure`]. Otherwise it is
    /// [`Outcome::Neutral`].
    pub fn context_error(&self) -> Option<&ripcord::Error> {
        match &self.0.stop {
            Some(StopDetails::Ended(end)) => Some(end),
            _ => self.0.last.as_ref()?.context_error(),
        }
    }

    /// Returns whether the call failed because the caller's context was canceled. Also returns `true` if a job of a
    /// [`WorkerPool`](crate::WorkerPool) was canceled through its [`JobHandle`](crate::JobHandle) or by its pool.
    pub fn is_canceled(&self) -> bool {
        self.context_error().is_some_and(ripcord::Error::is_canceled)
    }

    /// Returns whether the call failed because a deadline passed, or because a wait would not have ended before the
    /// deadline. The deadline is the deadline of the caller's context or of a [`Stack`](crate::Stack).
    ///
    /// Returns `false` if only the timeout of an attempt passed: see [`is_attempt_timeout`](Error::is_attempt_timeout). Both are
    /// true if an attempt timed out and the wait for the next one would pass the deadline. The caller's context has not ended
    /// then, and [`context_error`](Error::context_error) is the end of the attempt.
    pub fn is_deadline_exceeded(&self) -> bool {
        match &self.0.stop {
            Some(StopDetails::Ended(end)) => end.is_deadline_exceeded(),
            Some(StopDetails::TooNear(_)) => true,
            _ => self.refused().is_some_and(Refused::is_deadline_exceeded),
        }
    }

    /// Returns whether the last attempt reached its own timeout: the
    /// [`attempt_timeout`](crate::stack::StackBuilder::attempt_timeout) of a [`Stack`](crate::Stack).
    pub fn is_attempt_timeout(&self) -> bool {
        matches!(self.failure(), Some(Failure::TimedOut(..)))
    }

    /// Returns whether a policy refused the last attempt, so that it was not sent. Returns `false` if the attempt failed
    /// because a context ended. If a wait for a token would not have ended before the deadline, both `is_rejected` and
    /// [`is_deadline_exceeded`](Error::is_deadline_exceeded) are true.
    pub fn is_rejected(&self) -> bool {
        self.refused().is_some_and(Refused::is_rejected)
    }

    /// Returns whether a [`CircuitBreaker`](crate::CircuitBreaker) refused the last attempt: the breaker was open, or it was
    /// half-open and all its probes were in flight. See [States](crate::CircuitBreaker#states).
    pub fn is_breaker_open(&self) -> bool {
        self.refused().is_some_and(Refused::is_breaker_open)
    }

    /// Returns whether a [`RateLimiter`](crate::RateLimiter) or [`KeyedLimiter`](crate::KeyedLimiter) refused the last attempt
    /// for one of the reasons listed for [`Refused::is_limited`]. If the wait for a token would not have ended before the
    /// deadline, [`is_deadline_exceeded`](Error::is_deadline_exceeded) is true instead.
    pub fn is_limited(&self) -> bool {
        self.refused().is_some_and(Refused::is_limited)
    }

    /// Returns whether a limiter refused the last attempt because its
    /// [`backend`](crate::limiter::RateLimiterBuilder::backend) is unavailable.
    pub fn is_unavailable(&self) -> bool {
        self.refused().is_some_and(Refused::is_unavailable)
    }

    /// Returns whether the last attempt was refused because a [`WorkerPool`](crate::WorkerPool) or
    /// [`Bulkhead`](crate::Bulkhead) was full. A pool is full if its queue is full. A bulkhead is full if all its permits are
    /// in use and its queue is full.
    pub fn is_full(&self) -> bool {
        self.refused().is_some_and(Refused::is_full)
    }

    /// Returns whether the last attempt was refused because a [`WorkerPool`](crate::WorkerPool) or [`Cache`](crate::Cache) was
    /// closed.
    pub fn is_closed(&self) -> bool {
        self.refused().is_some_and(Refused::is_closed)
    }

    /// Returns whether a [`Cache`](crate::Cache) refused a request for a key because a load would have waited for itself,
    /// directly or through other loads. See "Loads inside loads" in [`Cache::run`](crate::Cache::run).
    pub fn is_load_cycle(&self) -> bool {
        self.refused().is_some_and(Refused::is_load_cycle)
    }

    /// Returns whether a load of a [`Cache`](crate::Cache) or a job of a [`WorkerPool`](crate::WorkerPool) panicked. All other
    /// policies pass a panic of the call on to the caller.
    pub fn is_panicked(&self) -> bool {
        matches!(self.failure(), Some(Failure::Panicked(_)))
    }

    /// Returns how long to wait before calling again, if a [`CircuitBreaker`](crate::CircuitBreaker) refused the last
    /// attempt or the [backend](Error::is_unavailable) of a rate limiter was unavailable. Otherwise returns `None`.
    ///
    /// If the breaker is open, this is the time until it admits a probe. After
    /// [`force_open`](crate::CircuitBreaker::force_open), it is the setting
    /// [`open_for`](crate::breaker::CircuitBreakerBuilder::open_for). If the breaker is half-open and all its probes are in
    /// flight, the time is zero. An unavailable backend chooses the time itself.
    pub fn retry_after(&self) -> Option<Duration> {
        self.refused()?.retry_after()
    }

    /// Returns the outcome of the call, as a statement about the called service.
    ///
    /// Returns [`Outcome::Failure`] for the call's own error, for an attempt timeout and for a panic. Returns
    /// [`Outcome::Neutral`] if the caller's context ended or if a policy refused the last attempt. Never returns
    /// [`Outcome::Success`].
    pub fn outcome(&self) -> Outcome {
        match (&self.0.stop, &self.0.last) {
            (Some(StopDetails::Ended(_)), _) | (_, None) => Outcome::Neutral,
            (_, Some(last)) => last.outcome(),
        }
    }

    /// Converts the [`last`](Error::last) error with `change`, and keeps all other details of this error. Does not call
    /// `change` if there is no last error.
    pub fn map<F>(self, change: impl FnOnce(E) -> F) -> Error<F> {
        let Inner { attempts, stop, last } = *self.0;
        Error(Box::new(Inner { attempts, stop, last: last.map(|last| last.map(change)) }))
    }

    /// Returns the call's own error if the last attempt failed with this error alone.
    pub(crate) fn own(&self) -> Option<&E> {
        match self.failure() {
            Some(Failure::Call) => self.last(),
            _ => None,
        }
    }

    /// Returns the kind of failure of the last attempt.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.0.last.as_ref().map(|last| &last.failure)
    }

    pub(crate) fn refused(&self) -> Option<&Refused> {
        self.0.last.as_ref()?.refused()
    }
}
