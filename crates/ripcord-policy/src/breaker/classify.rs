//! What results say about the callee.

use crate::{Error, Outcome};

/// Judges results. Implemented by every `Fn(&Result<T, E>) -> Outcome`.
pub trait Classify<T, E> {
    /// What `result` says about the callee.
    fn classify(&self, result: &Result<T, E>) -> Outcome;
}

/// Every error is a failure: what a breaker goes by if it is told nothing else.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyError;

impl<T, E> Classify<T, E> for AnyError {
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

/// For calls that go through other policies of this crate: goes by [`Error::outcome`], so that a limiter's refusal
/// further in is nobody's failure.
///
/// ```
/// use ripcord_policy::{CircuitBreaker, breaker::by_outcome};
///
/// let breaker = CircuitBreaker::builder("users").classify(by_outcome::<String, std::io::Error>).build();
/// # assert!(breaker.is_ok());
/// ```
pub fn by_outcome<T, E>(result: &Result<T, Error<E>>) -> Outcome {
    Outcome::of(result, Error::outcome)
}
