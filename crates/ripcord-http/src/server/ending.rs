//! How a request came to its end.

use std::{fmt, time::Duration};

use http::StatusCode;
use ripcord::Context;

/// A request that is over, as [`ContextLayer::on_end`](super::ContextLayer::on_end) tells it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ending<'a> {
    /// The request's Context, with all its values.
    pub ctx: &'a Context,
    /// What came of it.
    pub outcome: &'a Outcome,
    /// What was answered; `None` if nothing was, which is told as [`status`](Ending::status).
    pub answered: Option<StatusCode>,
    /// For logs and metrics: what was answered, or would have been if the client had stayed.
    pub status: StatusCode,
    /// From its arrival to its end, by the clock of the server's Context.
    pub took: Duration,
}

/// What came of a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It was answered, and the body sent to its end.
    Answered,
    /// Its deadline passed: this was answered, or cut the body short.
    DeadlineExceeded(ripcord::Error),
    /// The server canceled it: this was answered, or cut the body short.
    Canceled(ripcord::Error),
    /// Its client went away before it was over. A handler that goes on all the same may still have answered.
    ClientDisconnected(ripcord::Error),
    /// Its handler or body panicked, with this message.
    Panicked(String),
    /// The service or its body failed with an error of its own.
    Failed,
}

impl Outcome {
    /// The outcome of a request whose Context ended before it was over.
    pub(super) fn of(error: ripcord::Error) -> Self {
        if error.is_deadline_exceeded() {
            Outcome::DeadlineExceeded(error)
        } else if super::ended::is_client_disconnected(&error) {
            Outcome::ClientDisconnected(error)
        } else {
            Outcome::Canceled(error)
        }
    }

    /// The end of the Context, if it ended before the request was over.
    pub fn error(&self) -> Option<&ripcord::Error> {
        match self {
            Outcome::DeadlineExceeded(error) | Outcome::Canceled(error) | Outcome::ClientDisconnected(error) => {
                Some(error)
            }
            _ => None,
        }
    }
}

/// One line, for a log: with the story of the Context's end, if it is told by `{:#}`.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Answered => f.write_str("answered"),
            Outcome::DeadlineExceeded(error) | Outcome::Canceled(error) | Outcome::ClientDisconnected(error) => {
                fmt::Display::fmt(error, f)
            }
            Outcome::Panicked(message) => write!(f, "handler panicked: {message}"),
            Outcome::Failed => f.write_str("failed"),
        }
    }
}
