//! The inspector's settings.

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use ripcord::Context;

use super::{Inspector, Shared, Token};

/// Builds an [`Inspector`]. Returned by [`Inspector::builder`]. The default values are not a stability promise.
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
    /// Allows every peer that has the token, and no other. Default: only this machine has access.
    pub fn token(self, token: Token) -> Self {
        Builder { token: Some(token), ..self }
    }

    /// Sets the context that ends the live streams and whose clock times them. A shutdown waits for open streams: below a
    /// [`Shutdown`](ripcord::Shutdown), they end with an event `draining` when the drain begins. With another graceful shutdown, pass
    /// a context that ends when it starts.
    pub fn context(self, ctx: &Context) -> Self {
        Builder { ctx: ctx.clone(), ..self }
    }

    /// Sets the time from one live snapshot to the next. Default: 500 ms.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidInterval`] for less than 50 ms, because each snapshot costs the server work.
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

    /// Sets the maximum number of live entries shown: those whose context has ended first, then the oldest. The others are counted.
    /// Default: 100.
    pub fn max_shown(self, max_shown: usize) -> Self {
        Builder { max_shown, ..self }
    }

    /// Sets the maximum number of finished entries kept in each latency bucket, and of failed entries. Default: 10.
    pub fn max_kept(self, max_kept: usize) -> Self {
        Builder { max_kept, ..self }
    }

    /// Sets the maximum number of calls recorded below an entry. The others are counted. Default: 256.
    pub fn max_calls(self, max_calls: usize) -> Self {
        Builder { max_calls, ..self }
    }

    /// Returns the inspector. A cancel from its page reports the line of this call.
    ///
    /// # Panics
    ///
    /// Panics with a token if the system has no random numbers.
    #[track_caller]
    pub fn build(self) -> Inspector {
        Inspector { shared: Arc::new(Shared::new(self, Location::caller())) }
    }
}

/// The error of [`Builder::interval`]: shorter than 50 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidInterval(Duration);

impl fmt::Display for InvalidInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid inspector interval: {:?}, less than {MIN_INTERVAL:?}", self.0)
    }
}

impl Error for InvalidInterval {}
