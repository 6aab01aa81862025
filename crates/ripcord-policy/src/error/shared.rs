//! An error that several callers receive.

use std::error::Error as StdError;
use std::fmt;

use ripcord::Cause;

use super::neutral::is_neutral;

/// Wraps an error of any type: the error of a load of a [`Cache`](crate::Cache), or of a job of a
/// [`WorkerPool`](crate::WorkerPool). All callers that wait for the same load get a clone of the same error. Cloning is cheap.
///
/// `Display` prints the text of the wrapped error, and [`source`](StdError::source) returns the source of the wrapped error.
/// Get the wrapped error with [`downcast_ref`](SharedError::downcast_ref) or [`as_error`](SharedError::as_error).
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
    /// Whether the error says nothing about the callee: it is a local rejection, or the caller's context ended.
    neutral: bool,
}

impl SharedError {
    /// Wraps an error. A value of any type that converts to a [`Cause`] can be wrapped. A cache and a worker pool wrap the
    /// errors of loads and jobs themselves, so most programs do not call this function.
    ///
    /// A [`Cache`](crate::Cache) can remember the error of a failed load: see
    /// [`negative_ttl`](crate::cache::CacheBuilder::negative_ttl). The cache does not remember an error of this crate whose
    /// outcome is [`Neutral`](crate::Outcome::Neutral), nor an error that has such an error in its chain of sources.
    pub fn new(error: impl Into<Cause>) -> Self {
        let cause = error.into();
        let neutral = is_neutral(cause.as_error());
        Self { cause, neutral }
    }

    pub(crate) fn is_neutral(&self) -> bool {
        self.neutral
    }

    /// Returns the wrapped error, if its type is `T`. Otherwise returns `None`.
    pub fn downcast_ref<T: StdError + 'static>(&self) -> Option<&T> {
        self.cause.downcast_ref::<T>()
    }

    /// Returns the wrapped error as a trait object.
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
