//! Classifiers, which judge the results of calls.

use crate::{Error, Outcome};

/// Judges the results of calls for a [`CircuitBreaker`](crate::CircuitBreaker). Every function `Fn(&Result<T, E>) -> Outcome`
/// implements this trait.
pub trait Classify<T, E> {
    /// Returns whether `result` is a success or a failure of the called service, or says nothing about the service.
    fn classify(&self, result: &Result<T, E>) -> Outcome;
}

/// The default classifier. It judges every error as a failure.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultClassifier;

impl<T, E> Classify<T, E> for DefaultClassifier {
    #[inline]
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        if result.is_ok() { Outcome::Success } else { Outcome::Failure }
    }
}

impl<T, E, F: Fn(&Result<T, E>) -> Outcome> Classify<T, E> for F {
    #[inline]
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        self(result)
    }
}

/// Classifies a result by [`Error::outcome`]. Use this classifier for a breaker around calls that go through other policies.
///
/// With this classifier, a refusal by an inner policy is [neutral](Outcome::Neutral). The breaker layer of a
/// [`Stack`](crate::Stack) does not need this classifier.
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
