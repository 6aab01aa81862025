//! The error of a panic in a task.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// The error of a closure that panicked in a task that a policy spawned. Holds the panic's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    message: Arc<str>,
}

impl Panicked {
    /// Creates the error from the payload that [`catch_unwind`](std::panic::catch_unwind) or the join of a thread or task
    /// returned.
    pub fn new(payload: &(dyn Any + Send)) -> Self {
        let message = match (payload.downcast_ref::<&'static str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => (*text).into(),
            (_, Some(text)) => text.as_str().into(),
            _ => "no message".into(),
        };
        Panicked { message }
    }

    /// Returns the message of the panic, or `no message` if the payload is not a string.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.message)
    }
}

impl std::error::Error for Panicked {}
