//! The reason why a retry stopped.

use std::fmt;
use std::panic::Location;

use super::Refused;
use super::refused::print_details;

/// The reason why a [`Retry`](crate::Retry) made no further attempt. Returned by
/// [`Error::stop_reason`](crate::Error::stop_reason). More reasons may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// The retry made all the attempts that [`max_attempts`](crate::retry::RetryBuilder::max_attempts) allows.
    Exhausted,
    /// The function [`retry_if`](crate::retry::RetryBuilder::retry_if) returned `false` for the error. Or a policy inside the
    /// call failed in a way that another attempt cannot change, for example because a worker pool is closed.
    NotRetryable,
    /// The deadline of the context passed to the retry has passed, or the next wait would have ended at or after this deadline.
    Deadline,
    /// The context passed to the retry was canceled.
    Canceled,
    /// The [`RetryBudget`](crate::RetryBudget) had fewer tokens than another attempt [costs](crate::RetryBudget::cost).
    Budget,
    /// The retry ran inside an attempt of another retry, and therefore made only one attempt.
    Nested,
}

/// [`StopReason`] with its details.
#[derive(Clone, Debug)]
pub(crate) enum Details {
    Exhausted,
    NotRetryable,
    /// The wait for the next attempt would not have ended in time.
    TooNear(Refused),
    Ended(ripcord::Error),
    /// The budget is spent. Holds the line that built it.
    Budget(&'static Location<'static>),
    Nested,
}

impl Details {
    pub(super) fn reason(&self) -> StopReason {
        match self {
            Details::Exhausted => StopReason::Exhausted,
            Details::NotRetryable => StopReason::NotRetryable,
            Details::TooNear(_) => StopReason::Deadline,
            Details::Ended(end) if end.is_deadline_exceeded() => StopReason::Deadline,
            Details::Ended(_) => StopReason::Canceled,
            Details::Budget(_) => StopReason::Budget,
            Details::Nested => StopReason::Nested,
        }
    }

    /// Prints the reason. With `{:#}`, also prints its details and `attempts`, unless the text already names the attempts.
    pub(super) fn print(&self, attempts: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Details::Exhausted if attempts == 1 => return f.write_str("the only attempt failed"),
            Details::Exhausted => return write!(f, "all {attempts} attempts failed"),
            Details::Nested => return f.write_str("the attempt failed, and an outer retry decides on another"),
            Details::NotRetryable => f.write_str("not retryable")?,
            Details::TooNear(refused) => fmt::Display::fmt(refused, f)?,
            Details::Ended(end) => fmt::Display::fmt(end, f)?,
            Details::Budget(built_at) => {
                f.write_str("retry budget is spent")?;
                print_details(f, format_args!("built at {built_at}"))?;
            }
        }
        match (f.alternate(), attempts) {
            (false, _) => Ok(()),
            (true, 0) => f.write_str(", before the first attempt"),
            (true, 1) => f.write_str(", after 1 attempt"),
            (true, _) => write!(f, ", after {attempts} attempts"),
        }
    }
}
