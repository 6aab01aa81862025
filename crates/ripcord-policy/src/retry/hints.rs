//! What a retry reads from the error of a policy, without a closure of the user's.

use std::time::Duration;

use crate::Error;
use crate::error::{Failure, StopReason};

/// Reads the hints of a call's error that is itself a policy's.
pub(super) type HintsBelow<E> = fn(&E) -> RetryHints;

/// What a retry has to know of an attempt's error.
#[derive(Clone, Copy)]
pub(super) struct RetryHints {
    /// Whether the call reached the callee.
    pub(super) is_sent: bool,
    /// Whether the attempt ran into its timeout.
    pub(super) is_timeout: bool,
    /// Whether another attempt can help.
    pub(super) is_retryable: bool,
    /// How long a local rejection asks to wait.
    pub(super) retry_after: Option<Duration>,
}

impl RetryHints {
    /// A failure like any other.
    const FAILED: RetryHints = RetryHints { is_sent: true, is_timeout: false, is_retryable: true, retry_after: None };

    pub(super) fn new<E>(error: &Error<E>, below: Option<HintsBelow<E>>) -> Self {
        // An inner retry that left the retrying to this one is looked through; any other has tried already.
        if error.stop_reason().is_some_and(|stop| stop != StopReason::Nested) {
            return RetryHints { is_retryable: false, ..Self::FAILED };
        }
        match (error.failure(), error.refused()) {
            (_, Some(refused)) => RetryHints {
                is_sent: false,
                is_timeout: false,
                is_retryable: refused.is_transient(),
                retry_after: refused.retry_after(),
            },
            (Some(Failure::TimedOut(..)), _) => RetryHints { is_timeout: true, ..Self::FAILED },
            (Some(Failure::Call), _) => match (error.last(), below) {
                (Some(error), Some(below)) => below(error),
                _ => Self::FAILED,
            },
            _ => Self::FAILED,
        }
    }
}
