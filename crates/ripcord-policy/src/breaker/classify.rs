//! Classifiers, which judge the results of calls.

use crate::{Error, Outcome};

/// Judges the results of calls for a [`CircuitBreaker`](crate::CircuitBreaker). Every function `Fn(&Result<T, E>) -> Outcome`
/// implements this trait.
pub trait Classify<T, E> {
    /// Returns the outcome of a call that returned `result`: the service works, the service failed, or the result says nothing
    /// about the service.
    fn classify(&self, result: &Result<T, E>) -> Outcome;
}

/// The default classifier of a [`CircuitBreaker`](crate::CircuitBreaker). `Ok` is a success, and every error is a failure.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultClassifier;

impl<T, E> Classify<T, E> for DefaultClassifier {
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        if result.is_ok() { Outcome::Success } else { Outcome::Failure }
    }
}

impl<T, E, F: Fn(&Result<T, E>) -> Outcome> Classify<T, E> for F {
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        self(result)
    }
}

/// Returns [`Outcome::Success`] for `Ok`, and [`Error::outcome`] for an error. Pass this function to
/// [`CircuitBreakerBuilder::classify`](super::CircuitBreakerBuilder::classify) if the calls go through other policies.
///
/// Such a call returns an [`Error`]. If another policy refused the call, the outcome is [neutral](Outcome::Neutral). With the
/// default classifier it would be a failure. The breaker layer of a [`Stack`](crate::Stack) does not need this function.
///
/// ```
/// use ripcord_policy::{CircuitBreaker, breaker::by_outcome};
///
/// let breaker = CircuitBreaker::builder("users").classify(by_outcome::<String, std::io::Error>).build();
/// # assert!(breaker.is_ok());
/// ```
pub fn by_outcome<T, E>(result: &Result<T, Error<E>>) -> Outcome {
    Outcome::new(result, Error::outcome)
}
