//! What an error tells a retry without a closure of the user's.

use std::time::Duration;

use crate::Error;
use crate::error::{Failure, StopReason};

/// Inspects the error of a call that is itself a policy's.
pub(super) type InspectBelow<E> = fn(&E) -> Inspection;

/// What a retry knows of an attempt's error.
#[derive(Clone, Copy)]
pub(super) struct Inspection {
    /// The call reached the callee.
    pub(super) sent: bool,
    /// The attempt ran into a timeout.
    pub(super) timeout: bool,
    /// Trying again cannot help.
    pub(super) hopeless: bool,
    /// How long a local rejection says to wait.
    pub(super) retry_after: Option<Duration>,
}

impl Inspection {
    /// A failure like any other.
    const FAILED: Inspection = Inspection { sent: true, timeout: false, hopeless: false, retry_after: None };

    pub(super) fn new<E>(error: &Error<E>, below: Option<InspectBelow<E>>) -> Self {
        // An inner retry that left the retrying to this one is looked through; any other has tried already.
        if error.stop_reason().is_some_and(|stop| stop != StopReason::Nested) {
            return Inspection { hopeless: true, ..Self::FAILED };
        }
        match (error.failure(), error.refused()) {
            (_, Some(refused)) => Inspection {
                sent: false,
                timeout: false,
                hopeless: !refused.is_transient(),
                retry_after: refused.retry_after(),
            },
            (Some(Failure::TimedOut(..)), _) => Inspection { timeout: true, ..Self::FAILED },
            (Some(Failure::Call), _) => match (error.last(), below) {
                (Some(error), Some(below)) => below(error),
                _ => Self::FAILED,
            },
            _ => Self::FAILED,
        }
    }
}
