//! An error that several callers receive.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use ripcord::Cause;

/// Why a load or a task failed. Cheap to clone: everybody who waited for the same work gets the same error.
///
/// It displays as the error inside does, and so does its [`source`](StdError::source) chain.
#[derive(Clone)]
pub struct SharedError(Repr);

#[derive(Clone)]
enum Repr {
    Failed(Cause),
    Panicked(Arc<str>),
}

impl SharedError {
    /// Wraps the error of some work.
    pub fn new(error: impl Into<Cause>) -> Self {
        Self(Repr::Failed(error.into()))
    }

    /// What `catch_unwind` brought back.
    pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Self {
        let message = if let Some(text) = payload.downcast_ref::<&str>() {
            text
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text.as_str()
        } else {
            "a payload that is not text"
        };
        Self(Repr::Panicked(message.into()))
    }

    /// Whether the work panicked instead of returning an error.
    pub fn is_panic(&self) -> bool {
        matches!(self.0, Repr::Panicked(_))
    }

    /// The error the work returned, if it is a `T`.
    pub fn downcast_ref<T: StdError + 'static>(&self) -> Option<&T> {
        match &self.0 {
            Repr::Failed(cause) => cause.downcast_ref::<T>(),
            Repr::Panicked(_) => None,
        }
    }
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Failed(cause) => fmt::Display::fmt(cause, f),
            Repr::Panicked(message) => write!(f, "panicked: {message}"),
        }
    }
}

impl fmt::Debug for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Failed(cause) => f.debug_tuple("SharedError").field(cause).finish(),
            Repr::Panicked(message) => f.debug_tuple("Panicked").field(message).finish(),
        }
    }
}

impl StdError for SharedError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0 {
            Repr::Failed(cause) => cause.source(),
            Repr::Panicked(_) => None,
        }
    }
}
