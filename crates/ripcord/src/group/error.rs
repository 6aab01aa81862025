//! The error of a group's task.

use std::error::Error as StdError;
use std::fmt;

use crate::cause::Cause;
use crate::task::TaskPanic;

/// The error or the panic of one task of a [`Group`](crate::Group). `Display` prints the task's error or the panic's
/// message.
#[derive(Clone, Debug)]
pub struct GroupError(Cause);

impl GroupError {
    pub(super) fn new(cause: Cause) -> Self {
        GroupError(cause)
    }

    /// Returns the task's error. If the task panicked, this is a [`TaskPanic`].
    ///
    /// `error.cause().downcast_ref::<E>()` returns the error in its original type `E`.
    pub fn cause(&self) -> &Cause {
        &self.0
    }

    /// Returns the task's panic, or `None` if the task returned an error.
    ///
    /// Only [`Group::results`](crate::Group::results) returns a panic as an error. The other waiting methods of the group
    /// resume the panic.
    pub fn panic(&self) -> Option<&TaskPanic> {
        self.0.downcast_ref()
    }

    /// Returns whether the task panicked.
    pub fn is_panicked(&self) -> bool {
        self.panic().is_some()
    }
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for GroupError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // `Display` prints the task's error, so the next error in the chain is the source of the task's error.
        self.0.source()
    }
}
