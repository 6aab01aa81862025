//! The outcome of a call.

/// The outcome of a call, as a statement about the called service: the service works, the service failed, or the call does
/// not show which. This enum is exhaustive.
///
/// A [circuit breaker](crate::CircuitBreaker) and a bulkhead with an [adaptive limit](crate::bulkhead::AdaptiveLimit) judge a
/// service by the outcomes of its calls. An error of the call, an attempt timeout and a panic of the call are failures. A
/// classifier can change the outcome of an error: see
/// [`CircuitBreakerBuilder::classify`](crate::breaker::CircuitBreakerBuilder::classify). A call is neutral if its caller's
/// context ended, or if a policy refused the call before it was sent.
///
/// ```
/// use ripcord_policy::{Bulkhead, Error, Outcome};
///
/// # fn main() -> Result<(), ripcord_policy::ConfigError> {
/// let failed: Result<(), _> = Err(Error::new("disk on fire"));
/// assert_eq!(Outcome::new(&failed, Error::outcome), Outcome::Failure);
///
/// // Refused locally: the callee never saw the call.
/// let bulkhead = Bulkhead::builder().limit(1).build()?;
/// let _permit = bulkhead.try_acquire();
/// let refused: Result<(), Error<&str>> = bulkhead.try_acquire().map(drop).map_err(Error::from);
/// assert_eq!(Outcome::new(&refused, Error::outcome), Outcome::Neutral);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The called service works. An error of the call can have this outcome too, for example "no such user" from a healthy
    /// service.
    Success,
    /// The called service failed. An attempt timeout and a panic of the call count as failures too.
    Failure,
    /// The call says nothing about the service: the caller's context ended, or a policy refused the call before it was sent.
    Neutral,
}

impl Outcome {
    /// Returns [`Outcome::Success`] if `result` is `Ok`. Otherwise returns the outcome that `classify` returns for the error.
    /// For a result of a policy, pass [`Error::outcome`](crate::Error::outcome) as `classify`.
    pub fn new<T, E>(result: &Result<T, E>, classify: impl FnOnce(&E) -> Outcome) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(error) => classify(error),
        }
    }
}
