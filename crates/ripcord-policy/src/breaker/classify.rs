//! Classifiers: what results say about the callee.

use crate::{Error, Outcome};

/// Judges results. Implemented by every `Fn(&Result<T, E>) -> Outcome`.
pub trait Classify<T, E> {
    /// Returns what `result` says about the callee.
    fn classify(&self, result: &Result<T, E>) -> Outcome;
}

/// The default classifier: every error is a failure.
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

/// Returns [`Error::outcome`]: a classifier for calls that go through other policies composed by hand. With this classifier, a
/// rejection by an inner policy is neutral. A [`Stack`](crate::Stack) does not need a classifier.
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
