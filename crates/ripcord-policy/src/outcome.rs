//! What one call says about the callee's health.

/// What one call says about the health of what was called.
///
/// Policies that judge a callee (the circuit breaker, the retry budget) look at nothing else. This enum is complete.
///
/// ```
/// use ripcord_policy::{Bulkhead, Error, Outcome};
///
/// # fn main() -> Result<(), ripcord_policy::ConfigError> {
/// let failed: Result<(), _> = Err(Error::new("disk on fire"));
/// assert_eq!(Outcome::of(&failed, Error::outcome), Outcome::Failure);
///
/// // Refused on this side: the callee never saw it.
/// let bulkhead = Bulkhead::builder().limit(1).build()?;
/// let _permit = bulkhead.try_acquire();
/// let refused: Result<(), Error<&str>> = bulkhead.try_acquire().map(drop).map_err(Error::from);
/// assert_eq!(Outcome::of(&refused, Error::outcome), Outcome::Neutral);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The callee did its work. An error can be a success too: "no such user" comes from a healthy service.
    Success,
    /// The callee failed, or did not answer within an attempt's timeout.
    Failure,
    /// It says nothing: the caller gave up, or the call was refused locally and never sent.
    Neutral,
}

impl Outcome {
    /// The outcome of `result`: [`Outcome::Success`] when it is `Ok`, otherwise what `classify` makes of the error.
    pub fn of<T, E>(result: &Result<T, E>, classify: impl FnOnce(&E) -> Outcome) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(error) => classify(error),
        }
    }
}
