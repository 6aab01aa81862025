//! How a request came to its end.

use std::{fmt, time::Duration};

use http::StatusCode;
use ripcord::Context;

use super::ended::is_client_disconnected;
use crate::Malformed;

/// A request that is over, as [`ContextLayer::on_end`](super::ContextLayer::on_end) tells it.
///
/// As text it is a line for a log: `504 after 5s: context deadline exceeded`, and by `{:#}` the whole story of that.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ending<'a> {
    /// The request's Context, with all its values.
    pub ctx: &'a Context,
    /// What came of it.
    pub outcome: Outcome,
    /// How its Context ended, if it did so before the request was over.
    pub error: Option<ripcord::Error>,
    /// What was answered, if anything was.
    pub answered: Option<StatusCode>,
    /// For logs and metrics: what was answered, or would have been if the client had stayed. 499 where the answer was that it has
    /// gone.
    pub status: StatusCode,
    /// From its arrival to its end, by the clock of the server's Context.
    pub took: Duration,
}

impl fmt::Display for Ending<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {:?}: ", self.status.as_u16(), self.took)?;
        match (&self.outcome, &self.error) {
            (Outcome::Panicked(_) | Outcome::Refused(_), _) | (_, None) => write!(f, "{}", self.outcome),
            // With the alternate flag, if it is set.
            (_, Some(error)) => fmt::Display::fmt(error, f),
        }
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was answered, and the body sent to its end.
    Answered,
    /// Its deadline passed: this was answered, or cut the body short.
    DeadlineExceeded,
    /// The server canceled it: this was answered, or cut the body short.
    Canceled,
    /// Its client went away before it was over. A handler that went on all the same may still have answered.
    ClientDisconnected,
    /// Its handler or body panicked, with this message.
    Panicked(String),
    /// It was refused for this header.
    Refused(Malformed),
    /// The service or the body failed with an error of its own.
    Failed,
}

impl Outcome {
    /// Of a request whose Context ended before it was over.
    pub(super) fn of(error: &ripcord::Error) -> Self {
        if error.is_deadline_exceeded() {
            Outcome::DeadlineExceeded
        } else if is_client_disconnected(error) {
            Outcome::ClientDisconnected
        } else {
            Outcome::Canceled
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Answered => f.write_str("answered"),
            Outcome::DeadlineExceeded => f.write_str("context deadline exceeded"),
            Outcome::Canceled => f.write_str("context canceled"),
            Outcome::ClientDisconnected => f.write_str("client disconnected"),
            Outcome::Panicked(message) => write!(f, "handler panicked: {message}"),
            Outcome::Refused(malformed) => write!(f, "refused: {malformed}"),
            Outcome::Failed => f.write_str("failed"),
        }
    }
}
