//! The hints that a retry reads from the error of a policy, without a closure of the user.

use std::time::Duration;

use crate::Error;
use crate::error::{Failure, StopReason};

/// A function that reads the hints of a call's error, if this error is itself the error of a policy.
pub(super) type HintsBelow<E> = fn(&E) -> RetryHints;

/// The facts about an attempt's error that a retry needs.
#[derive(Clone, Copy)]
pub(super) struct RetryHints {
    /// Whether the call reached the callee.
    pub(super) is_sent: bool,
    /// Whether the attempt timed out.
    pub(super) is_timeout: bool,
    /// Whether another attempt can help.
    pub(super) is_retryable: bool,
    /// The wait that a local rejection asks for.
    pub(super) retry_after: Option<Duration>,
}

impl RetryHints {
    /// The hints of an ordinary failure.
    const FAILED: RetryHints = RetryHints { is_sent: true, is_timeout: false, is_retryable: true, retry_after: None };

    pub(super) fn new<E>(error: &Error<E>, below: Option<HintsBelow<E>>) -> Self {
        // If an inner retry left the decision to this retry, the error of its attempt counts. Any other inner retry has retried
        // already.
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
