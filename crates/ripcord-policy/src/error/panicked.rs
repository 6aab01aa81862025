//! The error of a panic in a task.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// The error of a load of a [`Cache`](crate::Cache) or a job of a [`WorkerPool`](crate::WorkerPool) that panicked. Contains the
/// message of the panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    message: Arc<str>,
}

impl Panicked {
    /// Creates the error from the payload of a panic, as returned by [`catch_unwind`](std::panic::catch_unwind) or
    /// [`JoinHandle::join`](std::thread::JoinHandle::join).
    pub fn new(payload: &(dyn Any + Send)) -> Self {
        Panicked { message: ripcord::panic_message(payload).unwrap_or("no message").into() }
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
