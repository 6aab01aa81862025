//! What is left of a panic.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A closure that a policy ran on a task of its own panicked. Holds the panic's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    message: Arc<str>,
}

impl Panicked {
    /// Creates one from the payload that `catch_unwind` or a join returned.
    pub fn new(payload: &(dyn Any + Send)) -> Self {
        let message = match (payload.downcast_ref::<&'static str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => (*text).into(),
            (_, Some(text)) => text.as_str().into(),
            _ => "no message".into(),
        };
        Panicked { message }
    }

    /// Returns the panic's message, or `no message` if its payload was no text.
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
