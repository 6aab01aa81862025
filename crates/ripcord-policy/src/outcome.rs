//! What one call says about the callee's health.

/// What one call says about the health of the callee. This enum is complete.
///
/// The policies that judge a callee, such as the circuit breaker and the retry budget, look at nothing else. The caller's own
/// end and every local rejection are neutral; an attempt timeout and a panic of the callee are failures.
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
    /// The callee did its work. An error can be a success too: "no such user" comes from a healthy service.
    Success,
    /// The callee failed, panicked, or did not answer within an attempt's timeout.
    Failure,
    /// The call says nothing: the caller gave up, or the call was refused locally and never sent.
    Neutral,
}

impl Outcome {
    /// Returns the outcome of `result`: [`Outcome::Success`] when it is `Ok`, otherwise what `classify` makes of the error.
    pub fn new<T, E>(result: &Result<T, E>, classify: impl FnOnce(&E) -> Outcome) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(error) => classify(error),
        }
    }
}
