//! The inspector's settings.

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use ripcord::Context;

use super::{Inspector, Shared, Token};

/// A builder of an [`Inspector`]. Created by [`Inspector::builder`]. Call [`build`](Builder::build) to create the inspector.
///
/// The default values may change in a later version.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    pub(super) ctx: Context,
    pub(super) token: Option<Token>,
    pub(super) interval: Duration,
    pub(super) max_shown: usize,
    pub(super) max_kept: usize,
    pub(super) max_calls: usize,
}

const MIN_INTERVAL: Duration = Duration::from_millis(50);

impl Default for Builder {
    fn default() -> Self {
        Builder {
            ctx: Context::background(),
            token: None,
            interval: Duration::from_millis(500),
            max_shown: 100,
            max_kept: 10,
            max_calls: 256,
        }
    }
}

impl Builder {
    /// Sets the token that gives access to the page from any machine. Default: none, and only this machine has access.
    ///
    /// With a token, clients on this machine need the token too.
    pub fn token(self, token: Token) -> Self {
        Builder { token: Some(token), ..self }
    }

    /// Sets the context that ends the open event streams of pages. Default: the background context, which never ends.
    ///
    /// A graceful shutdown waits until these streams end. Pass a context of your [`Shutdown`](ripcord::Shutdown), and the streams
    /// end when the drain begins. With another kind of graceful shutdown, pass a context that ends when the shutdown starts. The
    /// streams use the clock of `ctx` for their interval and their maximum age.
    pub fn context(self, ctx: &Context) -> Self {
        Builder { ctx: ctx.clone(), ..self }
    }

    /// Sets how often an open page is updated. Default: 500 ms.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidInterval`] if the interval is shorter than 50 ms.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord_http::inspector::Inspector;
    ///
    /// let error = Inspector::builder().interval(Duration::ZERO).unwrap_err();
    /// assert_eq!(error.to_string(), "invalid inspector interval: 0ns, less than 50ms");
    /// ```
    pub fn interval(self, interval: Duration) -> Result<Self, InvalidInterval> {
        if interval < MIN_INTERVAL {
            return Err(InvalidInterval(interval));
        }
        Ok(Builder { interval, ..self })
    }

    /// Sets the maximum number of entries of running work that are shown. An entry is a request or [watched](Inspector::watch)
    /// work. Default: 100.
    ///
    /// If there are more entries, the entries whose context has ended are preferred, then the oldest entries. The others are
    /// counted.
    pub fn max_shown(self, max_shown: usize) -> Self {
        Builder { max_shown, ..self }
    }

    /// Sets the maximum number of finished entries that are kept. Default: 10. An entry is a request or [watched](Inspector::watch)
    /// work.
    ///
    /// The limit applies to each of nine ranges of latencies, such as 10 ms to 50 ms. For entries that failed, it applies once
    /// more, to all of them together.
    pub fn max_kept(self, max_kept: usize) -> Self {
        Builder { max_kept, ..self }
    }

    /// Sets the maximum number of calls that are recorded for a request or for [watched](Inspector::watch) work. Further calls are
    /// counted. Default: 256.
    pub fn max_calls(self, max_calls: usize) -> Self {
        Builder { max_calls, ..self }
    }

    /// Creates the inspector with the settings of this builder.
    ///
    /// If a user cancels a request on the page, the error of the request's context reports the source line that called `build`.
    ///
    /// # Panics
    ///
    /// Panics if a token is set and the system provides no random numbers.
    #[track_caller]
    pub fn build(self) -> Inspector {
        Inspector { shared: Arc::new(Shared::new(self, Location::caller())) }
    }
}

/// The error of [`Builder::interval`]: the interval is shorter than 50 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidInterval(Duration);

impl fmt::Display for InvalidInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid inspector interval: {:?}, less than {MIN_INTERVAL:?}", self.0)
    }
}

impl Error for InvalidInterval {}
