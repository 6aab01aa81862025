//! An error that several callers receive.

use std::error::Error as StdError;
use std::fmt;

use ripcord::Cause;

/// Why a load or a task failed. Cheap to clone: everybody who waited for the same work gets the same error.
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
pub struct SharedError(Cause);

impl SharedError {
    /// Wraps the error of some work.
    pub fn new(error: impl Into<Cause>) -> Self {
        Self(error.into())
    }

    /// The error inside, if it is a `T`.
    pub fn downcast_ref<T: StdError + 'static>(&self) -> Option<&T> {
        self.0.downcast_ref::<T>()
    }

    /// The error inside.
    pub fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self.0.as_error()
    }
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl StdError for SharedError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

impl From<Cause> for SharedError {
    fn from(cause: Cause) -> Self {
        Self(cause)
    }
}
