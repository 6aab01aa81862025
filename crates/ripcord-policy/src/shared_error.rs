//! An error that several callers receive.

use std::error::Error as StdError;
use std::fmt;

use ripcord::Cause;

use crate::error::is_neutral;

/// The error of a cache load or of a pool task. All callers that wait for the same load get a clone of the same error. Cloning
/// is cheap.
///
/// `Display` and [`source`](StdError::source) return the text and the source of the wrapped error.
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
}

impl SharedError {
    /// Wraps the error of a load or task.
    ///
    /// A [`Cache`](crate::Cache) can remember the error of a failed load. It does not remember an error whose chain of sources
    /// contains a refusal by a policy or the end of a caller's context, because such an error says nothing about the called
    /// service.
    pub fn new(error: impl Into<Cause>) -> Self {
        let cause = error.into();
        let neutral = is_neutral(cause.as_error());
        Self { cause, neutral }
    }

    pub(crate) fn is_neutral(&self) -> bool {
        self.neutral
    }

    /// Returns the wrapped error, if its type is `T`.
    pub fn downcast_ref<T: StdError + 'static>(&self) -> Option<&T> {
        self.cause.downcast_ref::<T>()
    }

    /// Returns the wrapped error.
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
