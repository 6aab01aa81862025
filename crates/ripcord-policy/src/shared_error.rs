//! An error that several callers receive.

use std::error::Error as StdError;
use std::fmt;

use ripcord::Cause;

use crate::error::{NEUTRAL, NEUTRAL_OUT_OF_TIME, OUT_OF_TIME};

/// The error of a load or a task, cheap to clone: all callers that waited for the same work get the same error.
///
/// It displays as the error inside, and its [`source`](StdError::source) is that error's.
///
/// ```
/// use ripcord_policy::SharedError;
///
/// let error = SharedError::new(std::io::Error::other("disk on fire"));
/// assert_eq!(error.to_string(), "disk on fire");
/// assert!(error.downcast_ref::<std::io::Error>().is_some());
/// ```
#[derive(Clone)]
pub struct SharedError {
    cause: Cause,
    /// Whether it says nothing about what was called: a local rejection, or the caller's end.
    neutral: bool,
    /// Whether more time may avoid it: a policy refused to start what would not end before the deadline.
    out_of_time: bool,
}

impl SharedError {
    /// Wraps the error of some work.
    ///
    /// An error with a local rejection or a caller's end of this crate in its chain of sources says nothing about the callee: a
    /// cache does not remember it.
    pub fn new(error: impl Into<Cause>) -> Self {
        let cause = error.into();
        let neutral = is_marked(cause.as_error(), &[NEUTRAL, NEUTRAL_OUT_OF_TIME]);
        let out_of_time = is_marked(cause.as_error(), &[OUT_OF_TIME, NEUTRAL_OUT_OF_TIME]);
        Self { cause, neutral, out_of_time }
    }

    pub(crate) fn is_neutral(&self) -> bool {
        self.neutral
    }

    pub(crate) fn is_out_of_time(&self) -> bool {
        self.out_of_time
    }

    /// Returns the error inside, if it is a `T`.
    pub fn downcast_ref<T: StdError + 'static>(&self) -> Option<&T> {
        self.cause.downcast_ref::<T>()
    }

    /// Returns the error inside.
    pub fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self.cause.as_error()
    }
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.cause, f)
    }
}

impl fmt::Debug for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.cause, f)
    }
}

impl StdError for SharedError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.source()
    }
}

impl From<Cause> for SharedError {
    fn from(cause: Cause) -> Self {
        Self::new(cause)
    }
}

/// Whether an error in the chain has one of `marks`.
fn is_marked(error: &(dyn StdError + 'static), marks: &[&str]) -> bool {
    #[expect(deprecated, reason = "an `Error<E>` cannot be asked anything else while `E` is unknown, see `mark`")]
    std::iter::successors(Some(error), |&error| below(error)).any(|error| marks.contains(&error.description()))
}

/// The next error in the chain. An `io::Error` returns as its source what lies below the error that it wraps.
fn below<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}
